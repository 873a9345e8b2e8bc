"""The values that cross the contracts: who, which rows, what to remember.

Owns: their fields and what each means.
Leaves: the Protocols that take and give them (contracts), which also names them for everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from zoo.engine.contracts import Sink

Array: TypeAlias = Any
"""An n-dimensional array, rows first: numpy's, or the framework's own where a loader made it."""
Json: TypeAlias = Any
"""None, bool, int, float, str, and lists and dicts of them."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows were read from, as a checkpoint and a report tell it; there is no secret in it.

    Attributes:
        kind: ``"Delta table"``, ``"Hive table"``, ``"JDBC table"``, ``"Parquet files"``.
        name: which; a path, or a table's name and place.
        version: the number that the table itself gives this content, else what tells that it has changed; empty where
            nobody says.
    """

    kind: str
    name: str
    version: int | str = ""

    def __str__(self) -> str:
        version = f"version {self.version}" if isinstance(self.version, int) else self.version
        return f"{self.kind} {self.name} ({version or 'no version known'})"

    def to_json(self) -> Json:
        """As a checkpoint keeps it."""
        return {"kind": self.kind, "name": self.name, "version": self.version}


def part_of(rows: Any, index: int, world: int) -> Any:
    """The `index`-th of `world` contiguous parts whose sizes differ by one at most, the larger ones first."""
    size, rest = divmod(len(rows), world)
    start = index * size + min(index, rest)
    return rows[start : start + size + (index < rest)]


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
        generation: of the group, counted from 1; 0 outside a gang.
        lanes: virtual ranks of the run, which its ranks share (`own_lanes`); 0 where a step is one pass of each rank.
    """

    index: int = 0
    world: int = 1
    host: str = "127.0.0.1"
    rendezvous: str = ""
    token: str = field(default="", repr=False)
    threads: int = 1
    device: str = "cpu"
    inter_threads: int = 1
    generation: int = 0
    lanes: int = 0

    @property
    def alone(self) -> bool:
        """Whether a step is one pass of this rank, so that nothing is added up."""
        return self.world == 1 and not self.lanes

    @property
    def own_lanes(self) -> range:
        """Those that this rank computes; contiguous, as many on each rank but for one."""
        own: range = part_of(range(self.lanes), self.index, self.world)
        return own


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a gang runs.

    Attributes:
        stall_timeout: seconds without a move of any rank after which the gang is given up.
        peers: whether ranks that are left go on with another one in place of one that is lost.
        attempts: how often ranks may be lost at one step before the gang is given up.
        patience: seconds that another rank is waited for in place of one that was lost.
        most: ranks that the run may have; where the cluster has room for more than the gang has, the gang yields.
        apart: whether a single rank, too, is to have a process of its own where the cluster can give it one.
    """

    stall_timeout: float = 600.0
    peers: bool = False
    attempts: int = 4
    patience: float = 180.0
    most: int = 0
    apart: bool = False


TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one step on one rank.

    Attributes:
        features: one array per model input, each of shape (rows, ...).
        labels: one array per label column, each of shape (rows, ...); empty when predicting.
        weight: rows that count. 0 keeps the step and counts for nothing.
        total: rows of this step over all ranks; None where only the ranks together know (a user's own loader).
        row_weights: one number for each row, by which its loss is weighed; None for all alike.
        key: of the random numbers of this pass: (seed, epoch, step, lane); None where the rank's own go on.
        mark: of what was read before this step of a stream that ranks share in turns, a number the same on all of them;
            None where nobody compares.
    """

    features: tuple[Array, ...]
    labels: tuple[Array, ...]
    weight: int
    total: int | None = None
    row_weights: Array | None = None
    key: tuple[int, ...] | None = None
    mark: int | None = None


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

    def with_weights(self, other: Mapping[str, np.ndarray]) -> State:
        """The state with other weights, where both have arrays of one name, shape and dtype."""
        own = {name: array for name, array in self.arrays.items() if name.startswith("model/")}
        newer = {
            name: other[name]
            for name, array in own.items()
            if name in other and (other[name].shape, other[name].dtype) == (array.shape, array.dtype)
        }
        return State({**self.arrays, **newer}, self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRequest:
    """What a rank asks of its shards before it trains.

    Attributes:
        rank: who asks.
        features: the columns of the model's inputs.
        labels: the columns of its targets.
        batch_size: rows per step over all ranks.
        seed: of the order within an epoch.
        shuffle: whether rows are permuted within an epoch.
        memory: bytes of rows kept in memory before they are spooled to disk.
        disk: n: all rows lie on disk, and at most 1/n of them in memory; 0: on disk what `memory` does not hold.
        steps: of an epoch, at most; None for all that the data give.
        keep: which rows of a batch are kept, as booleans; the others are as if they had never been; None for all.
        purpose: what the rows are for, in errors.
        sink: hears `Tick` now and then while rows are read, so that nobody takes this rank for stalled.
    """

    rank: Rank
    features: tuple[str, ...]
    labels: tuple[str, ...]
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    memory: int = 1 << 30
    disk: int = 0
    steps: int | None = None
    keep: Callable[[pa.RecordBatch], NDArray[np.bool_]] | None = None
    purpose: str = "training"
    sink: Sink
