"""Rows on their way to the ranks, packed where they are narrow.

A shuffle costs Spark about a microsecond a row, whatever its width: more than the rows' bytes, where they are a few
numbers. Such rows are packed first, some hundred kilobytes of Arrow in one row for a rank, by the tasks that made them.

Owns: the shuffle, what travels in it, and taking it apart again.
Leaves: which part a row belongs to (frames), which data set (dealing).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from zoo.engine.clusters.spark.frames import part_of
from zoo.engine.data.objects import PART, PLACE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

RANK, ROWS = "__zoo_rank", "__zoo_rows"
_SCHEMA = pa.schema([(RANK, pa.int32()), (ROWS, pa.binary())])
_PACK_BYTES = 400 << 10  # of one packed row: larger ones are a burden to Java's garbage collector
_HELD_BYTES = 64 << 20  # of all that a task holds until they are packed
_NARROW = 64  # columns; rows of more have enough bytes to travel by themselves


def gathered(frame: DataFrame, world: int, *, by_place: bool) -> DataFrame:
    """The rows in one partition a rank, each part whole; the ranks take them with `loose`.

    Args:
        frame: with the columns `PLACE` and `PART`; a row's part says by its remainder where it goes.
        world: ranks.
        by_place: whether the parts are those of `part_of`.
    """
    from pyspark.sql import functions as F

    if not by_place or not _is_narrow(frame):
        return frame.repartitionById(world, F.col(PART) % F.lit(world))
    # The part follows from the place, here in no time; in SQL it would cost half as much as all the columns.
    packed = frame.drop(PART).mapInArrow(_Packing(world), f"{RANK} int, {ROWS} binary")
    return packed.repartitionById(world, F.col(RANK))


def loose(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows as they were before `gathered`."""
    for batch in batches:
        if batch.schema.names != _SCHEMA.names:
            yield batch
            continue
        for cell in batch.column(ROWS):
            for rows in pa.ipc.open_stream(cell.as_buffer()):
                parts = np.ascontiguousarray(part_of(_places(rows)), np.int32)
                yield rows.append_column(
                    PART, pa.Array.from_buffers(pa.int32(), len(parts), [None, pa.py_buffer(parts)])
                )


def _places(rows: pa.RecordBatch) -> np.ndarray:
    places: np.ndarray = rows.column(PLACE).to_numpy()
    return places


@dataclass(frozen=True)
class _Packing:
    """A `Mapper`: all rows for one rank, up to `_PACK_BYTES`, become one row."""

    world: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held: list[list[pa.RecordBatch]] = [[] for _ in range(self.world)]
        sizes = [0] * self.world
        limit = min(_PACK_BYTES, _HELD_BYTES // self.world)
        for batch in batches:
            ranks = part_of(_places(batch)) % self.world
            for rank in range(self.world):
                mine = batch.filter(_mask(ranks == rank))
                if not mine.num_rows:
                    continue
                held[rank].append(mine)
                sizes[rank] += mine.nbytes
                if sizes[rank] >= limit:
                    yield _packed(rank, held[rank])
                    held[rank], sizes[rank] = [], 0
        for rank, rest in enumerate(held):
            if rest:
                yield _packed(rank, rest)


def _mask(chosen: np.ndarray) -> pa.Array:
    """`pyarrow.array` would import pandas first."""
    return pa.Array.from_buffers(pa.bool_(), len(chosen), [None, pa.py_buffer(np.packbits(chosen, bitorder="little"))])


def _packed(rank: int, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as stream:
        stream.write_table(pa.Table.from_batches(batches).combine_chunks())  # few large batches are cheaper to take
    data = sink.getvalue()
    ends = pa.py_buffer(np.array([0, data.size], np.int32))
    rows = pa.Array.from_buffers(pa.binary(), 1, [None, ends, data])  # without the copy that `pa.array` would make
    return pa.RecordBatch.from_arrays([pa.array([rank], pa.int32()), rows], schema=_SCHEMA)


def _is_narrow(frame: DataFrame) -> bool:
    """Whether rows are a few values of fixed size each."""
    from pyspark.sql.types import BooleanType, DateType, NumericType, TimestampNTZType, TimestampType

    fixed = (BooleanType, DateType, NumericType, TimestampType, TimestampNTZType)
    fields = frame.schema.fields
    return len(fields) <= _NARROW and all(isinstance(field.dataType, fixed) for field in fields)
