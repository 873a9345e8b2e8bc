"""What fails where Spark computes the rows that ranks read: told as the user's own error, at once, and not retried."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn

from zoo.engine.clusters.spark.faults import of_rows
from zoo.engine.errors import DataError, WorkerFailed
from zoo.orca.data.shard import XShards
from zoo.orca.learn.pytorch import Estimator

SCHEMA = "x double, y double"
OWN = r"test_spark_upstream.py:\d+ in checked: ValueError: bad row 17\n"


@pytest.fixture(autouse=True)
def sent_by_value() -> Iterator[None]:
    """Spark's workers do not have this module."""
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def checked(value: int) -> float:
    if value == 17:
        raise ValueError("bad row 17")
    return float(value)


def checked_slowly(value: int) -> float:
    """So that the ranks are there, and read, before the last row of 4000."""
    time.sleep(0.001)
    return checked(17 if value == 3999 else 0)


def checked_column(values: pd.Series) -> pd.Series:
    return values.map(checked)


def checked_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        made = [checked(value) for value in batch.column(0).to_pylist()]
        yield pa.record_batch({"x": pa.array(made), "y": pa.array([1.0] * len(made))})


def by_udf(spark: Any) -> Any:
    from pyspark.sql import functions as F

    made = F.udf(lambda value: checked(value), "double")("id").alias("x")
    return spark.range(0, 40, 1, 2).select(made, F.lit(1.0).alias("y"))


def by_slow_udf(spark: Any) -> Any:
    from pyspark.sql import functions as F

    made = F.udf(lambda value: checked_slowly(value), "double")("id").alias("x")
    return spark.range(0, 4000, 1, 2).select(made, F.lit(1.0).alias("y"))


def by_pandas_udf(spark: Any) -> Any:
    from pyspark.sql import functions as F

    made = F.pandas_udf(checked_column, "double")("id")
    return spark.range(0, 40, 1, 2).select(made.alias("x"), F.lit(1.0).alias("y"))


def by_batches(spark: Any) -> Any:
    return spark.range(0, 40, 1, 2).mapInArrow(checked_batches, SCHEMA)


def by_rdd(spark: Any) -> Any:
    rows = spark.sparkContext.parallelize(range(40), 2).map(lambda value: (checked(value), 1.0))
    return spark.createDataFrame(rows, SCHEMA)


def fitted(rows: Any, ranks: int, model_dir: Path | None) -> None:
    model = nn.Linear(1, 1)
    estimator = Estimator.from_torch(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.01), loss=nn.MSELoss(),
        workers_per_node=ranks, model_dir=None if model_dir is None else str(model_dir),
    )  # fmt: skip
    columns = {} if isinstance(rows, XShards) else {"feature_cols": "x", "label_cols": "y"}
    estimator.fit(rows, epochs=1, batch_size=4, **columns)


@pytest.mark.parametrize("make", [by_udf, by_slow_udf, by_pandas_udf, by_batches, by_rdd])
@pytest.mark.parametrize(("ranks", "kept"), [(1, True), (2, False)])
def test_a_users_function_is_told(
    on_spark: Any, tmp_path: Path, make: Callable[[Any], Any], ranks: int, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WorkerFailed, match=OWN) as caught:
        fitted(make(on_spark), ranks, tmp_path if kept else None)
    assert type(caught.value) is WorkerFailed and not caught.value.retryable
    assert 'raise ValueError("bad row 17")' in str(caught.value)
    assert "attempt 2" not in caplog.text


def test_a_function_over_shards_is_told(on_spark: Any) -> None:
    def prepared(shard: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(f"bad shard of {len(shard['y'])} rows")

    shards = XShards.partition({"x": torch.ones(8, 1).numpy(), "y": torch.ones(8, 1).numpy()}, 2)
    with pytest.raises(WorkerFailed, match=r"^ValueError: bad shard of 4 rows\n.*given to transform_shard"):
        fitted(shards.transform_shard(prepared), 2, None)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_expression_that_a_row_does_not_suit_is_an_error_of_the_data(
    on_spark: Any, tmp_path: Path, ranks: int
) -> None:
    rows = on_spark.range(0, 40, 1, 2).selectExpr("cast(if(id = 17, 'seventeen', '1') as double) x", "1.0d y")
    with pytest.raises(DataError, match=r"^Spark could not compute the rows: \[CAST_INVALID_INPUT\] .*'seventeen'"):
        fitted(rows, ranks, tmp_path)


TRACE = "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    "text",
    [
        "Job aborted: ExecutorLostFailure (executor 1 exited caused by one of the running tasks) SQLSTATE: XX000",
        "ShuffleMapStage 3 has failed the maximum allowable number of times: 4. MetadataFetchFailedException",
        "Python worker exited unexpectedly (crashed)",
        "[CANNOT_READ_FILE] it has gone SQLSTATE: KD001",
        TRACE + '  File "/x/site-packages/pyspark/worker.py", line 9, in main\nEOFError\n\n\tat org.apache',
        TRACE + '  File "/x/site-packages/pyspark/worker.py", line 9, in main\nBrokenPipeError: [Errno 32] Broken\n',
        TRACE + '  File "/x/site-packages/zoo/engine/clusters/spark/cluster.py", line 9, in seat\nValueError: x\n',
    ],
)
def test_what_may_go_well_another_time_is_no_error_of_the_rows(text: str) -> None:
    assert of_rows(text) is None


def test_errors_without_a_line_of_the_users_are_told_all_the_same() -> None:
    found = of_rows(TRACE + '  File "/x/site-packages/pyspark/worker.py", line 9, in main\nValueError: no number: a\n')
    assert type(found) is WorkerFailed and str(found).startswith("ValueError: no number: a\n")
    own = of_rows(TRACE + '  File "/home/ann/rows.py", line 3, in row\nConnectionError: the shop is closed\n')
    assert str(own).startswith("/home/ann/rows.py:3 in row: ConnectionError: the shop is closed\n")
