"""The `runner` that callbacks are given: where a run is, and the parts that it is made of.

Owns: the attributes that callbacks read, the calling of hooks, a callback's own forward and backward.
Leaves: the callbacks (front end), the default pass (replica).

A callback is any object with methods named as `HOOKS`; one of them may also have those of a MainCallback
(``on_train_forward`` and so on), which then replace the default pass.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from zoo.engine import storage
from zoo.engine.contracts import Rank
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.optim import RateControl
from zoo.engine.optim import Clip
from zoo.engine.optional import require
from zoo.engine.progress import Progress

_SPANS = ("run", *(f"{kind}_{span}" for kind in ("train", "val", "pred") for span in ("epoch", "iter")))
HOOKS = frozenset(f"{when}_{span}" for when in ("before", "after") for span in _SPANS)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is trained, on its device.

    Attributes:
        model: the module.
        loss: ``loss(output, target)``; None where the model gives its loss itself.
        rates: the optimizer and its learning rates; None for a replica that only predicts.
    """

    model: torch.nn.Module
    loss: Callable[..., Any] | None = None
    rates: RateControl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How it is trained.

    Attributes:
        rank: where; its device holds the model.
        precision: ``"float32"`` or ``"bf16"`` (autocast).
        clip: of the averaged gradients; None for none.
        callbacks: called on every rank.
        config: the user's own values.
    """

    rank: Rank = field(default_factory=Rank)
    precision: str = "float32"
    clip: Clip | None = None
    callbacks: tuple[Any, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def main_callback(callbacks: Sequence[Any]) -> Any | None:
    """The one callback that has a forward or backward of its own, if any.

    Raises:
        UsageError: there are several.
    """
    found = [callback for callback in callbacks if hasattr(callback, "on_iter_forward")]
    if len(found) > 1:
        names = ", ".join(type(callback).__name__ for callback in found)
        raise UsageError(f"only one MainCallback can decide how a step is done. Received: {names}")
    return found[0] if found else None


class Runner:
    """What callbacks see and may change.

    Attributes:
        model, optimizer, scheduler: the torch objects on this rank; the scheduler may be None.
        criterion: the loss function; None where the model gives its loss itself.
        config: the user's own values.
        sliced: whether each rank holds a slice of the optimizer's memory only (``fit(sync="sharded")``).
        rank, world_size: this process among its peers; num_workers is another name for world_size.
        device: where the model is.
        epochs: epochs completed; in after_train_epoch the one just ended counts.
        batch_idx: number of the batch within the epoch, from 0.
        global_step: training steps completed since the first `fit`; in after_train_iter the one just done counts.
        batch: ``(*features, target)`` on the device; the target is a tuple where there are several labels.
        output, target, loss: of the last forward pass; loss is a scalar tensor over this rank's rows,
            without its graph once backward is done.
        epoch_stats: name -> value, of the last epoch; filled in after_train_epoch and after_val_epoch.
    """

    def __init__(self, parts: Parts, settings: Settings, forward: Callable[[], None]) -> None:
        self.model, self.criterion = parts.model, parts.loss
        self.optimizer: Any = parts.rates.optimizer if parts.rates else None
        self.scheduler: Any = parts.rates.scheduler if parts.rates else None
        self.config = settings.config
        self.rank = settings.rank.index
        self.world_size = self.num_workers = settings.rank.world
        self.device = torch.device(settings.rank.device)
        self.forward = forward
        """The default forward pass: from `batch` to `output`, `target` and `loss`."""
        self.callbacks = settings.callbacks
        self.main: Any = main_callback(settings.callbacks)
        self.stopping = self.sliced = False
        self.epochs = self.batch_idx = self.global_step = 0
        self.epoch_stats: dict[str, float] = {}
        self.batch: tuple[Any, ...] = ()
        self.output: Any = None
        self.target: Any = None
        self.loss: Any = None
        self._kept: dict[str, Any] = {}

    def stop(self) -> None:
        """Asks all ranks to end the run; they do so together, behind this step or the next one."""
        self.stopping = True

    def put(self, key: str, value: Any) -> None:
        """Keeps a value for other callbacks and later hooks on this rank.

        Raises:
            UsageError: there is one of this name; `update` replaces it.
        """
        if key in self._kept:
            raise UsageError(f"the runner keeps this name already; replace it with update(). Received: {key!r}")
        self._kept[key] = value

    def update(self, key: str, value: Any) -> None:
        """Keeps or replaces a value."""
        self._kept[key] = value

    def get(self, key: str) -> Any:
        """A kept value, or None."""
        return self._kept.get(key)

    def remove(self, key: str) -> None:
        """Forgets a kept value."""
        self._kept.pop(key, None)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and scheduler, as `torch.save` keeps them.

        Raises:
            UsageError: no rank holds all of the optimizer's memory.
        """
        if self.sliced:
            raise UsageError(
                "with sync='sharded' each rank holds a slice of the optimizer's memory, which a callback of one rank "
                "cannot put together. Save the weights only (save_weights_only=True, or runner.model.state_dict()); "
                "checkpoints in the estimator's model_dir hold everything."
            )
        state = {"epochs": self.epochs, "global_step": self.global_step, "model": self.model.state_dict()}
        if self.optimizer is not None:
            state["optimizer"] = self.optimizer.state_dict()
        if self.scheduler is not None:
            state["scheduler"] = self.scheduler.state_dict()
        return state

    def save_checkpoint(self, filepath: str, save_weights_only: bool = False) -> None:
        """Writes the weights, or all of `state_dict`, with `torch.save` to a path or URL: whole or not at all."""
        buffer = io.BytesIO()
        torch.save(self.model.state_dict() if save_weights_only else self.state_dict(), buffer)
        storage.write_atomically(filepath, buffer.getvalue())

    def summary_writer(self, log_dir: str, **kwargs: Any) -> Any:
        """A `torch.utils.tensorboard.SummaryWriter`.

        Raises:
            MissingDependency: tensorboard is not installed here.
        """
        require("tensorboard", extra="tensorboard", because="a callback writes TensorBoard logs")
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(log_dir, **kwargs)

    def move(self, moment: str, progress: Progress, stats: Mapping[str, float]) -> None:
        """Takes over where the run is."""
        self.epochs = progress.epoch
        if moment == "after_train_epoch" and not progress.epoch_ended:
            self.epochs += 1
        self.global_step = progress.step
        if moment in ("before_train_epoch", "after_val_epoch"):  # validation may come in the middle of an epoch
            self.batch_idx = progress.step_in_epoch
        elif moment.startswith("before_"):
            self.batch_idx = 0
        if stats:
            self.epoch_stats = dict(stats)

    def tell(self, moment: str) -> None:
        """Calls one hook of every callback that has it."""
        for callback in self.callbacks:
            hook = getattr(callback, moment, None)
            if hook is not None:
                hook(self)

    def memory(self) -> Any:
        """What the main callback wants to be remembered, by its ``on_save(runner)``; None for nothing."""
        save = getattr(self.main, "on_save", None)
        return None if save is None else save(self)

    def remind(self, memory: Any) -> None:
        """Gives the main callback back what it remembered, or None, by its ``on_load(runner, memory)``."""
        load = getattr(self.main, "on_load", None)
        if load is not None:
            load(self, memory)

    def overrides(self, name: str) -> bool:
        """Whether the main callback has its own `name`."""
        return overrides(self.main, name)


def overrides(main: Any, name: str) -> bool:
    """Whether a main callback has its own `name` (a default one is marked by an attribute ``zoo_default``)."""
    method = getattr(main, name, None)
    return method is not None and not getattr(method, "zoo_default", False)


class HeldOptimizer:
    """The optimizer as a callback's own backward sees it: ``step()`` waits until gradients are averaged over ranks.

    A backward that does not call ``step()`` (to accumulate gradients) leaves the weights as they are. Gradients that
    are waiting for their step cannot be cleared; once the weights have changed, the next step begins without them.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self.asked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Clears the gradients, unless they wait for their step: then that is done behind it."""
        if not self.asked:
            self._optimizer.zero_grad(*args, **kwargs)

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Notes that the weights shall change in this step.

        Raises:
            UsageError: a closure, or a second call for one batch.
        """
        if args or kwargs:
            raise UsageError("optimizer.step() takes no closure here: gradients are averaged over ranks first.")
        if self.asked:
            raise UsageError(
                "optimizer.step() can be called once a batch: gradients are averaged over ranks, and weights change, "
                "behind the backward pass. Add the losses up, or do the second step with the next batch."
            )
        self.asked = True
