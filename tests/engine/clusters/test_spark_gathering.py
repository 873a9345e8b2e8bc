"""Which way rows take to the ranks, and that partitions stay whole on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from zoo.engine.clusters.spark import gathering
from zoo.engine.clusters.spark.frames import FrameShards
from zoo.engine.clusters.spark.gathering import gathered
from zoo.engine.clusters.spark.tasks import Stage
from zoo.engine.data.arrivals import ROW_BITS
from zoo.engine.data.objects import PART, PLACE


def placed(frame: Any) -> Any:
    return FrameShards(frame, ("id",)).placed()


def reads_itself(spark: Any, frame: Any, world: int = 2, slots: int = 2) -> bool:
    ways = []

    def seated(rows: Any, barrier: bool) -> Any:
        ways.append((rows.rdd.getNumPartitions(), barrier))
        return rows

    gathered(placed(frame), world, slots, seated)
    partitions, barrier = ways[-1]
    assert partitions == world
    return not barrier


def test_ranks_read_the_frames_own_partitions_where_they_can(spark: Any) -> None:
    assert reads_itself(spark, spark.range(0, 100, 1, 7))
    assert reads_itself(spark, spark.range(0, 100, 1, 2), slots=3)
    assert reads_itself(spark, spark.range(0, 100, 1, 3).cache())


@pytest.mark.parametrize(
    ("make", "slots"),
    [
        pytest.param(lambda spark: spark.range(0, 100, 1, 1), 2, id="fewer partitions than ranks"),
        pytest.param(lambda spark: spark.range(0, 100, 1, 9), 4, id="slots to spare"),
        pytest.param(lambda spark: spark.range(100).repartition(7), 2, id="partitions known to Spark alone"),
    ],
)
def test_elsewhere_partitions_are_shuffled(spark: Any, make: Any, slots: int) -> None:
    assert not reads_itself(spark, make(spark), slots=slots)


def test_speculation_would_start_a_rank_twice(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gathering.speculates(spark)
    monkeypatch.setattr(gathering, "speculates", lambda session: True)
    assert not reads_itself(spark, spark.range(0, 100, 1, 7))


@pytest.mark.parametrize("slots", [2, 8])
@pytest.mark.parametrize("cut", ["own", "parts"])
def test_each_row_arrives_once_and_what_belongs_together_stays_together(spark: Any, slots: int, cut: str) -> None:
    def tell(batches: Any) -> Any:
        from pyspark import TaskContext

        for batch in batches:
            ranks = pa.array([TaskContext.get().partitionId()] * batch.num_rows, pa.int32())
            yield pa.RecordBatch.from_arrays(
                [batch.column("_0"), batch.column(cut_by).cast(pa.int64()), ranks], ["id", "by", "rank"]
            )

    cut_by = PLACE if cut == "own" else PART
    frame = placed(spark.range(0, 1000, 1, 7))
    if cut == "parts":
        frame = frame.selectExpr("*", f"cast(_0 % 5 as int) AS {PART}")
    words = "id long, by long, rank int"
    found = gathered(frame, 3, slots, lambda rows, barrier: rows.mapInArrow(tell, words)).toArrow()
    assert sorted(found.column("id").to_pylist()) == list(range(1000))
    by = [value >> ROW_BITS if cut == "own" else value for value in found.column("by").to_pylist()]
    assert len(set(zip(by, found.column("rank").to_pylist(), strict=True))) == len(set(by))


def test_ranks_are_on_their_way_while_spark_is_at_work_on_other_stages(spark: Any, tmp_path: Path) -> None:
    gate = tmp_path / "open"

    def held(batches: Any) -> Any:
        while not gate.exists():
            time.sleep(0.05)
        yield from batches

    frame = spark.range(0, 4, 1, 2).mapInArrow(held, "id long").repartition(2)
    stage = Stage(spark, frame.mapInArrow(lambda batches: iter(()), "nothing int", True))
    until = time.monotonic() + 60
    with stage:
        try:
            while not stage.coming():
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            gate.touch()
    assert not stage.coming()
