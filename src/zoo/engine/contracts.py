"""The contracts that everything else is written against. Read this page first.

A *job* trains a *replica* of the user's model on *shards* of data across a *cluster*; its *ranks* agree through a
*collective*, stop by *triggers*, report by *events*, and leave a *checkpoint*.

Owns: the Protocols. The few values that cross them (`zoo.engine.values`) are named here too.
Leaves: every decision. A contract that needs `isinstance` to be used is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from zoo.engine.values import TERMS, Array, Batch, Extent, FeedRequest, Json, Rank, Source, State, Terms

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from zoo.engine.progress import Progress

__all__ = [
    "Array", "Batch", "Cluster", "Collective", "Extent", "Feed", "FeedRequest", "Guard", "Json", "Kept", "Mapper",
    "ModelSpec", "Rank", "Ready", "Replica", "Seat", "Shards", "Sink", "Source", "State", "Store", "T", "Task", "Terms",
]  # fmt: skip

T = TypeVar("T")
Guard: TypeAlias = Callable[[Callable[[], None]], None]
Ready: TypeAlias = Callable[..., None]
"""``ready(bucket, cut=False)``: sums a full 1-d float bucket over the ranks in place; if `cut`, only this rank's slice
(of as many equal ones as there are ranks) must hold the sum."""


class Sink(Protocol):
    """Listens to events. One way only: nothing waits for it, and a failing sink never stops a run."""

    def put(self, event: Any, /) -> None:
        """Takes one event of `zoo.engine.events.events`."""


class Seat(Sink, Protocol):
    """A rank's place in its gang: what it tells its driver, and the way into another group."""

    def guard(self, abort: Callable[[], None]) -> None:
        """Has `abort` called, in another thread, where the driver breaks the group up."""

    def regroup(self, place: Sequence[int] | None, give: Callable[[], Any]) -> Rank | None:
        """After a peer was lost: the rank in the next group; None where the gang ends.

        `place`: where this rank stands, comparable, None before it has begun; `give`: makes what the driver is handed.
        """

    def finished(self, answer: Any) -> bool:
        """Hands the answer over. Whether all ranks have done so; False: one was lost before, and the others regroup."""


class Shards(Protocol):
    """The data as the driver sees it: a schema and an ordered list of parts, whatever the number of ranks."""

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types; the metadata of a field may hold an array's inner shape (`columns.SHAPE`)."""

    def share(self, index: int, world: int) -> Shards:
        """On the driver: what rank `index` of `world` must be sent, so that no rank gets another's rows."""

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """On a rank: (part, rows) of the whole parts that rank `index` of `world` owns, each part's rows in order."""

    def peek(self) -> pa.RecordBatch | None:
        """On the driver: one or a few of the first rows, cheaply; None where there are none."""

    def feed(self, request: FeedRequest) -> Feed:
        """On a rank: its rows, again and again, in the order of the plan (or, for a user's loader, its own)."""


class Feed(Protocol):
    """The data as one rank sees it."""

    @property
    def extent(self) -> Extent | None:
        """How much an epoch is; None where only reading it tells."""

    def settle(self, group: Collective) -> None:
        """Agrees with the other ranks on who holds what: before all else, and again in a group formed anew."""

    def epoch(self, epoch: int, start: int = 0) -> Iterable[Batch]:
        """One epoch from step `start` on: in each of its steps one batch, or one for each of the rank's own lanes."""

    def close(self) -> None:
        """Gives back memory and files."""


