"""Losses against numpy, their gradients against differences, and the same formulas on torch tensors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from zoo.engine.errors import DataError, UsageError
from zoo.engine.metrics import metric_of
from zoo.engine.optim import SGD, SequentialSchedule, Warmup
from zoo.pipeline.api.keras import metrics, objectives, regularizers
from zoo.pipeline.api.keras.engine.descriptions import described, made
from zoo.pipeline.api.keras.initializations import NAMES, initializer
from zoo.pipeline.api.keras.layers import Dense
from zoo.pipeline.api.keras.models import Sequential
from zoo.pipeline.api.keras.optimizers import AdamWeightDecay, PolyEpochDecay

RNG = np.random.default_rng(1)
T = RNG.uniform(0.1, 0.9, (6, 3)).astype("float32")
P = RNG.uniform(0.1, 0.9, (6, 3)).astype("float32")
SIGNS = np.sign(RNG.normal(size=(6, 3))).astype("float32")
ONE_HOT = np.eye(3, dtype="float32")[[0, 1, 2, 2, 1, 0]]
LABELS = np.array([0, 1, 2, 2, 1, 0])
PAIRS = RNG.normal(size=(6, 2, 1)).astype("float32")
WEIGHTS = np.array([1.0, 2.0, 3.0])
EPS = 1e-7


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def picked(p: np.ndarray) -> np.ndarray:
    return -np.log(p[np.arange(6), LABELS])


Row = tuple[Callable[[], Any], np.ndarray, np.ndarray, Callable[[np.ndarray], Any]]
o = objectives
CASES: dict[str, Row] = {
    "mse": (o.MSE, T, P, lambda p: ((T - p) ** 2).mean()),
    "mse_sum": (lambda: o.MeanSquaredError(size_average=False), T, P, lambda p: ((T - p) ** 2).sum()),
    "mae": (o.mae, T, P, lambda p: np.abs(T - p).mean()),
    "mape": (o.MAPE, T, P, lambda p: 100 * (np.abs(T - p) / T).mean()),
    "msle": (o.msle, T, P, lambda p: ((np.log(1 + T) - np.log(1 + p)) ** 2).mean()),
    "binary": (o.BinaryCrossEntropy, T, P, lambda p: (-T * np.log(p) - (1 - T) * np.log(1 - p)).mean()),
    "binary_weighted": (
        lambda: o.BinaryCrossEntropy(WEIGHTS), T, P,
        lambda p: (WEIGHTS * (-T * np.log(p) - (1 - T) * np.log(1 - p))).mean(),
    ),
    "cosine": (o.CosineProximity, T, P, lambda p: -(unit(T) * unit(p)).mean()),
    "hinge": (lambda: o.Hinge(0.5), SIGNS, P, lambda p: np.maximum(0.5 - SIGNS * p, 0).mean()),
    "squared_hinge": (o.SquaredHinge, SIGNS, P, lambda p: (np.maximum(1 - SIGNS * p, 0) ** 2).sum()),
    "kld": (o.KullbackLeiblerDivergence, T, P, lambda p: (T * np.log(T / p)).sum(-1).mean()),
    "poisson": (o.Poisson, T, P, lambda p: (p - T * np.log(p)).mean()),
    "categorical": (o.CategoricalCrossEntropy, ONE_HOT, P, lambda p: picked(p).mean()),
    "sparse": (o.SparseCategoricalCrossEntropy, LABELS, P, lambda p: picked(p).mean()),
    "sparse_column": (o.SparseCategoricalCrossEntropy, LABELS[:, None], P, lambda p: picked(p).mean()),
    "sparse_one_based": (
        lambda: o.SparseCategoricalCrossEntropy(zero_based_label=False), LABELS + 1, P, lambda p: picked(p).mean(),
    ),
    "sparse_logs": (
        lambda: o.SparseCategoricalCrossEntropy(log_prob_as_input=True), LABELS, P,
        lambda p: -p[np.arange(6), LABELS].mean(),
    ),
    "sparse_weighted": (
        lambda: o.SparseCategoricalCrossEntropy(weights=WEIGHTS), LABELS, P,
        lambda p: (picked(p) * WEIGHTS[LABELS]).sum() / WEIGHTS[LABELS].sum(),
    ),
    "sparse_padded": (
        lambda: o.SparseCategoricalCrossEntropy(padding_value=2), LABELS, P, lambda p: picked(p)[LABELS != 2].mean(),
    ),
    "sparse_sum": (
        lambda: o.SparseCategoricalCrossEntropy(size_average=False), LABELS, P, lambda p: picked(p).sum(),
    ),
    "rank_hinge": (
        lambda: o.RankHinge(0.3), np.zeros(6), PAIRS, lambda p: np.maximum(0.3 - p[:, 0] + p[:, 1], 0).mean(),
    ),
}  # fmt: skip


def differences(function: Callable[[np.ndarray], Any], at: np.ndarray) -> np.ndarray:
    found, step = np.zeros(at.shape), 1e-4
    for index in np.ndindex(at.shape):
        for sign in (1, -1):
            moved = at.astype("float64")
            moved[index] += sign * step
            found[index] += sign * float(function(moved)) / (2 * step)
    return found


@pytest.mark.parametrize("name", list(CASES))
def test_a_loss_and_its_gradient(name: str) -> None:
    make, target, output, definition = CASES[name]
    loss = make()
    expected, slope = float(definition(output.astype("float64"))), differences(definition, output)
    assert loss.forward(output, target) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(loss.backward(output, target), slope, atol=2e-3, rtol=2e-3)
    copy = type(loss).from_config(loss.get_config())
    assert copy.forward(output, target) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", list(CASES))
def test_the_same_formula_trains_torch_models(name: str) -> None:
    torch = pytest.importorskip("torch")
    make, target, output, definition = CASES[name]
    criterion = pickle.loads(pickle.dumps(make().to_torch()))
    given = torch.tensor(output, requires_grad=True)
    value = criterion(given, torch.tensor(target))
    value.backward()
    assert float(value.detach()) == pytest.approx(float(definition(output.astype("float64"))), rel=1e-4)
    np.testing.assert_allclose(given.grad.numpy(), differences(definition, output), atol=2e-3, rtol=2e-3)


def test_sequences_of_labels_are_averaged_over_all_but_padding() -> None:
    scores = RNG.uniform(0.1, 0.9, (4, 5, 3)).astype("float32")
    labels = RNG.integers(0, 3, (4, 5))
    labels[0, 2:] = -1
    own = -np.log(np.take_along_axis(scores, np.maximum(labels, 0)[..., None], -1)[..., 0])
    loss = objectives.SparseCategoricalCrossEntropy()
    assert loss.forward(scores, labels) == pytest.approx(own[labels >= 0].mean(), rel=1e-5)
    assert not loss.backward(scores, labels)[0, 2:].any()


@pytest.mark.parametrize("label", [3, -2])
def test_labels_outside_the_classes_give_nan(label: int) -> None:
    labels = LABELS.copy()
    labels[0] = label
    assert np.isnan(objectives.SparseCategoricalCrossEntropy().forward(P, labels))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="rank_hinge needs outputs of the shape"):
        objectives.RankHinge().forward(P, T)
    with pytest.raises(UsageError, match="labels of the shape of the model's output"):
        objectives.MSE().forward(P, T[:, :2])
    assert objectives.MSE().forward(P[:, :1], T[:, 0]) == pytest.approx(((P - T)[:, 0] ** 2).mean(), rel=1e-5)


def test_torch_criteria_are_losses_of_models_on_torch(inline: None) -> None:
    torch = pytest.importorskip("torch")
    model = Sequential().add(Dense(3, input_shape=(3,)))
    if keras.backend.backend() != "torch":
        with pytest.raises(UsageError, match="KERAS_BACKEND=torch"):
            model.compile("sgd", torch.nn.MSELoss())
        return
    model.compile("sgd", torch.nn.MSELoss(), ["loss"])
    assert model.evaluate(P, T) == pytest.approx([((model.forward(P) - T) ** 2).mean()], rel=1e-5)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.loss.forward(P, T) == pytest.approx(objectives.MSE().forward(P, T), rel=1e-5)


# --- metrics, optimizers, regularizers, initialisations --------------------------------------------------------------


def test_metrics_of_names() -> None:
    found = metrics.measured(["acc", "top5acc", "mae", "mse", "auc", "loss", "treennaccuracy"], zero_based=False)
    assert found == [
        metrics.Accuracy(zero_based_label=False), metrics.Top5Accuracy(zero_based_label=False), metrics.MAE(),
        metrics.MSE(), metrics.AUC(), "loss", metrics.TreeNNAccuracy(zero_based_label=False),
    ]  # fmt: skip
    assert metrics.measured("mae") == [metrics.MAE()] and metrics.measured(None) == []
    assert metric_of(metrics.AUC(50)) == metrics.AUC(50)


def test_the_root_of_a_tree_is_measured() -> None:
    tree = metrics.TreeNNAccuracy()
    scores = np.zeros((4, 3, 2))
    scores[:, 0] = [[1, 0], [0, 1], [0, 1], [1, 0]]
    state = tree.update(tree.start(), scores, np.array([[0, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]]))
    assert tree.compute(state) == 0.75
    binary = tree.update(tree.start(), scores[:, :, 1:], np.array([[0], [1], [1], [1]]))
    assert tree.compute(binary) == 0.75
    with pytest.raises(DataError, match="rows, nodes, classes"):
        tree.update(tree.start(), np.zeros((2, 2)), np.zeros((2, 2)))


def test_berts_adam_follows_its_definition() -> None:
    from zoo.engine.frameworks.keras.optim import build_optimizer

    optimizer, penalty = build_optimizer(AdamWeightDecay(0.1, weight_decay=0.1))
    variable, w = keras.Variable(P), P.copy()
    m = v = np.zeros_like(P)
    for gradient in (T, SIGNS, T):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - 0.1 * (m / (np.sqrt(v) + 1e-6) + 0.1 * w)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable.value), w, atol=1e-5)
    assert penalty == 0 and type(optimizer).from_config(optimizer.get_config()).decay == 0.1


def test_descriptions_go_there_and_back() -> None:
    rates = SequentialSchedule(10).add(Warmup(0.1), 5).add(PolyEpochDecay(2.0, 3), 10)
    for value in (SGD(0.1, momentum=0.9, learningrate_schedule=rates), AdamWeightDecay(total=9), metrics.AUC(9)):
        assert made(described(value)) == value
    with pytest.raises(UsageError, match="may be newer"):
        made({"class": "optim.Lion"})
    with pytest.raises(UsageError, match="give total"):
        AdamWeightDecay(warmup_portion=0.1)


def test_regularizers() -> None:
    w = np.array([[1.0, -2.0]], "float32")
    one, two, both = regularizers.l1(0.1), regularizers.l2(0.1), regularizers.l1l2(0.1, 0.2)
    assert [float(keras.ops.convert_to_numpy(each(w))) for each in (one, two, both)] == pytest.approx([0.3, 0.5, 1.3])

    class L2Regularizer:
        l1, l2 = 0.0, 0.1

    of_bigdl = regularizers.regularizer(L2Regularizer())
    assert float(keras.ops.convert_to_numpy(of_bigdl(w))) == pytest.approx(0.25)
    assert regularizers.regularizer(None) is None and regularizers.regularizer(two) is two
    assert isinstance(regularizers.regularizer("l1"), keras.regularizers.L1)
    for wrong, told in (
        (3, "must be a regularizer.*Received: 3"),
        ("l7", "must be one of l1, l1l2, l2.*Received: 'l7'"),
    ):
        with pytest.raises(UsageError, match=told):
            regularizers.regularizer(wrong)


def test_initializations_of_keras_1() -> None:
    for name in NAMES:
        assert keras.ops.convert_to_numpy(initializer(name)((4, 4))).shape == (4, 4)
    uniform = keras.ops.convert_to_numpy(initializer("uniform")((100, 10)))
    assert 0.04 < np.abs(uniform).max() <= 0.05
    with pytest.raises(UsageError, match="Did you mean 'glorot_uniform'"):
        initializer("glorot_unifrm")
