"""What a user of the stages gets wrong, and hears of before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import nn

from zoo.engine import session
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.orca.learn.metrics import Accuracy
from zoo.orca.learn.trigger import EveryEpoch
from zoo.pipeline.nnframes.labels import ClassNumbers
from zoo.pipeline.nnframes.training import Classes, Flat
from zoo.util.triggers import MaxEpoch, MaxScore

pytest.importorskip("pyspark")

from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField, StructType

from zoo.pipeline.nnframes import NNClassifier, NNEstimator, NNModel


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    rows = [([float(i), 1.0], [i, 1], float(i % 2), f"row {i}") for i in range(8)]
    return spark.createDataFrame(rows, ["features", "whole", "label", "text"]).coalesce(1).cache()


@pytest.fixture(autouse=True)
def adopted(request: pytest.FixtureRequest) -> Iterator[None]:
    """The stages find the program's own session; no context is begun."""
    yield
    session.end()


def stage(model: nn.Module | None = None, criterion: Any = None) -> NNEstimator:
    return NNEstimator(model or nn.Linear(2, 1), criterion or nn.MSELoss()).setMaxEpoch(1)


def classifier() -> NNClassifier:
    return NNClassifier(nn.Linear(2, 2), nn.CrossEntropyLoss())


@pytest.mark.parametrize(
    "name", ["batchSize", "maxEpoch", "featuresCol", "labelCol", "predictionCol", "cachingSample", "optimMethod"]
)
def test_none_is_no_value_of_a_parameter(spark: Any, name: str) -> None:
    made = stage()
    with pytest.raises(UsageError, match=f"{name} must have a value"):
        getattr(made, f"set{name[0].upper()}{name[1:]}")(None)
    with pytest.raises(UsageError, match=f"{name} must have a value"):
        made.copy({made.getParam(name): None})


def test_a_rate_of_none_is_the_optimizers_own(spark: Any) -> None:
    made = stage().setLearningRate(0.5).setLearningRateDecay(0.1)
    made.setLearningRate(None).setLearningRateDecay(None)
    assert (made.getLearningRate(), made.getLearningRateDecay()) == (None, None)
    assert not made.isSet(made.learningRate)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda made, frame: made.setEndWhen("x"), "not a trigger: 'x'"),
        (lambda made, frame: made.setEndWhen(MaxEpoch), "write MaxEpoch"),
        (lambda made, frame: made.setCheckpoint(3, EveryEpoch()), "path or URL of a directory. Received: 3"),
        (lambda made, frame: made.setCheckpoint("", EveryEpoch()), "path or URL of a directory. Received: ''"),
        (lambda made, frame: made.setCheckpoint("somewhere", "x"), "not a trigger"),
        (lambda made, frame: made.setValidation("x", frame, ["mae"], 4), "not a trigger"),
        (lambda made, frame: made.setValidation(EveryEpoch(), pd.DataFrame(), ["mae"]), "Received: pandas"),
        (lambda made, frame: made.setValidation(EveryEpoch(), frame, None), "must be a metric or a list"),
        (lambda made, frame: made.setValidation(EveryEpoch(), frame, ["mae"], "x"), "batch_size must be a whole"),
        (lambda made, frame: made.setDataCacheLevel("DISK_AND_DRAM", True), "numSlice must be a whole number"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_the_setter(frame: Any, call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(stage(), frame)


def test_a_criterion_that_was_not_made_is_refused() -> None:
    with pytest.raises(UsageError, match=r"write MSELoss\(\.\.\.\)"):
        NNEstimator(nn.Linear(2, 1), nn.MSELoss)


def test_a_score_that_nothing_measures_cannot_end_a_training(frame: Any) -> None:
    endless = NNEstimator(nn.Linear(2, 1), nn.MSELoss()).setEndWhen(MaxScore(0.9))
    with pytest.raises(UsageError, match="waits for a validation score, and nothing is validated"):
        endless.fit(frame)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stage().setPredictionCol("text"), "have a column 'text' already"),
        (lambda: stage().setFeaturesCol("FEATURES"), "Did you mean 'features'"),
        (lambda: stage().setFeaturesCol("whole"), "Whole numbers stay int64.*cast to 'float'"),
        (
            lambda: NNEstimator(nn.Linear(2, 1), nn.MSELoss(), lambda row: {"mat": row}),
            "must end with an array.*end the chain with ImageMatToTensor",
        ),
        (lambda: stage().setLabelCol("text"), "holds text or bytes.*StringIndexer"),
        (lambda: classifier().setLabelCol("text"), "holds text or bytes.*StringIndexer"),
        (lambda: stage(nn.Linear(2, 3)), r"differ in shape. Output: float32 \(1, 3\)"),
        (lambda: stage().setLabelCol(["label", "whole"]), r"(?s)tuple of the 2 labels.*F.array\('label', 'whole'\)"),
        (lambda: classifier().setLabelCol("features"), r"NNEstimator a label_preprocessing, e.g. \[2\]"),
    ],
)
def test_what_does_not_fit_is_told_with_its_remedy(frame: Any, make: Any, message: str) -> None:
    with pytest.raises((UsageError, DataError), match=message):
        make().fit(frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop("label"), "no column 'label'"),
        (lambda frame: frame.limit(0), "has no rows"),
        (
            lambda frame: frame.withColumn("features", F.array(F.lit(1.0))),
            r"does not take the features.*float32 \(1, 1\)",
        ),
        (lambda frame: frame.withColumn("label", F.lit(7.0)), "class numbers 0 .. 1.*Found: 7.0"),
    ],
)
def test_a_validation_that_does_not_fit_is_told_before_training(
    frame: Any, jobs: Any, change: Any, message: str
) -> None:
    before = jobs()
    validated = classifier().setValidation(EveryEpoch(), change(frame), [Accuracy()])
    with pytest.raises(UsageError, match=f"(?s)of setValidation does not fit: .*{message}"):
        validated.fit(frame)
    assert jobs() - before <= 2  # the first row of each


