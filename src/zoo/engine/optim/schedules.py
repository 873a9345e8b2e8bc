"""Learning-rate schedules: the rate of update i, as a function.

i counts updates: 0 at the first one since the model's first `fit`. Everything that a schedule must remember is a plain
JSON value in the caller's hands, so a resumed run has the rates of one that never stopped.

Owns: what the rate is.
Leaves: when it is set, and keeping what is remembered (each framework's own `optim`).
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.engine.errors import UsageError
from zoo.engine.optim.arguments import (
    Borders,
    Count,
    Decay,
    Fraction,
    Mode,
    Monitor,
    NotNegative,
    Number,
    Part,
    Positive,
    Whole,
    check,
    is_count,
)

if TYPE_CHECKING:
    from zoo.engine.contracts import Json
    from zoo.engine.progress import Progress


class Schedule(ABC):
    """A learning rate for each step: a function of the base rate, the step and what was remembered."""

    def __post_init__(self) -> None:
        check(self)

    @abstractmethod
    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        """The rate of update number `step`, counted from 0; `state` None stands for `start()`."""

    def start(self) -> Json:
        """What is remembered before the first step."""
        return {}

    def observe(self, state: Json, progress: Progress) -> Json:
        """What is remembered behind an epoch border. Called once an epoch, after its validation; changes nothing."""
        return state

    def get_scheduler(self) -> Schedule:
        """This schedule (the old API had another one underneath)."""
        return self


@dataclass(frozen=True)
class Default(Schedule):
    """lr / (1 + decay * i). With decay 0, the rate stays; an optimizer puts its `learningrate_decay` here."""

    decay: NotNegative = 0.0

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        return base_lr / (1 + self.decay * step)


@dataclass(frozen=True)
class Poly(Schedule):
    """lr * (1 - i / max_iteration) ** power; 0 from `max_iteration` on."""

    power: NotNegative
    max_iteration: Count

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        return base_lr * (1 - step / self.max_iteration) ** self.power if step < self.max_iteration else 0.0


@dataclass(frozen=True)
class PolyEpoch(Schedule):
    """lr * (1 - epochs done / max_epochs) ** power, the same rate throughout an epoch; 0 from `max_epochs` on."""

    power: NotNegative
    max_epochs: Count

    def start(self) -> Json:
        return {"epochs": 0}

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        done = (state or self.start())["epochs"]
        return float(base_lr * (1 - done / self.max_epochs) ** self.power) if done < self.max_epochs else 0.0

    def observe(self, state: Json, progress: Progress) -> Json:
        return {"epochs": progress.epoch}


@dataclass(frozen=True)
class WarmupDecay(Schedule):
    """Rises to lr over the first steps, in proportion, and then falls, over `total` steps in all.

    With x = i / total: lr * x / portion while x < portion, then lr * (1 - x) for ``"linear"``, lr * (1 + cos(pi x)) / 2
    for ``"cosine"``, lr for ``"constant"``; 0 from `total` on, but for ``"constant"``. Source: Devlin et al., 2019.
    """

    portion: Fraction
    total: Count
    kind: Decay = "linear"

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        done = min(step / self.total, 1.0)
        if done < self.portion:
            return base_lr * done / self.portion
        falls = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
        return base_lr * falls[self.kind]


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr * decay_rate ** (i / decay_step); with `stair_case`, i / decay_step is rounded down."""

    decay_step: Count
    decay_rate: Positive
    stair_case: bool = False

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        exponent = step // self.decay_step if self.stair_case else step / self.decay_step
        return float(base_lr * self.decay_rate**exponent)


