"""One row of the table, and how two things are compared.

Owns: what a row holds, taking turns, medians.
Leaves: what is measured (the other files), the table itself (run.py).
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        what: what was done.
        ours: how zoo did it.
        reference: what it is compared with.
        values: one for each repetition: how many times as fast as the reference zoo was, unless `unit` says otherwise.
        target: what the median should be; None where the row only informs.
        unit: ``"x"`` for ratios.
        at_most: whether the target is an upper bound.
        seconds: median seconds of (ours, the reference), for results.json only.
    """

    what: str
    ours: str
    reference: str
    values: tuple[float, ...]
    target: float | None = None
    unit: str = "x"
    at_most: bool = False
    seconds: tuple[float, float] | None = None

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.target is None:
            return None
        return self.median <= self.target if self.at_most else self.median >= self.target


def compared(labels: tuple[str, str, str], ours: Sequence[float], theirs: Sequence[float], target: float | None) -> Row:
    """A row of ratios from seconds measured in turns.

    Args:
        labels: (what, ours, reference).
        ours: seconds of each repetition.
        theirs: seconds of the reference in each repetition.
        target: of the ratio.
    """
    ratios = tuple(reference / own for own, reference in zip(ours, theirs, strict=True))
    return Row(*labels, ratios, target, seconds=(statistics.median(ours), statistics.median(theirs)))


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], times: int, warm: int = 1
) -> tuple[list[float], list[float]]:
    """Seconds of both, alternately, with the first of each pair alternating too.

    Args:
        ours: what zoo does.
        theirs: what the reference does.
        times: repetitions that count.
        warm: repetitions before them that do not.
    """
    own, reference = taking_turns((ours, theirs), times, warm)
    return own, reference


def taking_turns(calls: Sequence[Callable[[], object]], times: int, warm: int = 1) -> list[list[float]]:
    """Seconds of each of several, one after the other, beginning with another one each time."""
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(warm + times):
        for place in range(len(calls)):
            which = (place + turn + 1) % len(calls)
            took = timed(calls[which])
            if turn >= warm:
                seconds[which].append(took)
    return seconds


def timed(call: Callable[[], object]) -> float:
    """Seconds that it takes."""
    gc.collect()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