def test_a_null_among_vectors_names_its_column(spark: Any) -> None:
    rows = [(None if i == 5 else Vectors.dense([float(i), 1.0]), 1.0) for i in range(8)]
    vectors = spark.createDataFrame(
        rows, StructType([StructField("v", VectorUDT()), StructField("label", DoubleType())])
    )
    with pytest.raises(DataError, match="column 'v' has 1 null values"):
        stage().setFeaturesCol("v").fit(vectors)
    with pytest.raises(Exception, match="column 'v' has 1 null values"):
        NNModel(nn.Linear(2, 1)).setFeaturesCol("v").transform(vectors).collect()


def test_a_preprocessing_that_fails_is_told_with_its_value(frame: Any) -> None:
    def fails(row: Any) -> Any:
        raise KeyError("of the user")

    with pytest.raises(KeyError) as caught:
        NNEstimator(nn.Linear(2, 1), nn.MSELoss(), fails).fit(frame)
    (note,) = caught.value.__notes__
    assert note.startswith("The transform of column 'features' was given array([0., 1.]")
    with pytest.raises(Exception, match=r"transform of column 'features' was given array\(\[0., 1.\]"):
        NNModel(nn.Linear(2, 1), fails).transform(frame).collect()


def test_columns_of_one_name_are_an_error_of_ours(frame: Any) -> None:
    twice = frame.select("features", "label", F.col("text").alias("label"))
    with pytest.raises(UsageError, match="several columns named 'label'"):
        stage().fit(twice)


def test_streams_and_strange_frames_are_refused(spark: Any) -> None:
    stream = spark.readStream.format("rate").load().selectExpr("array(1f, 2f) features", "1f label")
    with pytest.raises(UsageError, match="cannot be fitted to a stream"):
        stage().fit(stream)
    with pytest.raises(UsageError, match=r"Received: pandas\.core\.frame\.DataFrame"):
        NNModel(nn.Linear(2, 1)).transform(pd.DataFrame({"features": [1.0]}))


@pytest.mark.parametrize(
    ("first", "wrong", "remedy"),
    [
        (0, [0, 2], r"Found: 2\.0\. Classes that count from 1 need - 1\.$"),
        (0, [0, 7], r"Found: 7\.0\.$"),
        (1, [0, 2], r"Found: 0\.0\. Classes that count from 0 need \+ 1\.$"),
        (1, [1, 1.5], r"Found: 1\.5\.$"),
        (0, [0, np.nan], r"Found: nan\. Drop such rows"),
    ],
)
def test_class_numbers_that_are_wrong_name_what_they_look_like(first: int, wrong: list[float], remedy: str) -> None:
    with pytest.raises(DataError, match=remedy):
        ClassNumbers("label", first, 2)(np.array(wrong, np.float32))


@pytest.mark.parametrize("shape", [(0,), (0, 1)])
def test_a_rank_without_rows_in_a_step_has_no_class_numbers(shape: tuple[int, ...]) -> None:
    made = ClassNumbers("label", 0, 2)(np.empty(shape, np.float32))
    assert made.shape == (0,) and made.dtype == np.int64


def test_a_stream_without_rows_has_predictions_of_no_rows() -> None:
    outputs = (np.empty((0, 3), np.float32),)
    assert Flat()(outputs)[0].shape == (0, 3) and Classes()(outputs)[0].shape == (0,)


def test_a_name_in_other_letters_is_the_nearest() -> None:
    assert "Did you mean 'Age'" in str(ColumnNotFound.among(["AGE"], ["aged", "Age"]))
