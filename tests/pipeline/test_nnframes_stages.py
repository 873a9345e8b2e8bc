"""Stages over torch models on real Spark: training, parameters, pipelines, cross-validation, files, mistakes."""

from __future__ import annotations

import gc
import json
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine import session
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.orca.learn.optimizers import SGD, Adam
from zoo.orca.learn.trigger import EveryEpoch
from zoo.util.triggers import MaxIteration

pytest.importorskip("pyspark")

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import functions as F

from zoo.pipeline.nnframes import NNClassifier, NNClassifierModel, NNEstimator, NNModel, trusting

ROWS = 48


def linear(inputs: int = 2, outputs: int = 1) -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(inputs, outputs)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = linear(3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.cat([left, right.reshape(len(right), -1)], 1))


class Doubled:
    """A preprocessing, as zoo.feature's are called."""

    def apply(self, value: Any) -> np.ndarray:
        return np.asarray(value, np.float32).reshape(-1) * 2


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    rng = np.random.default_rng(0)
    rows = [
        (i, float(a), float(b), [float(a), float(b)], float(2 * a - b), float(a > b), float(a > b) + 1.0, f"row {i}")
        for i, (a, b) in enumerate(rng.normal(size=(ROWS, 2)))
    ]
    names = ["id", "a", "b", "features", "label", "zero", "one", "text"]
    return spark.createDataFrame(rows, names).repartition(2).cache()


@pytest.fixture(autouse=True)
def adopted(spark: Any) -> Iterator[None]:
    """The stages find the program's own session; no context is begun."""
    yield
    session.end()


def regression(**made: Any) -> NNEstimator:
    return NNEstimator(linear(), nn.MSELoss(), **made).setOptimMethod(Adam(0.1)).setMaxEpoch(2).setBatchSize(16)


def predicted(frame: Any, column: str = "prediction") -> dict[int, Any]:
    return {row.id: row[column] for row in frame.select("id", column).collect()}


# --- training and applying -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)  # Spark starts its workers here
def test_fit_trains_a_copy_as_torch_does_and_transform_keeps_all_columns(frame: Any) -> None:
    model = linear()
    stage = NNEstimator(model, nn.MSELoss()).setOptimMethod(SGD(0.1)).setMaxEpoch(3).setBatchSize(ROWS)
    fitted = stage.fit(frame)
    theirs, rows = linear(), frame.collect()
    x = torch.tensor([row.features for row in rows])
    y = torch.tensor([[row.label] for row in rows])
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    for _ in range(3):  # all rows a step: in any order the same
        optimizer.zero_grad()
        nn.functional.mse_loss(theirs(x), y).backward()
        optimizer.step()
    torch.testing.assert_close(fitted.model.weight, theirs.weight, rtol=0, atol=1e-5)
    assert torch.equal(model.weight, linear().weight)
    made = fitted.transform(frame)
    assert made.columns == [*frame.columns, "prediction"]
    assert made.schema == fitted.transformSchema(frame.schema)
    assert made.schema["prediction"].dataType.simpleString() == "array<float>"
    for row in made.collect():
        assert row.prediction == pytest.approx(theirs(torch.tensor(row.features)).tolist(), abs=1e-5)


def test_columns_of_numbers_vectors_and_sizes_become_the_inputs(frame: Any) -> None:
    vector = VectorAssembler(inputCols=["a", "b"], outputCol="vector").transform(frame)
    wanted = predicted(NNModel(linear()).setFeaturesCol("features").transform(frame))
    assert predicted(NNModel(linear()).setFeaturesCol("vector").transform(vector)) == wanted
    assert predicted(NNModel(linear(), [2]).setBatchSize(5).transform(frame)) == wanted
    two = NNModel(TwoInputs()).setFeaturesCol(["a", "features"]).setPredictionCol("two")
    assert predicted(two.transform(frame), "two").keys() == wanted.keys()
    cut = VectorAssembler(inputCols=["a", "b", "id"], outputCol="features").transform(frame.drop("features"))
    split = predicted(NNModel(TwoInputs(), [[1], [2, 1]]).transform(cut))
    row = torch.tensor(cut.where("id = 3").first().features.toArray(), dtype=torch.float32)
    assert split[3] == pytest.approx(TwoInputs().layer(row).tolist(), rel=1e-5)


