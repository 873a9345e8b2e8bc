"""When something happens: predicates on `Progress`, combined with `&` and `|`.

    end = MaxEpoch(20) | MinLoss(0.01)
    checkpoint = SeveralIteration(500) | EveryEpoch()

The loop asks a trigger at every *step border* (after each step, `epoch_ended` False) and once more at every *epoch
border* (`epoch_ended` True, the same step). `SeveralIteration` answers only at step borders and `EveryEpoch` only at
epoch borders, so neither fires twice for one moment; the others are conditions that hold at both.

Owns: the predicates and their algebra. They hold no state, so they pickle, and a resumed run hears the same answers.
Leaves: when to ask (loop), what to do then (loop, run).
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from zoo.engine.errors import UsageError

if TYPE_CHECKING:
    from zoo.engine.progress import Progress


class Trigger(ABC):
    """A predicate on progress. Subclasses are frozen values: equal by content, picklable, without memory."""

    @abstractmethod
    def __call__(self, progress: Progress) -> bool:
        """Whether to act now."""

    def __and__(self, other: Trigger) -> Trigger:
        """Acts when both do."""
        return TriggerAnd(self, other)

    def __or__(self, other: Trigger) -> Trigger:
        """Acts when either does."""
        return TriggerOr(self, other)

    def get_trigger(self) -> Trigger:
        """This trigger (the old API had another one underneath)."""
        return self

    @staticmethod
    def convert_trigger(trigger: object) -> Trigger:
        """Old name of `zoo.engine.triggers.convert_trigger`."""
        return convert_trigger(trigger)


@dataclass(frozen=True)
class Never(Trigger):
    """Never acts."""

    def __call__(self, progress: Progress) -> bool:
        return False


@dataclass(frozen=True)
class EveryEpoch(Trigger):
    """Acts at every epoch border."""

    def __call__(self, progress: Progress) -> bool:
        return progress.epoch_ended


@dataclass(frozen=True)
class Since(Trigger):
    """Another trigger, which counts steps and epochs from `start` on."""

    start: Progress
    trigger: Trigger

    def __call__(self, progress: Progress) -> bool:
        counted = replace(
            progress, step=progress.step - self.start.step, epoch=progress.epoch - self.start.epoch,
            rows=progress.rows - self.start.rows,
        )  # fmt: skip
        return self.trigger(counted)


@dataclass(frozen=True)
class SeveralEpoch(Trigger):
    """Acts at every `interval`-th epoch border, counted from the model's first `fit`.

    Args:
        interval: epochs, at least 1.
    """

    interval: int

    def __post_init__(self) -> None:
        _check_count(self, "interval", self.interval)

    def __call__(self, progress: Progress) -> bool:
        return progress.epoch_ended and progress.epoch % self.interval == 0


@dataclass(frozen=True)
class SeveralIteration(Trigger):
    """Acts after every `interval` steps, at step borders only, counted from the model's first `fit`.

    Args:
        interval: steps, at least 1.
    """

    interval: int

    def __post_init__(self) -> None:
        _check_count(self, "interval", self.interval)

    def __call__(self, progress: Progress) -> bool:
        return not progress.epoch_ended and progress.step > 0 and progress.step % self.interval == 0


@dataclass(frozen=True)
class MaxEpoch(Trigger):
    """Acts once `max` epochs are completed.

    Args:
        max: epochs since the model's first `fit`, at least 1.
    """

    max: int

    def __post_init__(self) -> None:
        _check_count(self, "max", self.max)

    def __call__(self, progress: Progress) -> bool:
        return progress.epoch >= self.max


@dataclass(frozen=True)
class MaxIteration(Trigger):
    """Acts once `max` steps are completed.

    Args:
        max: steps since the model's first `fit`, at least 1.
    """

    max: int

    def __post_init__(self) -> None:
        _check_count(self, "max", self.max)

    def __call__(self, progress: Progress) -> bool:
        return progress.step >= self.max


@dataclass(frozen=True)
class MaxScore(Trigger):
    """Acts while the last validation score is above `max`; never before the first validation."""

    max: float

    def __post_init__(self) -> None:
        _check_number(self, "max", self.max)

    def __call__(self, progress: Progress) -> bool:
        return progress.score is not None and progress.score > self.max


@dataclass(frozen=True)
class MinLoss(Trigger):
    """Acts while the last step's loss is below `min`; never for NaN."""

    min: float

    def __post_init__(self) -> None:
        _check_number(self, "min", self.min)

    def __call__(self, progress: Progress) -> bool:
        return progress.loss < self.min


