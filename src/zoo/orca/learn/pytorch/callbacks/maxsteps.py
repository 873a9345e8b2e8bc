"""A run of at most so many steps."""

from __future__ import annotations

from typing import Any

from zoo.engine.errors import UsageError
from zoo.orca.learn.pytorch.callbacks.base import Callback


class MaxstepsCallback(Callback):
    """Ends a run after `max_step` steps, also in the middle of an epoch.

    Args:
        max_step: steps of this call of `fit`, at least 1.
    """

    def __init__(self, max_step: int) -> None:
        if isinstance(max_step, bool) or not isinstance(max_step, int) or max_step < 1:
            raise UsageError(f"max_step must be a whole number of steps, at least 1. Received: {max_step!r}")
        self.max_step = max_step
        self._end = max_step

    def before_run(self, runner: Any) -> None:
        """Counts from here."""
        self._end = runner.global_step + self.max_step

    def before_train_iter(self, runner: Any) -> None:
        """Asks before the last step, so that all ranks know it when that step is done."""
        if runner.global_step + 1 >= self._end:
            runner.stop()