def test_a_preprocessing_runs_where_the_rows_are(frame: Any) -> None:
    doubled = frame.withColumn("features", F.expr("transform(features, x -> 2 * x)"))
    plain = regression().setBatchSize(ROWS).fit(doubled)
    ours = regression(feature_preprocessing=Doubled(), label_preprocessing=lambda label: np.float32([label]))
    fitted = ours.setBatchSize(ROWS).fit(frame)
    torch.testing.assert_close(fitted.model.weight, plain.model.weight, rtol=0, atol=1e-5)
    wanted = predicted(plain.transform(doubled))
    assert predicted(fitted.transform(frame)) == {row: pytest.approx(one, abs=1e-5) for row, one in wanted.items()}


def test_a_classifier_counts_classes_as_its_criterion_does(frame: Any) -> None:
    stage = NNClassifier(linear(2, 2), nn.CrossEntropyLoss()).setLabelCol("zero").setOptimMethod(Adam(0.1))
    fitted = stage.setMaxEpoch(15).setBatchSize(16).fit(frame)
    rows = fitted.transform(frame).collect()
    assert {type(row.prediction) for row in rows} == {float} and {row.prediction for row in rows} == {0.0, 1.0}
    assert np.mean([row.prediction == row.zero for row in rows]) > 0.9
    raw = NNClassifierModel(fitted.model).transform(frame).collect()
    assert [row.prediction for row in raw] == [row.prediction + 1 for row in rows]
    with pytest.raises(DataError, match="class numbers 0 .. 1.*Found: 2.0"):
        stage.setLabelCol("one").fit(frame)


def test_one_output_has_a_threshold(frame: Any) -> None:
    model = nn.Sequential(linear(), nn.Sigmoid())
    low, high = NNClassifierModel(model).setThreshold(0.0), NNClassifierModel(model).setThreshold(1.0)
    assert set(predicted(low.transform(frame)).values()) == {1.0}
    assert set(predicted(high.transform(frame)).values()) == {0.0}
    fitted = NNClassifier(model, nn.BCELoss()).setLabelCol("zero").setOptimMethod("adam").setLearningRate(0.1)
    rows = fitted.setMaxEpoch(15).setBatchSize(16).fit(frame).transform(frame).collect()
    assert np.mean([row.prediction == row.zero for row in rows]) > 0.9


def test_transform_is_lazy_and_takes_streams(spark: Any, frame: Any, tmp_path: Path) -> None:
    frame.select("id", "features").write.parquet(str(tmp_path / "rows"))
    stream = spark.readStream.schema("id bigint, features array<double>").parquet(str(tmp_path / "rows"))
    made = NNModel(linear()).transform(stream)
    query = made.writeStream.format("memory").queryName("nnframes_stream").trigger(availableNow=True).start()
    assert query.awaitTermination(60)
    assert spark.table("nnframes_stream").count() == ROWS
    spark.catalog.dropTempView("nnframes_stream")


# --- the course of a training ----------------------------------------------------------------------------------------


class Summary:
    def __init__(self, log_dir: str, app_name: str) -> None:
        self.log_dir, self.app_name = log_dir, app_name


