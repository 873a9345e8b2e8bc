"""Everything that a run tells: frozen, picklable values.

Owns: what is told.
Leaves: who listens (sinks), how it crosses processes (clusters).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """A rank has moved (read rows, done a step). It resets the stall timer and goes to no listener."""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A gang is up.

    Attributes:
        kind: ``"fit"``, ``"evaluate"`` or ``"predict"``.
        world: number of ranks.
        rows: rows of one epoch over all ranks; None where only a user's loader knows.
        steps: steps of one epoch; None likewise.
        epoch: epochs completed before this run.
        epochs: epoch at which the run will end; None where a trigger decides.
        place: the cluster, in words, e.g. ``"Spark local[2]"``.
        threads: of each rank: (that share one operation, operations side by side).
        recovery: what is done when a rank is lost: ``"peers"``, ``"checkpoint"``, ``"none"``; empty for nothing.
        virtual_ranks: into which each step is cut, of a reproducible run; else 0.
        sources: where the rows come from, and in which version; empty where nobody knows.
    """

    kind: str
    world: int
    rows: int | None
    steps: int | None
    epoch: int
    epochs: int | None
    place: str = ""
    threads: tuple[int, int] = (1, 1)
    recovery: str = ""
    virtual_ranks: int = 0
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut(Event):
    """Rows were left out, as the user has asked: images that cannot be decoded.

    Attributes:
        purpose: of the data: ``"training"``, ``"validation"``, ``"evaluation"``.
        rank: who read them; None where no rank did.
        rows: how many.
        causes: of the first few.
    """

    purpose: str
    rank: int | None
    rows: int
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepsEnded(Event):
    """A stretch of consecutive training steps; sent some times a second, not once a step.

    Attributes:
        first_step: number of the first step in the stretch, counted from 1 since the model's first `fit`.
        losses: mean loss of each step over all ranks.
        learning_rates: of each step.
        rows: rows of the whole stretch over all ranks.
        seconds: time that the stretch took.
        waiting: seconds of it blocked on data.
        epoch: epochs completed before the stretch.
        step_in_epoch: steps of this epoch completed with the stretch.
        named_losses: where there are several: name -> its mean in each step.
    """

    first_step: int
    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    rows: int
    seconds: float
    waiting: float
    epoch: int
    step_in_epoch: int
    named_losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpochEnded(Event):
    """An epoch is done.

    Attributes:
        epoch: epochs completed, this one included.
        step: steps completed since the first `fit`.
        stats: ``train_loss`` (mean over the epoch's rows), ``num_samples``, ``batch_count`` and so on.
        seconds: time that the epoch took.
        share: rows that each rank trained on in this epoch, by rank.
    """

    epoch: int
    step: int
    stats: Mapping[str, float]
    seconds: float
    share: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """What an epoch took, or what there was of it.

    Attributes:
        epoch: epochs completed before it.
        steps: done in it.
        rows: trained on in them, over all ranks.
        seconds: on the first rank.
        ranks: of each rank ``rows``, ``seconds``, ``computing``, ``waiting`` (for data) and ``syncing`` (with other
            ranks) in seconds, ``moved`` (bytes sent to other ranks) and ``memory`` (the largest so far, in bytes).
    """

    epoch: int
    steps: int
    rows: int
    seconds: float
    ranks: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Validated(Event):
    """Validation data were scored.

    Attributes:
        epoch, step: when.
        results: metric name -> value, the loss as ``"loss"``.
    """

    epoch: int
    step: int
    results: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Checkpointed(Event):
    """A checkpoint was committed at `path`."""

    path: str
    step: int


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """A run goes on from a checkpoint after a failure.

    Attributes:
        path: the checkpoint; empty where the run starts again from its beginning.
        step: the step that it holds.
        attempt: the number of the new attempt, counted from 1.
        reason: first line of what made the last attempt fail.
    """

    path: str
    step: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class RankLeft(Event):
    """A rank was lost; the others wait for another one in its place.

    Attributes:
        rank: which.
        reason: how it was lost.
        line: where in the user's own code it was seen last; empty where nobody knows.
    """

    rank: int
    reason: str
    line: str = ""


@dataclass(frozen=True, slots=True)
class Regrouped(Event):
    """The ranks go on together after one was lost.

    Attributes:
        generation: of their group, counted from 1.
        step: the last one done, from which they go on.
        followed: ranks that took over the state of another.
    """

    generation: int
    step: int
    followed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Logged(Event):
    """A line that a rank logged, warned or printed.

    Attributes:
        rank: who.
        level: ``"INFO"``, ``"WARNING"``, ... or ``"PRINT"``.
        text: without a line break at its end.
    """

    rank: int
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """Connections to the driver's port were refused, for they did not prove the gang's token.

    Attributes:
        count: how many.
        last: the address of the last one.
    """

    count: int
    last: str


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """A run came to its end.

    Attributes:
        kind: as in `RunStarted`.
        seconds: from its start.
        results: of an evaluation: metric name -> value.
        error: first line of the error that ended it; empty where it ended well.
    """

    kind: str
    seconds: float
    results: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