class Cluster(Protocol):
    """A place that starts processes. It does not know what training is."""

    @property
    def nodes(self) -> int:
        """Machines (or Spark executors) that ranks are spread over."""

    @property
    def slots(self) -> int:
        """Ranks that can run at once."""

    def gang(
        self, task: Task[T], shards: Mapping[str, Shards], world: int, sink: Sink, terms: Terms = TERMS
    ) -> list[T]:
        """Runs `task` on `world` ranks at once, all or none, and returns their answers in rank order.

        Raises:
            NotEnoughSlots: before anything starts.
            WorkerFailed: a rank failed; RankLost, RankStalled: it was killed, or nothing moved for too long.
        """

    def map(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> Shards:
        """Replaces the rows of each independent piece by `fn`'s; lazy where the place can be; may be retried."""

    def extend(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> Shards:
        """Adds the columns that `fn` gives for each batch, row by row; all columns, rows and their order stay."""

    @property
    def store(self) -> Store:
        """Keeps and moves rows between operations."""

    def close(self) -> None:
        """Ends everything that this cluster started. Idempotent."""


class Store(Protocol):
    """Where a cluster keeps rows between operations."""

    def hold(self, shards: Shards) -> Kept:
        """The same rows, which can be kept."""

    def regroup(self, pieces: Sequence[Shards], parts: int) -> Shards:
        """All pieces' rows in the part that their column `objects.PART` says, in the order of `objects.PLACE`."""


class Kept(Shards, Protocol):
    """Shards that can be kept where they were made, so that they are not made again."""

    @property
    def kept(self) -> bool:
        """Whether they are, from their next reading on."""

    def keep(self) -> None:
        """Keeps the rows, from their next reading on. Idempotent."""

    def make(self) -> None:
        """Makes the rows now, where they are; none visits the driver."""

    def release(self) -> None:
        """Gives memory and disk back; the rows can be made again. Idempotent."""


class Task(Protocol[T]):  # type: ignore[misc]  # T is only returned, mypy would have it covariant
    """What each rank of a gang runs; picklable."""

    def __call__(self, rank: Rank, shards: Mapping[str, Shards], seat: Seat, /) -> T:
        """Runs on the rank."""


Mapper: TypeAlias = "Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]"


class Collective(Protocol):
    """How ranks agree. Every rank makes the same calls in the same order."""

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The element-wise sum over the ranks of a small array."""

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        """Every rank's picklable value, in rank order, on every rank; waits `patience` s more than for other calls."""

    def exchange(self, outgoing: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Sends `outgoing[i]`, bytes as uint8, to rank i; returns what each rank has sent here, in rank order."""

    def broadcast(self, state: State | None, source: int = 0) -> State:
        """The state of the rank `source`, on every rank; the others' is ignored."""

    def average(self, shares: Sequence[float]) -> AbstractContextManager[Sequence[Ready]]:
        """Sums gradients over the ranks, each pass scaled by its share of the step's rows.

        Args:
            shares: rows of each pass here / rows of the step, in [0, 1]; the shares of a step add to 1.
        Yields:
            one ready(bucket) a pass: scales a 1-d float buffer in place. After the last pass the buffers given to it
            are summed over passes and ranks; all sums have arrived on exit.
        Source: weighted synchronous SGD; Dai et al., "BigDL", SoCC 2019, sec. 3.
        """

    def complete(self, buffers: Sequence[Array]) -> None:
        """Gives every rank's slice of 1-d arrays, of as many equal ones as there are ranks, to all, in place."""

    @property
    def moved(self) -> int:
        """Bytes that this rank has sent to others, as far as they are many."""

    def abort(self) -> None:
        """From another thread: every call that waits for a peer raises `PeerLost`."""

    def close(self) -> None:
        """Leaves the group."""


class ModelSpec(Protocol):
    """The driver's side of a model; picklable."""

    @property
    def keeps_threads(self) -> bool:
        """Whether a process that has computed once keeps its number of threads."""

    def check_columns(self, specs: Sequence[Any]) -> None:
        """On the driver: refuses columns (`columns.ArraySpec`) that no model of this framework takes."""

    def place(self, rank: Rank) -> Rank:
        """The rank with the device that this model is to use there."""

    def build(self, rank: Rank, group: Collective | None = None) -> Replica:
        """Makes the replica, on a rank; `group`: whose ranks share the optimizer's memory, None: each has all."""

    def absorb(self, state: State) -> None:
        """Puts trained weights into the user's own object, on the driver."""

    def refreshed(self, state: State) -> State:
        """The state with the weights that the user's own object has by now, on the driver."""


class Replica(Protocol):
    """The model on one rank: the only contract that a framework implements."""

    def backward(self, batch: Batch, ready: Ready) -> None:
        """Computes gradients of the batch's mean loss; hands over each bucket as soon as it is full."""

    def update(self, progress: Progress) -> float:
        """Applies the averaged gradients; returns the step's mean loss over all ranks."""

    def rewind(self) -> None:
        """Forgets a step whose gradients never came: as if `backward` had not been called since the last update."""

    @property
    def readings(self) -> Mapping[str, float]:
        """Numbers of the last update by the tags of summaries: ``LearningRate``, and each loss of several."""

    def score(self, batch: Batch) -> tuple[float, tuple[Array, ...]]:
        """(mean loss, outputs) of a batch in evaluation mode; the loss is NaN where there is none."""

    def predict(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """The outputs of a batch in evaluation mode, one array per model output, rows first."""

    def tally(self, total: Callable[[np.ndarray], np.ndarray]) -> Mapping[str, float]:
        """Training metrics over all ranks' rows since the last call; `total` sums a float array over the ranks."""

    def notice(self, moment: str, progress: Progress, stats: Mapping[str, float]) -> bool:
        """Hears that a border was reached (``"before_run"``, ``"after_train_epoch"``, ...); True asks to stop."""

    def state(self) -> State:
        """A copy of everything to remember; where ranks share it, all ask at once, and the first gets all."""

    def load(self, state: State) -> None:
        """Goes back to a remembered state."""
