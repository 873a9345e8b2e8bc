"""`zoo.orca.data.tf.data.Dataset`: XShards with the words of tf.data."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from zoo.engine.errors import DataError, UsageError, WorkerFailed
from zoo.orca.data import XShards
from zoo.orca.data.tf.data import Dataset
from zoo.orca.learn.tf.estimator import Estimator

X = np.arange(24, dtype="float32").reshape(12, 2)
Y = X.sum(1)


def collected(dataset: Dataset) -> dict[str, np.ndarray]:
    shards = dataset.get_xshards().collect()
    return {key: np.concatenate([shard[key] for shard in shards]) for key in shards[0]}


@pytest.mark.parametrize("data", [(X, Y), [X, Y], {"x": X, "y": Y}])
def test_elements_have_the_form_of_a_shard(inline: None, data: Any) -> None:
    found = collected(Dataset.from_tensor_slices(XShards.partition(data, 3)))
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_array_equal(found["y"], Y)


def test_functions_run_element_by_element_where_the_shards_are(on_spark: Any) -> None:
    def halved(x: Any, y: Any) -> Any:
        import tensorflow as tf

        return tf.math.divide(x, 2.0), y

    made = Dataset.from_tensor_slices(XShards.partition((X, Y), 3)).map(halved).map(lambda x, y: (x + 1, y))
    np.testing.assert_array_equal(collected(made)["x"], X / 2 + 1)


def test_estimators_train_and_predict_on_it(inline: None) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    data = Dataset.from_tensor_slices(XShards.partition((X / 24, Y / 24), 2))
    est = Estimator.from_keras(model)
    losses = [stats["train_loss"] for stats in est.fit(data, epochs=60, batch_size=12)]
    assert losses[-1] < 0.01 < losses[0]
    assert est.evaluate(data)["loss"] == pytest.approx(losses[-1], abs=0.01)
    predicted = np.concatenate([shard["prediction"] for shard in est.predict(data).collect()])
    np.testing.assert_allclose(predicted[:, 0], model.predict(X / 24, verbose=0)[:, 0], atol=1e-5)


def test_mistakes_are_told(inline: None) -> None:
    with pytest.raises(UsageError, match="from_tensor_slices takes XShards. Received: tuple"):
        Dataset.from_tensor_slices((X, Y))  # type: ignore[arg-type]
    shards = XShards.partition((X, Y), 1)
    with pytest.raises(UsageError, match="map takes a function"):
        Dataset.from_tensor_slices(shards).map(3)  # type: ignore[arg-type]

    def ragged(x: Any, y: Any) -> Any:
        import tensorflow as tf

        return tf.zeros([tf.cast(y, tf.int32)]), y

    with pytest.raises((DataError, WorkerFailed), match="must give elements of one shape"):
        Dataset.from_tensor_slices(shards).map(ragged).get_xshards().collect()
