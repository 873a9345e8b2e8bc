"""Keras-style models that a program changes between two calls, and what it is told where it errs; on every backend."""

from __future__ import annotations

import itertools
import pickle
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.engine.errors import UsageError
from zoo.orca.learn.optimizers import SGD
from zoo.orca.learn.tf.estimator import Estimator
from zoo.pipeline.api.keras.engine.topology import Input, Merge, merge
from zoo.pipeline.api.keras.layers import (
    LSTM,
    Bidirectional,
    Convolution2D,
    Dense,
    Embedding,
    Flatten,
    Reshape,
    Select,
    TransformerLayer,
)
from zoo.pipeline.api.keras.metrics import AUC
from zoo.pipeline.api.keras.models import Model, Sequential, load_model
from zoo.pipeline.api.keras.objectives import MeanSquaredError
from zoo.pipeline.api.keras.optimizers import AdamWeightDecay
from zoo.pipeline.api.keras2.layers import Dense as Dense2

RNG = np.random.default_rng(7)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = X.sum(1, keepdims=True)
LOCAL = {"distributed": False}


def net(optimizer: Any = "adam", **words: Any) -> Sequential:
    model = Sequential().add(Dense(3, activation="tanh", input_shape=(4,), name="first")).add(Dense(1, name="last"))
    model.compile(optimizer, "mse", **words)
    return model


def trained(model: Any, x: Any = X) -> list[bool]:
    """Which arrays of weights one epoch changes."""
    before = model.get_weights()
    model.fit(x, Y, nb_epoch=1, **LOCAL)
    return [bool((one != other).any()) for one, other in zip(before, model.get_weights(), strict=True)]


@pytest.mark.parametrize("optimizer", [AdamWeightDecay(0.1), SGD(0.1, momentum=0.9)])
def test_embeddings_train_with_the_optimizers_that_keras_does_not_have(optimizer: Any) -> None:
    """As a matrix times one-hot vectors does: a row that is not looked up has the gradient 0, and decays."""
    ids = np.arange(8).reshape(4, 2) % 3  # TensorFlow's gradient names rows, one of them twice
    table = RNG.normal(size=(5, 2)).astype("float32")
    found = []
    for first, x in (
        (Embedding(5, 2, weights=table, input_length=2), ids),
        (Dense(2, bias=False, input_shape=(2, 5)), np.eye(5, dtype="float32")[ids]),
    ):
        model = Sequential().add(first).add(Flatten())
        model.compile(optimizer, "mse")
        first.set_weights([table if isinstance(first, Embedding) else table.T])
        model.fit(x, np.ones((4, 4), "float32"), batch_size=4, nb_epoch=3, **LOCAL)
        found.append(first.get_weights()[0])
    np.testing.assert_allclose(found[0], found[1].T, atol=1e-5)


# --- between two fits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", keras.optimizers.Adam(0.01)], ids=["ours", "of Keras"])
def test_layers_are_frozen_and_unfrozen_between_fits(optimizer: Any) -> None:
    model = net(optimizer)
    model.freeze(["first"])
    assert trained(model) == [False, False, True, True]
    model.unfreeze(["first"])
    assert trained(model) == [True] * 4
    model.freeze()
    model.unfreeze(["first"])  # and no other
    assert trained(model) == [True, True, False, False]
    assert model.fit(X, Y, nb_epoch=1, **LOCAL)[0]["epoch"] == 4


def test_a_layer_in_a_model_in_the_model_is_unfrozen() -> None:
    inner = Sequential(name="inner").add(Dense(3, input_shape=(4,), name="one")).add(Dense(2, name="other"))
    model = Sequential().add(inner).add(Dense(1, name="last"))
    model.compile("adam", "mse")
    model.freeze(["inner"])
    assert trained(model) == [False] * 4 + [True] * 2
    model.unfreeze(["other"])
    assert trained(model) == [False] * 2 + [True] * 4
    model.trainable = False
    model.unfreeze(["last"])
    assert trained(model) == [False] * 4 + [True] * 2


def test_weights_that_the_program_sets_between_fits_are_trained_on() -> None:
    model = net(SGD(1e-9))
    model.fit(X, Y, nb_epoch=1, **LOCAL)
    model.set_weights([np.full_like(array, 0.5) for array in model.get_weights()])
    model.fit(X, Y, nb_epoch=1, **LOCAL)
    for array in model.get_weights():
        np.testing.assert_allclose(array, 0.5, atol=1e-6)


def test_the_estimator_of_a_plain_model_does_so_too(inline: None) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-9), "mse")
    estimator = Estimator.from_keras(keras_model=model)
    estimator.fit((X, Y), batch_size=8)
    model.set_weights([np.full_like(array, 0.5) for array in model.get_weights()])
    estimator.fit((X, Y), batch_size=8)
    for array in model.get_weights():
        np.testing.assert_allclose(array, 0.5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # so Keras says it on PyTorch
def test_a_weight_that_the_loss_does_not_depend_on_stays() -> None:
    model = Sequential().add(Dense(4, input_shape=(4,))).add(Tail(name="tail"))
    model.compile(SGD(0.1), "mse")
    assert trained(model) == [True, True, True, False]


class Tail(keras.layers.Layer):
    """Has a weight that it does not use."""

    def build(self, input_shape: Any) -> None:
        self.used, self.unused = self.add_weight(shape=(4, 1)), self.add_weight(shape=(2,))

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, self.used)


