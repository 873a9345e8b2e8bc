"""`TrainingOperator`: how one step is done, in the words of programs written for the original.

Owns: what an operator may override, and how the engine's callbacks come to call it.
Leaves: the order of steps, averaging over ranks, metrics and checkpoints (the engine).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from zoo.engine.errors import UsageError
from zoo.orca.learn.pytorch.callbacks.maincallback import MainCallback
from zoo.orca.learn.pytorch.utils import TimerCollection

_log = logging.getLogger("zoo")

_REPORTED = {"train_loss", "num_samples"}
_LOOPS = {
    "train_epoch": "override train_batch (one step) or forward_batch (its loss); what belongs to an epoch's borders "
    "goes into a callback: fit(callbacks=[...])",
    "validate": "override forward_batch, and give from_torch(metrics=...)",
    "predict": "override predict_batch",
}


class TrainingOperator:
    """Derive from it, override what shall be done differently, and give the class to ``from_torch``.

    It is made once in every process that trains, scores or predicts. A batch is ``(*features, target)``, tensors with
    rows first, on the model's device; the target is a tuple where there are several labels, and None without labels.

    Args:
        config: the user's values.
        models: the module, or a list of them.
        optimizers: the torch optimizer, or a list; None where nothing is trained.
        world_rank: this process among its peers.
        criterion: the loss function; None where the model gives its loss itself.
        schedulers: the torch scheduler, or a list; None for none.
        use_fp16: kept for older programs.
        use_tqdm: kept for older programs.

    Attributes:
        timers: for ``with self.timers.record("forward"):``.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        models: Any,
        optimizers: Any,
        world_rank: int,
        criterion: Callable[..., Any] | None = None,
        schedulers: Any = None,
        use_fp16: bool = False,
        use_tqdm: bool = False,
    ) -> None:
        self._config = config
        self._models, self._optimizers, self._schedulers = _several(models), _several(optimizers), _several(schedulers)
        self._world_rank = world_rank
        self._criterion = criterion
        self._use_fp16, self._use_tqdm = use_fp16, use_tqdm
        self._engine_forward: Callable[[Any], tuple[Any, Any, Any]] = self._plain_forward
        self.timers = TimerCollection()
        self.setup(config)

    def setup(self, config: Mapping[str, Any]) -> None:
        """Called once, when everything else is in place."""

    def forward_batch(self, batch: Any, batch_info: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        """(output, target, loss) of a batch, while training and while scoring (then without gradients).

        Args:
            batch: ``(*features, target)``.
            batch_info: ``"batch_idx"`` within the epoch, ``"global_step"`` and ``"epoch_idx"``, all from 0.

        Returns:
            the loss is a scalar tensor: the mean over the batch's rows, so that the mean over ranks is exact.
        """
        return self._engine_forward(batch)

    def train_batch(self, batch: Any, batch_info: Mapping[str, Any]) -> dict[str, Any]:
        """One step. An own one calls ``optimizer.zero_grad()``, ``loss.backward()`` and ``optimizer.step()`` itself.

        ``optimizer.step()`` asks for the step: the weights change behind train_batch, once gradients are averaged over
        all ranks. So ask once a batch (or not at all, to accumulate), and clip by
        ``set_l2_norm_gradient_clipping``, which clips the average. A rank that has no rows in a step does not call it.

        Returns:
            ``"train_loss"``, the mean over the rows, and ``"num_samples"``. Other values are not reported.
        """
        _, _, loss = self.forward_batch(batch, batch_info)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"train_loss": loss.item(), "num_samples": _rows(batch)}

    def predict_batch(self, batch: Any) -> Any:
        """The model's output for a batch of the features alone; rows first. Called without gradients."""
        return self.model(*batch)

    def state_dict(self) -> dict[str, Any]:
        """What the operator has learned: tensors, numbers, text, and lists and dicts of them.

        That of rank 0 goes into checkpoints and into the next `fit`; evaluate and predict begin with `setup` alone.
        """
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes back to what `state_dict` gave. Called on every rank before training, where there is such a state."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The user's values."""
        return self._config

    @property
    def model(self) -> Any:
        """The (first) module."""
        return _first(self._models)

    @property
    def models(self) -> list[Any]:
        """All modules."""
        return self._models

    @property
    def optimizer(self) -> Any:
        """The (first) optimizer."""
        return _first(self._optimizers)

    @property
    def optimizers(self) -> list[Any]:
        """All optimizers."""
        return self._optimizers

    @property
    def world_rank(self) -> int:
        """This process among its peers, from 0."""
        return self._world_rank

    @property
    def criterion(self) -> Any:
        """The loss function."""
        return self._criterion

    @property
    def scheduler(self) -> Any:
        """The (first) scheduler."""
        return _first(self._schedulers)

    @property
    def schedulers(self) -> list[Any]:
        """All schedulers."""
        return self._schedulers

    @property
    def use_fp16(self) -> bool:
        """Always False under an estimator; ask for ``precision="bf16"``."""
        return self._use_fp16

    @property
    def use_tqdm(self) -> bool:
        """As it was given to ``from_torch``."""
        return self._use_tqdm

    def _plain_forward(self, batch: Any) -> tuple[Any, Any, Any]:
        *features, target = batch
        output = self.model(*features)
        return output, target, self.criterion(output, target)


