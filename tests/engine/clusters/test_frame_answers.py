"""Predictions on a Spark DataFrame, as Spark's users know them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zoo.engine.clusters.spark.cluster import SparkCluster
from zoo.engine.clusters.spark.faults import in_own_words, told
from zoo.engine.data.adapters import adapt
from zoo.engine.data.columns import describe, from_array, to_arrays
from zoo.engine.errors import DataError, WorkerFailed

OUTPUTS = {
    "number": lambda a: a / 2,
    "vector": lambda a: np.stack([a, -a], 1),
    "whole": lambda a: np.stack([a, -a], 1).astype("i4"),
    "matrix": lambda a: np.stack([a, -a], 1)[:, None, :],
}


def predicted(frame: Any, made: dict[str, str]) -> Any:
    """The frame for a model whose outputs, by column name, are of these kinds."""
    makers = {name: OUTPUTS[kind] for name, kind in made.items()}

    def of(a: np.ndarray) -> list[tuple[pa.Field, pa.Array]]:
        return [from_array(name, make(a.astype("f4"))) for name, make in makers.items()]

    def fn(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_arrays([array for _, array in of(batch.column(0).to_numpy())], schema=schema)

    schema = pa.schema([field for field, _ in of(np.ones(1))])
    adapted = adapt(frame, ["a b"])
    return adapted.give_back(SparkCluster(frame.sparkSession, 1, 2).extend(fn, adapted.shards, schema))


@pytest.fixture
def frame(spark: Any) -> Any:
    return spark.createDataFrame(
        [(i, f"word {i}", -1.0) for i in range(5)], "`a b` long, word string, prediction double"
    )


def test_numbers_vectors_and_matrices(frame: Any) -> None:
    from pyspark.ml.linalg import DenseVector

    got = predicted(frame, {"prediction": "number", "v": "vector", "m": "matrix"})
    assert got.columns == ["a b", "word", "prediction", "v", "m"]  # the older prediction has given way
    assert [got.schema[name].dataType.simpleString() for name in ("prediction", "v", "m")] == [
        "float", "vector", "array<array<float>>",
    ]  # fmt: skip
    rows = sorted(got.collect())
    assert [row["a b"] for row in rows] == [0, 1, 2, 3, 4] and rows[3].word == "word 3"
    assert rows[3].prediction == 1.5 and rows[3].v == DenseVector([3, -3]) and rows[3].m == [[3, -3]]


def test_one_vector(frame: Any) -> None:
    got = predicted(frame, {"prediction": "vector"})
    assert got.columns == frame.columns and got.schema["prediction"].dataType.simpleString() == "vector"


def test_several_outputs_are_one_array_of_vectors(frame: Any) -> None:
    got = predicted(frame, {"prediction_0": "vector", "prediction_1": "number"})
    assert got.columns == frame.columns
    row = got.filter("`a b` = 4").first()
    assert [vector.toArray().tolist() for vector in row.prediction] == [[4, -4], [2]]


def test_several_outputs_with_matrices_stay_apart(frame: Any) -> None:
    got = predicted(frame, {"prediction_0": "vector", "prediction_1": "matrix"})
    assert got.columns == [*frame.columns, "prediction_0", "prediction_1"]


def test_whole_numbers_make_vectors_too(frame: Any) -> None:
    got = predicted(frame, {"v": "whole", "n": "number"}).orderBy("`a b`").collect()
    assert [row.v.toArray().tolist() for row in got[:2]] == [[0, 0], [1, -1]]


def test_vectors_are_sparks_own(frame: Any) -> None:
    from pyspark.ml.feature import VectorAssembler

    got = predicted(frame, {"v": "vector"})
    joined = VectorAssembler(inputCols=["a b", "v"], outputCol="joined").transform(got)
    assert sorted(row.joined.toArray().tolist() for row in joined.collect())[3] == [3, 3, -3]


@pytest.mark.parametrize("by_columns", ["true", "false"])
def test_rows_of_a_parquet_file_with_vectors(frame: Any, tmp_path: Path, by_columns: str) -> None:
    frame.sparkSession.conf.set("spark.sql.execution.arrow.pythonUDF.columnarInput.enabled", by_columns)
    predicted(frame, {"v": "vector"}).write.parquet(str(tmp_path / "vectors"))
    stored = frame.sparkSession.read.parquet(str(tmp_path / "vectors"))
    rows = sorted(predicted(stored, {"prediction": "number"}).collect())
    assert [(row.prediction, row.v.toArray().tolist()) for row in rows[2:4]] == [(1, [2, -2]), (1.5, [3, -3])]


SPARKS = "[PYTHON_EXCEPTION] An exception was thrown from the Python worker:\n"
TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    ^^^\n'


WHERE = "x.py:1 in f: "


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("zoo.engine.errors.DataError: column 'a'\n  has nulls", DataError, "column 'a'\n  has nulls"),
        ("zoo.engine.errors.WorkerFailed: KeyError: 1\n  raised by", WorkerFailed, "KeyError: 1\n  raised by"),
        ("my.errors.DataError: mine", WorkerFailed, f"{WHERE}DataError: mine\nTraceback"),
        (
            "ValueError: two\nlines\n\n\nJVM stacktrace:\nx.y: z",
            WorkerFailed,
            f"{WHERE}ValueError: two\nlines\nTraceback",
        ),
        ("ValueError: no\n SQLSTATE: 38000", WorkerFailed, f"{WHERE}ValueError: no\nTraceback"),
        ("AssertionError", WorkerFailed, f"{WHERE}AssertionError: \nTraceback"),
        (
            "RuntimeError: deep\n\tat org.apache.spark.x(Y.scala)",
            WorkerFailed,
            f"{WHERE}RuntimeError: deep\nTraceback",
        ),
    ],
)
def test_a_workers_error_is_found_in_sparks(text: str, kind: type, wanted: str) -> None:
    chained = f"{SPARKS}{TRACE}OSError: first\n\nThe above exception was the direct cause of:\n\n{TRACE}{text}"
    error = told(chained)
    assert type(error) is kind and str(error).startswith(wanted)


def test_a_package_that_only_this_python_has_names_the_workers_python() -> None:
    lacking = f"{SPARKS}{TRACE}ModuleNotFoundError: No module named"
    assert f"Before Spark starts, set PYSPARK_PYTHON={sys.executable}" in str(told(f"{lacking} 'pyarrow.lib'"))
    for own in ("test_frame_answers", "nowhere", "json"):
        assert "PYSPARK_PYTHON" not in str(told(f"{lacking} '{own}'"))


def test_sparks_own_errors_are_left_alone(spark: Any) -> None:
    from pyspark.errors import AnalysisException

    assert told("no trace here") is None
    with pytest.raises(AnalysisException, match="nowhere"), in_own_words():
        spark.sql("select nothing from nowhere").collect()


def test_times_leave_spark_as_microseconds_whatever_the_zone(spark: Any) -> None:
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
    try:
        frame = spark.sql("SELECT timestamp'1970-01-01 05:30:01' at, timestamp_ntz'1970-01-01 00:00:02' here")
        shards = adapt(frame, ["at", "here"]).shards
        (rows,) = [batch for _, batch in shards.open(0, 1)]
        specs = describe(shards.schema, ["at", "here"])
        assert [array.tolist() for array in to_arrays(rows, specs)] == [[10**6], [2 * 10**6]]
        assert [spec.dtype for spec in specs] == [np.int64, np.int64]
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
