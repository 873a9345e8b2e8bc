"""`Estimator.from_torch`: ordinary PyTorch, trained where the data is.

Owns: the words of the call.
Leaves: everything else (zoo.orca.learn.estimator, zoo.engine).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from zoo.engine.errors import UsageError
from zoo.orca.learn import estimator
from zoo.orca.learn.pytorch.training_operator import callbacks_of
from zoo.orca.learn.words import latest_checkpoint

_log = logging.getLogger("zoo")

BACKENDS = ("spark", "bigdl", "torch_distributed", "ray", "horovod")


class Estimator:
    """Makes estimators of PyTorch models."""

    @staticmethod
    def from_torch(
        *,
        model: Any = None,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        scheduler_creator: Callable[..., Any] | None = None,
        scheduler_step_freq: str | None = "batch",
        config: Mapping[str, Any] | None = None,
        workers_per_node: int = 1,
        model_dir: str | None = None,
        backend: str = "spark",
        use_tqdm: bool = False,
        sync_stats: bool = True,
        log_level: int = logging.INFO,
        log_to_driver: bool = True,
        initialization_hook: Callable[[], Any] | None = None,
        training_operator_cls: Any = None,
        precision: str = "float32",
        device: str | None = None,
        seed: int = 0,
    ) -> estimator.Estimator:
        """An estimator that trains a PyTorch model on the current cluster.

        Args:
            model: a ``torch.nn.Module`` or a creator ``f(config)`` of one. After `fit` a module given here holds the
                trained weights.
            optimizer: an optimizer of `zoo.orca.learn.optimizers`, a torch optimizer (made for this very model), a
                torch optimizer class, or a creator ``f(model, config)``. Needed by `fit` only.
            loss: a torch loss module, function or class, or a creator ``f(config)``; called ``loss(output, target)``.
                None where the model itself gives its loss from features and labels.
            metrics: one or a list of `zoo.orca.learn.metrics`, names of them, torchmetrics objects, or functions
                ``f(output, target)``.
            scheduler_creator: ``f(optimizer, config)`` of a torch learning-rate scheduler.
            scheduler_step_freq: when it steps: ``"batch"``, ``"epoch"``, or ``"manual"``/None for never.
            config: given to every creator function.
            workers_per_node: ranks on each node (Spark executor); its cores are shared among them.
            model_dir: where checkpoints and summaries go: a path or any fsspec URL.
            backend: accepted for older programs; the context decides where ranks run.
            use_tqdm: accepted for older programs; progress is always shown.
            sync_stats: accepted for older programs; statistics are always those of all ranks.
            log_level: accepted for older programs.
            log_to_driver: accepted for older programs; what ranks log always reaches the driver.
            initialization_hook: called on each rank before its model is made.
            training_operator_cls: a class derived from `TrainingOperator`, which does a step in its own way.
            precision: ``"float32"``, or ``"bf16"`` for autocast to bfloat16.
            device: ``"cpu"``, ``"cuda"``, or None to take a GPU where Spark (or this machine) has one for the rank.
            seed: of the order of rows and of the ranks' random numbers.

        Raises:
            UsageError: an argument that is missing or has an impossible value; all problems are listed.
        """
        from zoo.engine.frameworks.torch.metrics import adapt_all
        from zoo.engine.frameworks.torch.spec import TorchSpec

        _check(backend)
        spec = TorchSpec(
            model=model,
            optimizer=optimizer,
            loss=loss,
            scheduler_creator=scheduler_creator,
            scheduler_step_freq=scheduler_step_freq,
            config=dict(config or {}),
            initialization_hook=initialization_hook,
            precision=precision,
            device=device,
            seed=seed,
        )
        return estimator.Estimator(
            spec, adapt_all, metrics=metrics, model_dir=model_dir, workers_per_node=workers_per_node, seed=seed,
            callbacks=callbacks_of(training_operator_cls, use_tqdm),
        )  # fmt: skip

    @staticmethod
    def latest_checkpoint(checkpoint_dir: str) -> str:
        """The path of the newest complete checkpoint under a `model_dir`.

        Raises:
            UsageError: there is none; damaged ones are named with what is wrong with them.
        """
        return latest_checkpoint(checkpoint_dir)


def _check(backend: str) -> None:
    if backend not in BACKENDS:
        raise UsageError(
            "Only horovod, torch_distributed and bigdl backends are supported for now, got backend: "
            f"{backend}. Known backends: {', '.join(BACKENDS)}; the context decides where ranks run."
        )