@dataclass(frozen=True)
class Step(Schedule):
    """lr * gamma ** floor(i / step_size)."""

    step_size: Count
    gamma: Positive

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        return float(base_lr * self.gamma ** (step // self.step_size))


@dataclass(frozen=True)
class MultiStep(Schedule):
    """lr * gamma ** (how many of `step_sizes`, rising step numbers, are <= i)."""

    step_sizes: Borders
    gamma: Positive

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        return float(base_lr * self.gamma ** sum(border <= step for border in self.step_sizes))


@dataclass(frozen=True)
class Warmup(Schedule):
    """lr + delta * i, without end; in a `SequentialSchedule` it ends and hands its rate on."""

    delta: Number

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        return base_lr + self.delta * step


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplies the rate by `factor` whenever the monitored value has not improved for `patience` epochs.

    Args:
        monitor: ``"Loss"``, the loss of the epoch's last step, or ``"score"``, the first validation metric.
        factor: in (0, 1).
        patience: epochs without improvement that are waited for.
        mode: ``"min"``: lower is better; ``"max"``: higher is better.
        epsilon: a change must be larger than this to count as an improvement.
        cooldown: epochs after a reduction during which nothing is counted.
        min_lr: the rate is never reduced below this.
    Source: Keras' ReduceLROnPlateau, whose order of checks is kept.
    """

    monitor: Monitor
    factor: Part = 0.1
    patience: Whole = 10
    mode: Mode = "min"
    epsilon: NotNegative = 1e-4
    cooldown: Whole = 0
    min_lr: NotNegative = 0.0

    def start(self) -> Json:
        return {"best": None, "waited": 0, "cooldown": 0, "reductions": 0}

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        reductions = (state or self.start())["reductions"]
        return float(max(base_lr * self.factor**reductions, min(self.min_lr, base_lr)))

    def observe(self, state: Json, progress: Progress) -> Json:
        value = progress.loss if self.monitor == "Loss" else progress.score
        if value is None:
            return state
        cooling = max(state["cooldown"] - 1, 0)
        waited = 0 if state["cooldown"] else state["waited"]
        if self._improves(value, state["best"]):
            return state | {"best": value, "waited": 0, "cooldown": cooling}
        if cooling:
            return state | {"waited": waited, "cooldown": cooling}
        if waited + 1 < self.patience:
            return state | {"waited": waited + 1, "cooldown": 0}
        return state | {"waited": 0, "cooldown": self.cooldown, "reductions": state["reductions"] + 1}

    def _improves(self, value: float, best: float | None) -> bool:
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value < best - self.epsilon if self.mode == "min" else value > best + self.epsilon


@dataclass
class SequentialSchedule(Schedule):
    """Schedules one after the other.

    Each stage counts its own steps from 0 and starts from the rate that the stage before it had reached after its
    `max_iteration` steps: `Warmup(d)` over n steps hands on lr + n * d. The last stage goes on when its steps are over.
    The one value here that is made step by step: `add` changes it and returns it.

    Args:
        iteration_per_epoch: steps of an epoch. Every stage counts in steps (and `Plateau` in the epochs that it is
            told of), so no rate depends on it; it is kept for the programs that give it.
    """

    iteration_per_epoch: Count
    stages: tuple[tuple[Schedule, int], ...] = dataclasses.field(default=(), init=False)

    def add(self, scheduler: Schedule, max_iteration: int) -> SequentialSchedule:
        """Appends a stage of `max_iteration` steps; returns self.

        Raises:
            UsageError: `scheduler` is no schedule, or `max_iteration` no whole number above 0.
        """
        if not isinstance(scheduler, Schedule) or scheduler is self:
            raise UsageError(f"SequentialSchedule.add takes another schedule first. Received: {scheduler!r}")
        if not is_count(max_iteration, 1):
            raise UsageError(f"max_iteration must be a whole number of steps, at least 1. Received: {max_iteration!r}")
        self.stages = (*self.stages, (scheduler, int(max_iteration)))
        return self

    def start(self) -> Json:
        return [schedule.start() for schedule, _ in self.stages]

    def rate(self, base_lr: float, step: int, state: Json = None) -> float:
        memories = self.start() if state is None else state
        index, local = self._locate(step)
        for (schedule, length), memory in zip(self.stages[:index], memories, strict=False):
            base_lr = schedule.rate(base_lr, length, memory)
        return self.stages[index][0].rate(base_lr, local, memories[index])

    def observe(self, state: Json, progress: Progress) -> Json:
        index, local = self._locate(max(progress.step - 1, 0))  # the stage of the step just done
        seen = dataclasses.replace(progress, step=local + 1)
        changed = self.stages[index][0].observe(state[index], seen)
        return [*state[:index], changed, *state[index + 1 :]]

    def _locate(self, step: int) -> tuple[int, int]:
        """(the stage that step belongs to, its number within the stage)."""
        if not self.stages:
            raise UsageError("SequentialSchedule has no stages. Add one: .add(Warmup(0.01), max_iteration=100)")
        for index, (_, length) in enumerate(self.stages[:-1]):
            if step < length:
                return index, step
            step -= length
        return len(self.stages) - 1, step


Scheduler = Schedule
"""Old name."""
