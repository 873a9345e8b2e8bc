"""Optimizers of ours mean the same for a graph as for a Keras model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.orca.data import XShards
from zoo.orca.learn import optimizers
from zoo.orca.learn.optimizers.schedule import Poly
from zoo.orca.learn.tf.estimator import Estimator

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
X = np.random.default_rng(3).normal(size=(90, 4)).astype("float32")
Y = X.sum(1)
WORDS: dict[str, Any] = {"epochs": 2, "batch_size": 16, "shuffle": False}

OURS = {
    "sgd": optimizers.SGD(0.05),
    "sgd-momentum": optimizers.SGD(0.05, momentum=0.9),
    "sgd-nesterov-decay": optimizers.SGD(0.05, momentum=0.9, nesterov=True, weightdecay=0.01, learningrate_decay=0.1),
    "sgd-schedule": optimizers.SGD(0.1, learningrate_schedule=Poly(2, 12)),
    "adam": optimizers.Adam(0.05),
    "adagrad": optimizers.Adagrad(0.1),
    "adadelta": optimizers.Adadelta(0.9, 1e-4),
    "adamax": optimizers.Adamax(0.05),
    "rmsprop": optimizers.RMSprop(0.05),
    "ftrl": optimizers.Ftrl(0.5),
}


@pytest.mark.parametrize("name", OURS)
def test_optimizers_of_ours_give_the_numbers_that_they_give_a_keras_model(inline: None, name: str) -> None:
    data = XShards.partition({"x": X, "y": Y}, 1)
    layer = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(0.2))
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(loss="mse", optimizer="sgd")
    Estimator.from_keras(model, optimizer=OURS[name]).fit(data, **WORDS)
    with tf.Graph().as_default():
        x, y = v1.placeholder(tf.float32, [None, 4]), v1.placeholder(tf.float32, [None])
        kernel = v1.get_variable("kernel", [4, 1], initializer=v1.constant_initializer(0.2))
        bias = v1.get_variable("bias", [1], initializer=v1.zeros_initializer())
        loss = tf.reduce_mean(tf.square((x @ kernel)[:, 0] + bias - y))
        est = Estimator.from_graph(inputs=x, labels=y, loss=loss, optimizer=OURS[name])
        est.fit(data, **WORDS)
        found = est.sess.run([kernel, bias])
    np.testing.assert_allclose(found[0], layer.kernel.numpy(), atol=2e-5)
    np.testing.assert_allclose(found[1], layer.bias.numpy(), atol=2e-5)
    assert np.abs(found[0] - 0.2).max() > 1e-3
