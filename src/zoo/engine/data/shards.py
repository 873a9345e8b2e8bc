"""Data cut into parts, and which rank owns which part.

Owns: rows held by the driver (`MemoryShards`), one-pass streams on a rank (`StreamShards`), the rule of ownership.
Leaves: files (files), what kind of data it is (adapters), order within an epoch (plan), a rank's batches (feed).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.engine.contracts import Feed, FeedRequest
from zoo.engine.data.columns import from_array
from zoo.engine.data.feed import RowFeed
from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns

PARTS = 64
"""Parts that rows without parts of their own are cut into: enough to balance, few enough to keep track of."""


def owned(sizes: Sequence[int], index: int, world: int) -> list[int]:
    """The parts that rank `index` of `world` owns, in order.

    The largest part first goes to the rank with the fewest rows; ties go to the rank with
    fewer parts, then to the lower number. A rank may own none.

    Args:
        sizes: rows of each part.
        index: the rank.
        world: how many ranks there are.
    Source: longest processing time first; Graham, "Bounds on multiprocessing timing anomalies", 1969.
    """
    loads = [(0, 0, rank) for rank in range(world)]  # (rows, parts, rank)
    mine = []
    for part in sorted(range(len(sizes)), key=lambda part: (-sizes[part], part)):
        rows, count, rank = heapq.heappop(loads)
        heapq.heappush(loads, (rows + sizes[part], count + 1, rank))
        if rank == index:
            mine.append(part)
    return sorted(mine)


class MemoryShards:
    """Rows that the driver holds, cut into contiguous blocks of equal size."""

    def __init__(self, table: pa.Table, parts: int = PARTS) -> None:
        """Cuts the table.

        Args:
            table: the rows; not copied.
            parts: blocks to cut into, at most; never more than there are rows.
        """
        parts = min(parts, table.num_rows)
        borders = [number * table.num_rows // parts for number in range(parts + 1)] if parts else [0]
        self._hold(table, borders)

    @classmethod
    def cut(cls, table: pa.Table, sizes: Sequence[int]) -> MemoryShards:
        """Rows whose parts are known: the first `sizes[0]` rows are part 0, and so on; a part may be empty."""
        made = cls(table, 0)
        made._hold(table, np.cumsum([0, *sizes]).tolist())
        return made

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(self.sizes)

    def table(self) -> pa.Table:
        """The rows of the parts that are held here."""
        return pa.concat_tables(self._held.values()) if self._held else self.schema.empty_table()

    def share(self, index: int, world: int) -> MemoryShards:
        """The same shards holding the rows of one rank only."""
        return self._holding(owned(self.sizes, index, world))

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(part, rows), without copying."""
        for part in owned(self.sizes, index, world):
            for batch in self._held[part].to_batches():
                yield part, batch

    def peek(self) -> pa.RecordBatch | None:
        """The first row."""
        return next((batch.slice(0, 1) for held in self._held.values() for batch in held.to_batches()), None)

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        index, world = request.rank.index, request.rank.world
        expected = sum(self.sizes[part] for part in owned(self.sizes, index, world))
        return RowFeed.fill(self.open(index, world), self.schema, request, expected)

    def _hold(self, table: pa.Table, borders: Sequence[int]) -> None:
        self.schema: pa.Schema = table.schema
        self.sizes = tuple(end - start for start, end in pairwise(borders))
        self._held = {part: table.slice(borders[part], size) for part, size in enumerate(self.sizes)}

    def _holding(self, parts: Iterable[int]) -> MemoryShards:
        other = MemoryShards(self.schema.empty_table())
        other.sizes, other._held = self.sizes, {part: self._held[part] for part in parts}
        return other

    def __getstate__(self) -> tuple[Any, ...]:
        # Arrow pickles the whole buffers behind a slice; its stream format holds the slice's rows alone.
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, self.schema) as writer:
            for held in self._held.values():
                writer.write_table(held)
        return self.schema, self.sizes, tuple(self._held), stream.getvalue()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.schema, self.sizes, parts, rows = state
        table = pa.ipc.open_stream(rows).read_all()
        self._held, start = {}, 0
        for part in parts:
            self._held[part] = table.slice(start, self.sizes[part])
            start += self.sizes[part]


@dataclass(frozen=True)
class StreamShards:
    """What flows past a rank once: its own parts, whoever dealt them out.

    Attributes:
        schema: of the rows.
        stream: (part, rows).
        rows: unknown.
    """

    schema: pa.Schema
    stream: Iterable[tuple[int, pa.RecordBatch]]
    rows: int | None = None

    def share(self, index: int, world: int) -> StreamShards:
        """Itself: it is a rank's own already."""
        return self

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The stream; a second time there is nothing left."""
        return iter(self.stream)

    def peek(self) -> pa.RecordBatch | None:
        """None: a look would take the rows away."""
        return None

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        return RowFeed.fill(self.open(request.rank.index, request.rank.world), self.schema, request)


def from_arrays(features: Any, labels: Any = None) -> tuple[MemoryShards, Columns]:
    """Shards of arrays with equally many rows, and which column is which.

    Args:
        features: an array (column ``x``), a tuple or list of arrays (``x0``, ``x1``, ...) or a dict of arrays (its
            keys); each of shape (rows, ...).
        labels: likewise (``y``, ``y0``, ``y1``, ...); None for none.

    Raises:
        UsageError: something that is no array, different numbers of rows, or one name for a feature and a label.
    """
    inputs, targets = named("x", features), named("y", labels) if labels is not None else {}
    both = sorted(inputs.keys() & targets.keys())
    if both:
        raise UsageError(f"features and labels both have arrays named {both}. Rename one of each pair.")
    return MemoryShards(table_of(inputs | targets)), Columns(tuple(inputs), tuple(targets))


def table_of(arrays: Mapping[str, Any]) -> pa.Table:
    """One column for each array, `columns.from_array`'s.

    Raises:
        UsageError: the arrays have different numbers of rows.
    """
    made = [from_array(name, array) for name, array in arrays.items()]
    lengths = {field.name: len(column) for field, column in made}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {rows}" for name, rows in lengths.items())
        raise UsageError(f"all arrays must have the same number of rows (their first axis): {told}.")
    return pa.Table.from_arrays([column for _, column in made], schema=pa.schema([field for field, _ in made]))


def named(stem: str, arrays: Any) -> dict[str, Any]:
    """Arrays by name: a dict's own keys, else `stem` for one array and `stem0`, `stem1`, ... for several."""
    if isinstance(arrays, Mapping):
        found = {str(key): array for key, array in arrays.items()}
    elif isinstance(arrays, tuple | list):
        found = {stem: arrays[0]} if len(arrays) == 1 else {f"{stem}{at}": one for at, one in enumerate(arrays)}
    else:
        found = {stem: arrays}
    for name, array in found.items():
        if not hasattr(array, "__array__"):
            raise UsageError(
                f"'{name}' must be a numpy array. Received: {type(array).__name__}. Convert it with numpy.asarray."
            )
    if not found:
        raise UsageError(f"no arrays for '{stem}'. Received: {arrays!r}")
    return found
