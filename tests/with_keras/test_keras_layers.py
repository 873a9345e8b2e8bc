"""Every layer of Keras 1 against its definition: sizes, values, gradients, weights, configs, files, training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from layercases import CASES, OTHERWISE, Case
from zoo.pipeline.api.keras import layers as L

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(5)
BOTH = [
    pytest.param(case, order, id=f"{name}-{order}")
    for name, case in CASES.items()
    for order in (("th", "tf") if case.channels else ("th",))
]


def moved(array: np.ndarray, channels: int | None, order: str) -> np.ndarray:
    """The channels last, where the order says so."""
    if channels is None or order == "th" or array.ndim <= channels:
        return array
    return np.moveaxis(array, channels, -1)


def made(case: Case, order: str = "th") -> tuple[Any, list[np.ndarray]]:
    """The layer, built, with weights that are all others."""
    words = {"dim_ordering": order} if case.channels else {}
    layer = case.make(**words)
    layer(symbols(case, order))
    weights = [RNG.normal(size=array.shape).astype("float32") for array in layer.get_weights()]
    layer.set_weights(weights)
    return layer, weights


def symbols(case: Case, order: str) -> Any:
    inputs = [
        keras.Input(batch_shape=(None, *moved(array, case.channels, order).shape[1:]), dtype=array.dtype.name)
        for array in case.inputs
    ]
    return inputs if len(inputs) > 1 else inputs[0]


def given(case: Case, order: str) -> Any:
    arrays = [np.ascontiguousarray(moved(array, case.channels, order)) for array in case.inputs]
    return arrays if len(arrays) > 1 else arrays[0]


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-4, atol=2e-4)


def test_each_layer_has_a_definition() -> None:
    assert {name.split()[0] for name in CASES} | OTHERWISE == set(L.__all__)


@pytest.mark.parametrize("case, order", BOTH)
def test_a_layer_computes_its_definition(case: Case, order: str) -> None:
    layer, weights = made(case, order)
    for found, expected in zip(layer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    expected = case.define([torch.tensor(array) for array in weights], *map(torch.tensor, case.inputs)).detach().numpy()
    channels = case.channels and (case.channels if expected.ndim == case.inputs[0].ndim else 1)
    expected = moved(expected, channels, order)
    output = layer(symbols(case, order))
    assert tuple(output.shape) == (None, *expected.shape[1:])
    close(keras.ops.convert_to_numpy(layer(given(case, order))), expected)


def gradients(layer: Any, inputs: Any, cotangent: np.ndarray) -> tuple[list[np.ndarray], Any]:
    """Of sum(output x cotangent): by each trainable weight, and by the input where it has floats."""
    return {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}[BACKEND](layer, inputs, cotangent)


def _by_tensorflow(layer: Any, inputs: Any, cotangent: np.ndarray) -> Any:
    import tensorflow as tf

    tensor = tf.convert_to_tensor(inputs)
    variables = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        total = tf.reduce_sum(layer(tensor) * cotangent)
    found = tape.gradient(total, [*variables, tensor], unconnected_gradients="zero")
    return [np.asarray(tf.convert_to_tensor(one)) for one in found[:-1]], np.asarray(found[-1])


def _by_jax(layer: Any, inputs: Any, cotangent: np.ndarray) -> Any:
    import jax

    def total(trainable: Any, tensor: Any) -> Any:
        fixed = [variable.value for variable in layer.non_trainable_variables]
        return (layer.stateless_call(trainable, fixed, tensor)[0] * cotangent).sum()

    variables = [variable.value for variable in layer.trainable_variables]
    if not np.issubdtype(inputs.dtype, np.floating):
        return [np.asarray(one) for one in jax.grad(total)(variables, inputs)], None
    by_weight, by_input = jax.grad(total, (0, 1))(variables, inputs)
    return [np.asarray(one) for one in by_weight], np.asarray(by_input)


def _by_torch(layer: Any, inputs: Any, cotangent: np.ndarray) -> Any:
    tensor = torch.tensor(inputs)
    if tensor.is_floating_point():
        tensor.requires_grad_()
    variables = [variable.value for variable in layer.trainable_variables]
    total = (layer(tensor) * torch.tensor(cotangent)).sum()
    wanted = [*variables, *([tensor] if tensor.requires_grad else [])]
    found = torch.autograd.grad(total, wanted, allow_unused=True) if total.requires_grad else [None] * len(wanted)
    arrays = [
        np.zeros(tuple(of.shape), "float32") if one is None else one.numpy()
        for one, of in zip(found, wanted, strict=True)
    ]
    return arrays[: len(variables)], arrays[-1] if tensor.requires_grad else None


SINGLE = [one for one in BOTH if len(one.values[0].inputs) == 1 and (one.values[1] == "th" or BACKEND == "tensorflow")]


@pytest.mark.parametrize("case, order", SINGLE)
def test_a_layers_gradients_are_its_definitions(case: Case, order: str) -> None:
    layer, weights = made(case, order)
    tensors = [torch.tensor(array, requires_grad=True) for array in weights]
    inputs = torch.tensor(case.inputs[0])
    inputs.requires_grad_(inputs.is_floating_point())
    output = case.define(tensors, inputs)
    cotangent = RNG.normal(size=tuple(output.shape)).astype("float32")
    wanted = [*tensors, *([inputs] if inputs.requires_grad else [])]
    total = (output * torch.tensor(cotangent)).sum()
    expected = torch.autograd.grad(total, wanted, allow_unused=True) if total.requires_grad else [None] * len(wanted)
    arrays = [
        np.zeros(tuple(of.shape), "float32") if one is None else one.numpy()
        for one, of in zip(expected, wanted, strict=True)
    ]
    channels = case.channels and (case.channels if output.ndim == inputs.ndim else 1)
    by_weight, by_input = gradients(layer, given(case, order), moved(cotangent, channels, order))
    for found, exact in zip(layer.to_bigdl(by_weight), arrays[: len(weights)], strict=True):
        close(found, exact)
    if inputs.requires_grad:
        close(by_input, moved(arrays[-1], case.channels, order))


def whole(case: Case) -> Any:
    """A model that ends in one number."""
    inputs = symbols(case, "th")
    output = case.make()(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(output)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_a_layer_trains_and_its_model_is_the_same_from_a_file(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = whole(case)
    before = [np.array(variable) for variable in model.trainable_variables]
    model.compile("sgd", "mse", run_eagerly=True)
    loss = model.train_on_batch(given(case, "th"), np.ones((len(case.inputs[0]), 1), "float32"))
    assert np.isfinite(loss)
    assert any((np.array(now) != old).any() for now, old in zip(model.trainable_variables, before, strict=True))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()["layers"]) == json.dumps(model.get_config()["layers"])
    expected = keras.ops.convert_to_numpy(model(given(case, "th")))
    close(keras.ops.convert_to_numpy(again(given(case, "th"))), expected)


@pytest.mark.one_backend
@pytest.mark.parametrize("name", CASES)
def test_a_config_makes_the_same_layer(name: str) -> None:
    layer = CASES[name].make(name="mine", input_shape=(3, 4), trainable=False)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.name, again.trainable, again.given_input_shape) == ("mine", False, (3, 4))


AS_WIDE = {
    "Convolution2D": lambda **k: L.Convolution2D(6, 3, 3, border_mode="same", **k),
    "ShareConvolution2D": lambda **k: L.ShareConvolution2D(6, 3, 3, pad_h=1, pad_w=1, **k),
    "AtrousConvolution2D": lambda **k: L.AtrousConvolution2D(6, 3, 3, border_mode="same", **k),
    "Deconvolution2D": lambda **k: L.Deconvolution2D(6, 3, 3, None, border_mode="same", **k),
    "SeparableConvolution2D": lambda **k: L.SeparableConvolution2D(6, 3, 3, border_mode="same", **k),
    "Convolution3D": lambda **k: L.Convolution3D(6, 3, 3, 3, border_mode="same", **k),
}


@pytest.mark.parametrize("name", AS_WIDE)
def test_a_bias_is_the_channels_where_images_are_as_wide_as_they_have_channels(name: str) -> None:
    first = RNG.normal(size=(2, 2, *(6,) * (3 if name == "Convolution3D" else 2))).astype("float32")
    outputs = []
    for order in ("th", "tf"):
        layer = AS_WIDE[name](dim_ordering=order, activation="tanh")
        x = first if order == "th" else np.moveaxis(first, 1, -1)
        layer(x)
        layer.set_weights([np.linspace(-1, 1, array.size).reshape(array.shape) for array in layer.get_weights()])
        outputs.append(keras.ops.convert_to_numpy(layer(x)))
    close(np.moveaxis(outputs[0], 1, -1), outputs[1])