def test_setters_are_chained_and_heard(frame: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    summary = Summary(str(tmp_path / "logs"), "app")
    stage = (
        regression().setEndWhen(MaxIteration(4)).setCachingSample(False).setDataCacheLevel("DISK_AND_DRAM", 2)
        .setValidation(EveryEpoch(), frame, ["mae"], 16).setTrainSummary(summary).setValidationSummary(summary)
        .setCheckpoint(str(tmp_path / "checkpoints"), EveryEpoch()).setGradientClippingByL2Norm(0.5)
        .setConstantGradientClipping(-1.0, 1.0)
    )  # fmt: skip
    assert stage.getEndWhen() == MaxIteration(4) and stage.isCachingSample() is False
    assert stage.getDataCacheLevel() == "DISK_AND_DRAM" and stage.getValidation()[1:] == [frame, ["mae"], 16]
    assert stage.getCheckpoint() == [str(tmp_path / "checkpoints"), EveryEpoch(), True]
    assert (stage.getBatchSize(), stage.getMaxEpoch(), stage.getOptimMethod()) == (16, 2, Adam(0.1))
    stage.fit(frame)
    from zoo.engine.events.tensorboard import read_scalars

    steps = [step for step, *_ in read_scalars(summary.log_dir, "app", "train", "Loss")]
    assert max(steps) == 4  # two epochs have six
    assert read_scalars(summary.log_dir, "app", "validation", "MAE")
    assert [*(tmp_path / "checkpoints").glob("*/checkpoint-*/manifest.json")]


def test_the_rate_of_a_parameter_overrules_the_optimizers_own(frame: Any) -> None:
    stage = regression().setOptimMethod(SGD(0.5)).setLearningRate(1e-9)
    assert stage.fit(frame).model.weight.tolist() == [pytest.approx(linear().weight[0].tolist(), abs=1e-6)]
    own = stage.model
    of_torch = stage.setOptimMethod(torch.optim.SGD(own.parameters(), 0.5)).fit(frame)
    assert of_torch.model.weight.tolist() == [pytest.approx(linear().weight[0].tolist(), abs=1e-6)]
    with pytest.raises(UsageError, match="setLearningRateDecay is for optimizers of zoo.orca"):
        stage.setLearningRateDecay(0.1).fit(frame)


# --- Spark ML's own -----------------------------------------------------------------------------------------------


def test_copies_and_params_of_fit_leave_the_stage_as_it_was(frame: Any) -> None:
    stage = regression()
    copied = stage.copy({stage.maxEpoch: 7, stage.predictionCol: "p"})
    assert (copied.getMaxEpoch(), stage.getMaxEpoch(), copied.uid) == (7, 2, stage.uid)
    fitted = stage.fit(frame, {stage.predictionCol: "p", stage.maxEpoch: 1})
    assert fitted.getPredictionCol() == "p" and fitted.uid == stage.uid and stage.getPredictionCol() == "prediction"
    assert "batchSize" in stage.explainParams()
    with pytest.raises(TypeError):
        stage.setMaxEpoch("many")  # type: ignore[arg-type]


def test_a_pipeline_is_fitted_saved_and_read(frame: Any, tmp_path: Path) -> None:
    assembled = VectorAssembler(inputCols=["a", "b"], outputCol="vector")
    scaler = StandardScaler(inputCol="vector", outputCol="scaled", withMean=True)
    stage = regression(feature_preprocessing=[2]).setFeaturesCol("scaled").setEndWhen(MaxIteration(3))
    pipeline = Pipeline().setStages([assembled, scaler, stage])
    fitted = pipeline.fit(frame)
    wanted = predicted(fitted.transform(frame))
    for thing, name in ((fitted, "fitted"), (pipeline, "pipeline")):
        thing.write().overwrite().save(str(tmp_path / name))
    with pytest.raises(UsageError, match="holds code .model"):
        PipelineModel.load(str(tmp_path / "fitted"))
    with trusting():
        again, untrained = PipelineModel.load(str(tmp_path / "fitted")), Pipeline.load(str(tmp_path / "pipeline"))
    assert predicted(again.transform(frame)) == wanted
    read = untrained.getStages()[2]
    assert read.extractParamMap().keys() == stage.extractParamMap().keys()
    assert (read.getOptimMethod(), read.getEndWhen(), read.feature_preprocessing) == (Adam(0.1), MaxIteration(3), [2])
    assert predicted(untrained.fit(frame).transform(frame)) == {
        row: pytest.approx(one, abs=1e-5) for row, one in wanted.items()
    }


def test_cross_validation_begins_each_fit_with_the_same_weights(frame: Any) -> None:
    stage = NNClassifier(linear(2, 2), nn.CrossEntropyLoss()).setLabelCol("zero").setBatchSize(16)
    stage.setOptimMethod(Adam()).setMaxEpoch(12)
    grid = ParamGridBuilder().addGrid(stage.learningRate, [1e-7, 0.1]).build()
    evaluator = MulticlassClassificationEvaluator(labelCol="zero", metricName="accuracy")
    validator = CrossValidator(
        estimator=stage, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, parallelism=1, seed=1
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # pyspark leaves its threads to the garbage collector
        found = validator.fit(frame)
        gc.collect()
    slow, fast = found.avgMetrics
    assert fast > 0.85 > slow
    assert evaluator.evaluate(found.transform(frame)) > 0.85


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_saved_stage_replaces_one_whole_or_not_at_all(spark: Any, frame: Any, tmp_path: Path) -> None:
    place = tmp_path / "stage"
    model = NNClassifierModel(linear(2, 2)).setThreshold(0.25).setFeaturesCol("features")
    model.save(str(place))
    with pytest.raises(UsageError, match="is there already"):
        model.save(str(place))
    broken = linear()
    broken.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="of the stage cannot be saved"):
        NNModel(broken).write().overwrite().save(str(place))
    again = NNClassifierModel.load(str(place), trust=True)
    assert again.getThreshold() == 0.25 and again.uid == model.uid
    assert predicted(again.transform(frame)) == predicted(model.transform(frame))
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]
    with pytest.raises(UsageError, match="holds a NNClassifierModel, not a NNModel"):
        NNModel.load(str(place))


