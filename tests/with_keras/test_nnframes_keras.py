"""Stages over Keras models on real Spark, on the backend of this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.engine import session
from zoo.engine.errors import DataError, UsageError
from zoo.orca.learn.optimizers import SGD, Adam
from zoo.orca.learn.trigger import EveryEpoch

pytest.importorskip("pyspark")

from pyspark.sql import functions as F

from zoo.pipeline.nnframes import NNClassifier, NNClassifierModel, NNEstimator, NNModel, trusting
from zoo.pipeline.nnframes.criteria import for_keras

ROWS = 40
IMAGE = "origin string, height int, width int, nChannels int, mode int, data binary"


class Criterion:
    """A criterion of BigDL's, as zoo.bigdl.nn.criterion makes them."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments

    @classmethod
    def called(cls, name: str, **arguments: Any) -> Any:
        return type(name, (cls,), {"__module__": "zoo.bigdl.nn.criterion"})(**arguments)


class Centred:
    """What zoo.feature's chains do with an image's struct."""

    def apply(self, value: Any) -> np.ndarray:
        shape = (value["height"], value["width"], value["nChannels"])
        return np.frombuffer(value["data"], np.uint8).reshape(shape).transpose(2, 0, 1).astype("float32") / 255


class Noisy:
    """A random preprocessing: its draws follow from seed, epoch and row."""

    def __init__(self, seed: int = -1, epoch: int = -1) -> None:
        self.seed, self.epoch = seed, epoch

    def seeded(self, seed: int, epoch: int = 0) -> Noisy:
        return Noisy(seed, epoch)

    def apply(self, value: Any) -> np.ndarray:
        return np.asarray(value, np.float32) * 0 + self.epoch


def less(y_true: Any, y_pred: Any) -> Any:
    return -keras.ops.mean(y_pred, -1)


def classifier(outputs: int = 2, activation: str | None = "softmax") -> Any:
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(outputs, activation)])


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    rng = np.random.default_rng(1)
    rows = [(i, [float(a), float(b)], float(a > b) + 1.0) for i, (a, b) in enumerate(rng.normal(size=(ROWS, 2)))]
    return spark.createDataFrame(rows, "id int, features array<float>, label double").coalesce(1).cache()


@pytest.fixture(autouse=True)
def adopted(spark: Any) -> Iterator[None]:
    yield
    session.end()


@pytest.mark.slow
@pytest.mark.timeout(300)  # Keras is imported in Spark's workers here
def test_a_classifier_with_bigdls_criterion_counts_from_one(frame: Any, tmp_path: Path) -> None:
    model = classifier(activation=None)
    before = [np.array(one) for one in model.get_weights()]
    stage = NNClassifier(model, Criterion.called("CrossEntropyCriterion")).setOptimMethod(SGD(1.0)).setMaxEpoch(4)
    fitted = stage.setBatchSize(ROWS).fit(frame)
    theirs, rows = classifier(activation=None), frame.collect()
    theirs.compile(keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.array([row.features for row in rows], "float32"), np.array([row.label - 1 for row in rows])
    theirs.fit(x, y, batch_size=ROWS, epochs=4, verbose=0)
    for one, other in zip(fitted.model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    made = fitted.transform(frame).collect()
    scores = np.asarray(theirs.predict(x, verbose=0))
    assert [row.prediction for row in made] == (scores.argmax(1) + 1).tolist()
    fitted.save(str(tmp_path / "stage"))  # no code in it: needs no trust
    again = NNClassifierModel.load(str(tmp_path / "stage"))
    assert [row.prediction for row in again.transform(frame).collect()] == [row.prediction for row in made]
    with pytest.raises(DataError, match="class numbers 1 .. 2.*Found: 0"):
        stage.fit(frame.withColumn("label", F.col("label") - 1))


def test_images_become_arrays_where_the_rows_are(spark: Any) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    rows = [((f"{i}.png", 4, 4, 3, 16, bytearray(image.tobytes())), float(i % 2)) for i, image in enumerate(pixels)]
    images = spark.createDataFrame(rows, f"image struct<{IMAGE}>, label double").coalesce(1)
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((3, 4, 4)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    stage = NNEstimator(model, "binary_crossentropy", Centred()).setFeaturesCol("image").setMaxEpoch(1)
    fitted = stage.setOptimMethod(SGD(1e-9)).setBatchSize(6).fit(images)
    wanted = keras.ops.convert_to_numpy(model(pixels.transpose(0, 3, 1, 2).astype("float32") / 255))
    made = fitted.transform(images).collect()
    np.testing.assert_allclose([row.prediction for row in made], wanted, atol=1e-5)
    nulls = images.withColumn("image", F.expr("if(label = 0, null, image)"))
    with pytest.raises(DataError, match="column 'image' has 1 null values"):
        stage.fit(nulls)


def test_a_random_preprocessing_draws_for_each_epoch(spark: Any, frame: Any) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    stage = NNEstimator(model, less, Noisy()).setOptimMethod(SGD(1.0))
    fitted = stage.setMaxEpoch(3).setBatchSize(ROWS).fit(frame)
    np.testing.assert_allclose(fitted.model.get_weights()[0], [[3.0], [3.0]], atol=1e-5)  # 0 + 1 + 2


@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5]])
@pytest.mark.parametrize(
    ("name", "activation"), [("ClassNLLCriterion", "log_softmax"), ("CrossEntropyCriterion", None)]
)
def test_bigdls_criteria_have_torchs_values(weights: Any, name: str, activation: str | None) -> None:
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    classes = np.array([1, 2, 3, 3, 2, 1])
    loss = for_keras(Criterion.called(name, weights=weights))
    assert loss.classes and loss.first == 1
    given = keras.ops.log_softmax(scores) if activation else scores
    found = float(loss.function(classes, keras.ops.convert_to_tensor(given)))
    weight = None if weights is None else torch.tensor(weights)
    wanted = torch.nn.functional.cross_entropy(torch.tensor(scores), torch.tensor(classes) - 1, weight)
    assert found == pytest.approx(float(wanted), rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss.function))
    assert float(again(classes, keras.ops.convert_to_tensor(given))) == pytest.approx(found)


