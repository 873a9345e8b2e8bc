"""A gang of one in this process: for debugging, for machines where one rank is enough, and as the definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.engine.clusters.seat import Here
from zoo.engine.contracts import Mapper, Rank, Shards, Sink, T, Task, Terms
from zoo.engine.data.held import MemoryStore
from zoo.engine.data.mapped import ExtendedShards, MappedShards
from zoo.engine.errors import NotEnoughSlots
from zoo.engine.values import TERMS

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class InlineCluster:
    """Runs everything in the caller's own process.

    Attributes:
        cores: CPU threads of the one rank.
    """

    cores: int = 1
    nodes: int = 1
    slots: int = 1

    def __str__(self) -> str:
        return "this process"

    def gang(
        self, task: Task[T], shards: Mapping[str, Shards], world: int, sink: Sink, terms: Terms = TERMS
    ) -> list[T]:
        """Runs the one rank to its end; its errors are raised as they are. Nothing watches it for stalls."""
        if world != 1:
            raise NotEnoughSlots(f"this process can be one rank only. Received: {world} ranks.")
        return [task(Rank(threads=self.cores), shards, Here(sink))]

    def map(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> Shards:
        """Lazy: the rows are made when they are opened."""
        return MappedShards(shards, fn, schema)

    def extend(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> Shards:
        """Lazy: the columns are made when they are opened."""
        return ExtendedShards(shards, fn, schema)

    @property
    def store(self) -> MemoryStore:
        """Rows are kept in this process."""
        return MemoryStore()

    def close(self) -> None:
        """Nothing was started."""
