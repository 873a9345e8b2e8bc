"""Functions of variables against numpy; parameters, Lambda, CustomLoss; on every backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

import zoo.pipeline.api.autograd as A
from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.topology import Input
from zoo.pipeline.api.keras.layers import Dense
from zoo.pipeline.api.keras.models import Model, Sequential, load_model

RNG = np.random.default_rng(2)
X = RNG.uniform(0.2, 2.0, (5, 3, 4)).astype("float32")
Y = RNG.uniform(0.2, 2.0, (5, 3, 4)).astype("float32")
M = RNG.normal(size=(4, 2)).astype("float32")


def norm(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


Pair = tuple[Callable[[Any, Any], Any], Callable[[np.ndarray, np.ndarray], np.ndarray]]
CASES: dict[str, Pair] = {
    "add": (lambda x, y: x + y + 1, lambda x, y: x + y + 1),
    "sub": (lambda x, y: 2 - x - y, lambda x, y: 2 - x - y),
    "mul": (lambda x, y: 3 * x * y, lambda x, y: 3 * x * y),
    "div": (lambda x, y: 1 / x / y / 2, lambda x, y: 1 / x / y / 2),
    "neg": (lambda x, y: -A.neg(x), lambda x, y: x),
    "mean": (lambda x, y: A.mean(x, axis=2), lambda x, y: x.mean(2)),
    "mean_kept": (lambda x, y: A.mean(x, axis=1, keepDims=True), lambda x, y: x.mean(1, keepdims=True)),
    "sum": (lambda x, y: A.sum(x, axis=1), lambda x, y: x.sum(1)),
    "abs": (lambda x, y: A.abs(x - y), lambda x, y: np.abs(x - y)),
    "square": (lambda x, y: A.square(x), lambda x, y: x * x),
    "sqrt": (lambda x, y: A.sqrt(x), lambda x, y: np.sqrt(x)),
    "exp": (lambda x, y: A.exp(x), lambda x, y: np.exp(x)),
    "log": (lambda x, y: A.log(x), lambda x, y: np.log(x)),
    "pow": (lambda x, y: A.pow(x, 1.5), lambda x, y: x**1.5),
    "clip": (lambda x, y: A.clip(x, 0.5, 1.0), lambda x, y: np.clip(x, 0.5, 1.0)),
    "erf": (lambda x, y: A.erf(x), lambda x, y: special.erf(x)),
    "softsign": (lambda x, y: A.softsign(-x), lambda x, y: -x / (1 + x)),
    "softplus": (lambda x, y: A.softplus(x), lambda x, y: np.log1p(np.exp(x))),
    "contiguous": (lambda x, y: A.contiguous(x), lambda x, y: x),
    "maximum": (lambda x, y: A.maximum(A.maximum(x, y), 1.0), lambda x, y: np.maximum(np.maximum(x, y), 1.0)),
    "stack": (lambda x, y: A.stack([x, y], axis=1), lambda x, y: np.stack([x, y], 1)),
    "expand_dims": (lambda x, y: A.expand_dims(x, 1), lambda x, y: x[:, None]),
    "l2_normalize": (lambda x, y: A.l2_normalize(x, 2), lambda x, y: norm(x)),
    "batch_dot": (lambda x, y: A.batch_dot(x, y, axes=[2, 2]), lambda x, y: x @ y.transpose(0, 2, 1)),
    "batch_cos": (
        lambda x, y: A.batch_dot(x, y, axes=2, normalize=True), lambda x, y: norm(x) @ norm(y).transpose(0, 2, 1),
    ),
    "mm": (lambda x, y: A.mm(x, A.Constant(M)), lambda x, y: x @ M),
    "mm_axes": (lambda x, y: A.mm(x, y, axes=[2, 2]), lambda x, y: x @ y.transpose(0, 2, 1)),
    "slice": (lambda x, y: x.slice(2, 1, -1) + y.slice(2, 0, 3), lambda x, y: x[:, :, 1:] + y[:, :, :3]),
    "index_select": (lambda x, y: x.index_select(1, -1).add(y.index_select(1, 0)), lambda x, y: x[:, -1] + y[:, 0]),
    "squeeze": (lambda x, y: A.expand_dims(x, 1).squeeze(1).sub(y), lambda x, y: x - y),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_a_function_is_numpys(name: str) -> None:
    ours, theirs = CASES[name]
    x, y = Input((3, 4), name="x"), Input((3, 4), name="y")
    out = ours(x, y)
    assert isinstance(out, A.Variable) and out.get_output_shape()[1:] == theirs(X, Y).shape[1:]
    model = Model([x, y], [out, x + y])  # the second keeps both inputs in the graph
    copy = Model.from_config(model.get_config())
    for one in (model, copy):
        np.testing.assert_allclose(one.forward([X, Y])[0], theirs(X, Y), rtol=1e-4, atol=1e-5)


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.floats(-2, 2, width=32)), min_size=1, max_size=5))
def test_arithmetic_with_numbers_and_parameters_is_pythons(steps: list[tuple[str, float]]) -> None:
    value, number = A.Constant(np.float32(1.5)), 1.5
    for sign, other in steps:
        value = {"+": lambda v, o: o + v, "-": lambda v, o: o - v, "*": lambda v, o: v * o}[sign](value, other)
        number = {"+": other + number, "-": other - number, "*": number * other}[sign]
    x = Input((1,))
    assert float(Model(x, x + value).forward(np.zeros((1, 1), "float32"))[0, 0]) == pytest.approx(number, abs=1e-3)


def test_parameters_are_trained_and_saved(tmp_path: Path) -> None:
    x = Input((3,))
    weight, bias = A.Parameter((3, 1), name="w"), A.Parameter((1,), init_weight=np.zeros(1))
    model = Model(x, A.mm(x, weight) + bias)
    rows = RNG.normal(size=(64, 3)).astype("float32")
    target = rows @ np.array([[1.0], [-2.0], [0.5]], "float32") + 0.25
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(rows, target, nb_epoch=60, distributed=False)
    np.testing.assert_allclose(weight.get_weight()[:, 0], [1, -2, 0.5], atol=0.05)
    np.testing.assert_allclose(bias.get_weight(), [0.25], atol=0.05)
    model.save_model(str(tmp_path / "m.keras"))
    loaded = load_model(str(tmp_path / "m.keras"))
    np.testing.assert_allclose(loaded.forward(rows), model.forward(rows), atol=1e-5)
    assert np.abs(A.Parameter((100,)).get_weight()).max() <= 0.05
    assert np.abs(A.Parameter((100,), "uniform").get_weight()).max() <= 0.05
    with pytest.raises(UsageError, match="must be one of .*Did you mean 'glorot_uniform'"):
        A.Parameter((3,), "glorot_unifrm")
    weight.set_weight(np.ones((3, 1)))
    assert model.get_layer("w").get_weights()[0].tolist() == [[1.0]] * 3
    with pytest.raises(UsageError, match="has the shape \\(3, 1\\)"):
        weight.set_weight(np.ones(3))


def test_parameters_that_are_not_trained_stay() -> None:
    x = Input((2,))
    fixed = A.Parameter((2,), init_weight=[1.0, 2.0], trainable=False)
    model = Model(x, Dense(1)(x * fixed))
    model.compile("sgd", "mse")
    model.fit(X[:, 0, :2], X[:, 0, :1], nb_epoch=2, distributed=False)
    assert fixed.get_weight().tolist() == [1.0, 2.0]
    assert (-fixed / 2).shape == (2,)
    with pytest.raises(UsageError, match="depends on no Input"):
        _ = (fixed + 1).node


def test_lambda_is_a_layer_that_files_hold_without_code(tmp_path: Path) -> None:
    factor = 3.0
    model = Sequential().add(A.Lambda(lambda x: A.square(x) * factor, input_shape=(4,))).add(Dense(2))
    model.compile("sgd", "mse")
    model.fit(X[:, 0], X[:, 0, :2], nb_epoch=1, distributed=False)
    model.save_model(str(tmp_path / "m.keras"))
    loaded = load_model(str(tmp_path / "m.keras"))  # in safe mode
    np.testing.assert_allclose(loaded.forward(X[:, 0]), model.forward(X[:, 0]), atol=1e-6)
    a, b = Input((4,)), Input((4,))
    both = Model([a, b], A.Lambda(lambda x, y: A.abs(x - y))([a, b]))
    np.testing.assert_allclose(both.forward([X[:, 0], Y[:, 0]]), np.abs(X[:, 0] - Y[:, 0]), atol=1e-6)
    with pytest.raises(UsageError, match="must give a Variable"):
        Sequential().add(A.Lambda(lambda x: 3, input_shape=(2,))).add(Dense(2))
    with pytest.raises(UsageError, match="has not met an input"):
        A.Lambda(lambda x: x).get_config()
    with pytest.raises(UsageError, match="needs a function"):
        A.Lambda()


def mean_absolute(y_true: A.Variable, y_pred: A.Variable) -> A.Variable:
    return A.mean(A.abs(y_true - y_pred), axis=1)


def test_a_loss_of_ones_own(tmp_path: Path) -> None:
    x, y = X[:, 0], Y[:, 0]
    loss = A.CustomLoss(mean_absolute, (4,))
    assert loss.forward(y, x) == pytest.approx(np.abs(x - y).mean(), rel=1e-5)
    np.testing.assert_allclose(loss.backward(y, x), np.sign(x - y) / x.size, atol=1e-6)
    plain = []
    for given_loss in (mean_absolute, loss, "mae"):
        keras.utils.set_random_seed(1)
        model = Sequential().add(Dense(4, input_shape=(4,)))
        model.compile("sgd", given_loss)
        model.fit(x, y, nb_epoch=2, distributed=False)
        plain.append(model.get_weights()[0])
    np.testing.assert_allclose(plain[0], plain[2], atol=1e-6)
    np.testing.assert_allclose(plain[1], plain[2], atol=1e-6)
    copy = A.CustomLoss.from_config(loss.get_config())
    assert copy.forward(y, x) == pytest.approx(loss.forward(y, x))
    with pytest.raises(UsageError, match="made for labels of shape \\(4,\\)"):
        loss.forward(y[:, :2], x)
    with pytest.raises(UsageError, match="needs the shape of the model's output"):
        A.CustomLoss(mean_absolute).get_config()
    assert A.CustomLoss(mean_absolute).forward(y, x) == pytest.approx(loss.forward(y, x))


def test_a_loss_of_ones_own_may_have_labels_of_another_shape() -> None:
    loss = A.CustomLoss(lambda t, p: A.mean(A.square(p.index_select(1, 0) - t.squeeze(1)), axis=0), (4,), (1,))
    assert loss.forward(Y[:, 0, :1], X[:, 0]) == pytest.approx(((X[:, 0, 0] - Y[:, 0, 0]) ** 2).mean(), rel=1e-5)
    torch = pytest.importorskip("torch")
    if keras.backend.backend() == "torch":
        value = loss.to_torch()(torch.tensor(X[:, 0]), torch.tensor(Y[:, 0, :1]))
        assert float(value) == pytest.approx(loss.forward(Y[:, 0, :1], X[:, 0]))
    else:
        with pytest.raises(UsageError, match="KERAS_BACKEND=torch"):
            loss.to_torch()


def test_mistakes() -> None:
    x = Input((3, 4))
    with pytest.raises(UsageError, match="axes must be two"):
        A.mm(x, x, axes=[1])
    with pytest.raises(UsageError, match="0 is the batch"):
        x.slice(0, 1, 1)
