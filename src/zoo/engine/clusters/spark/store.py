"""Rows that Spark keeps between operations.

Owns: moving rows to their parts by a shuffle, rows of the driver as DataFrames.
Leaves: keeping them (`FrameShards`: Spark's own cache).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa

from zoo.engine.clusters.spark.frames import FrameShards
from zoo.engine.contracts import Shards
from zoo.engine.data.objects import PART, PLACE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class FrameStore:
    """Keeps rows in the executors' memory, and on their disks where that does not hold them."""

    session: SparkSession

    def hold(self, shards: Shards) -> FrameShards:
        """The same rows, as a DataFrame."""
        return (
            shards if isinstance(shards, FrameShards) else FrameShards(self._frame(shards), tuple(shards.schema.names))
        )

    def regroup(self, pieces: Sequence[Shards], parts: int) -> FrameShards:
        """Lazy: one shuffle, after which each part is a partition."""
        from pyspark.sql import functions as F

        frames = [self._frame(piece) for piece in pieces]
        moved = reduce(lambda one, other: one.unionByName(other), frames).repartitionById(parts, F.col(PART))
        return FrameShards(moved.sortWithinPartitions(PLACE), tuple(moved.columns))

    def _frame(self, piece: Shards) -> DataFrame:
        if isinstance(piece, FrameShards):
            return piece.selected
        rows = pa.Table.from_batches((batch for _, batch in piece.open(0, 1)), piece.schema)
        return self.session.createDataFrame(rows)
