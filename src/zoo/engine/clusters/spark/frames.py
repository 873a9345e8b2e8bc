"""Spark DataFrames as shards.

Owns: which columns leave Spark and as what, the parts of a DataFrame, adding columns to it lazily.
Leaves: the gang (cluster), column types -> arrays (columns).

Each row brings its place along, which says in which partition it was and where there. From the partitions' sizes alone
follow the parts (`zoo.engine.data.arrivals`), so that they are a property of the DataFrame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zoo.engine.clusters.spark import sessions
from zoo.engine.clusters.spark.faults import in_own_words
from zoo.engine.contracts import Feed, FeedRequest, Mapper, Shards
from zoo.engine.data import answers
from zoo.engine.data import columns as column_types
from zoo.engine.data.adapters import Adapted, Names
from zoo.engine.data.arrivals import Arrivals, indices, parts_of
from zoo.engine.data.objects import PART, PLACE
from zoo.engine.data.shards import MemoryShards
from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.engine.jobs import Columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class FrameShards:
    """A DataFrame and the columns of it that leave Spark.

    Attributes:
        frame: all columns; none is lost by `extend`.
        used: the names of those that a model needs. A column `PART` among them says which part a row belongs to.
        made: the names of those that `extend` has added.
    """

    frame: DataFrame
    used: tuple[str, ...]
    made: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """Of the used columns, as they leave Spark."""
        from pyspark.sql.pandas.types import to_arrow_schema

        return to_arrow_schema(self.selected().schema)

    def selected(self) -> DataFrame:
        """The used columns, vectors as arrays of floats."""
        return self.frame.select(*self.expressions())

    def expressions(self) -> list[Column]:
        """The used columns in types that Arrow knows, under their own names."""
        return [_leaving(self.frame, name) for name in self.used]

    def numbered(self) -> list[Column]:
        """The used columns as ``_0``, ``_1``, ...: pyspark's mapInArrow does not take names with dots."""
        return [column.alias(f"_{number}") for number, column in enumerate(self.expressions())]

    def mapped(self, fn: Mapper, schema: pa.Schema) -> FrameShards:
        """A DataFrame whose partitions are `fn`'s answers; lazy."""
        from pyspark.sql.pandas.types import from_arrow_schema

        frame = self.frame.select(*self.numbered()).mapInArrow(_named(fn, self.used), from_arrow_schema(schema))
        return FrameShards(frame, tuple(schema.names))

    def placed(self) -> DataFrame:
        """The used columns (`numbered`) with each row's place, and its part where it has one of its own."""
        from pyspark.sql import functions as F

        part = [F.col(PART)] if PART in self.used else []
        # Numbered where the rows lie, below everything else that is done to them.
        return self.frame.select(*self.numbered(), F.monotonically_increasing_id().alias(PLACE), *part)

    def share(self, index: int, world: int) -> MemoryShards:
        """Collected: only for gangs outside Spark."""
        return self._collected().share(index, world)

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """On the driver: collects the used columns."""
        with in_own_words():
            return MemoryShards(self.selected().toArrow()).open(index, world)

    def peek(self) -> pa.RecordBatch | None:
        """The first row, by a small Spark job."""
        if self.frame.isStreaming:
            raise UsageError(
                "a stream's schema does not tell how long its array columns are, and its rows cannot be looked at "
                "beforehand. Fit the estimator first, or use columns of one number each."
            )
        with in_own_words():
            return next(iter(self.selected().limit(1).toArrow().to_batches()), None)

    def feed(self, request: FeedRequest) -> Feed:
        """Collected: only for a gang in the driver's own process."""
        return self._collected().feed(request)

    def extended(self, fn: Mapper, schema: pa.Schema) -> FrameShards:
        """The DataFrame with `fn`'s columns; lazy, and in the place and order of the rows."""
        from pyspark.sql import functions as F

        made = _columns_udf(fn, schema, self.used)(*self.expressions())
        if len(schema) == 1:
            return FrameShards(self.frame.withColumn(schema[0].name, made), self.used, tuple(schema.names))
        holder = self.frame.withColumn("__zoo_outputs", made)
        outputs = {field.name: F.col("__zoo_outputs").getField(field.name) for field in schema}
        return FrameShards(holder.withColumns(outputs).drop("__zoo_outputs"), self.used, tuple(schema.names))

    @property
    def kept(self) -> bool:
        """Whether Spark caches the frame."""
        level = self.frame.storageLevel
        return level.useMemory or level.useDisk

    def keep(self) -> None:
        """Spark caches the rows, in memory and on disk, when they are next computed."""
        self.frame.persist()

    def make(self) -> None:
        """Computes the rows; Spark throws away those that it does not cache."""
        with in_own_words():
            self.frame.write.format("noop").mode("overwrite").save()

    def release(self) -> None:
        """Spark's cache forgets them."""
        if sessions.alive(self.frame.sparkSession):
            self.frame.unpersist()

    def _collected(self) -> MemoryShards:
        """The rows on the driver, in the parts and the order that a gang inside Spark gives them."""
        with in_own_words():
            rows = self.placed().toArrow().combine_chunks()
        if PART in self.used:
            rows = rows.sort_by([(PART, "ascending"), (PLACE, "ascending")])
            sizes = np.bincount(rows.column(PART).to_numpy()).tolist()
            return MemoryShards.cut(rows.select(range(len(self.used))).rename_columns(list(self.used)), sizes)
        arrivals = Arrivals()
        arrivals.add(rows.column(PLACE).to_numpy(), range(rows.num_rows))
        parts = [indices(part) for part in parts_of(arrivals.partitions())]
        order = np.concatenate([np.empty(0, np.intp), *parts])
        rows = rows.select(range(len(self.used))).rename_columns(list(self.used))
        return MemoryShards.cut(rows.take(order), [len(part) for part in parts])


