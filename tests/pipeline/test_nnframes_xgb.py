"""XGBoost's stages under Analytics Zoo's names, on real Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.engine.errors import UsageError

xgb = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    rng = np.random.default_rng(0)
    rows = [([float(a), float(b)], float(a > b), float(a - b)) for a, b in rng.normal(size=(60, 2))]
    made = spark.createDataFrame(rows, ["array", "label", "target"])
    return made.withColumn("features", array_to_vector(F.col("array"))).repartition(1).cache()


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_trains_is_saved_in_a_pipeline_and_read_from_a_booster(frame: Any, tmp_path: Path) -> None:
    from pyspark.ml import Pipeline, PipelineModel

    from zoo.pipeline.nnframes import XGBClassifier, XGBClassifierModel

    stage = XGBClassifier({"eta": 0.3, "max_depth": 3, "nthread": 2}).setNumRound(8).setNumWorkers(1).setMissing(-99.0)
    assert stage.getOrDefault("learning_rate") == 0.3 and stage.getOrDefault("n_estimators") == 8
    model = Pipeline(stages=[stage]).fit(frame)
    wanted = [row.prediction for row in model.transform(frame).collect()]
    assert np.mean([made == row.label for made, row in zip(wanted, frame.collect(), strict=True)]) > 0.9
    model.write().overwrite().save(str(tmp_path / "pipeline"))
    again = PipelineModel.load(str(tmp_path / "pipeline"))
    assert type(again.stages[0]) is XGBClassifierModel
    assert [row.prediction for row in again.transform(frame).collect()] == wanted
    booster = str(tmp_path / "booster.json")
    model.stages[0].get_booster().save_model(booster)
    loaded = XGBClassifierModel.loadModel(booster, 2).setFeaturesCol("features").setPredictionCol("found")
    assert [row.found for row in loaded.transform(frame).collect()] == wanted
    with pytest.raises(UsageError, match="tells 2 classes"):
        XGBClassifierModel.loadModel(booster, 3)


@pytest.mark.filterwarnings("ignore")
def test_a_regressor_trains_and_is_saved(frame: Any, tmp_path: Path) -> None:
    from zoo.pipeline.nnframes import XGBRegressor, XGBRegressorModel

    model = XGBRegressor({"num_round": 10}).setLabelCol("target").fit(frame)
    wanted = [row.prediction for row in model.transform(frame).collect()]
    targets = [row.target for row in frame.collect()]
    assert np.mean(np.square(np.subtract(wanted, targets))) < 0.5 * np.var(targets)
    model.save(str(tmp_path / "stage"))
    again = XGBRegressorModel.load(str(tmp_path / "stage")).setInferBatchSize(16)
    assert [row.prediction for row in again.transform(frame).collect()] == wanted


def test_what_xgboost_does_not_take_is_an_error(spark: Any, tmp_path: Path) -> None:
    from zoo.pipeline.nnframes import XGBClassifier, XGBRegressorModel

    with pytest.raises(UsageError, match="enable_categorical"):
        XGBClassifier({"enable_categorical": True})
    (tmp_path / "text.json").write_text("no booster")
    with pytest.raises(UsageError, match="is no model of XGBoost"):
        XGBRegressorModel.load(str(tmp_path / "text.json"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda stage: stage({"etaa": 0.3}), "no parameter 'etaa'. Did you mean 'eta'"),
        (lambda stage: stage({"colsample_by_tree": 0.3}), "Did you mean 'colsample_bytree'"),
        (lambda stage: stage().setNumRound(-1), "at least 1. Received: -1"),
        (lambda stage: stage().setNumWorkers(0), "at least 1. Received: 0"),
    ],
)
def test_words_that_xgboost_would_leave_out_are_refused(spark: Any, make: Any, message: str) -> None:
    from zoo.pipeline.nnframes import XGBRegressor

    with pytest.raises(UsageError, match=message):
        make(XGBRegressor)
    assert XGBRegressor({"one_drop": 1, "booster": "dart", "rate_drop": 0.1, "nThread": 2, "lambda": 1.0}) is not None