@dataclass(frozen=True, init=False)
class TriggerAnd(Trigger):
    """Acts when all its parts do.

    Raises:
        UsageError: the parts hold `EveryEpoch` and `SeveralIteration`, which never act at the same border.
    """

    parts: tuple[Trigger, ...]

    def __init__(self, first: Trigger, *other: Trigger) -> None:
        parts = _flat(TriggerAnd, (first, *other))
        kinds = {type(part) for part in parts}
        if {EveryEpoch, SeveralIteration} <= kinds:
            raise UsageError(
                "EveryEpoch and SeveralIteration joined by 'and' never act: one acts at epoch borders, the other at "
                f"step borders. Received: {parts}. To act at both, join them with |."
            )
        object.__setattr__(self, "parts", parts)

    def __call__(self, progress: Progress) -> bool:
        return all(part(progress) for part in self.parts)


@dataclass(frozen=True, init=False)
class TriggerOr(Trigger):
    """Acts when any of its parts does."""

    parts: tuple[Trigger, ...]

    def __init__(self, first: Trigger, *other: Trigger) -> None:
        object.__setattr__(self, "parts", _flat(TriggerOr, (first, *other)))

    def __call__(self, progress: Progress) -> bool:
        return any(part(progress) for part in self.parts)


def epochs_of(trigger: Trigger) -> int | None:
    """The number of completed epochs at which `trigger` acts for certain; None where nobody can tell."""
    if isinstance(trigger, MaxEpoch):
        return trigger.max
    if isinstance(trigger, TriggerOr):
        return min((epochs for part in trigger.parts if (epochs := epochs_of(part)) is not None), default=None)
    if isinstance(trigger, TriggerAnd):
        known = [epochs for part in trigger.parts if (epochs := epochs_of(part)) is not None]
        return max(known) if len(known) == len(trigger.parts) else None
    return None


def waits_for_score(trigger: Trigger) -> bool:
    """Whether a trigger can never act where nothing is validated."""
    if isinstance(trigger, Since):
        return waits_for_score(trigger.trigger)
    if isinstance(trigger, TriggerAnd):
        return any(map(waits_for_score, trigger.parts))
    if isinstance(trigger, TriggerOr):
        return all(map(waits_for_score, trigger.parts))
    return isinstance(trigger, MaxScore)


def convert_trigger(trigger: object) -> Trigger:
    """`trigger` itself, checked.

    Raises:
        UsageError: it is no trigger.
    """
    if isinstance(trigger, Trigger):
        return trigger
    if isinstance(trigger, type) and issubclass(trigger, Trigger):
        raise UsageError(f"a trigger must be made first: write {trigger.__name__}(...). Received the class itself.")
    raise UsageError(
        f"not a trigger: {trigger!r}. Use EveryEpoch(), SeveralIteration(n), MaxEpoch(n), MaxIteration(n), "
        "MaxScore(v), MinLoss(v), joined with & and |, or a subclass of zoo.orca.learn.trigger.Trigger."
    )


def _flat(joint: type[TriggerAnd | TriggerOr], parts: tuple[Trigger, ...]) -> tuple[Trigger, ...]:
    """The parts of a joint, those of equal joints among them in line: (a | b) | c == a | (b | c)."""
    flat: list[Trigger] = []
    for part in map(convert_trigger, parts):
        flat.extend(part.parts if isinstance(part, joint) else (part,))
    return tuple(flat)


def _check_count(owner: Trigger, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise UsageError(f"{type(owner).__name__}: {name} must be a whole number, at least 1. Received: {value!r}")


def _check_number(owner: Trigger, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        raise UsageError(f"{type(owner).__name__}: {name} must be a number. Received: {value!r}")
