"""Shards that are made from other shards when they are opened.

Owns: laziness for places without a query planner of their own.
Leaves: what the functions do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import pyarrow as pa

from zoo.engine.contracts import Feed, FeedRequest, Mapper, Shards
from zoo.engine.data.feed import RowFeed


@dataclass(frozen=True)
class MappedShards:
    """Each part's rows replaced by `fn`'s.

    Attributes:
        source: the shards that are mapped.
        fn: from the batches of one part to other batches.
        schema: of `fn`'s batches.
    """

    source: Shards
    fn: Mapper
    schema: pa.Schema

    def share(self, index: int, world: int) -> MappedShards:
        """The same over the source's share."""
        return replace(self, source=self.source.share(index, world))

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(part, rows): the function runs once a part."""
        for part, group in groupby(self.source.open(index, world), key=itemgetter(0)):
            for batch in self.fn(batch for _, batch in group):
                yield part, batch

    def peek(self) -> pa.RecordBatch | None:
        """The first rows that there are."""
        return next((batch for _, batch in self.open(0, 1) if batch.num_rows), None)

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        return RowFeed.fill(self.open(request.rank.index, request.rank.world), self.schema, request)


@dataclass(frozen=True)
class ExtendedShards:
    """Rows with more columns.

    Attributes:
        source: the shards that are extended.
        fn: from batches to batches of the new columns, one for one, of the same length.
        added: schema of the new columns.
    """

    source: Shards
    fn: Mapper
    added: pa.Schema

    @property
    def schema(self) -> pa.Schema:
        """The source's columns, then the new ones."""
        return pa.schema([*self.source.schema, *self.added])

    def share(self, index: int, world: int) -> ExtendedShards:
        """The same over the source's share."""
        return replace(self, source=self.source.share(index, world))

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(part, rows): one batch is in flight at a time."""
        waiting: list[tuple[int, pa.RecordBatch]] = []

        def batches() -> Iterator[pa.RecordBatch]:
            for part, batch in self.source.open(index, world):
                waiting.append((part, batch))
                yield batch

        for new in self.fn(batches()):
            part, batch = waiting.pop(0)
            schema = pa.schema([*batch.schema, *self.added])  # a loader's own is known batch by batch
            yield part, pa.RecordBatch.from_arrays([*batch.columns, *new.columns], schema=schema)

    def peek(self) -> pa.RecordBatch | None:
        """The first rows that there are."""
        return next((batch for _, batch in self.open(0, 1) if batch.num_rows), None)

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        return RowFeed.fill(self.open(request.rank.index, request.rank.world), self.schema, request)
