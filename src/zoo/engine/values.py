"""The values that cross the contracts: who, which rows, what to remember.

Owns: their fields and what each means.
Leaves: the Protocols that take and give them (contracts), which also names them for everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from zoo.engine.contracts import Sink

Array: TypeAlias = Any
"""An n-dimensional array, rows first: numpy's, or the framework's own where a loader made it."""
Json: TypeAlias = Any
"""None, bool, int, float, str, and lists and dicts of them."""


@dataclass(frozen=True, slots=True)
class Rank:
    """One process of a gang.

    Attributes:
        index: 0 .. world-1.
        world: how many ranks the gang has.
        host: the address at which the other ranks reach this one.
        rendezvous: where the ranks meet, e.g. ``file:///tmp/x/store`` or ``tcp://host:port``; empty for one rank.
        token: the gang's secret; never shown.
        threads: CPU threads that this rank may use; those that share one operation.
        device: ``"cpu"`` or ``"cuda:<n>"``.
        inter_threads: operations that TensorFlow runs side by side there.
    """

    index: int = 0
    world: int = 1
    host: str = "127.0.0.1"
    rendezvous: str = ""
    token: str = field(default="", repr=False)
    threads: int = 1
    device: str = "cpu"
    inter_threads: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one step on one rank.

    Attributes:
        features: one array per model input, each of shape (rows, ...).
        labels: one array per label column, each of shape (rows, ...); empty when predicting.
        weight: rows that count. 0 keeps the step and counts for nothing.
        total: rows of this step over all ranks; None where only the ranks together know (a user's own loader).
        row_weights: one number for each row, by which its loss is weighed; None for all alike.
    """

    features: tuple[Array, ...]
    labels: tuple[Array, ...]
    weight: int
    total: int | None = None
    row_weights: Array | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How much an epoch is: rows and steps over all ranks."""

    rows: int
    steps: int


@dataclass(frozen=True, slots=True)
class State:
    """Everything a replica must remember: arrays by name and plain values beside them.

    Array names start with ``model/`` (weights and buffers), ``optimizer/`` or ``rng/``.
    """

    arrays: Mapping[str, np.ndarray]
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRequest:
    """What a rank asks of its shards before it trains.

    Attributes:
        rank: who asks.
        gather: gives every rank the values of all ranks, in rank order (used for the rows per part).
        exchange: sends bytes (uint8) to each rank, and gives those that each rank has sent here (used where rows have
            to change their rank); the default is that of a rank alone.
        features: the columns of the model's inputs.
        labels: the columns of its targets.
        batch_size: rows per step over all ranks.
        seed: of the order within an epoch.
        shuffle: whether rows are permuted within an epoch.
        memory: bytes of rows kept in memory before they are spooled to disk.
        steps: of an epoch, at most; None for all that the data give.
        purpose: what the rows are for, in errors.
        sink: hears `Tick` now and then while rows are read, so that nobody takes this rank for stalled.
    """

    rank: Rank
    gather: Callable[[Json], list[Json]]
    exchange: Callable[[Sequence[np.ndarray]], list[np.ndarray]] = list
    features: tuple[str, ...]
    labels: tuple[str, ...]
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    memory: int = 1 << 30
    steps: int | None = None
    purpose: str = "training"
    sink: Sink
