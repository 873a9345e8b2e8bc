"""A compiled Keras model in TFPark's words: here, on the cluster, on a `TFDataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

from zoo.engine.errors import UsageError
from zoo.engine.triggers import MaxEpoch
from zoo.orca.learn import optimizers
from zoo.orca.learn.rows import LocalRows
from zoo.tfpark import KerasModel, TFDataset, TFOptimizer

pytestmark = pytest.mark.tensorflow
ROWS, BATCH = 40, 8
RNG = np.random.default_rng(11)
X = RNG.normal(size=(ROWS, 3)).astype("float32")
Y = (X.sum(1, keepdims=True) - 0.5).astype("float32")


def regression(rate: float = 0.1) -> keras.Model:
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"])
    return model


def by_keras(epochs: int = 1, batch: int = BATCH) -> list[np.ndarray]:
    """The weights that Keras itself gets from the rows in their order."""
    model = regression()
    model.fit(X, Y, batch, epochs, shuffle=False, verbose=0)
    weights: list[np.ndarray] = model.get_weights()
    return weights


def same(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def arrays(**words: Any) -> TFDataset:
    return TFDataset.from_ndarrays((X, Y), **words)


# --- training --------------------------------------------------------------------------------------------------------


def test_fit_is_keras_own_where_it_is_not_distributed() -> None:
    model = KerasModel(regression())
    history = model.fit(X, Y, BATCH, 2, shuffle=False, verbose=0, validation_data=(X[:5], Y[:5]))
    same(model.get_weights(), by_keras(2))
    assert len(history.history["val_mae"]) == 2


def test_fit_on_the_cluster_is_keras_fit(on_spark: Any) -> None:
    for ranks in (1, 2):
        model = KerasModel(regression(), workers_per_node=ranks)
        first, second = model.fit(X, Y, BATCH, 2, (X[:6], Y[:6]), distributed=True, shuffle=False)
        same(model.get_weights(), by_keras(2))
        assert first["num_samples"] == second["num_samples"] == ROWS
        expected = model.model.evaluate(X[:6], Y[:6], verbose=0, return_dict=True)
        assert second["val_loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert second["val_mae"] == pytest.approx(expected["mae"], abs=1e-5)


@pytest.mark.parametrize("kind", ["arrays", "pipeline", "pandas"])
def test_a_data_set_trains_on_the_cluster(inline: None, kind: str) -> None:
    words: dict[str, Any] = {"batch_size": BATCH, "shuffle": False}
    dataset = {
        "arrays": lambda: arrays(val_tensors=(X[:6], Y[:6]), **words),
        "pipeline": lambda: TFDataset.from_tf_data_dataset(
            tf.data.Dataset.from_tensor_slices((X, Y)),
            validation_dataset=tf.data.Dataset.from_tensor_slices((X[:6], Y[:6])),
            **words,
        ),
        "pandas": lambda: TFDataset.from_dataframe(
            pd.DataFrame({"x": list(X), "y": Y[:, 0]}),
            "x",
            "y",
            validation_df=pd.DataFrame({"x": list(X[:6]), "y": Y[:6, 0]}),
            **words,
        ),
    }[kind]()
    model = KerasModel(regression())
    (epoch,) = model.fit(dataset)
    same(model.get_weights(), by_keras())
    assert epoch["val_mae"] == pytest.approx(model.evaluate(X[:6], Y[:6])["mae"], abs=1e-5)
    if kind != "pandas":
        (again,) = model.fit(dataset, validation_data=arrays(batch_size=BATCH) if kind == "arrays" else (X, Y))
        same(model.get_weights(), by_keras(2))
        assert again["val_mae"] == pytest.approx(model.evaluate(X, Y)["mae"], abs=1e-5)
    with pytest.raises(UsageError, match="validation data have other parts than the data"):
        model.fit(dataset, validation_data=({"z": X}, Y))


def test_an_rdd_trains_on_two_ranks(on_spark: Any) -> None:
    rdd = on_spark.sparkContext.parallelize(list(zip(X, Y, strict=True)), 2)
    dataset = TFDataset.from_rdd(rdd, (tf.float32, [3]), (tf.float32, [1]), batch_size=ROWS)
    model = KerasModel(regression(), workers_per_node=2)
    model.fit(dataset, epochs=2)
    same(model.get_weights(), by_keras(2, ROWS))


def test_data_that_never_end_have_epochs_of_so_many_steps(inline: None) -> None:
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).repeat()
    dataset = TFDataset.from_tf_data_dataset(endless, remove_checking=True, batch_size=BATCH)
    (epoch,) = KerasModel(regression()).fit(dataset, steps_per_epoch=3)
    assert epoch["batch_count"] == 3
    (epoch,) = KerasModel(regression()).fit(dataset, max_steps=7)
    assert epoch["batch_count"] == 7


def test_names_of_inputs_and_targets_find_the_models(inline: None) -> None:
    def made() -> keras.Model:
        keras.utils.set_random_seed(3)
        given = [keras.Input((1,), name="b"), keras.Input((2,), name="a")]
        joined = layers.Concatenate()(given)
        outputs = {"one": layers.Dense(1, name="one")(joined), "two": layers.Dense(1, name="two")(joined)}
        model = keras.Model({"b": given[0], "a": given[1]}, outputs)
        model.compile("sgd", loss={"one": "mse", "two": "mae"})
        return model

    features, targets = {"a": X[:, :2], "b": X[:, 2:]}, {"two": Y, "one": -Y}
    dataset = TFDataset.from_ndarrays((features, targets), batch_size=BATCH, shuffle=False)
    with pytest.raises(UsageError, match=r"all model_input names should exist in data: expected \['b', 'a'\].*'c'"):
        KerasModel(made()).fit(TFDataset.from_ndarrays(({"a": X, "c": X}, targets), batch_size=BATCH))
    model, reference = KerasModel(made()), made()
    model.fit(dataset)
    reference.fit(features, targets, BATCH, shuffle=False, verbose=0)
    same(model.get_weights(), reference.get_weights())
    other = KerasModel(made())
    other.fit(features, targets, BATCH, distributed=True, shuffle=False)
    same(other.get_weights(), reference.get_weights())
    for found in (other.predict(features, distributed=True), other.predict(features)):
        expected = reference.predict(features, verbose=0)
        found = found if isinstance(found, dict) else dict(zip(expected, found, strict=True))
        same([found["one"], found["two"]], [expected["one"], expected["two"]])


def test_another_optimizer_trains_on_the_cluster(inline: None) -> None:
    model = KerasModel(regression(rate=5.0), optimizer=optimizers.SGD(0.1))
    model.fit(arrays(batch_size=BATCH, shuffle=False))
    same(model.get_weights(), by_keras())


def test_checkpoints_go_to_the_model_dir(inline: None, tmp_path: Path) -> None:
    model = KerasModel(regression(), str(tmp_path))
    model.fit(arrays(batch_size=BATCH, shuffle=False))
    optimizer = TFOptimizer.from_keras(regression(), arrays(batch_size=BATCH, shuffle=False))
    optimizer.load_checkpoint(str(tmp_path))
    optimizer.optimize(MaxEpoch(2))
    model.fit(arrays(batch_size=BATCH, shuffle=False))
    same(optimizer._estimator.get_model().get_weights(), model.get_weights())


def test_an_optimizer_trains_a_keras_model(inline: None) -> None:
    model = regression()
    TFOptimizer.from_keras(model, arrays(batch_size=BATCH, shuffle=False)).optimize()
    same(model.get_weights(), by_keras())


# --- the rules of batches --------------------------------------------------------------------------------------------


def test_a_data_set_says_its_batch() -> None:
    model = KerasModel(regression())
    with pytest.raises(
        ValueError, match="^The batch_size of TFDataset must be specified when used in KerasModel fit.$"
    ):
        model.fit(arrays(batch_per_thread=4))
    for what in ("evaluate", "predict"):
        told = f"^The batch_per_thread of TFDataset must be specified when used in KerasModel {what}.$"
        with pytest.raises(ValueError, match=told):
            getattr(model, what)(arrays(batch_size=4))


def test_what_a_data_set_says_is_not_said_again() -> None:
    model, training, scoring = KerasModel(regression()), arrays(batch_size=BATCH), arrays(batch_per_thread=4)
    with pytest.raises(UsageError, match="has its own labels: leave y out of KerasModel fit.*ndarray"):
        model.fit(training, Y)
    with pytest.raises(UsageError, match="has its own batch_size, 8: leave it out of KerasModel fit. Received: 16"):
        model.fit(training, batch_size=16)
    with pytest.raises(UsageError, match="has its own labels: leave y out of KerasModel evaluate"):
        model.evaluate(scoring, Y)
    with pytest.raises(UsageError, match="has its own batch_per_thread, 4.*KerasModel predict. Received: 5"):
        model.predict(scoring, 5)


def test_data_and_models_that_do_not_fit_are_told(inline: None) -> None:
    model = KerasModel(regression())
    with pytest.raises(ValueError, match=r"model_input number does not match data number: .* takes 1 .* 2 \(x0, x1\)"):
        model.fit(TFDataset.from_ndarrays(([X, X], Y), batch_size=BATCH))
    with pytest.raises(ValueError, match=r"model_target number does not match data number: .* 1 output.* 0 label"):
        model.fit(TFDataset.from_ndarrays(X, batch_size=BATCH))
    uncompiled = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    with pytest.raises(UsageError, match="compile"):
        KerasModel(uncompiled).fit(arrays(batch_size=BATCH))
    with pytest.raises(UsageError, match="wraps a compiled keras.Model.*load_model.*Received: 'model.keras'"):
        KerasModel("model.keras")


# --- scoring and predicting ------------------------------------------------------------------------------------------


def test_evaluate_tells_the_compiled_metrics_by_name(on_spark: Any) -> None:
    model = KerasModel(regression())
    expected = model.model.evaluate(X, Y, verbose=0, return_dict=True)
    told = {"loss": pytest.approx(expected["loss"], abs=1e-5), "mae": pytest.approx(expected["mae"], abs=1e-5)}
    assert model.evaluate(X, Y, 7) == told
    assert model.evaluate(X, Y, 7, distributed=True) == told
    assert model.evaluate(arrays(batch_per_thread=7)) == told


def test_predictions_are_arrays_for_arrays_and_an_rdd_for_a_data_set(on_spark: Any) -> None:
    model = KerasModel(regression())
    expected = model.model.predict(X, verbose=0)
    same([model.predict(X, 7), model.predict(X, distributed=True)], [expected] * 2)
    for dataset in (
        arrays(batch_per_thread=7),
        TFDataset.from_rdd(on_spark.sparkContext.parallelize(list(X), 3), (tf.float32, [3]), batch_per_thread=7),
    ):
        found = model.predict(dataset)
        assert hasattr(found, "mapPartitions")
        same(found.collect(), expected)


def test_predictions_without_spark_are_local_rows(inline: None) -> None:
    model = KerasModel(regression())
    found = model.predict(arrays(batch_per_thread=7))
    assert isinstance(found, LocalRows)
    same(found.collect(), model.predict(X))


# --- batches, weights, files -----------------------------------------------------------------------------------------


def test_single_batches_are_keras_own() -> None:
    model, reference = KerasModel(regression()), regression()
    assert model.train_on_batch(X, Y) == pytest.approx(reference.train_on_batch(X, Y))
    told = model.train_on_batch(X, Y, return_dict=True)
    assert set(told) == {"loss", "mae"}
    reference.train_on_batch(X, Y)
    same(model.get_weights(), reference.get_weights())
    assert model.test_on_batch(X, Y, return_dict=True) == pytest.approx(reference.test_on_batch(X, Y, return_dict=True))
    same([model.predict_on_batch(X)], [reference.predict_on_batch(X)])


def test_metrics_have_the_names_that_evaluate_tells() -> None:
    model = KerasModel(regression())
    assert model.metrics_names == ["loss", "mae"] == list(model.evaluate(X, Y))
    model.model.compile(
        "sgd", "mse", metrics=[keras.metrics.RootMeanSquaredError(name="rmse"), keras.metrics.mean_absolute_error]
    )
    assert model.metrics_names == ["loss", "rmse", "mean_absolute_error"]
    assert KerasModel(keras.Sequential([keras.Input((3,)), layers.Dense(1)])).metrics_names == []


def test_weights_come_back(inline: None, tmp_path: Path) -> None:
    model = KerasModel(regression())
    kept = model.get_weights()
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    with pytest.raises((UsageError, OSError), match="overwrite"):
        model.save_weights(path, overwrite=False)
    model.set_weights([0 * one for one in kept])
    model.load_weights(path)
    same(model.get_weights(), kept)
    model.set_weights([0 * one for one in kept])
    model.load_weights(path, by_name=True)
    same(model.get_weights(), kept)
    with pytest.raises(UsageError, match="save_format must be 'h5' or None"):
        model.save_weights(path, save_format="tf")
    with pytest.raises((UsageError, OSError), match="nowhere"):
        model.load_weights(str(tmp_path / "nowhere.h5"))


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_model_comes_back(inline: None, tmp_path: Path, name: str) -> None:
    model = KerasModel(regression())
    model.fit(arrays(batch_size=BATCH, shuffle=False))
    path = str(tmp_path / name)
    model.save_model(path)
    with pytest.raises((UsageError, OSError), match="overwrite"):
        model.save_model(path, overwrite=False)
    back = KerasModel.load_model(path)
    same(back.get_weights(), by_keras())
    found, wanted = back.evaluate(X, Y), model.evaluate(X, Y)  # Keras forgets the short names of metrics in HDF5
    assert list(found.values()) == pytest.approx(list(wanted.values()), abs=1e-5)
    back.fit(arrays(batch_size=BATCH, shuffle=False))
    same(back.get_weights(), by_keras(2))


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    model = KerasModel(regression())
    model.save_weights(str(tmp_path / "model.weights.h5"))
    with pytest.raises(UsageError, match="weights"):
        KerasModel.load_model(str(tmp_path / "model.weights.h5"))
    with pytest.raises((UsageError, OSError), match="nowhere"):
        KerasModel.load_model(str(tmp_path / "nowhere.keras"))


def test_a_tensor_as_a_metric_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"'twice' as a function of \(y_true, y_pred\).*model.compile"):
        KerasModel(regression()).add_metric(tf.constant(1.0), "twice")
