"""XShards: a distributed list of Python objects ("shards"), the same on Spark and on local processes.

Owns: the words of its methods, what is computed when, what is kept in memory.
Leaves: objects as rows (zoo.engine.data.objects), rows within an object (nests), where they are kept (clusters); one
shard that is a DataFrame (tables), groups (grouping), order (sorting), files (saved).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from zoo.engine import session
from zoo.engine.contracts import Cluster, Kept, Shards
from zoo.engine.data import moves, nests
from zoo.engine.data.adapters import Adapted
from zoo.engine.data.exchange import Assemble, Scatter, stacked
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
from zoo.orca.data import grouping, joining, saved, sorting, summaries, tables, tensors
from zoo.orca.data.shared import SharedValue
from zoo.orca.data.tables import SERIES, ByKeys, OnFrames, Outline, listed

__all__ = ["SharedValue", "SparkXShards", "XShards"]


class XShards:
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
        self._begin(session.current(), rows, partitions)
        if not transient:
            self._settled()

    def _begin(self, cluster: Cluster, rows: Shards, partitions: int, counts: Sequence[int] | None = None) -> None:
        self._cluster = cluster
        self._rows: Kept = cluster.store.hold(rows)
        self._partitions = partitions
        self._known = None if counts is None else tuple(counts)
        self._lazy = False  # whatever is made of this one is computed when it is asked for
        self._pinned = False  # by the user's cache()
        self._origins: tuple[XShards, ...] = ()  # what this one is computed from must not be given free before it
        self._end: Any = None  # releases the rows when nobody has this XShards any more

    @classmethod
    def _of(cls, cluster: Cluster, rows: Shards, counts: Sequence[int]) -> XShards:
        """Wraps rows of the engine.

        Args:
            cluster: where the rows are.
            rows: one pickled object each (`zoo.engine.data.objects.OBJECTS`).
            counts: shards in each partition.
        """
        made = cls.__new__(cls)
        made._begin(cluster, rows, len(counts), counts)
        return made

    @staticmethod
    def lazy(rdd: Any, class_name: str | None = None) -> XShards:
        """Wraps an RDD; nothing is computed before it is asked for, also of what is made of these shards."""
        return XShards(rdd, True, class_name)._lazily()

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
        return XShards._loaded(files, partitions, saved.Loading(url, tensors.decode))

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
            _refuse_counts(minPartitions, "minPartitions")
        url = saved.place(path)
        if saved.is_hadoop(url):
            return XShards(session.spark().sparkContext.pickleFile(url, minPartitions))
        partitions, files = saved.read(url, "pickle")
        if minPartitions is not None and minPartitions > partitions:
            partitions, files = minPartitions, saved.spread(files, minPartitions)
        return XShards._loaded(files, partitions, saved.Loading(url, saved.unpickled))

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
        return XShards._of(cluster, _placed(cluster, items, number), [1] * number)._settled()

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
        _refuse_counts(num_partitions, "num_partitions")
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

    def _for_each(self, func: Callable[..., Any], *args: Any) -> XShards:
        """``func(shard, *args)`` of every shard, or the exception that it raised; computed each time it is needed."""
        made = self._same(self._map(Call.of("_for_each", _attempt, func, args)))
        made._origins = (self,)
        return made

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
        return self._partitions

    def _get_class_name(self) -> str:
        """Module and name of the first shard's class, ``"pandas.core.frame.DataFrame"`` say."""
        return self._outline.kind

    @property
    def rdd(self) -> Any:
        """The shards as an RDD, lazily.

        Raises:
            UsageError: there is no Spark, or one without RDDs (Spark Connect).
        """
        from zoo.engine.clusters.spark import rdds

        return rdds.of_objects(self._rows)

    def __len__(self) -> int:
        """The sum over all shards of ``len(shard)``; 1 for a shard without a length."""
        return sum(self._facts(moves.length))

    def __repr__(self) -> str:
        shards = "" if self._known is None else f"{sum(self._known)} shards in "
        return f"XShards({shards}{self._partitions} partitions on {self._cluster})"

    # --- tables: shards that are pandas DataFrames -------------------------------------------------------------------

    def partition_by(self, cols: Any, num_partitions: int | None = None) -> XShards:
        """Brings rows with equal values in `cols` (one name, or several) into one partition; one shard in each.

        Args:
            cols: the columns; null equals null, 1 equals 1.0.
            num_partitions: as many as now, if None.

        Raises:
            UsageError: shards that are no DataFrames, or a number below 1.
            ColumnNotFound: a column that is not there.
        """
        names, parts = listed(cols), self._number_of(num_partitions)
        if not names:
            raise UsageError("cols is empty. Name at least one column to partition by.")
        self._look("partition by", names)
        made = self._exchanged(ByKeys("partition by", names, parts), parts, Assemble(_whole))
        return made._settled(self)

    def unique(self) -> np.ndarray:
        """The distinct values of all shards, which must be pandas Series, in the order of their first places.

        Raises:
            UsageError: other shards.
        """
        kinds = set(self._facts(tables.class_name))
        if kinds != {SERIES}:
            raise UsageError(
                f"Currently only support unique() on XShards of Pandas Series. Received: shards of {sorted(kinds)}; "
                "take one column first: shards['name'].unique()"
            )
        return summaries.distinct_of(self._facts(summaries.distinct_values))

    def deduplicates(self) -> XShards:
        """Each row once over all shards, the first of its kind; null equals null. As many partitions as now.

        Raises:
            UsageError: shards that are no DataFrames.
            DataError: columns of lists or dicts, which have no equality.
        """
        self._look("deduplicates")
        parts, once = self.num_partitions(), OnFrames("deduplicates", tables.distinct)
        by = ByKeys("deduplicates", None, parts)
        return self._exchanged(by, parts, Assemble(tables.distinct), once)._settled(self)

    def sort_values(self, col_names: Any = None, ascending: Any = True) -> XShards:
        """All rows in one order, over the partitions too: the first has the smallest. Equal rows keep their order.

        Args:
            col_names: one name, or several; None for all columns from the first to the last.
            ascending: True or False, or one of them for each name; nulls come last either way.

        Raises:
            UsageError: shards that are no DataFrames, another number of `ascending` than of names.
            ColumnNotFound: a column that is not there.
            DataError: values that cannot be compared.
        """
        names = None if col_names is None or col_names == [] else tuple(listed(col_names))
        order = sorting.Order(names, _directions(ascending, names))
        self._look("sort_values", names or (), "col_names")
        parts = self.num_partitions()
        ranges = sorting.Ranges(order, sorting.borders(self._facts(order.sample), order, parts))
        return self._exchanged(ranges, parts, Assemble(order.sort))._settled(self)

    def group_by(self, columns: Any = (), agg: Any = "count", join: bool = False) -> XShards:
        """Aggregates of groups of rows; its columns are named as Spark names them: ``sum(price)``, ``count``.

        Args:
            columns: one name, or several; none for one group of all rows. A null is a key like others.
            agg: ``"count"`` for the number of rows; a function's name, or a list of them, for all other columns (those
                of numbers for sum, avg, stddev, variance); or ``{column: name or list of names}``. Functions: count,
                sum, min, max, avg (mean), first, last, stddev (std), stddev_pop, variance (var), var_pop,
                count_distinct (nunique), collect_list, collect_set; all of them skip nulls.
            join: whether to give all rows with their group's aggregates beside them instead.

        Raises:
            UsageError: shards that are no DataFrames, an unknown function, `join` without columns, a name of the result
                that is taken.
            ColumnNotFound: a column that is not there.
            DataError: values that a function is not for.
        """
        keys = listed(columns)
        if join and not keys:
            raise UsageError("join=True needs columns to group by. Received: columns=[]")
        outline = self._outline
        outline.check("group_by", keys, "columns")
        made = grouping.aggregates(agg, keys, outline)
        grouping.refuse_taken(made, outline.columns if join else keys)
        groups = grouping.Grouping(tuple(keys), tuple(made))
        parts = self.num_partitions() if keys else 1
        if join:
            return self._exchanged(ByKeys("group_by", keys, parts), parts, Assemble(groups.beside))._settled(self)
        within = OnFrames("group_by", groups.start, keys, "columns")
        by = ByKeys("group_by", groups.key_names, parts)
        return self._exchanged(by, parts, Assemble(groups.end), within)._settled(self)

    def merge(self, right: XShards, how: str = "inner", on: Any = None) -> XShards:
        """Joins rows with equal keys, as `pandas.merge` does (null equals null); as many partitions as now.

        Args:
            right: XShards of DataFrames in the same context.
            how: ``"inner"``, ``"left"``, ``"right"`` or ``"outer"``.
            on: one name, or several; None for all columns that both have. Other columns that both have get the suffixes
                ``_x`` and ``_y``.

        Raises:
            UsageError: something else than XShards of DataFrames, an unknown `how`, no column to join on.
            ColumnNotFound: a column that is not there.
            DataError: keys of different kinds.
        """
        if not isinstance(right, XShards):
            raise UsageError(f"merge takes XShards. Received: {type(right).__name__}")
        join = joining.Join.of(how, on, self._outline, right._outline)
        parts = self.num_partitions()
        by = ByKeys("merge", join.on, parts, "on")
        sides = [one._scattered(partial(Scatter, parts, by, side=at)) for at, one in enumerate((self, right))]
        joined = self._map(Assemble(join), self._cluster.store.regroup(sides, parts))
        return self._made(joined, [1] * parts)._settled(self, right)

    def select(self, cols: Any) -> XShards:
        """Some columns of each DataFrame: one name, or several.

        Raises:
            UsageError: shards that are no DataFrames, no names.
            ColumnNotFound: a column that is not there.
        """
        names = listed(cols)
        if not names:
            raise UsageError("cols is empty. Name at least one column to select.")
        return self._on_frames(OnFrames("select", partial(tables.select, names=names), names))

    def drop_missing_value(self) -> XShards:
        """The rows in which no cell is null.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        return self._on_frames(OnFrames("drop_missing_value", tables.without_nulls))

    def sample(
        self, frac: float, replace: bool = False, weights: str | None = None, random_state: int | None = None
    ) -> XShards:
        """Some rows of each DataFrame by chance: ``round(frac * rows)`` of them.

        Args:
            frac: share of the rows; above 1 with `replace` only.
            replace: whether a row may be chosen several times.
            weights: a column that says how likely each row is chosen.
            random_state: the same rows each time, on every cluster; None for others each time they are computed.

        Raises:
            UsageError: shards that are no DataFrames, `frac` out of range, weights that are no column's name.
            ColumnNotFound: no such column of weights.
            DataError: weights that are negative, null in all rows, or no numbers.
        """
        how = summaries.sampling(frac, replace, weights, random_state)
        names = () if weights is None else (weights,)
        return self._on_frames(OnFrames("sample", partial(tables.sampled, how=how), names, "weights", placed=True))

    def sample_to_pdf(
        self,
        frac: float,
        replace: bool = False,
        weights: str | None = None,
        random_state: int | None = None,
        axis: int = 0,
    ) -> Any:
        """`sample` and `concat_to_pdf` in one; arguments as theirs."""
        return self.sample(frac, replace, weights, random_state).concat_to_pdf(axis)

    def assembleFeatureLabelCols(self, featureCols: Any, labelCols: Any) -> XShards:
        """Shards ``{"x": array, "y": array}`` of columns side by side, both of shape (rows, columns).

        Args:
            featureCols: one name, or several; a column of lists takes as many places as they have numbers.
            labelCols: likewise.

        Raises:
            UsageError: shards that are no DataFrames, no names.
            ColumnNotFound: a column that is not there.
            DataError: columns that hold text or nulls (NaN in a column of floats stays).
        """
        features, labels = listed(featureCols), listed(labelCols)
        if not features or not labels:
            raise UsageError("featureCols and labelCols must name at least one column each.")
        fn = partial(tables.arrays, features=features, labels=labels)
        return self._on_frames(
            OnFrames("assembleFeatureLabelCols", fn, [*features, *labels], "featureCols or labelCols")
        )

    def stack_feature_labels(self) -> XShards:
        """Shards ``{"x": features, "y": labels}``, stacked, of shards that are lists of (feature, label).

        Raises:
            UsageError: other shards.
            DataError: elements of different shapes.
        """
        return self._same(self._map(moves.Facts(tables.stack_pairs)))._settled(self)

    def max_values(self, col_name: Any) -> Any:
        """The largest value of a column in all shards; None where there is none but null.

        Raises:
            UsageError: shards that are no DataFrames.
            ColumnNotFound: no such column.
        """
        found = self._of_frames(OnFrames("max_values", partial(tables.largest, name=col_name), [col_name], "col_name"))
        return max((one for one in found if one is not None), default=None)

    def get_null_sum(self) -> Any:
        """The number of nulls in each column: a DataFrame with the columns ``col`` and ``total``.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        return summaries.null_sums(self._of_frames(OnFrames("get_null_sum", tables.null_counts)))

    def describe(self, cols: Any = None) -> Any:
        """Count, mean, std, min and max of columns of numbers in all shards, as a DataFrame; nulls are skipped.

        Args:
            cols: one name, or several; None for all columns of numbers.

        Raises:
            UsageError: shards that are no DataFrames, columns that hold no numbers, none that does.
            ColumnNotFound: a column that is not there.
        """
        outline = self._outline
        names = summaries.numeric(outline, None if cols is None else listed(cols))
        groups = grouping.Grouping((), summaries.aggregates(names))
        parts = self._of_frames(OnFrames("describe", groups.start, names))
        return summaries.description(groups.end(stacked(parts)), names)

    def head(self, n: int = 5) -> Any:
        """The first `n` rows of all shards, as a DataFrame.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise UsageError(f"n must be a whole number, at least 0. Received: {n!r}")
        mapper = OnFrames("head", partial(tables.head, rows=n))
        first = self._map(mapper).peek()
        found = [] if first is None else [next(unpack([first])).value]
        if not found or len(found[0]) < n:
            found = self._of_frames(mapper)
        return stacked(found).head(n)

    def concat_to_pdf(self, axis: int = 0) -> Any:
        """All shards as one DataFrame in this process, whose memory must hold it.

        Args:
            axis: 0 for one below the other, 1 for side by side.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        if axis not in (0, 1):
            raise UsageError(f"axis must be 0 (rows) or 1 (columns). Received: {axis!r}")
        found = self._of_frames(OnFrames("concat_to_pdf", _whole))
        if axis == 0:
            return stacked(found)
        import pandas as pd

        return pd.concat(found, axis=1)

    def get_schema(self) -> dict[str, Any]:
        """``{"columns": pandas.Index, "dtypes": pandas.Series}`` of the first shard.

        Raises:
            UsageError: it is no DataFrame.
        """
        import pandas as pd

        outline = self._outline
        outline.check("get_schema")
        columns = pd.Index(outline.columns)
        return {"columns": columns, "dtypes": pd.Series(outline.dtypes, index=columns, dtype=object)}

    def to_spark_df(self) -> Any:
        """A Spark DataFrame with all rows, made when it is read; indices are left out, NaN is null.

        Times without a zone become TIMESTAMP_NTZ. A column has one type in all shards, the widest that they have.

        Raises:
            UsageError: shards that are no DataFrames, or are not in Spark.
            DataError: columns of different or mixed types.
        """
        from zoo.engine.clusters.spark import tables as spark_tables

        schemas = self._of_frames(OnFrames("to_spark_df", spark_tables.schema_of))
        return spark_tables.to_frame(self._rows, schemas)

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str) -> XShards:
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
        saved.write(saved.place(path), "arrow", self.num_partitions(), self._files)
        return self

    def save_pickle(self, path: str, batchSize: int = 10) -> XShards:
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
        _refuse_counts(batchSize, "batchSize")
        saved.write(saved.place(path), "pickle", self.num_partitions(), self._files)
        return self

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

    def to_lazy(self) -> XShards:
        """The same shards; what is made of them is computed when it is asked for, and kept by `cache` alone."""
        made = self._same(self._rows)
        made._origins = (self,)
        return made._lazily()

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
        made = XShards._of(self._cluster, rows, counts)
        made._lazy = self._lazy
        return made

    def _same(self, rows: Shards) -> XShards:
        """Of as many shards in each partition as this one."""
        made = XShards.__new__(XShards)
        made._begin(self._cluster, rows, self._partitions, self._known)
        made._lazy = self._lazy
        return made

    def _lazily(self) -> XShards:
        self._lazy = True
        return self

    @staticmethod
    def _loaded(files: Sequence[saved.File], partitions: int, loading: saved.Loading) -> XShards:
        cluster = session.current()
        items = (Item(file.part, file.place, tuple(file)) for file in files)
        counts = _counted([file.part for file in files], partitions)
        rows = cluster.map(OnObjects(loading), _placed(cluster, items, partitions), OBJECTS)
        return XShards._of(cluster, rows, counts)._settled()

    def _files(self, writing: saved.Writing) -> list[saved.File]:
        return [item.value for item in collected(self._map(writing))]

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        """Shards in each partition; of an RDD they must be counted."""
        if self._known is None:
            found = [item.part for item in collected(self._map(moves.Facts(_nothing)))]
            self._known = _counted(found, self._partitions)
        return self._known

    # --- inside: tables ----------------------------------------------------------------------------------------------

    @cached_property
    def _outline(self) -> Outline:
        """What the first shard is."""
        first = self._map(moves.Facts(Outline.of)).peek()
        if first is None:
            raise UsageError("this XShards has no shards.")
        outline: Outline = next(unpack([first])).value
        return outline

    def _look(self, what: str, names: Sequence[Any] = (), argument: str = "cols") -> None:
        """Refuses shards that are no DataFrames with these columns: the first one now, all when they are computed."""
        if OrcaContext._eager_mode and not self._lazy:
            self._outline.check(what, names, argument)

    def _on_frames(self, mapper: OnFrames) -> XShards:
        """Each DataFrame replaced."""
        self._look(mapper.what, mapper.names, mapper.argument)
        return self._same(self._map(mapper))._settled(self)

    def _of_frames(self, mapper: OnFrames) -> list[Any]:
        """Something small of each DataFrame, at least of one."""
        self._outline.check(mapper.what, mapper.names, mapper.argument)
        return [item.value for item in collected(self._map(mapper))]

    def _scattered(self, scatter: Callable[[tuple[int, int]], Scatter], rows: Shards | None = None) -> Shards:
        places = self._places()
        if not places:
            raise UsageError("this XShards has no shards.")
        return self._map(scatter(places[0]), rows)

    def _exchanged(
        self, parts_of: Callable[[Any], np.ndarray], parts: int, assemble: Assemble, within: OnFrames | None = None
    ) -> XShards:
        """Rows in other partitions, one shard in each; lazy. `within` is done to each shard before."""
        rows = None if within is None else self._map(within)
        moved = self._cluster.store.regroup([self._scattered(partial(Scatter, parts, parts_of), rows)], parts)
        return self._made(self._map(assemble, moved), [1] * parts)

    def _number_of(self, partitions: int | None) -> int:
        if partitions is None:
            return self.num_partitions()
        _refuse_counts(partitions, "num_partitions")
        return partitions

    def _settled(self, *parents: XShards) -> XShards:
        """In eager mode computed and kept, and its parents given free."""
        if self._lazy or not OrcaContext._eager_mode:
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