def test_criteria_that_keras_does_not_have_are_refused() -> None:
    for criterion, message in (
        (Criterion.called("MarginRankingCriterion"), "has no counterpart for a Keras model"),
        (Criterion.called("MSECriterion", size_average=False), "size_average=False has no counterpart"),
        ("mean_error", "Keras has no loss 'mean_error'"),
        (3, "criterion must be a loss"),
    ):
        with pytest.raises(UsageError, match=message):
            NNEstimator(classifier(), criterion)
    assert for_keras(Criterion.called("MSECriterion")).function == "mean_squared_error"


def test_model_features_and_criterion_that_do_not_fit_are_errors(frame: Any) -> None:
    with pytest.raises(UsageError, match="the model does not take the features of the first row: int64 .1, 1."):
        NNEstimator(classifier(), "mse").setFeaturesCol("id").fit(frame)
    with pytest.raises(UsageError, match="the criterion does not take the model's output"):
        NNEstimator(classifier(3), "binary_crossentropy", label_preprocessing=lambda v: np.zeros(5)).fit(frame)


@keras.saving.register_keras_serializable("test_nnframes_keras")
class Scaled(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2.0


def test_a_layer_of_ones_own_is_read_on_trust_only(spark: Any, frame: Any, tmp_path: Path) -> None:
    place = str(tmp_path / "stage")
    model = keras.Sequential([keras.Input((2,)), Scaled()])
    NNModel(model).save(place)
    with pytest.raises(UsageError, match="holds code .custom_objects"):
        NNModel.load(place)
    with trusting():
        again = NNModel.load(place)
    row = again.transform(frame).first()
    assert row.prediction == pytest.approx([2 * value for value in row.features])


@pytest.mark.parametrize("optimizer", [Adam(0.1), keras.optimizers.Adam(0.1)], ids=["zoo", "keras"])
def test_a_stage_goes_on_from_a_checkpoint(frame: Any, tmp_path: Path, optimizer: Any) -> None:
    def stage(epochs: int) -> NNClassifier:
        made = NNClassifier(classifier(), Criterion.called("ClassNLLCriterion", logProbAsInput=False))
        return made.setOptimMethod(optimizer).setMaxEpoch(epochs).setBatchSize(16)

    stage(2).setCheckpoint(str(tmp_path), EveryEpoch()).fit(frame)
    resumed, whole = stage(4).setResumeFrom(str(tmp_path)).fit(frame), stage(4).fit(frame)
    for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="(?s)resumeFrom=.*memory of Adam.*now Nadam"):
        stage(4).setResumeFrom(str(tmp_path)).setOptimMethod(keras.optimizers.Nadam(0.1)).fit(frame)
    with pytest.raises(UsageError, match="(?s)resumeFrom=.*do not fit the model"):
        NNEstimator(classifier(3), "mse").setOptimMethod(optimizer).setResumeFrom(str(tmp_path)).fit(frame)
