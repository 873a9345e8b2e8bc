"""Predictions go back to the user in the kind that the data came in.

Owns: extended rows -> arrays, pandas, Arrow tables.
Leaves: which kind the data were (adapters); DataFrames of Spark (their room); shards of objects (objects).

All of it takes what `Cluster.extend` makes of rows that are no cluster's own: `ExtendedShards`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from zoo.engine.contracts import Shards
from zoo.engine.data.columns import describe, to_array
from zoo.engine.data.mapped import ExtendedShards

GiveBack: TypeAlias = Callable[[Shards], Any]
"""From shards with the model's outputs as further columns to the user's own kind of data."""


def outputs(added: pa.Schema, batches: Iterable[pa.RecordBatch]) -> list[np.ndarray]:
    """The model's outputs, one array each.

    Args:
        added: their columns, the last ones of each batch.
        batches: some rows.
    """
    chunks: list[list[pa.Array]] = [[] for _ in added]
    for batch in batches:
        for number, column in enumerate(reversed(chunks), 1):
            column.append(batch.column(batch.num_columns - number))
    specs = describe(added, added.names)
    return [
        to_array(pa.chunked_array(column, type=field.type), spec)
        for column, field, spec in zip(chunks, added, specs, strict=True)
    ]


def unnamed(names: Sequence[str]) -> bool:
    """Whether these are the names that several outputs get where the user gave none."""
    return len(names) > 1 and list(names) == [f"prediction_{number}" for number in range(len(names))]


def to_arrays(shards: Shards) -> Any:
    """One array of shape (rows, ...), or a list of them where the model has several outputs."""
    arrays = _read(shards)[1]
    return arrays[0] if len(arrays) == 1 else arrays


def to_pandas(data: Any) -> GiveBack:
    """The DataFrame `data` with the outputs as columns: numbers, or an array for each row; its index stays."""

    def give_back(shards: Shards) -> Any:
        names, arrays = _read(shards)
        return data.assign(**{name: _cells(array) for name, array in zip(names, arrays, strict=True)})

    return give_back


def to_table(data: Any, held: pa.Table) -> GiveBack:
    """An Arrow table of the rows, with the outputs as columns.

    Args:
        data: the user's own table or frame; all its columns are in the answer, if it can be read a second time.
        held: the columns that were read the first time.
    """

    def give_back(shards: Shards) -> pa.Table:
        batches = [batch for _, batch in shards.open(0, 1)]
        extended = _extended(shards)
        added = pa.Table.from_batches(batches, extended.schema)
        table = _again(data, held)
        for number, field in enumerate(extended.added, len(extended.schema) - len(extended.added)):
            table = _without(table, [field.name]).append_column(field, added.column(number))
        return table

    return give_back


def to_table_of(rows: Shards) -> GiveBack:
    """An Arrow table of `rows`, the same rows as those predicted with all their columns, and the outputs."""

    def give_back(shards: Shards) -> pa.Table:
        extended = replace(_extended(shards), source=rows)
        table = pa.Table.from_batches((batch for _, batch in extended.open(0, 1)), extended.schema)
        known = len(table.column_names) - len(extended.added)
        made = [(field, table.column(known + number)) for number, field in enumerate(extended.added)]
        table = _without(table.select(range(known)), extended.added.names)
        for field, column in made:
            table = table.append_column(field, column)
        return table

    return give_back


def _extended(shards: Shards) -> ExtendedShards:
    assert isinstance(shards, ExtendedShards), f"not what Cluster.extend makes of rows of the driver: {shards!r}"
    return shards


def _read(shards: Shards) -> tuple[list[str], list[np.ndarray]]:
    extended = _extended(shards)
    return extended.added.names, outputs(extended.added, (batch for _, batch in extended.open(0, 1)))


def _cells(array: np.ndarray) -> np.ndarray:
    """A pandas column of an array: rows of several numbers are objects."""
    if array.ndim == 1:
        return array
    cells = np.empty(len(array), object)
    for row, values in enumerate(array):
        cells[row] = values
    return cells


def _again(data: Any, held: pa.Table) -> pa.Table:
    """`data` as a table; `held` where a stream has no second time."""
    if isinstance(data, pa.RecordBatchReader):
        return held
    table = data if isinstance(data, pa.Table) else pa.table(data)
    return table if table.num_rows == held.num_rows else held


def _without(table: pa.Table, names: list[str]) -> pa.Table:
    return table.drop_columns([name for name in names if name in table.column_names])