def test_a_pickled_model_says_nothing() -> None:
    model = net()
    model.fit(X, Y, nb_epoch=1, **LOCAL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X, **LOCAL), model.predict(X, **LOCAL))
    assert trained(again) == [True] * 4


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_of_one_name_are_told_apart() -> None:
    labels = (X[:, 0] > 0).astype("int64")
    model = Sequential().add(Dense(1, activation="sigmoid", input_shape=(4,)))
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", "acc", AUC(200), "loss", AUC(3)])
    accuracy, same, fine, loss, coarse = model.evaluate(X, labels, **LOCAL)
    assert accuracy == same and loss > 0
    model.compile("sgd", "binary_crossentropy", metrics=[AUC(3)])
    assert model.evaluate(X, labels, **LOCAL) == [coarse]
    model.compile("sgd", "binary_crossentropy", metrics=[AUC(200)])
    assert model.evaluate(X, labels, **LOCAL) == [fine]


# --- a Merge at the beginning ----------------------------------------------------------------------------------------


def merged() -> tuple[Sequential, list[np.ndarray]]:
    left = Sequential(name="left").add(Dense(3, input_shape=(4,), name="l"))
    right = Sequential(name="right").add(Dense(3, input_shape=(2,), name="r"))
    model = Sequential().add(Merge([left, right], mode="concat", name="both")).add(Dense(1, name="last"))
    model.compile("adam", "mse")
    return model, [X, X[:, :2]]


def test_a_merge_at_the_beginning_has_shapes_layers_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    model, x = merged()
    assert (model.get_input_shape(), model.get_output_shape()) == ([(None, 4), (None, 2)], (None, 1))
    model.summary()
    assert "(None, 6)" in capsys.readouterr().out
    assert [layer.name for layer in model.flattened_layers()] == ["l", "r", "last"]
    assert [array.shape for array in model.get_weights()] == [(3, 4), (3,), (3, 2), (3,), (1, 6), (1,)]
    model.freeze(["l"])
    assert trained(model, x) == [False] * 2 + [True] * 4
    model.set_weights([array + 1 for array in model.get_weights()])
    assert model.new_graph(["both"]).predict(x, **LOCAL).shape == (24, 6)


def test_it_is_saved(tmp_path: Path) -> None:
    model, x = merged()
    again = load_model(model.save_model(str(tmp_path / "model.keras")))
    np.testing.assert_allclose(again.predict(x, **LOCAL), model.predict(x, **LOCAL), atol=1e-6)
    assert trained(again, x) == [True] * 6


def test_a_summary_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    net().summary()
    assert "Param #" in capsys.readouterr().out


def test_layers_may_have_names_of_any_letters(tmp_path: Path) -> None:
    """TensorFlow's graphs take none but ASCII; the scopes of two layers whose letters it does not know are two."""
    given = Input((4,), name="eingang ä")
    hidden = merge([Dense(2, name="层 一")(given), Dense(2, name="层 二")(given)], mode="concat", name="beide & alle")
    model = Model(given, Sequential([Dense(1, name="größe", input_shape=(4,))], name="模型")(hidden), name="ganz ö")
    model.compile(SGD(0.1, momentum=0.9), "mse", ["mae"])
    assert trained(model) == [True] * 6
    assert model.get_layer("层 一").name == "层 一"
    assert model.new_graph(["层 一"]).predict(X, **LOCAL).shape == (24, 2)
    again = load_model(model.save_model(str(tmp_path / "模型.keras")))
    np.testing.assert_allclose(again.predict(X, **LOCAL), model.predict(X, **LOCAL), rtol=1e-5)
    assert trained(again) == [True] * 6


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_arrays_that_are_no_inputs_are_refused_before_a_run() -> None:
    model, (one, other) = merged()
    calls = (lambda x: model.fit(x, Y, **LOCAL), lambda x: model.evaluate(x, Y, **LOCAL), lambda x: model.predict(x))
    for call, (x, told) in itertools.product(
        calls, [(one, "has 2 inputs"), ([other, one], "input 0 .*(4,).*(24, 2)"), ([one, other[0]], "input 1")]
    ):
        with pytest.raises(UsageError, match=told):
            call(x)


@pytest.mark.parametrize(("labels", "one_based"), [([1, 2], False), ([0, 1], True)])
def test_labels_that_are_no_classes_are_refused_before_a_run(labels: list[int], one_based: bool) -> None:
    from zoo.pipeline.api.keras.objectives import SparseCategoricalCrossEntropy

    model = Sequential().add(Dense(2, activation="softmax", input_shape=(4,)))
    model.compile("sgd", SparseCategoricalCrossEntropy(zero_based_label=not one_based))
    with pytest.raises(UsageError, match=rf"from {labels[0]} to {labels[1]}.*zero_based_label={one_based}"):
        model.fit(X[:2], np.array(labels), **LOCAL)
    model.fit(X[:2], np.array([-1, 1]), nb_epoch=1, **LOCAL)  # -1 counts for nothing


