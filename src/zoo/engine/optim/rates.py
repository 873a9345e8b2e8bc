"""The learning rate of each step, for frameworks whose optimizers take it as a number.

Owns: when a schedule is asked and told, what it remembers.
Leaves: schedules themselves (schedules), setting the rate (frameworks).
"""

from __future__ import annotations

from typing import Any

from zoo.engine.optim.optimizers import Optimizer
from zoo.engine.optim.schedules import Default
from zoo.engine.progress import Progress
from zoo.engine.values import Json


class RateControl:
    """Sets the learning rate of each step where a schedule of `zoo.engine.optim` says it.

    Args:
        given: the optimizer; anything but a description of ours leaves the rate to the framework.
    """

    def __init__(self, given: Any = None) -> None:
        schedule = given.schedule() if isinstance(given, Optimizer) else None
        self._schedule = None if schedule == Default() else schedule
        self._base = float(getattr(given, "learningrate", 1.0)) if self._schedule else 0.0
        self._memory: Json = self._schedule.start() if self._schedule else None
        self.value = self._base

    @property
    def scheduled(self) -> bool:
        """Whether a schedule says the rate; else it is the framework's."""
        return self._schedule is not None

    def before_update(self, step: int) -> bool:
        """Whether update number `step` needs another rate, which `value` then is."""
        if self._schedule is None:
            return False
        before, self.value = self.value, self._schedule.rate(self._base, step, self._memory)
        return self.value != before or step == 0

    def after_epoch(self, progress: Progress) -> None:
        """Tells the border of an epoch, after its validation."""
        if self._schedule is not None:
            self._memory = self._schedule.observe(self._memory, progress)

    def state(self) -> Json:
        """Everything to remember, in plain JSON values."""
        return {"base": self._base, "memory": self._memory}

    def load(self, state: Json) -> None:
        """Goes back to what `state` gave; None for nothing."""
        if state is not None and self._schedule is not None:
            self._base, self._memory = float(state["base"]), state["memory"]
