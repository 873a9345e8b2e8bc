"""Names, torchmetrics objects and functions as metrics of the engine."""

import functools
import itertools
import pickle

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import classification as tc

from zoo.engine import metrics as engine
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.metrics import adapt, adapt_all

CLASSES = 5


def binary(rng):
    return rng.random(40).round(1).astype(np.float32), rng.integers(0, 2, 40)


def sparse(rng):
    scores = rng.integers(1, 5, (40, CLASSES)).astype(np.float32)
    return scores / scores.sum(axis=1, keepdims=True), rng.integers(0, CLASSES, 40)


def numbers(rng):
    return rng.normal(size=40).astype(np.float32), rng.normal(size=40).astype(np.float32)


THEIRS = [
    (lambda: tc.BinaryAUROC(), binary),  # lists of rows
    (lambda: tc.BinaryAveragePrecision(thresholds=5), binary),  # sums
    (lambda: tc.MulticlassF1Score(CLASSES), sparse),
    (lambda: torchmetrics.MeanSquaredError(), numbers),
    (lambda: torchmetrics.PearsonCorrCoef(), numbers),  # states that only its own compute can join
]


def measured(metric, output, target):
    return metric.compute(metric.update(metric.start(), output, target))


@pytest.mark.parametrize("make, rows", THEIRS, ids=lambda x: getattr(x, "__name__", ""))
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 20), max_size=4))
def test_torchmetrics_merge(make, rows, seed, cuts):
    output, target = rows(np.random.default_rng(seed))
    # torchmetrics' own correlation is undefined in a piece of one row, so pieces have an even number of rows
    borders = [0, *sorted(2 * cut for cut in cuts), 40]
    theirs = make()
    ours = adapt(theirs)
    state = ours.start()
    for a, b in itertools.pairwise(borders):
        piece = ours.update(ours.start(), output[a:b], target[a:b])
        state = ours.merge(state, pickle.loads(pickle.dumps(piece)))
    theirs.update(torch.from_numpy(output), torch.from_numpy(target))
    assert ours.compute(state) == pytest.approx(float(theirs.compute()), abs=2e-6)


def test_the_users_object_and_earlier_states_stay_as_they_are():
    theirs = tc.BinaryAccuracy()
    theirs.update(torch.tensor([1.0]), torch.tensor([1]))
    ours = pickle.loads(pickle.dumps(adapt(theirs)))
    first = ours.update(ours.start(), np.array([0.2, 0.9]), np.array([1, 1]))
    ours.update(first, np.array([0.9]), np.array([1]))
    ours.merge(first, first)
    assert ours.compute(first) == 0.5
    assert np.isnan(ours.compute(ours.start()))
    assert theirs.compute() == 1


def test_states_that_add_up_do_not_grow():
    ours = adapt(tc.MulticlassConfusionMatrix(CLASSES))
    piece = ours.update(ours.start(), *sparse(np.random.default_rng(0)))
    state = functools.reduce(ours.merge, [piece] * 10)
    assert len(state) == 1
    assert ours.compute(state).sum() == 400


def test_metrics_made_of_metrics_are_refused():
    with pytest.raises(UsageError, match="metric inside it"):
        adapt(torchmetrics.MinMaxMetric(tc.BinaryAccuracy()))


def test_a_column_is_aligned():
    column = np.array([[0.9], [0.1]], np.float32)
    assert measured(adapt(tc.BinaryAccuracy()), column, np.array([1, 0])) == 1
    assert measured(adapt(tc.MulticlassAccuracy(2)), np.eye(2, dtype=np.float32), np.array([[0], [1]])) == 1
    assert measured(adapt(lambda o, t: (o - t).abs().mean()), column, np.array([1.0, 0.0])) == pytest.approx(0.1)


@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize("name", ["Precision", "Recall", "F1Score"])
def test_our_counts_are_theirs(name, average, top_k):
    output, target = (np.random.default_rng(5).random((60, CLASSES)).astype(np.float32), np.arange(60) % CLASSES)
    theirs = getattr(tc, f"Multiclass{name}")(CLASSES, average=average, top_k=top_k)
    theirs.update(torch.from_numpy(output), torch.from_numpy(target))
    ours = getattr(engine, name)("multiclass", num_classes=CLASSES, average=average, top_k=top_k)
    np.testing.assert_allclose(measured(ours, output, target), theirs.compute().numpy(), atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
def test_our_areas_are_theirs(seed):
    output, target = binary(np.random.default_rng(seed))
    target[:2] = 0, 1
    theirs = tc.BinaryAUROC()
    theirs.update(torch.from_numpy(output), torch.from_numpy(target))
    assert measured(engine.AUROC("binary"), output, target) == pytest.approx(float(theirs.compute()), abs=1e-6)


def seen_types(output, target):
    assert isinstance(output, torch.Tensor)
    assert isinstance(target, torch.Tensor)
    return torch.nn.functional.mse_loss(output, target)


def test_functions_get_tensors_and_are_weighted_by_rows():
    metric = adapt(seen_types)
    assert metric.name == "seen_types"
    output, target = numbers(np.random.default_rng(0))
    output.flags.writeable = False
    pieces = [metric.update(metric.start(), output[a:b], target[a:b]) for a, b in [(0, 0), (0, 7), (7, 40)]]
    assert metric.compute(functools.reduce(metric.merge, pieces)) == pytest.approx(
        measured(engine.MSE(), output, target), rel=1e-6
    )


def test_functions_of_several_outputs_get_tuples():
    metric = adapt(lambda output, target: (output[0] - output[1] - target).mean())
    assert metric.name == "function"
    assert measured(metric, (np.ones(3), np.ones(3)), (np.full(3, 2.0),)) == -2


def test_a_loss_module_is_a_function():
    assert measured(adapt(torch.nn.L1Loss()), np.ones(2), np.zeros(2)) == 1


def test_what_is_what():
    assert adapt("acc") == engine.Accuracy()
    assert adapt(engine.AUC(10)) == engine.AUC(10)
    for wrong, words in [
        (engine.MSE, r"call it, MSE\(\)"),
        (3, "Received: 3"),
        ("mze", "Did you mean 'mse'"),
        (torchmetrics.MetricCollection([tc.BinaryAccuracy()]), "must be a metric"),
    ]:
        with pytest.raises(UsageError, match=words):
            adapt(wrong)


def test_names_differ():
    assert adapt_all(None) == ()
    assert adapt_all("mse") == (engine.MSE(),)
    metrics = adapt_all([engine.BinaryAccuracy(0.3), engine.BinaryAccuracy(0.7), tc.BinaryAccuracy()])
    assert [metric.name for metric in metrics] == ["BinaryAccuracy", "BinaryAccuracy_2", "BinaryAccuracy_3"]
    assert metrics[1] == engine.BinaryAccuracy(0.7, name="BinaryAccuracy_2")
    taken = adapt_all([engine.MSE(), engine.MSE(name="MSE_2"), engine.MSE()])
    assert [metric.name for metric in taken] == ["MSE", "MSE_2", "MSE_3"]


def test_a_collection_is_its_metrics():
    metrics = adapt_all(torchmetrics.MetricCollection({"a": tc.BinaryAccuracy(), "b": tc.BinaryF1Score()}))
    assert [metric.name for metric in metrics] == ["a", "b"]
    assert [measured(metric, np.array([0.9, 0.1]), np.array([1, 0])) for metric in metrics] == [1, 1]
