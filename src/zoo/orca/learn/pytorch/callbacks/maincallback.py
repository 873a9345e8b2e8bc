"""A step of the user's own: the one callback that may replace forward, backward and the change of the rate.

Owns: what each replaceable part does by default.
Leaves: averaging gradients over ranks, which happens between ``on_iter_backward`` and the change of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from typing import Any, TypeVar

from zoo.orca.learn.pytorch.callbacks.base import Callback

F = TypeVar("F", bound=Callable[..., None])


def _default(method: F) -> F:
    """Marks what the engine may do in its own, faster way."""
    method.zoo_default = True  # type: ignore[attr-defined]
    return method


class MainCallback(Callback):
    """Override what shall be done differently; only one MainCallback can be given."""

    @_default
    def on_iter_forward(self, runner: Any) -> None:
        """From ``runner.batch``, ``(*features, target)``, to ``runner.output``, ``.target`` and a scalar ``.loss``."""
        runner.forward()

    @_default
    def on_iter_backward(self, runner: Any) -> None:
        """From ``runner.loss`` to gradients, and ``runner.optimizer.step()`` where the weights shall change.

        The weights change once gradients are averaged over all ranks: `step` here only asks for it, once a batch. A
        backward that does not ask accumulates; after a step that was asked for, gradients begin at zero again.
        """
        runner.optimizer.zero_grad()
        runner.loss.backward()
        runner.optimizer.step()

    @_default
    def on_lr_adjust(self, runner: Any) -> None:
        """At the end of each training epoch, in place of the scheduler's own step."""
        if runner.scheduler is not None:
            runner.scheduler.step()

    @_default
    def on_train_forward(self, runner: Any) -> None:
        """The forward pass while training."""
        self.on_iter_forward(runner)

    @_default
    def on_val_forward(self, runner: Any) -> None:
        """The forward pass while scoring; without gradients."""
        self.on_iter_forward(runner)

    @_default
    def on_pred_forward(self, runner: Any) -> None:
        """From ``runner.batch``, the features alone, to ``runner.output``."""
        runner.output = runner.model(*runner.batch)


def make_only_mainCallback(callbacks: MutableSequence[Any]) -> None:
    """Sees to it that a list of callbacks has exactly one MainCallback, adding a plain one in front if need be.

    Raises:
        UsageError: there are several.
    """
    from zoo.engine.errors import UsageError

    found = [callback for callback in callbacks if isinstance(callback, MainCallback)]
    if len(found) > 1:
        names = ", ".join(type(callback).__name__ for callback in found)
        raise UsageError(f"only one MainCallback can decide how a step is done. Received: {names}")
    if not found:
        callbacks.insert(0, MainCallback())
