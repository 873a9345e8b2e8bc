"""Rows that are kept between operations, in the driver's memory.

Owns: the store of clusters without one of their own (`MemoryStore`), rows that are made at most once (`KeptShards`).
Leaves: Spark's store (its room).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from zoo.engine.contracts import Feed, FeedRequest, Shards
from zoo.engine.data.objects import PART, PLACE
from zoo.engine.data.shards import MemoryShards


class MemoryStore:
    """Keeps rows in this process."""

    def hold(self, shards: Shards) -> KeptShards:
        """The same rows; made again at each reading, unless they are kept."""
        return KeptShards(shards)

    def regroup(self, pieces: Sequence[Shards], parts: int) -> Shards:
        """Lazy, unless the rows are here already."""
        moved = RegroupedShards(tuple(pieces), parts)
        return moved.gathered() if all(isinstance(piece, MemoryShards) for piece in pieces) else moved


class KeptShards:
    """Rows that are made when they are read: each time, or the first time only while they are to be kept.

    Attributes:
        source: what makes them.
        kept: whether they stay in memory once they have been made.
    """

    def __init__(self, source: Shards) -> None:
        self.source = source
        self.kept = False
        self._rows: MemoryShards | None = None

    @property
    def schema(self) -> pa.Schema:
        """The source's."""
        return self.source.schema

    def keep(self) -> None:
        """Keeps the rows, from their next reading on."""
        self.kept = True

    def make(self) -> None:
        """Makes the rows; those that are not to be kept are thrown away."""
        for _ in self._now().open(0, 1):
            pass

    def release(self) -> None:
        """Gives the memory back; the rows can be made again."""
        self.kept, self._rows = False, None

    def share(self, index: int, world: int) -> Shards:
        """The share of the rows if they are kept, else of what makes them."""
        return self._now().share(index, world)

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(part, rows)."""
        return self._now().open(index, world)

    def peek(self) -> pa.RecordBatch | None:
        """The first rows; the others are not made for it."""
        return (self._rows or self.source).peek()

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        return self._now().feed(request)

    def _now(self) -> Shards:
        if not self.kept:
            return self.source
        if self._rows is None:
            self._rows = gather(self.source.open(0, 1), self.schema)
        return self._rows


@dataclass(frozen=True)
class RegroupedShards:
    """Rows of several shards where their columns `PART` and `PLACE` say.

    Attributes:
        pieces: whose rows; all have the same schema.
        parts: how many there are.
    """

    pieces: tuple[Shards, ...]
    parts: int

    @property
    def schema(self) -> pa.Schema:
        """The first piece's."""
        return self.pieces[0].schema

    def gathered(self) -> MemoryShards:
        """All rows, in memory; each is a view of where it lay."""
        rows: list[tuple[int, int, pa.RecordBatch]] = []
        for piece in self.pieces:
            for _, batch in piece.open(0, 1):
                found = batch.column(PART).to_pylist(), batch.column(PLACE).to_pylist()
                rows += [(part, place, batch.slice(at, 1)) for at, (part, place) in enumerate(zip(*found, strict=True))]
        rows.sort(key=lambda row: row[:2])
        return gather(((part, batch) for part, _, batch in rows), self.schema, self.parts)

    def share(self, index: int, world: int) -> MemoryShards:
        """The rows of one rank."""
        return self.gathered().share(index, world)

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(part, rows)."""
        return self.gathered().open(index, world)

    def peek(self) -> pa.RecordBatch | None:
        """The first row."""
        return self.gathered().peek()

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        return self.gathered().feed(request)


def gather(rows: Iterable[tuple[int, pa.RecordBatch]], schema: pa.Schema, parts: int = 0) -> MemoryShards:
    """Rows in memory, in the parts that they have.

    Args:
        rows: (part, rows), ordered by part.
        schema: of the rows.
        parts: at least so many parts, the last of which may be empty.
    """
    numbers, batches = [], []
    for part, batch in rows:
        numbers.append(part)
        batches.append(batch)
    sizes = np.bincount(numbers, [len(batch) for batch in batches], parts) if numbers else np.zeros(parts)
    return MemoryShards.cut(pa.Table.from_batches(batches, schema), [int(size) for size in sizes])
