"""XShards: a distributed list of Python objects ("shards"), the same on Spark and on local processes.

Owns: the words of its methods, what is computed when, what is kept in memory.
Leaves: objects as rows (zoo.engine.data.objects), rows within an object (nests), where they are kept (clusters).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from zoo.engine import session
from zoo.engine.contracts import Cluster, Kept, Shards
from zoo.engine.data import moves, nests
from zoo.engine.data.adapters import Adapted
from zoo.engine.data.held import gather
from zoo.engine.data.objects import (
    OBJECTS,
    Answering,
    Call,
    Item,
    ItemMapper,
    ObjectRows,
    OnObjects,
    Opening,
    Reading,
    collected,
    pack,
    unpack,
)
from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns
from zoo.orca.common import OrcaContext


class XShards:
    """A distributed list of Python objects: pandas DataFrames, dicts ``{"x": arrays, "y": arrays}``, arrays, lists, ...

    Normally each partition holds one shard. With ``OrcaContext._eager_mode`` (the default) every operation is computed
    at once and its result kept; what it was computed from is given free, unless `cache` was called on it. A shard that
    was given free is computed again when it is needed. Functions run where the shards are, on copies of them.
    """

    def __init__(self, cluster: Cluster, rows: Shards, counts: Sequence[int]) -> None:
        """Wraps rows of the engine; programs use `partition` or a reader.

        Args:
            cluster: where the rows are.
            rows: one pickled object each (`zoo.engine.data.objects.OBJECTS`).
            counts: shards in each partition.
        """
        self._cluster = cluster
        self._rows: Kept = cluster.store.hold(rows)
        self._counts = tuple(counts)
        self._pinned = False  # by the user's cache()
        self._origins: tuple[XShards, ...] = ()  # what this one is computed from must not be given free before it
        self._end: Any = None  # releases the rows when nobody has this XShards any more

    @classmethod
    def _of(cls, cluster: Cluster, rows: Shards, counts: Sequence[int]) -> XShards:
        """Wraps rows of the engine; arguments as of the class."""
        return cls(cluster, rows, counts)

    @staticmethod
    def partition(data: Any, num_shards: int | None = None) -> XShards:
        """Cuts arrays along the first axis.

        Args:
            data: a numpy array, or a dict, tuple or list of arrays (nested as you like) of equal length.
            num_shards: one partition each; None for one for each core of the cluster.

        Returns:
            shards in the form of `data`; sizes as those of `numpy.array_split`.

        Raises:
            TypeError: something in `data` is no numpy array.
            UsageError: (a ValueError) more shards than rows, or arrays of different lengths.
        """
        cluster = session.current()
        number = max(1, cluster.slots) if num_shards is None else num_shards
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise UsageError(f"the number of shards must be a whole number, at least 1. Received: {num_shards!r}")
        pieces = nests.split_arrays(data, number)
        rows = gather(((part, pack(Item(part, 0, piece))) for part, piece in enumerate(pieces)), OBJECTS)
        return XShards(cluster, cluster.store.regroup([rows], number), [1] * number)._settled()

    # --- operations --------------------------------------------------------------------------------------------------

    def transform_shard(self, func: Callable[..., Any], *args: Any) -> XShards:
        """Replaces every shard by ``func(shard, *args)``.

        Raises:
            NotPicklable: the function or an argument cannot travel to another process.
            WorkerFailed: the function raised an error; the message begins with it. In lazy mode when it is computed.
        """
        return self._same(self._map(Call.of("transform_shard", func, *args)))._settled(self)

    def repartition(self, num_partitions: int) -> XShards:
        """Cuts all rows, in their order, into blocks of equal size, one shard a partition.

        Rows are those of DataFrames, arrays and lists, and of dicts and tuples of them. Other objects stay whole, which
        takes as many partitions as there are shards. Partitions beyond the rows stay empty.

        Raises:
            UsageError: fewer partitions than there are shards that cannot be cut.
            WorkerFailed: shards of different kinds.
        """
        if not isinstance(num_partitions, int) or isinstance(num_partitions, bool) or num_partitions < 1:
            raise UsageError(f"num_partitions must be a whole number, at least 1. Received: {num_partitions!r}")
        found = moves.even_moves(self._facts(nests.rows_in), num_partitions)
        pieces = self._map(moves.Cutting(dict(zip(self._places(), found, strict=True))))
        joined = self._map(moves.join, self._cluster.store.regroup([pieces], num_partitions))
        filled = {move.part for one in found for move in one}
        return self._made(joined, [int(part in filled) for part in range(num_partitions)])._settled(self)

    def zip(self, other: XShards) -> XShards:
        """Pairs ``(shard, other's shard)``.

        Raises:
            AssertionError: `other` is no XShards, or has another number of partitions.
            ValueError: a partition of it has another number of shards.
        """
        if not isinstance(other, XShards):
            raise AssertionError(f"other should be a SparkXShards. Received: {type(other).__name__}")
        if self.num_partitions() != other.num_partitions():
            raise AssertionError(
                "The two SparkXShards should have the same number of partitions. "
                f"Received: {self.num_partitions()} and {other.num_partitions()}; use repartition."
            )
        if self._counts != other._counts:
            raise UsageError(
                "The two SparkXShards should have the same number of elements in each partition. "
                f"Received: {list(self._counts)} and {list(other._counts)}; use repartition."
            )
        sides = [one._map(moves.Side(number)) for number, one in enumerate((self, other))]
        pairs = self._map(moves.pair, self._cluster.store.regroup(sides, self.num_partitions()))
        return self._made(pairs, self._counts)._settled(self, other)

    def split(self) -> list[XShards]:
        """The XShards of the first items, of the second items, ... of shards that are lists or tuples; else [itself].

        Raises:
            UsageError: the shards have different lengths.
        """
        lengths = set(self._facts(moves.items_in))
        if len(lengths) > 1:
            raise UsageError(
                "Cannot split this XShards because its partitions have different split length. "
                f"Received: {sorted(lengths, key=str)}"
            )
        (length,) = lengths or {None}
        if length is None:
            return [self]
        found = [self._same(self._map(moves.Select(number))) for number in range(length)]
        for one in found:
            one._settled(*([self] if one is found[-1] else []))
        return found

    def __getitem__(self, key: Any) -> XShards:
        """``shard[key]`` of every shard; computed each time it is needed, and never kept by itself."""
        made = self._same(self._map(moves.Select(key)))
        made._origins = (self,)
        return made

    __iter__ = None  # Python would take __getitem__ for one

    # --- answers -----------------------------------------------------------------------------------------------------

    def collect(self) -> list[Any]:
        """All shards, in this process."""
        return [item.value for item in collected(self._rows)]

    def take(self, n: int) -> list[Any]:
        """The first `n` shards, in this process."""
        wanted = frozenset(self._places()[:n])
        return [item.value for item in collected(self._map(moves.Only(wanted)))]

    def first(self) -> Any:
        """The first shard.

        Raises:
            UsageError: there is none.
        """
        found = self.take(1)
        if not found:
            raise UsageError("this XShards has no shards.")
        return found[0]

    def num_partitions(self) -> int:
        """How many partitions there are, empty ones included."""
        return len(self._counts)

    def __len__(self) -> int:
        """The sum over all shards of ``len(shard)``; 1 for a shard without a length."""
        return sum(self._facts(moves.length))

    def __repr__(self) -> str:
        return f"XShards({sum(self._counts)} shards in {len(self._counts)} partitions on {self._cluster})"

    # --- memory ------------------------------------------------------------------------------------------------------

    def cache(self) -> XShards:
        """Keeps the shards in memory (and on disk, where Spark runs short) once computed, until `uncache`."""
        self._pinned = True
        return self._keep()

    def uncache(self) -> XShards:
        """Gives the memory back; the shards are computed again when they are needed."""
        self._pinned = False
        self._rows.release()
        return self

    def is_cached(self) -> bool:
        """Whether the shards are kept, once computed."""
        return self._rows.kept

    def compute(self) -> XShards:
        """Computes the shards now."""
        self._rows.make()
        return self

    # --- training and prediction -------------------------------------------------------------------------------------

    def __zoo_shards__(self, columns: Columns) -> Adapted:
        """The rows inside the shards; those of partition i are part i of the data.

        Args:
            columns: names; needed for shards of DataFrames only.

        Raises:
            UsageError: shards that hold no rows of arrays, or lack the columns.
        """
        opening = Opening(columns.features or None, columns.labels or None)
        found, schema = self._schema_of(opening)
        return Adapted(ObjectRows(self._rows, Reading(opening, schema)), found, self._answered)

    def _schema_of(self, opening: Opening) -> tuple[Columns, Any]:
        """Of the first shard with rows, else of the first."""
        for look in (opening.schemas, opening.all_schemas):
            first = self._map(look).peek()
            if first is not None:
                columns, schema = next(unpack([first])).value
                return columns, schema
        raise UsageError("this XShards has no shards, and so no rows.")

    def _answered(self, extended: Shards) -> XShards:
        """Shards with the model's outputs: ``{"prediction": array}``, and their own keys where they are dicts."""
        made = self._cluster.map(Answering.of(extended), self._rows, OBJECTS)
        answered = self._same(made)
        answered._origins = (self,)
        return answered._settled()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _map(self, fn: ItemMapper, rows: Shards | None = None) -> Shards:
        """Lazy."""
        return self._cluster.map(OnObjects(fn), self._rows if rows is None else rows, OBJECTS)

    def _made(self, rows: Shards, counts: Sequence[int]) -> XShards:
        return XShards(self._cluster, rows, counts)

    def _same(self, rows: Shards) -> XShards:
        """Of as many shards in each partition as this one."""
        return self._made(rows, self._counts)

    def _settled(self, *parents: XShards) -> XShards:
        """In eager mode computed and kept, and its parents given free."""
        if not OrcaContext._eager_mode:
            self._origins += parents
            return self
        self._keep().compute()
        self._origins = ()
        for parent in parents:
            if not parent._pinned:
                parent._rows.release()
        return self

    def _keep(self) -> XShards:
        self._rows.keep()
        if self._end is None:
            self._end = weakref.finalize(self, self._rows.release)
            self._end.atexit = False
        return self

    def _facts(self, fn: Callable[[Any], Any]) -> list[Any]:
        """Something small about every shard, in order."""
        return [item.value for item in collected(self._map(moves.Facts(fn)))]

    def _places(self) -> list[tuple[int, int]]:
        """(partition, place in it) of every shard."""
        return [(part, place) for part, count in enumerate(self._counts) for place in range(count)]


SparkXShards = XShards
"""The older name: there is one class for every place."""
