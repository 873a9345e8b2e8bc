"""`TFNet` where other models fit: in stages of Spark ML, below layers that are trained, in `Estimator`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.bigdl.nn.criterion import MSECriterion
from zoo.engine.errors import UsageError
from zoo.orca.learn.metrics import MSE
from zoo.pipeline.api.keras.layers import Dense, Input
from zoo.pipeline.api.keras.models import Model, Sequential, load_model
from zoo.pipeline.api.net import Net, TFNet
from zoo.pipeline.estimator import Estimator
from zoo.pipeline.nnframes import NNEstimator, NNModel
from zoo.tfpark import TFNet as OfTFPark

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
KERNEL = np.arange(6, dtype=np.float32).reshape(3, 2)
X = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)


@pytest.fixture
def net() -> Any:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        y = tf.tanh(x @ v1.get_variable("kernel", initializer=KERNEL))
        session = v1.Session(graph=graph)
        session.run(v1.global_variables_initializer())
    yield TFNet.from_session(session, x, y)
    session.close()


def test_there_is_one_class() -> None:
    assert TFNet is OfTFPark


def test_arrays_are_computed_here_where_there_is_no_cluster(net: TFNet) -> None:
    np.testing.assert_allclose(net.predict(X, batch_per_thread=7), np.tanh(X @ KERNEL), atol=1e-6)


def test_a_stage_applies_it_and_keeps_it(net: TFNet, on_spark: Any, tmp_path: Path) -> None:
    frame = on_spark.createDataFrame([(row.tolist(),) for row in X], "features array<float>")
    path = str(tmp_path / "stage")
    NNModel(net).save(path)
    assert {one.name for one in (tmp_path / "stage").iterdir()} == {"metadata", "model.graph"}
    for stage in (NNModel(net), NNModel.load(path)):
        found = stage.setBatchSize(16).transform(frame).collect()
        np.testing.assert_allclose([row.prediction for row in found], np.tanh(X @ KERNEL), atol=1e-5)


def test_it_is_not_trained(net: TFNet, inline: None) -> None:
    for train in (
        lambda: NNEstimator(net, MSECriterion()),
        lambda: Estimator(net).train((X, X[:, :2]), MSECriterion()),
    ):
        with pytest.raises(UsageError, match=r"a TFNet only computes.*Sequential\(\).add\(net\)"):
            train()
    assert Estimator(net).evaluate((X, np.tanh(X @ KERNEL)), [MSE()]) == {"MSE": pytest.approx(0, abs=1e-6)}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph is a layer on that backend only")
def test_layers_on_top_of_it_are_trained_and_kept(net: TFNet, inline: None, tmp_path: Path) -> None:
    model = Sequential().add(keras.layers.InputLayer((3,))).add(net).add(Dense(1))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    wanted = np.tanh(X @ KERNEL) @ np.array([[1.0], [-2.0]], np.float32)
    assert model.fit(X, wanted, nb_epoch=40, batch_size=8)[-1]["train_loss"] < 0.01
    assert len(model.get_weights()) == 2
    model.save_model(str(tmp_path / "m.keras"))
    again = load_model(str(tmp_path / "m.keras"))
    np.testing.assert_allclose(again.predict(X, distributed=False), model.predict(X, distributed=False), atol=1e-5)
    with pytest.raises(UsageError, match="takes an input for each of x:0. Received: 2"):
        net([keras.Input((3,)), keras.Input((3,))])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph is a layer on that backend only")
def test_gradients_go_through_it_to_what_lies_before(net: TFNet, inline: None) -> None:
    entry = Input((2,))
    model = Model(entry, net(Dense(3, name="before")(entry)))
    before = model.get_weights()[0].copy()
    model.compile("sgd", "mse")
    model.fit(X[:, :2], X[:, :2], nb_epoch=1)
    assert np.abs(model.get_weights()[0] - before).max() > 1e-4


def test_load_tf_gives_one(net: TFNet, tmp_path: Path) -> None:
    assert isinstance(Net.load_tf(net.save(str(tmp_path / "saved"))), TFNet)
