"""The words of XShards whose shards are pandas DataFrames of equal columns: one distributed table.

Owns: the methods that such shards have, and what they are told about mistakes.
Leaves: what the methods do (frames, grouping, joining, sorting, summaries; tables for one DataFrame).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np

from zoo.engine.data.moves import Facts
from zoo.engine.errors import UsageError
from zoo.orca.data import frames, grouping, joining, sorting, summaries, tables
from zoo.orca.data.collection import Collection
from zoo.orca.data.tables import OnFrames, listed


class TableWords:
    """What XShards can do with tables, beside what they can do with objects of any kind."""

    _objects: Collection

    @classmethod
    def _of(cls, objects: Collection) -> Self:
        made = cls.__new__(cls)
        made._objects = objects
        return made

    def _replaced(self, mapper: OnFrames) -> Self:
        return self._of(frames.replaced(self._objects, mapper))

    def partition_by(self, cols: Any, num_partitions: int | None = None) -> Self:
        """Brings rows with equal values in `cols` (one name, or several) into one partition; one shard in each.

        Args:
            cols: the columns; null equals null, 1 equals 1.0.
            num_partitions: as many as now, if None.

        Raises:
            UsageError: shards that are no DataFrames, or a number below 1.
            ColumnNotFound: a column that is not there.
        """
        parts = self._objects.partitions if num_partitions is None else checked(num_partitions, "num_partitions")
        return self._of(frames.partitioned(self._objects, listed(cols), parts))

    def unique(self) -> np.ndarray:
        """The distinct values of all shards, which must be pandas Series, in the order of their first places.

        Raises:
            UsageError: other shards.
        """
        return summaries.unique(self._objects)

    def deduplicates(self) -> Self:
        """Each row once over all shards, the first of its kind; null equals null. As many partitions as now.

        Raises:
            UsageError: shards that are no DataFrames.
            DataError: columns of lists or dicts, which have no equality.
        """
        return self._of(frames.deduplicated(self._objects))

    def sort_values(self, col_names: Any = None, ascending: Any = True) -> Self:
        """All rows in one order, over the partitions too: the first has the smallest. Equal rows keep their order.

        Args:
            col_names: one name, or several; None for all columns from the first to the last.
            ascending: True or False, or one of them for each name; nulls come last either way.

        Raises:
            UsageError: shards that are no DataFrames, another number of `ascending` than of names.
            ColumnNotFound: a column that is not there.
            DataError: values that cannot be compared.
        """
        return self._of(sorting.in_order(self._objects, col_names, ascending))

    def group_by(self, columns: Any = (), agg: Any = "count", join: bool = False) -> Self:
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
        return self._of(grouping.group_by(self._objects, columns, agg, join))

    def merge(self, right: Self, how: str = "inner", on: Any = None) -> Self:
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
        if not isinstance(right, TableWords):
            raise UsageError(f"merge takes XShards. Received: {type(right).__name__}")
        return self._of(joining.merge(self._objects, right._objects, how, on))

    def select(self, cols: Any) -> Self:
        """Some columns of each DataFrame: one name, or several.

        Raises:
            UsageError: shards that are no DataFrames, no names.
            ColumnNotFound: a column that is not there.
        """
        names = listed(cols)
        if not names:
            raise UsageError("cols is empty. Name at least one column to select.")
        return self._replaced(OnFrames("select", partial(tables.select, names=names), names))

    def drop_missing_value(self) -> Self:
        """The rows in which no cell is null.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        return self._replaced(OnFrames("drop_missing_value", tables.without_nulls))

    def sample(
        self, frac: float, replace: bool = False, weights: str | None = None, random_state: int | None = None
    ) -> Self:
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
        return self._replaced(OnFrames("sample", partial(tables.sampled, how=how), names, "weights", placed=True))

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

    def assembleFeatureLabelCols(self, featureCols: Any, labelCols: Any) -> Self:
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
        fn, names = partial(tables.arrays, features=features, labels=labels), [*features, *labels]
        return self._replaced(OnFrames("assembleFeatureLabelCols", fn, names, "featureCols or labelCols"))

    def stack_feature_labels(self) -> Self:
        """Shards ``{"x": features, "y": labels}``, stacked, of shards that are lists of (feature, label).

        Raises:
            UsageError: other shards.
            DataError: elements of different shapes.
        """
        return self._of(self._objects.mapped(Facts(tables.stack_pairs)).settled(self._objects))

    def max_values(self, col_name: Any) -> Any:
        """The largest value of a column in all shards; None where there is none but null.

        Raises:
            UsageError: shards that are no DataFrames.
            ColumnNotFound: no such column.
        """
        return summaries.maximum(self._objects, col_name)

    def get_null_sum(self) -> Any:
        """The number of nulls in each column: a DataFrame with the columns ``col`` and ``total``.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        return summaries.null_sums(self._objects)

    def describe(self, cols: Any = None) -> Any:
        """Count, mean, std, min and max of columns of numbers in all shards, as a DataFrame; nulls are skipped.

        Args:
            cols: one name, or several; None for all columns of numbers.

        Raises:
            UsageError: shards that are no DataFrames, columns that hold no numbers, none that does.
            ColumnNotFound: a column that is not there.
        """
        return summaries.describe(self._objects, cols)

    def head(self, n: int = 5) -> Any:
        """The first `n` rows of all shards, as a DataFrame.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        return frames.head(self._objects, n)

    def concat_to_pdf(self, axis: int = 0) -> Any:
        """All shards as one DataFrame in this process, whose memory must hold it.

        Args:
            axis: 0 for one below the other, 1 for side by side.

        Raises:
            UsageError: shards that are no DataFrames.
        """
        return frames.together(self._objects, axis)

    def get_schema(self) -> dict[str, Any]:
        """``{"columns": pandas.Index, "dtypes": pandas.Series}`` of the first shard.

        Raises:
            UsageError: it is no DataFrame.
        """
        return summaries.schema(self._objects.outline)

    def to_spark_df(self) -> Any:
        """A Spark DataFrame with all rows, made when it is read; indices are left out, NaN is null.

        Times without a zone become TIMESTAMP_NTZ. A column has one type in all shards, the widest that they have.

        Raises:
            UsageError: shards that are no DataFrames, or are not in Spark.
            DataError: columns of different or mixed types.
        """
        from zoo.engine.clusters.spark import tables as spark_tables

        schemas = frames.asked(self._objects, OnFrames("to_spark_df", spark_tables.schema_of))
        return spark_tables.to_frame(self._objects.rows, schemas)


def checked(number: Any, argument: str) -> int:
    """A whole number from 1 on.

    Raises:
        UsageError: something else.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UsageError(f"{argument} must be a whole number, at least 1. Received: {number!r}")
    return number