def callbacks_of(operator: Any, use_tqdm: bool = False) -> tuple[MainCallback, ...]:
    """The callback by which the engine calls an operator class; none for None and for `TrainingOperator` itself.

    Raises:
        UsageError: no such class, or one with a loop of its own.
    """
    if operator is None or operator is TrainingOperator:
        return ()
    if not (isinstance(operator, type) and issubclass(operator, TrainingOperator)):
        raise UsageError(
            "training_operator_cls must be a class derived from zoo.orca.learn.pytorch.TrainingOperator. "
            f"Received: {operator!r}"
        )
    loops = [name for name in _LOOPS if hasattr(operator, name)]
    if loops:
        raise UsageError.listing(
            [
                f"{operator.__name__}.{name} has a loop of its own, which cannot be: the engine decides the order of "
                f"steps, so that every rank does the same ones. Instead {_LOOPS[name]}."
                for name in loops
            ]
        )
    made = OwnStepCallback if operator.train_batch is not TrainingOperator.train_batch else OperatorCallback
    return (made(operator, use_tqdm),)


class OperatorCallback(MainCallback):
    """A `TrainingOperator` class as the engine's main callback. Every runner gets an operator of its own.

    Args:
        operator: the class.
        use_tqdm: handed on to it.
    """

    def __init__(self, operator: type[TrainingOperator], use_tqdm: bool = False) -> None:
        self.operator = operator
        self.use_tqdm = use_tqdm

    def before_run(self, runner: Any) -> None:
        """`setup` before the first step, also on a rank that has no rows in it."""
        self._of(runner)

    def on_iter_forward(self, runner: Any) -> None:
        """`forward_batch`, while training and while scoring."""
        made = self._of(runner).forward_batch(runner.batch, _info(runner))
        if not (isinstance(made, tuple) and len(made) == 3):
            raise UsageError(
                f"{self.operator.__name__}.forward_batch must return (output, target, loss). It returned: {made!r}"
            )
        runner.output, runner.target, runner.loss = made

    def on_pred_forward(self, runner: Any) -> None:
        """`predict_batch`."""
        runner.output = self._of(runner).predict_batch(runner.batch)

    def on_save(self, runner: Any) -> Any:
        """`state_dict`, or None for nothing to remember."""
        return self._of(runner).state_dict() or None

    def on_load(self, runner: Any, memory: Any) -> None:
        """`load_state_dict`; an operator is made even for nothing, before random numbers are set for going on."""
        operator = self._of(runner)
        if memory is not None:
            operator.load_state_dict(memory)

    def _of(self, runner: Any) -> TrainingOperator:
        """The runner's operator, made on first use."""
        known = runner.get("training_operator")
        if known is None:
            known = self._make(runner)
            runner.put("training_operator", known)
        operator: TrainingOperator = known
        return operator

    def _make(self, runner: Any) -> TrainingOperator:
        def forward(batch: Any) -> tuple[Any, Any, Any]:
            runner.batch = batch
            runner.forward()
            return runner.output, runner.target, runner.loss

        operator = self.operator(
            config=runner.config,
            models=runner.model,
            optimizers=None if runner.optimizer is None else _AskingOptimizer(runner),
            world_rank=runner.rank,
            criterion=runner.criterion,
            schedulers=None if runner.scheduler is None else _SteppedScheduler(runner.scheduler),
            use_tqdm=self.use_tqdm,
        )
        operator._engine_forward = forward  # the engine's own pass knows precision, and names what does not fit
        return operator


class OwnStepCallback(OperatorCallback):
    """The callback of an operator with a `train_batch` of its own."""

    def on_train_forward(self, runner: Any) -> None:
        """Nothing yet: `train_batch` does both passes."""
        self._of(runner)
        runner.output = runner.target = None
        runner.loss = float("nan")

    def on_iter_backward(self, runner: Any) -> None:
        """`train_batch`."""
        operator = self._of(runner)
        stats = operator.train_batch(runner.batch, _info(runner))
        if not (isinstance(stats, Mapping) and "train_loss" in stats):
            raise UsageError(
                f"{self.operator.__name__}.train_batch must return {{'train_loss': ..., 'num_samples': ...}}. "
                f"It returned: {stats!r}"
            )
        runner.loss = stats["train_loss"]
        unreported = sorted(map(str, stats.keys() - _REPORTED))
        if unreported and runner.rank == 0 and not runner.get("told_unreported"):
            runner.update("told_unreported", True)
            _log.warning(
                "train_batch of %s returns %s, which fit() does not report: give from_torch(metrics=...), or log it.",
                self.operator.__name__, ", ".join(unreported),
            )  # fmt: skip


class _AskingOptimizer:
    """The runner's optimizer of the moment: within `train_batch` one whose step waits for the other ranks."""

    def __init__(self, runner: Any) -> None:
        self._runner, self._at_rest = runner, runner.optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner.optimizer, name)

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Asks for the step.

        Raises:
            UsageError: nobody is ready to average gradients.
        """
        if self._runner.optimizer is self._at_rest:
            raise UsageError("optimizer.step() belongs into train_batch: only there are gradients averaged over ranks.")
        self._runner.optimizer.step(*args, **kwargs)


class _SteppedScheduler:
    """A scheduler that only the engine steps: behind the update, and on all ranks alike."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Refused.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "scheduler.step() in a TrainingOperator would change the rate before the weights, and not on every rank. "
            'Leave it out, and say when it steps: from_torch(scheduler_step_freq="batch") or "epoch".'
        )


def _info(runner: Any) -> dict[str, Any]:
    return {"batch_idx": runner.batch_idx, "global_step": runner.global_step, "epoch_idx": runner.epochs}


def _several(things: Any) -> list[Any]:
    if things is None:
        return []
    return list(things) if isinstance(things, list | tuple) else [things]


def _first(things: list[Any]) -> Any:
    return things[0] if things else None


def _rows(value: Any) -> int:
    """The first dimension of the first tensor in nested values."""
    while not hasattr(value, "shape"):
        value = next(iter(value.values() if isinstance(value, Mapping) else value))
    return int(value.shape[0])
