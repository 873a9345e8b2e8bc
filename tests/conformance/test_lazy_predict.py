"""Predictions on a DataFrame are a transformation like any other: lazy, in SQL, in files, in streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.orca.learn.pytorch import Estimator

ROWS, PARTS = 120, 4


class Weighted(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return 2 * a - b


class Two(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, torch.stack([a, b, a * b], dim=1)


@pytest.fixture
def frame(on_spark: Any) -> Any:
    """id, a = id / 8, b = 1 / (id + 1) as double, and a text that the model does not see."""
    return on_spark.range(0, ROWS, 1, PARTS).selectExpr(
        "id", "cast(id / 8 as float) as a", "'row ' || id as text", "1 / (id + 1) as b"
    )


def estimator(model: torch.nn.Module | None = None) -> Any:
    return Estimator.from_torch(model=model or Weighted())


def expected(ids: Any) -> np.ndarray:
    ids = np.asarray(ids, np.float64)
    return 2 * (ids / 8) - 1 / (ids + 1)


def test_no_job_starts_before_the_answer_is_asked_for(frame: Any, jobs: Any) -> None:
    predicted = estimator().predict(frame, feature_cols=["a", "b"])
    assert predicted.columns == ["id", "a", "text", "b", "prediction"]
    assert jobs() == 0
    assert len(predicted.take(3)) == 3
    assert jobs() >= 1


def test_columns_partitions_and_order_stay(frame: Any) -> None:
    from pyspark.sql import functions as F

    placed = frame.withColumn("part", F.spark_partition_id())
    rows = estimator().predict(placed, feature_cols=["a", "b"]).withColumn("after", F.spark_partition_id()).collect()
    assert [row.id for row in rows] == list(range(ROWS))
    assert all(row.part == row.after and row.text == f"row {row.id}" for row in rows)
    np.testing.assert_allclose([row.prediction for row in rows], expected([row.id for row in rows]), atol=1e-5)


def test_predictions_work_in_sql(on_spark: Any, frame: Any) -> None:
    estimator().predict(frame, feature_cols=["a", "b"]).createOrReplaceTempView("scored")
    (row,) = on_spark.sql(
        "select count(*) as n, avg(prediction) as mean from scored where prediction > 5 and id % 2 = 0"
    ).collect()
    on_spark.catalog.dropTempView("scored")
    ids = np.arange(0, ROWS, 2)
    wanted = expected(ids)[expected(ids) > 5]
    assert row.n == len(wanted)
    assert row.mean == pytest.approx(wanted.mean(), abs=1e-5)


def test_several_outputs_have_columns_of_their_own_and_go_to_parquet(on_spark: Any, frame: Any, tmp_path: Path) -> None:
    predicted = estimator(Two()).predict(frame, feature_cols=["a", "b"], output_cols=["sum", "all"])
    predicted.write.parquet(str(tmp_path / "out"))
    rows = on_spark.read.parquet(str(tmp_path / "out")).orderBy("id").collect()
    assert len(rows) == ROWS
    assert rows[8]["sum"] == pytest.approx(1 + 1 / 9)
    assert list(rows[8]["all"]) == pytest.approx([1, 1 / 9, 1 / 9])


def test_predictions_work_in_a_stream(on_spark: Any, frame: Any, tmp_path: Path) -> None:
    frame.write.parquet(str(tmp_path / "in"))
    stream = on_spark.readStream.schema(frame.schema).option("maxFilesPerTrigger", 2).parquet(str(tmp_path / "in"))
    predicted = estimator().predict(stream, feature_cols=["a", "b"])
    assert predicted.isStreaming
    query = (
        predicted.writeStream.format("memory").queryName("predicted_stream")
        .option("checkpointLocation", str(tmp_path / "progress")).trigger(availableNow=True).start()
    )  # fmt: skip
    try:
        assert query.awaitTermination(60)
        rows = on_spark.table("predicted_stream").orderBy("id").collect()
    finally:
        query.stop()
        on_spark.catalog.dropTempView("predicted_stream")
    np.testing.assert_allclose([row.prediction for row in rows], expected(range(ROWS)), atol=1e-5)


def test_empty_partitions_and_no_rows_at_all_give_no_predictions(frame: Any) -> None:
    few = estimator().predict(frame.where("id < 3").repartition(6), feature_cols=["a", "b"])
    assert sorted(row.id for row in few.collect()) == [0, 1, 2]
    none = estimator().predict(frame.where("id < 0"), feature_cols=["a", "b"])
    assert none.collect() == [] and "prediction" in none.columns