def test_labels_of_an_image_set_that_are_no_classes_are_refused_before_a_run() -> None:
    from zoo.feature.image import ImageMatToTensor, ImageSet, ImageSetToSample, LocalImageSet

    images: ImageSet = LocalImageSet([np.zeros((4, 4, 3), np.uint8)] * 2, [1.0, 2.0])
    images = images.transform(ImageMatToTensor() >> ImageSetToSample())
    model = Sequential().add(Flatten(input_shape=(3, 4, 4))).add(Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(UsageError, match=r"from 1.0 to 2.0.*zero_based_label=False"):
        model.fit(images, nb_epoch=1, distributed=False)


def test_unknown_arguments_name_the_nearest() -> None:
    with pytest.raises(UsageError, match="fit has no argument 'nb_epochs'. Did you mean 'epochs'"):
        net().fit(X, Y, nb_epochs=1, **LOCAL)
    with pytest.raises(UsageError, match="here it is 'units'"):
        Dense2(output_dim=3)
    with pytest.raises(UsageError, match=r"give MeanSquaredError\(\)"):
        net().compile("sgd", MeanSquaredError)


def test_what_is_no_model_is_refused() -> None:
    given, stranger = Input((4,)), Input((4,))
    with pytest.raises(UsageError, match="<Dense"):
        Model(given, Dense(1))
    with pytest.raises(UsageError, match="not given"):
        Model(given, merge([given, stranger]))


@pytest.mark.parametrize("loss", [lambda t, p: t if t > 0 else p, lambda t, p: np.abs(t - p)], ids=["if", "numpy"])
def test_a_function_that_wants_numbers_is_told_of_variables(loss: Any) -> None:
    with pytest.raises(UsageError, match="autograd"):
        net().compile("sgd", loss)


def test_a_file_with_a_class_that_is_not_known_names_it(tmp_path: Path) -> None:
    class Twice(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    model = Sequential().add(Dense(1, input_shape=(4,))).add(Twice())
    path = model.save_model(str(tmp_path / "model.keras"))
    with pytest.raises(UsageError, match="'Twice'.*register_keras_serializable"):
        load_model(path)


@pytest.mark.parametrize("layer, shape, message", [
    (Convolution2D(3, 5, 5), (3, 4, 4), r"Convolution2D 'conv.*\(None, 3, 4, 4\): Computed output size"),
    (Reshape((3, 5)), (4, 4), r"Reshape 'reshape.*\(None, 4, 4\): The total size"),
    (Bidirectional(LSTM(2)), (4,), "takes .batch, steps, features"),
    (Select(1, 9), (4,), r"^Select 'select.*': axis 1 has 4 entries. Received: index=9$"),
    (TransformerLayer.init(vocab=9, seq_len=6, n_block=1, n_head=2, hidden_size=8), (6,), "takes 2 inputs"),
    (Merge(mode="mul"), [(3,), (4,)], r"inputs of one shape. Received: \(None, 3\), \(None, 4\)"),
    (Merge(mode="mul"), [(3,), (3, 3)], "of one shape"),  # rows would be multiplied with other rows
    (Merge(mode="dot"), [(3,), (4,)], r"of one shape \(rows, n\)"),
    (Merge(mode="concat", concat_axis=1), [(3, 2), (4, 3)], "of one shape, axis 1 aside"),
    (Merge(mode="concat", concat_axis=3), [(3, 2), (3, 2)], "axis 3"),
    (Merge([Dense(3), Dense(4)], mode="sum"), [(2,), (2,)], r"Received: \(None, 3\), \(None, 4\)"),
], ids=str)  # fmt: skip
def test_a_layer_that_does_not_take_an_input_says_its_name_and_the_shape(layer: Any, shape: Any, message: str) -> None:
    given = [Input(one) for one in shape] if isinstance(shape, list) else Input(shape)
    with pytest.raises(UsageError, match=message):
        layer(given)


def test_a_layer_that_could_not_be_added_is_not_in_the_model() -> None:
    model = Sequential()
    with pytest.raises(UsageError, match="takes .batch, steps"):
        model.add(LSTM(3, input_shape=(4,)))
    model.add(Dense(3, input_shape=(4,)))
    with pytest.raises(UsageError, match="total size"):
        model.add(Reshape((2, 2)))
    assert model.get_output_shape() == (None, 3)
    model.add(Dense(1))
    model.compile("sgd", "mse")
    assert trained(model) == [True] * 4


def test_arrays_of_numpy_compute_with_variables() -> None:
    given, scale = Input((4,)), np.arange(4, dtype="float32") + 1
    found = Model(given, [scale * given, scale - given, scale / (given + 9.0), np.float32(2) * given])
    for one, other in zip(found.predict(X, **LOCAL), [scale * X, scale - X, scale / (X + 9), 2 * X], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
