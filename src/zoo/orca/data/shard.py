"""XShards: a distributed list of Python objects ("shards"), the same on Spark and on local processes.

Owns: the words of its methods, for shards of any kind.
Leaves: the words for shards that are DataFrames (table_words), what is computed when and kept (collection), objects as
rows (zoo.engine.data.objects), rows within an object (nests), files (saved).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from zoo.engine import session
from zoo.engine.contracts import Shards
from zoo.engine.data import moves, nests
from zoo.engine.data.adapters import Adapted
from zoo.engine.data.objects import OBJECTS, Answering, Call, Item, ObjectRows, Opening, Reading
from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns
from zoo.orca.data import saved, tensors
from zoo.orca.data.collection import Collection
from zoo.orca.data.shared import SharedValue
from zoo.orca.data.table_words import TableWords, checked

__all__ = ["SharedValue", "SparkXShards", "XShards"]


class XShards(TableWords):
    """A distributed list of Python objects: pandas DataFrames, dicts ``{"x": arrays, "y": arrays}``, arrays, lists, ...

    Normally each partition holds one shard. With ``OrcaContext._eager_mode`` (the default) every operation is computed
    at once and its result kept; what it was computed from is given free, unless `cache` was called on it. A shard that
    was given free is computed again when it is needed. Functions run where the shards are, on copies of them.
    """

    def __init__(self, rdd: Any, transient: bool = False, class_name: str | None = None) -> None:
        """Wraps an RDD of objects; without Spark programs use `partition`, `load` or a reader.

        Args:
            rdd: each element is a shard.
            transient: whether to leave the shards uncomputed and unkept.
            class_name: has no effect: what the shards are is found out where it is needed.

        Raises:
            UsageError: `rdd` is no RDD.
        """
        from zoo.engine.clusters.spark import rdds

        rows, partitions = rdds.to_objects(rdd)
        session.spark()  # the running context must be Spark
        self._objects = Collection(session.current(), rows, partitions)
        if not transient:
            self._objects.settled()

    @staticmethod
    def lazy(rdd: Any, class_name: str | None = None) -> XShards:
        """Wraps an RDD; nothing is computed before it is asked for, also of what is made of these shards."""
        return XShards(rdd, True, class_name).to_lazy()

    @staticmethod
    def load(path: str) -> XShards:
        """Reads shards that `save` has written, each where it will lie. No code in the files is run.

        Args:
            path: the directory; every machine of the cluster must see it.

        Raises:
            UsageError: there are no shards, or shards of `save_pickle`.
            DataError: files that are not what was written.
            StorageFailed: files that cannot be read.
        """
        url = saved.place(path)
        partitions, files = saved.read(url, "arrow")
        return _loaded(files, partitions, saved.Loading(url, tensors.decode))

    @staticmethod
    def load_pickle(path: str, minPartitions: int | None = None) -> XShards:
        """Reads shards that `save_pickle` has written, or Spark's ``RDD.saveAsPickleFile`` (on Spark).

        A pickle runs code when it is read: load it from places that you trust only. `load` has no such risk.

        Args:
            path: the directory; every machine of the cluster must see it.
            minPartitions: at least so many partitions; the shards are spread over them.

        Raises:
            UsageError: there are no shards, or shards of `save`.
            DataError: files that are not what was written.
            StorageFailed: files that cannot be read.
        """
        if minPartitions is not None:
            checked(minPartitions, "minPartitions")
        url = saved.place(path)
        if saved.is_hadoop(url):
            return XShards(session.spark().sparkContext.pickleFile(url, minPartitions))
        partitions, files = saved.read(url, "pickle")
        if minPartitions is not None and minPartitions > partitions:
            partitions, files = minPartitions, saved.spread(files, minPartitions)
        return _loaded(files, partitions, saved.Loading(url, saved.unpickled))

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
        items = (Item(part, 0, piece) for part, piece in enumerate(nests.split_arrays(data, number)))
        return XShards._of(Collection.placed(cluster, items, number).settled())

    # --- operations --------------------------------------------------------------------------------------------------

    def transform_shard(self, func: Callable[..., Any], *args: Any) -> Self:
        """Replaces every shard by ``func(shard, *args)``.

        Raises:
            NotPicklable: the function or an argument cannot travel to another process.
            WorkerFailed: the function raised an error; the message begins with it. In lazy mode when it is computed.
        """
        return self._of(self._objects.mapped(Call.of("transform_shard", func, *args)).settled(self._objects))

    def repartition(self, num_partitions: int) -> Self:
        """Cuts all rows, in their order, into blocks of equal size, one shard a partition.

        Rows are those of DataFrames, arrays and lists, and of dicts and tuples of them. Other objects stay whole, which
        takes as many partitions as there are shards. Partitions beyond the rows stay empty.

        Raises:
            UsageError: fewer partitions than there are shards that cannot be cut.
            WorkerFailed: shards of different kinds.
        """
        checked(num_partitions, "num_partitions")
        found = moves.even_moves(self._objects.facts(nests.rows_in), num_partitions)
        cutting = moves.Cutting(dict(zip(self._objects.places(), found, strict=True)))
        filled = {move.part for one in found for move in one}
        counts = [int(part in filled) for part in range(num_partitions)]
        made = self._objects.regrouped([(self._objects, cutting)], moves.join, counts)
        return self._of(made.settled(self._objects))

    def zip(self, other: Self) -> Self:
        """Pairs ``(shard, other's shard)``.

        Raises:
            AssertionError: `other` is no XShards, or has another number of partitions.
            ValueError: a partition of it has another number of shards.
        """
        if not isinstance(other, XShards):
            raise AssertionError(f"other should be a SparkXShards. Received: {type(other).__name__}")
        mine, others = self._objects, other._objects
        if mine.partitions != others.partitions:
            raise AssertionError(
                "The two SparkXShards should have the same number of partitions. "
                f"Received: {mine.partitions} and {others.partitions}; use repartition."
            )
        if mine.counts != others.counts:
            raise UsageError(
                "The two SparkXShards should have the same number of elements in each partition. "
                f"Received: {list(mine.counts)} and {list(others.counts)}; use repartition."
            )
        sides = [(one, moves.Side(number)) for number, one in enumerate((mine, others))]
        return self._of(mine.regrouped(sides, moves.pair, mine.counts).settled(mine, others))

    def split(self) -> list[Self]:
        """The XShards of the first items, of the second items, ... of shards that are lists or tuples; else [itself].

        Raises:
            UsageError: the shards have different lengths.
        """
        lengths = set(self._objects.facts(moves.items_in))
        if len(lengths) > 1:
            raise UsageError(
                "Cannot split this XShards because its partitions have different split length. "
                f"Received: {sorted(lengths, key=str)}"
            )
        (length,) = lengths or {None}
        if length is None:
            return [self]
        found = [self._objects.mapped(moves.Select(number)) for number in range(length)]
        return [self._of(one.settled(*([self._objects] if one is found[-1] else []))) for one in found]

    def _for_each(self, func: Callable[..., Any], *args: Any) -> Self:
        """``func(shard, *args)`` of every shard, or the exception that it raised; computed each time it is needed."""
        return self._of(self._objects.mapped(Call.of("_for_each", _attempt, func, args)).following(self._objects))

    def __getitem__(self, key: Any) -> Self:
        """``shard[key]`` of every shard; computed each time it is needed, and never kept by itself."""
        return self._of(self._objects.mapped(moves.Select(key)).following(self._objects))

    __iter__ = None  # Python would take __getitem__ for one

    # --- answers -----------------------------------------------------------------------------------------------------

    def collect(self) -> list[Any]:
        """All shards, in this process."""
        return self._objects.values()

    def take(self, n: int) -> list[Any]:
        """The first `n` shards, in this process."""
        return self._objects.values(moves.Only(frozenset(self._objects.places()[:n])))

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
        return self._objects.partitions

    def _get_class_name(self) -> str:
        """Module and name of the first shard's class, ``"pandas.core.frame.DataFrame"`` say."""
        return self._objects.outline.kind

    @property
    def rdd(self) -> Any:
        """The shards as an RDD, lazily.

        Raises:
            UsageError: there is no Spark, or one without RDDs (Spark Connect).
        """
        from zoo.engine.clusters.spark import rdds

        return rdds.of_objects(self._objects.rows)

    def __len__(self) -> int:
        """The sum over all shards of ``len(shard)``; 1 for a shard without a length."""
        return sum(self._objects.facts(moves.length))

    def __repr__(self) -> str:
        one = self._objects
        shards = "" if one.counted is None else f"{one.counted} shards in "
        return f"XShards({shards}{one.partitions} partitions on {one.cluster})"

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str) -> Self:
        """Writes one file for each shard, where it lies: Parquet for DataFrames, Arrow for arrays and nests of arrays.

        Other programs can read the Parquet files. A directory that was not written to its end is never loaded, and may
        be written again.

        Args:
            path: a new directory; every machine of the cluster must see it.

        Returns:
            Itself.

        Raises:
            UsageError: shards of other kinds (see `save_pickle`), or a directory that holds something.
            StorageFailed: it cannot be written.
        """
        saved.write(saved.place(path), "arrow", self._objects.partitions, self._objects.values)
        return self

    def save_pickle(self, path: str, batchSize: int = 10) -> Self:
        """Writes one pickle for each shard, of any kind; for reading it see `load_pickle`, and prefer `save`.

        Args:
            path: a new directory; every machine of the cluster must see it.
            batchSize: has no effect: a file holds one shard.

        Returns:
            Itself.

        Raises:
            UsageError: a directory that holds something.
            StorageFailed: it cannot be written.
        """
        checked(batchSize, "batchSize")
        saved.write(saved.place(path), "pickle", self._objects.partitions, self._objects.values)
        return self

    # --- memory ------------------------------------------------------------------------------------------------------

    def cache(self) -> Self:
        """Keeps the shards in memory (and on disk, where Spark runs short) once computed, until `uncache`."""
        self._objects.pinned = True
        self._objects.keep()
        return self

    def uncache(self) -> Self:
        """Gives the memory back; the shards are computed again when they are needed."""
        self._objects.pinned = False
        self._objects.rows.release()
        return self

    def is_cached(self) -> bool:
        """Whether the shards are kept, once computed."""
        return self._objects.rows.kept

    def compute(self) -> Self:
        """Computes the shards now."""
        self._objects.rows.make()
        return self

    def to_lazy(self) -> Self:
        """The same shards; what is made of them is computed when it is asked for, and kept by `cache` alone."""
        return self._of(self._objects.lazily())

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
        return Adapted(ObjectRows(self._objects.rows, Reading(opening, schema)), found, self._answered)

    def _schema_of(self, opening: Opening) -> tuple[Columns, Any]:
        """Of the first shard with rows, else of the first."""
        for look in (opening.schemas, opening.all_schemas):
            first = self._objects.peek(look)
            if first is not None:
                columns, schema = first.value
                return columns, schema
        raise UsageError("this XShards has no shards, and so no rows.")

    def _answered(self, extended: Shards) -> Self:
        """Shards with the model's outputs: ``{"prediction": array}``, and their own keys where they are dicts."""
        mine = self._objects
        made = mine.cluster.map(Answering.of(extended), mine.rows, OBJECTS)
        return self._of(mine.same(made).following(mine).settled())


def _loaded(files: Sequence[saved.File], partitions: int, loading: saved.Loading) -> XShards:
    items = (Item(file.part, file.place, tuple(file)) for file in files)
    return XShards._of(Collection.placed(session.current(), items, partitions, loading).settled())


def _attempt(shard: Any, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return func(shard, *args)
    except Exception as error:  # noqa: BLE001  whoever asked looks at it
        return error


SparkXShards = XShards
"""The older name: there is one class for every place."""
