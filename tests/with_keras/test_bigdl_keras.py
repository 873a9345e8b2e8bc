"""`from_bigdl` and `zoo.pipeline.estimator` over Keras models, on each backend."""

import keras
import numpy as np
import pytest
from torch import nn

from zoo.bigdl.nn.criterion import MSECriterion
from zoo.bigdl.optim.optimizer import MAE, SGD, MaxEpoch
from zoo.engine.errors import UsageError
from zoo.orca.learn.bigdl import Estimator
from zoo.pipeline.estimator import Estimator as PipelineEstimator

X = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
Y = X.sum(1, keepdims=True)


def model(shape=(6,)):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(1)])


def test_a_keras_model_trains_on_tensors_of_a_given_size(inline, tmp_path):
    made = model((2, 3))
    est = Estimator.from_bigdl(
        model=made, loss="mse", optimizer=SGD(0.1), metrics=[MAE()], feature_preprocessing=[2, 3],
        model_dir=str(tmp_path / "run"),
    )  # fmt: skip
    est.fit((X, Y), 10, 16, validation_data=(X, Y))
    scores = est.evaluate((X, Y))
    predicted = est.predict(X)
    assert scores["loss"] < 0.01 and np.allclose(predicted, Y, atol=0.3)
    assert scores["MAE"] == pytest.approx(np.abs(predicted - Y).mean(), abs=1e-4)
    assert est.get_model() is made and len(est.get_train_summary("Loss")) == 40
    path = est.save(str(tmp_path / "model.keras"))
    again = Estimator.from_bigdl(model=model((2, 3)), feature_preprocessing=[2, 3]).load(path, SGD(0.1), "mse")
    assert np.allclose(again.predict(X), predicted, atol=1e-5)
    again.load(str(tmp_path / "run"), is_checkpoint=True)
    assert again.evaluate((X, Y))["loss"] == pytest.approx(scores["loss"], abs=1e-5)


def test_a_compiled_model_needs_no_loss(inline):
    made = model()
    made.compile("sgd", "mse")
    est = Estimator.from_bigdl(model=made)
    before = est.evaluate((X, Y))["loss"]
    est.fit((X, Y), 2, 16)
    assert est.evaluate((X, Y))["loss"] < before


@pytest.mark.parametrize("criterion", [MSECriterion(), nn.MSELoss()], ids=lambda one: type(one).__name__)
def test_torch_s_losses_need_torch_s_backend(inline, criterion):
    if keras.backend.backend() != "torch":
        with pytest.raises(UsageError, match="KERAS_BACKEND=torch"):
            Estimator.from_bigdl(model=model(), loss=criterion)
        return
    est = Estimator.from_bigdl(model=model(), loss=criterion, optimizer=SGD(0.1))
    est.fit((X, Y), 10, 16)
    assert est.evaluate((X, Y))["loss"] < 0.01


def test_the_estimator_of_pipelines_on_keras(inline):
    made = model()
    est = PipelineEstimator(made, SGD(0.1))
    est.train((X, Y), "mse", MaxEpoch(10), validation_set=(X, Y), validation_method=[MAE()], batch_size=16)
    assert est.evaluate((X, Y), [MAE()])["MAE"] < 0.2
