"""Spark DataFrames as shards.

Owns: which columns leave Spark and as what, the parts of a DataFrame, adding columns to it lazily.
Leaves: the gang (cluster), column types -> arrays (columns).

Each row brings its place along, which says in which partition it was and where there. From the partitions' sizes alone
follow the parts (`zoo.engine.data.arrivals`), so that they are a property of the DataFrame.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zoo.engine.clusters.spark import sessions
from zoo.engine.clusters.spark.faults import in_own_words
from zoo.engine.clusters.spark.garbage import spare_the_lasting
from zoo.engine.clusters.spark.origins import sources_of
from zoo.engine.contracts import Feed, FeedRequest, Mapper, Shards
from zoo.engine.data import answers
from zoo.engine.data import columns as column_types
from zoo.engine.data.adapters import Adapted, Names
from zoo.engine.data.arrivals import Arrivals, cut, indices, split
from zoo.engine.data.objects import PART, PLACE
from zoo.engine.data.shards import MemoryShards
from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.engine.jobs import Columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType

_RELEASE_SECONDS = 10.0
_BY_COLUMNS = "spark.sql.execution.arrow.pythonUDF.columnarInput.enabled"


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

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the used columns, as they leave Spark."""
        return _arrow(self.selected)

    @property
    def selected(self) -> DataFrame:
        """The used columns, vectors as arrays of floats; anew each time: a planned frame never learns of a cache."""
        return self.frame.select(*self.expressions())

    def expressions(self) -> list[Column]:
        """The used columns in types that Arrow knows, under their own names."""
        return [_leaving(self.frame, name) for name in self.used]

    def numbered(self) -> DataFrame:
        """The used columns as ``_0``, ``_1``, ...: pyspark's mapInArrow does not take names with dots."""
        return self.selected.toDF(*(f"_{number}" for number in range(len(self.used))))

    def mapped(self, fn: Mapper, schema: pa.Schema) -> FrameShards:
        """A DataFrame whose partitions are `fn`'s answers; lazy."""
        from pyspark.sql.pandas.types import from_arrow_schema

        frame = self.numbered().mapInArrow(_named(fn, self.used), from_arrow_schema(schema))
        return FrameShards(frame, tuple(schema.names))

    def placed(self) -> DataFrame:
        """The used columns (`numbered`) with each row's place, and its part where it has one of its own."""
        from pyspark.sql import functions as F

        # Numbered where the rows lie, below everything else that is done to them.
        frame = self.numbered().withColumn(PLACE, F.monotonically_increasing_id())
        return frame.withColumn(PART, F.col(f"_{self.used.index(PART)}")) if PART in self.used else frame

    def share(self, index: int, world: int) -> MemoryShards:
        """Collected: only for gangs outside Spark."""
        return self._collected().share(index, world)

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """On the driver: collects the used columns."""
        with in_own_words():
            return MemoryShards(self.selected.toArrow()).open(index, world)

    def peek(self) -> pa.RecordBatch | None:
        """The first row, by a small Spark job."""
        if self.frame.isStreaming:
            raise UsageError(
                "a stream's schema does not tell how long its array columns are, and its rows cannot be looked at "
                "beforehand. Fit the estimator first, or use columns of one number each."
            )
        with in_own_words():  # `take` asks one partition after the other; `toArrow` would run a task for each of them
            rows = [row.asDict(recursive=True) for row in self.selected.take(1)]
        return pa.RecordBatch.from_pylist(rows, self.schema) if rows else None

    def feed(self, request: FeedRequest) -> Feed:
        """Collected: only for a gang in the driver's own process."""
        return self._collected().feed(request)

    def extended(self, fn: Mapper, schema: pa.Schema) -> FrameShards:
        """The DataFrame with `fn`'s columns; lists of numbers are ML vectors. Lazy; rows keep their place and order."""
        from pyspark.sql import functions as F

        _by_rows(self.frame.sparkSession)
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
        """Spark's cache forgets them.

        Asked in a thread of its own, which has its own connection to the JVM: Python may collect garbage, and so come
        here, between a question of this thread and the JVM's answer.
        """
        if sessions.alive(self.frame.sparkSession):
            thread = Thread(target=self._forget, name="zoo-release", daemon=True)
            thread.start()
            thread.join(_RELEASE_SECONDS)

    def _forget(self) -> None:
        with suppress(Exception):  # the session may end meanwhile, and its cache with it
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
        partitions = arrivals.partitions()
        cuts = cut({partition: len(lying) for partition, lying in partitions.items()})
        parts = [indices(part) for part in split(partitions, cuts).values()]
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
    used = tuple(dict.fromkeys((*features, *(labels or ()))))
    if twice := [name for name in used if data.columns.count(name) > 1]:  # Spark could not tell which is meant
        raise UsageError(f"the data have several columns named '{twice[0]}'. Rename all but one of them.")
    shards = FrameShards(data, used)
    column_types.describe(shards.schema, shards.used)  # refuses types that cannot become arrays
    return Adapted(shards, Columns(tuple(features), tuple(labels or ())), give_back, lambda: sources_of(data))


