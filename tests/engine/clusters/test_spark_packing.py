"""Rows reach their rank, in order, packed or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.clusters.spark.frames import FrameShards, part_of
from zoo.engine.clusters.spark.packing import RANK, ROWS, _Packing, gathered, loose
from zoo.engine.data.objects import PART, PLACE


def batch_of(places: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"n": pa.array(range(len(places)), pa.int64()), PLACE: pa.array(places, pa.int64())}
    )


@given(st.lists(st.lists(st.integers(0, 2**40), max_size=30), max_size=5), st.integers(1, 5))
def test_packed_rows_come_loose_at_their_rank_and_in_order(batches: list[list[int]], world: int) -> None:
    rows = [batch_of(places) for places in batches]
    arrived: dict[int, list[dict[str, int]]] = {rank: [] for rank in range(world)}
    for packed in _Packing(world)(iter(rows)):
        (rank,) = packed.column(RANK).to_pylist()
        arrived[rank] += [row for batch in loose(iter([packed])) for row in batch.to_pylist()]
    sent = [row | {PART: int(part_of(np.array(row[PLACE])))} for batch in rows for row in batch.to_pylist()]
    assert arrived == {rank: [row for row in sent if row[PART] % world == rank] for rank in range(world)}


def test_a_task_holds_only_some_rows() -> None:
    rows = (batch_of(range(100_000)) for _ in range(10))  # 1.6 MB each
    assert len(list(_Packing(2)(rows))) == 20


def test_the_part_is_the_same_in_spark_and_in_numpy(spark: Any) -> None:
    dealt = FrameShards(spark.range(0, 500, 1, 7), ("id",)).dealt().toArrow()
    assert dealt.column(PART).to_pylist() == part_of(dealt.column(PLACE).to_numpy()).tolist()
    assert len(set(dealt.column(PART).to_pylist())) == 64


@pytest.mark.parametrize(("extra", "packed"), [("id * 0.5D", True), ("array(id)", False), ("string(id)", False)])
def test_narrow_rows_travel_packed(spark: Any, extra: str, packed: bool) -> None:
    dealt = FrameShards(spark.range(100).selectExpr("id", f"{extra} AS x"), ("id", "x")).dealt()
    arriving = gathered(dealt, 2, by_place=True)
    assert (arriving.columns == [RANK, ROWS]) == packed
    assert gathered(dealt, 2, by_place=False).columns == dealt.columns
    assert arriving.rdd.getNumPartitions() == 2


@pytest.mark.parametrize("by_place", [True, False])
def test_each_row_arrives_once_and_parts_stay_whole(spark: Any, by_place: bool) -> None:
    def unpacked(batches: Any) -> Any:
        from pyspark import TaskContext

        for batch in loose(batches):
            ranks = pa.array([TaskContext.get().partitionId()] * batch.num_rows, pa.int32())
            yield pa.RecordBatch.from_arrays([batch.column("_0"), batch.column(PART), ranks], ["id", "part", "rank"])

    dealt = FrameShards(spark.range(0, 1000, 1, 7), ("id",)).dealt()
    found = gathered(dealt, 3, by_place=by_place).mapInArrow(unpacked, "id long, part int, rank int").toArrow()
    assert sorted(found.column("id").to_pylist()) == list(range(1000))
    assert found.column("rank").to_pylist() == [part % 3 for part in found.column("part").to_pylist()]
