"""A tf.data creator with Python code and no seeds on a real gang: two ranks train on every row once an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from zoo.engine import session
from zoo.engine.clusters.local import LocalCluster
from zoo.orca.learn.tf.estimator import Estimator

ROWS, STEP = 24, 8


def counting(config: dict[str, Any]) -> keras.Model:
    """A model whose weights count rows: each one that is trained on takes 1 / STEP from its own weight."""
    model = keras.Sequential([keras.Input((ROWS,)), layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, output: output)
    return model


def permuted(config: dict[str, Any], batch_size: int) -> Any:
    """NumPy's order of each epoch, and within it tf.data's."""
    import tensorflow as tf

    def rows() -> Iterator[int]:
        yield from np.random.permutation(ROWS).tolist()

    numbers = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec((), tf.int32))
    return numbers.shuffle(5).map(lambda row: (tf.one_hot(row, ROWS), tf.zeros((1,)))).batch(batch_size)


def test_each_row_is_trained_on_once_an_epoch() -> None:
    session.begin(LocalCluster(cores=2))
    try:
        est = Estimator.from_keras(model_creator=counting, workers_per_node=2)
        history = est.fit(permuted, epochs=2, batch_size=STEP)
    finally:
        session.end()
    assert [epoch["num_samples"] for epoch in history] == [ROWS] * 2
    counts = -STEP * est.get_model().get_weights()[0][:, 0]
    assert counts.round(3).tolist() == [2.0] * ROWS
