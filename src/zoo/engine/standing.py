"""Where a rank stands in a run, as it tells the others when the group has to be formed anew.

A run is a chain of moments: an epoch opens, a step is done, what was due behind it is done, the epoch is counted up,
its border is passed. Ranks that lost a peer differ by one moment at most: nobody passes the next agreement without all.
The one that stands furthest is followed by all others, so that nothing is done twice, and nothing left out.

Owns: the order of these moments, and who is furthest.
Leaves: what happens in them (loop), the model's state at each of them (replica).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from zoo.engine.meter import Sums
from zoo.engine.progress import Progress


class Stage(IntEnum):
    """The moments of an epoch, in order: for each step `STEPPED`, and `OPEN` once what was due behind it is done.

    `ENDED` is where the run ends within an epoch.
    """

    NEW = 0
    CLOSED = 1
    STEPPED = 2
    OPEN = 3
    COUNTED = 4
    ENDED = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rank stands.

    Attributes:
        progress: how far it came.
        stage: which of the moments at that progress it has reached.
        heard: how many moments its replica was told of.
        told: those of this stage, (moment, epoch, step), so that each is told once, also where it is done again.
        stop: whether the ranks have agreed to stop.
        sums: of the epoch so far.
        stats: of the epoch, once it is counted up.
        share: rows that each rank had in it.
        epochs: of those before.
    """

    progress: Progress
    stage: Stage = Stage.NEW
    heard: int = 0
    told: tuple[tuple[str, int, int], ...] = ()
    stop: bool = False
    sums: Sums = field(default_factory=Sums)
    stats: Mapping[str, float] = field(default_factory=dict)
    share: tuple[int, ...] = ()
    epochs: tuple[Mapping[str, float], ...] = ()

    def after_step(self, progress: Progress, *, stop: bool) -> Standing:
        """Where a rank stands when one more step is done; made in each step, and so not by `dataclasses.replace`."""
        return Standing(
            progress, Stage.STEPPED, self.heard, (), stop, self.sums, self.stats, self.share, self.epochs
        )  # fmt: skip

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Comparable: more is further."""
        return self.progress.epoch, self.progress.step, int(self.stage), self.heard


def furthest(standings: Sequence[Standing | None]) -> int | None:
    """The first rank that stands furthest; None where no rank has begun.

    Args:
        standings: by rank; None for one that has just come.
    """
    places = {rank: standing.place for rank, standing in enumerate(standings) if standing is not None}
    return max(places, key=lambda rank: (places[rank], -rank), default=None)


def followers(standings: Sequence[Standing | None]) -> tuple[int, ...]:
    """The ranks that stand behind the furthest one."""
    best = max(standing.place for standing in standings if standing is not None)
    return tuple(rank for rank, one in enumerate(standings) if one is None or one.place != best)