def adapt_frame(data: DataFrame, features: Names, labels: Names) -> Adapted:
    """The adapter of Spark DataFrames; see `zoo.engine.data.adapters`."""
    if not features:
        raise UsageError("feature columns is None; it should not be None in training/prediction: give feature_cols.")
    for names, argument in ((features, "feature_cols"), (labels or (), "label_cols")):
        missing = [name for name in names if name not in data.columns]
        if missing:
            raise ColumnNotFound.among(missing, data.columns, argument)
    shards = FrameShards(data, tuple(dict.fromkeys((*features, *(labels or ())))))
    column_types.describe(shards.schema, shards.used)  # refuses types that cannot become arrays
    return Adapted(shards, Columns(tuple(features), tuple(labels or ())), give_back)


def give_back(extended: Shards) -> DataFrame:
    """The DataFrame with the model's outputs, as Spark's users know them; lazy.

    A number a row stays a float, a list of numbers becomes an ML vector, arrays of more axes stay nested arrays.
    Several outputs without names of their own become one column ``prediction``, an array of vectors (of size 1 for
    numbers), if none of them has more axes.
    """
    assert isinstance(extended, FrameShards)
    from pyspark.sql import functions as F

    frame, made = extended.frame, extended.made
    axes = {name: _axes(frame, name) for name in made}
    if answers.unnamed(made) and max(axes.values()) <= 1:
        numbers = [name for name in made if axes[name] == 0]
        frame = frame.withColumns({name: F.array(F.col(name)) for name in numbers})
        return with_vectors(frame, made).withColumn("prediction", F.array(*made)).drop(*made)
    return with_vectors(frame, [name for name in made if axes[name] == 1])


def _axes(frame: DataFrame, name: str) -> int:
    """0 for a column of numbers, 1 for one of lists, ..."""
    kind, axes = frame.schema[name].dataType, 0
    while kind.typeName() == "array":
        kind, axes = kind.elementType, axes + 1  # type: ignore[attr-defined]
    return axes


def with_vectors(frame: DataFrame, names: Sequence[str]) -> DataFrame:
    """The frame with the array columns `names` as ML vectors."""
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    return frame.withColumns({name: array_to_vector(F.col(_quoted(name))) for name in names})


def _leaving(frame: DataFrame, name: str) -> Column:
    from pyspark.sql import functions as F

    column = F.col(_quoted(name))
    if type(frame.schema[name].dataType).__name__ == "VectorUDT":
        from pyspark.ml.functions import vector_to_array

        column = vector_to_array(column, "float32")
    return column.alias(name)


def _quoted(name: str) -> str:
    """A name with dots or blanks is still one name."""
    return "`" + name.replace("`", "``") + "`"


def _named(fn: Mapper, names: Sequence[str]) -> Mapper:
    def named(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from fn(batch.rename_columns(list(names)) for batch in batches)

    return named


def _columns_udf(fn: Mapper, schema: pa.Schema, used: Sequence[str]) -> Any:
    """An Arrow UDF from the used columns to the new column (or a struct of them)."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    plain = pa.schema([pa.field(field.name, _spark_type(field)) for field in schema])
    types = from_arrow_schema(plain)
    returned = types[0].dataType if len(schema) == 1 else types

    def columns(given: Iterator[Any]) -> Iterator[pa.Array]:
        each = given if len(used) > 1 else ((one,) for one in given)
        for made in fn(pa.RecordBatch.from_arrays(list(arrays), names=list(used)) for arrays in each):
            arrays = [_to_spark(made.column(i), schema.field(i)) for i in range(len(schema))]
            yield arrays[0] if len(arrays) == 1 else pa.StructArray.from_arrays(arrays, fields=list(plain))

    taken = tuple[pa.Array, ...] if len(used) > 1 else pa.Array
    columns.__annotations__ = {"given": Iterator[taken], "return": Iterator[pa.Array]}  # type: ignore[valid-type]
    return F.arrow_udf(columns, returned)  # type: ignore[attr-defined]  # pyspark gives it no type


def _spark_type(field: pa.Field) -> pa.DataType:
    """The Arrow type that Spark takes for a field: variable lists, nested as the array's shape is."""
    if not pa.types.is_fixed_size_list(field.type):
        return field.type
    made = field.type.value_type
    for _ in _inner_shape(field):
        made = pa.list_(made)
    return made


def _inner_shape(field: pa.Field) -> tuple[int, ...]:
    (spec,) = column_types.describe(pa.schema([field]), [field.name])
    return tuple(size for size in spec.shape if size is not None)  # a fixed-size list has no unknown axis


def _to_spark(array: pa.Array, field: pa.Field) -> pa.Array:
    """A fixed-size list as Spark takes it."""
    if not pa.types.is_fixed_size_list(field.type):
        return array
    made = array.flatten()
    for size in reversed(_inner_shape(field)):
        offsets = np.arange(0, len(made) + 1, size, dtype=np.int32)
        made = pa.ListArray.from_arrays(pa.array(offsets), made)
    return made
