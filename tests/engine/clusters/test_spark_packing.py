from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.clusters.spark.packing import RANK, ROWS, _Packing, gathered, loose
from zoo.engine.data.objects import PART


def batch_of(parts: list[int], start: int = 0) -> pa.RecordBatch:
    numbers = range(start, start + len(parts))
    return pa.RecordBatch.from_pydict({"n": pa.array(numbers, pa.int64()), PART: pa.array(parts, pa.int32())})


@given(st.lists(st.lists(st.integers(0, 63), max_size=30), max_size=5), st.integers(1, 5))
def test_packed_rows_come_loose_at_their_rank_and_in_order(batches: list[list[int]], world: int) -> None:
    starts = np.cumsum([0, *map(len, batches)])
    rows = [batch_of(parts, start) for parts, start in zip(batches, starts, strict=False)]
    arrived: dict[int, list[dict[str, int]]] = {rank: [] for rank in range(world)}
    for packed in _Packing(world)(iter(rows)):
        (rank,) = packed.column(RANK).to_pylist()
        arrived[rank] += [row for batch in loose(iter([packed])) for row in batch.to_pylist()]
    sent = [row for batch in rows for row in batch.to_pylist()]
    assert arrived == {rank: [row for row in sent if row[PART] % world == rank] for rank in range(world)}


def test_a_task_holds_only_some_megabytes() -> None:
    rows = (batch_of([0, 1] * 100_000) for _ in range(10))  # 2.4 MB each
    assert len(list(_Packing(2)(rows))) >= 8


@pytest.mark.parametrize(
    ("extra", "travels"), [("id * 0.5D", "packed"), ("array(id)", "loose"), ("string(id)", "loose")]
)
def test_narrow_rows_travel_packed(spark: Any, extra: str, travels: str) -> None:
    frame = spark.range(100).selectExpr("id", f"{extra} AS x", f"int(id % 64) AS {PART}")
    arriving = gathered(frame, 2)
    assert (arriving.columns == ["__zoo_rank", ROWS]) == (travels == "packed")
    assert arriving.rdd.getNumPartitions() == 2


def test_a_shuffled_frame_holds_each_row_once(spark: Any) -> None:
    frame = spark.range(0, 1000, 1, 7).selectExpr("id", f"int(id % 64) AS {PART}")

    def unpacked(batches: Any) -> Any:
        for batch in loose(batches):
            yield batch.select(["id"])

    found = gathered(frame, 3).mapInArrow(unpacked, "id long").toArrow()
    assert sorted(found.column("id").to_pylist()) == list(range(1000))
