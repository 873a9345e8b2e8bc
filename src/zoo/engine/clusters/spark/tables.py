"""Shards of pandas DataFrames as a Spark DataFrame.

Owns: the Spark type of a pandas column, one schema for all shards.
Leaves: how shards are kept (store), the columns of a Spark DataFrame on their way to a model (frames).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zoo.engine.clusters.spark.frames import FrameShards
from zoo.engine.contracts import Shards
from zoo.engine.data.objects import unpack
from zoo.engine.errors import DataError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_UNSIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}


def schema_of(frame: Any) -> pa.Schema:
    """The Arrow schema of a pandas DataFrame without its index, in types that Spark has.

    Raises:
        DataError: a column of mixed objects.
    """
    return pa.schema([(str(name), _spark_type(kind)) for name, kind in _inferred(frame)])


def to_frame(shards: Shards, schemas: Sequence[pa.Schema]) -> DataFrame:
    """A Spark DataFrame with the rows of all shards, made when it is read; the shards' indices are left out.

    Args:
        shards: objects that are pandas DataFrames.
        schemas: `schema_of` each of them, at least one.

    Raises:
        UsageError: they are not in Spark.
        DataError: shards with different columns, or types that do not go together.
    """
    if not isinstance(shards, FrameShards):
        raise UsageError("these shards are on local processes. to_spark_df needs Spark: init_orca_context().")
    schema = _unified(schemas)
    return shards.mapped(_Rows(schema), schema).selected


@dataclass(frozen=True, slots=True)
class _Rows:
    """A `Mapper` from pandas DataFrames to their rows."""

    schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for item in unpack(batches):
            yield from self._table(item.value).to_batches()

    def _table(self, frame: Any) -> pa.Table:
        columns = [_column(frame.iloc[:, at], name) for at, name in enumerate(map(str, frame.columns))]
        made = dict(zip(map(str, frame.columns), columns, strict=True))
        return pa.Table.from_arrays([_cast(made[field.name], field) for field in self.schema], schema=self.schema)


def _inferred(frame: Any) -> list[tuple[Any, pa.DataType]]:
    return [(name, _column(frame.iloc[:, at], name).type) for at, name in enumerate(frame.columns)]


def _column(series: Any, name: Any) -> pa.Array:
    try:
        found = pa.Array.from_pandas(series)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column '{name}' mixes objects that make no column of a table ({error}).") from error
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    lossy = pa.types.is_timestamp(field.type) or pa.types.is_duration(field.type)  # Spark counts microseconds
    try:
        return column.cast(field.type, safe=not lossy)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column '{field.name}' does not fit into Spark's {field.type}: {error}") from error


def _spark_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _spark_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    for test, wanted in _OTHERS:
        if test(kind):
            return wanted
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_spark_type(kind.value_type))
    return _UNSIGNED.get(kind, kind)


_OTHERS: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_duration, pa.duration("us")),
    (pa.types.is_float16, pa.float32()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_large_binary, pa.binary()),
    (pa.types.is_date64, pa.date32()),
)


def _unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all; a column that is null in all shards is text."""
    for other in schemas[1:]:
        if set(other.names) != set(schemas[0].names):
            raise DataError(
                f"the shards have different columns: {schemas[0].names} and {other.names}. "
                "Give all shards the same columns with transform_shard."
            )
    try:
        found = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"the shards' columns have types that do not go together: {error}") from error
    return pa.schema([(field.name, pa.string() if pa.types.is_null(field.type) else field.type) for field in found])