def _placed(cluster: Cluster, items: Iterable[Item], partitions: int) -> Shards:
    """Objects of this process, ordered by part, in their partitions."""
    rows = gather(((item.part, pack(item)) for item in items), OBJECTS, partitions)
    return cluster.store.regroup([rows], partitions)


def _counted(parts: Sequence[int], partitions: int) -> tuple[int, ...]:
    """How many of `parts` are each partition's."""
    return tuple(np.bincount(np.array(parts, np.int64), minlength=partitions).tolist())


def _refuse_counts(number: Any, argument: str) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UsageError(f"{argument} must be a whole number, at least 1. Received: {number!r}")


def _directions(ascending: Any, names: tuple[Any, ...] | None) -> bool | tuple[bool, ...]:
    if isinstance(ascending, bool):
        return ascending
    if isinstance(ascending, list | tuple) and names and len(ascending) == len(names):
        return tuple(map(bool, ascending))
    raise UsageError(f"ascending must be True, False, or one of them for each of col_names. Received: {ascending!r}")


def _attempt(shard: Any, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return func(shard, *args)
    except Exception as error:  # noqa: BLE001  whoever asked looks at it
        return error


def _nothing(shard: Any) -> None:
    return None


def _whole(frame: Any) -> Any:
    return frame


SparkXShards = XShards
"""The older name: there is one class for every place."""