def give_back(extended: Shards) -> DataFrame:
    """The DataFrame with the model's outputs, as Spark's users know them; lazy.

    A number a row stays a float, a list of numbers is an ML vector, arrays of more axes are nested arrays.
    Several outputs without names of their own become one column ``prediction``, an array of vectors (of size 1 for
    numbers), if none of them has more axes.
    """
    assert isinstance(extended, FrameShards)
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    frame, made = extended.frame, extended.made
    kinds = {name: frame.schema[name].dataType for name in made}
    if not answers.unnamed(made) or any(kind.typeName() == "array" for kind in kinds.values()):
        return frame
    vectors = [name if _is_vector(kind) else array_to_vector(F.array(name)) for name, kind in kinds.items()]
    return frame.withColumn("prediction", F.array(*vectors)).drop(*made)


def _by_rows(session: SparkSession) -> None:
    """Has Spark read rows for its UDFs, as it did before 4.3.

    There, a Parquet reader's columns become rows, go to the UDF, and become columns again with its answers: that takes
    a third longer for arrays, and cannot be done with ML vectors.
    """
    session.conf.set(_BY_COLUMNS, "false")


def _arrow(frame: DataFrame) -> pa.Schema:
    """The schema of what leaves Spark; since pyspark 4.3 a timestamp needs its zone, which the session knows."""
    from pyspark.sql.pandas.types import to_arrow_schema

    if "timezone" not in inspect.signature(to_arrow_schema).parameters:
        return to_arrow_schema(frame.schema)
    zone = frame.sparkSession.conf.get("spark.sql.session.timeZone")
    return to_arrow_schema(frame.schema, timezone=zone)


def _leaving(frame: DataFrame, name: str) -> Column:
    from pyspark.sql import functions as F

    column = F.col(_quoted(name))
    if _is_vector(frame.schema[name].dataType):
        from pyspark.ml.functions import vector_to_array

        column = F.when(column.isNotNull(), vector_to_array(column, "float32"))  # of null it would raise in the JVM
    return column.alias(name)


def _is_vector(kind: DataType) -> bool:
    return type(kind).__name__ == "VectorUDT"


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
    from pyspark.sql.pandas.types import to_arrow_schema
    from pyspark.sql.types import StructField, StructType

    shapes = [_inner_shape(field) for field in schema]
    types = [_spark_type(field, len(shape)) for field, shape in zip(schema, shapes, strict=True)]
    returned = StructType([StructField(name, kind) for name, kind in zip(schema.names, types, strict=True)])
    fields = list(to_arrow_schema(returned))

    def columns(given: Iterator[Any]) -> Iterator[pa.Array]:
        each = given if len(used) > 1 else ((one,) for one in given)
        for made in fn(pa.RecordBatch.from_arrays(list(arrays), names=list(used)) for arrays in each):
            arrays = [_to_spark(*of) for of in zip(made.columns, shapes, (field.type for field in fields), strict=True)]
            yield arrays[0] if len(arrays) == 1 else pa.StructArray.from_arrays(arrays, fields=fields)
        spare_the_lasting()

    taken = tuple[pa.Array, ...] if len(used) > 1 else pa.Array
    columns.__annotations__ = {"given": Iterator[taken], "return": Iterator[pa.Array]}  # type: ignore[valid-type]
    return F.arrow_udf(columns, returned if len(types) > 1 else types[0])  # type: ignore[attr-defined]  # it has no type


def _spark_type(field: pa.Field, axes: int) -> DataType:
    """What Spark's users get for rows of so many axes: numbers, ML vectors, nested arrays."""
    from pyspark.ml.linalg import VectorUDT
    from pyspark.sql.pandas.types import from_arrow_type
    from pyspark.sql.types import ArrayType

    if axes == 1:
        return VectorUDT()
    made = from_arrow_type(field.type.value_type if axes else field.type)
    for _ in range(axes):
        made = ArrayType(made)
    return made


def _inner_shape(field: pa.Field) -> tuple[int, ...]:
    (spec,) = column_types.describe(pa.schema([field]), [field.name])
    return tuple(size for size in spec.shape if size is not None)  # a fixed-size list has no unknown axis


def _to_spark(array: pa.Array, shape: tuple[int, ...], kind: pa.DataType) -> pa.Array:
    """A column of numbers, or of fixed-size lists that hold rows of `shape`, in the Arrow type of Spark's column."""
    if not shape:
        return array
    if pa.types.is_struct(kind):
        return _vectors(array, kind)
    kinds = [kind]
    while len(kinds) < len(shape):
        kinds.append(kinds[-1].value_type)
    made = array.flatten()
    for size, outer in zip(reversed(shape), reversed(kinds), strict=True):
        made = _lists(made, size, outer)
    return made


def _vectors(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Fixed-size lists as Spark stores dense vectors: (type, size, indices, values)."""
    rows = len(array)
    of = {field.name: field.type for field in kind}
    values = _lists(array.flatten().cast(pa.float64()), array.type.list_size, of["values"])
    dense = pa.array(np.ones(rows, np.int8))
    return pa.StructArray.from_arrays(
        [dense, pa.nulls(rows, of["size"]), pa.nulls(rows, of["indices"]), values], fields=list(kind)
    )


def _lists(values: pa.Array, size: int, kind: pa.DataType) -> pa.Array:
    """Lists of `size` values each."""
    offsets = np.arange(0, len(values) + 1, size, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)