def test_a_stage_of_a_newer_version_is_refused(spark: Any, tmp_path: Path) -> None:
    NNModel(linear()).save(str(tmp_path / "stage"))
    file = tmp_path / "stage" / "metadata" / "part-00000"
    metadata = json.loads(file.read_text())
    metadata["zoo"] |= {"format": 2, "version": "99.0"}
    file.write_text(json.dumps(metadata))
    with pytest.raises(UsageError, match="a newer openzoo .99.0.*format 2"):
        NNModel.load(str(tmp_path / "stage"))
    with pytest.raises(UsageError, match="holds no saved stage"):
        NNModel.load(str(tmp_path))


# --- mistakes, before anything starts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regression().setFeaturesCol("text"), "holds text or bytes"),
        (lambda: regression().setFeaturesCol("featurs"), "(?s)featuresCol=.*Did you mean 'features'"),
        (lambda: regression().setLabelCol("none"), "labelCol="),
        (lambda: regression(feature_preprocessing=[3]), "has 2 values in a row.* need 3"),
        (lambda: regression(feature_preprocessing=[2]).setFeaturesCol("text"), "is for columns of numbers"),
        (lambda: regression().setFeaturesCol("a"), "does not take the features of the first row: float32 .1, 1."),
        (lambda: NNEstimator(linear(), nn.MSELoss(reduction="none")), "one number"),
        (lambda: NNEstimator(nn.Flatten(0), nn.BCELoss()), "output and the label differ in shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error_before_training(frame: Any, make: Any, message: str) -> None:
    with pytest.raises((UsageError, DataError), match=message):
        make().fit(frame)


def test_rows_behind_a_shuffle_are_not_read_for_a_check(frame: Any) -> None:
    from zoo.pipeline.nnframes.training import shuffles

    shuffled = frame.select("zero", "id").join(frame.select("features", "id").hint("merge"), "id")
    assert shuffles(shuffled) and not shuffles(frame) and not shuffles(frame.select("id"))
    stage = NNClassifier(linear(2, 2), nn.CrossEntropyLoss()).setLabelCol("zero").setMaxEpoch(1)
    assert stage.fit(shuffled).transform(shuffled).count() == ROWS
    with pytest.raises(DataError, match="class numbers 0"):
        stage.fit(shuffled.withColumn("zero", F.col("zero") - 1))


def test_transform_needs_its_columns(frame: Any) -> None:
    with pytest.raises(ColumnNotFound, match="featuresCol"):
        NNModel(linear()).transform(frame.drop("features"))
    with pytest.raises(UsageError, match="have a column 'text' already"):
        NNModel(linear()).setPredictionCol("text").transform(frame)
    with pytest.raises(UsageError, match="take a Spark DataFrame"):
        regression().fit(np.zeros((2, 2)))


def test_arguments_of_another_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="model must be a Keras 3 model"):
        NNEstimator("model", nn.MSELoss())
    with pytest.raises(UsageError, match="is no loss of torch"):
        NNEstimator(linear(), "mse")
    for wrong in ({"size": 2}, [0], "text", [[2], 3]):
        with pytest.raises(UsageError, match="feature_preprocessing must be None"):
            NNEstimator(linear(), nn.MSELoss(), wrong)
    with pytest.raises(UsageError, match="cache level must be"):
        regression().setDataCacheLevel("PMEM")
    with pytest.raises(UsageError, match="FeatureLabelPreprocessing"):
        regression().setSamplePreprocessing(Doubled())
    with pytest.raises(UsageError, match="at least 1"):
        regression().setBatchSize(0)
