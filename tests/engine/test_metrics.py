"""Every metric: the law of merging, the numbers of sklearn and torchmetrics, and errors that name the fix."""

import itertools
import math
import pickle
import re

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine import metrics as m
from zoo.engine.errors import DataError, UsageError

CLASSES = 7


def measured(metric, output, target):
    return metric.compute(metric.update(metric.start(), output, target))


# --- what rows look like, by kind; rounded, so that scores tie --------------------------------------------------------


def binary(rng, n):
    return rng.random((n, 1)).round(1).astype(np.float32), rng.integers(0, 2, n)


def sparse(rng, n):
    scores = rng.integers(1, 5, (n, CLASSES)).astype(np.float32)
    return scores / scores.sum(axis=1, keepdims=True), rng.integers(0, CLASSES, n)


def from_one(rng, n):
    scores, labels = sparse(rng, n)
    return scores, labels + 1


def one_hot(rng, n):
    scores, labels = sparse(rng, n)
    return scores, np.eye(CLASSES, dtype=np.float32)[labels]


def several(rng, n):
    return rng.random((n, 3)).round(2), rng.integers(0, 2, (n, 3))


def numbers(rng, n):
    return rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 2))


def rates(rng, n):
    return rng.random((n, 2)), rng.integers(0, 5, (n, 2))


def mean_difference(output, target):
    return np.mean(output[:, 0] - target[:, 0])


CASES = [
    (m.Accuracy(), binary),
    (m.Accuracy(), sparse),
    (m.Accuracy(), one_hot),
    (m.Accuracy(), several),
    (m.Accuracy(zero_based_label=False), from_one),
    (m.SparseCategoricalAccuracy(), sparse),
    (m.CategoricalAccuracy(), one_hot),
    (m.BinaryAccuracy(), several),
    (m.Top5Accuracy(), sparse),
    (m.Top5Accuracy(zero_based_label=False), from_one),
    (m.AUC(), binary),
    (m.AUC(threshold_num=3), several),
    (m.MAE(), numbers),
    (m.MSE(), numbers),
    (m.BinaryCrossEntropy(), several),
    (m.BinaryCrossEntropy(from_logits=True), several),
    (m.CategoricalCrossEntropy(), one_hot),
    (m.SparseCategoricalCrossEntropy(), sparse),
    (m.SparseCategoricalCrossEntropy(from_logits=True), sparse),
    (m.KLDivergence(), one_hot),
    (m.Poisson(), rates),
    (m.AUROC(), binary),
    (m.AUROC(num_classes=CLASSES), sparse),
    (m.AUROC(num_classes=CLASSES, average="none"), sparse),
    (m.AUROC(num_classes=CLASSES, average="weighted"), sparse),
    (m.ROC(), binary),
    (m.ROC(num_classes=CLASSES), sparse),
    (m.PrecisionRecallCurve(), binary),
    (m.PrecisionRecallCurve(num_classes=CLASSES), sparse),
    (m.F1Score(), binary),
    (m.F1Score(num_classes=CLASSES, average="macro"), sparse),
    (m.Precision(num_classes=CLASSES, average="weighted"), sparse),
    (m.Recall(num_classes=CLASSES, average=None, top_k=2), sparse),
    (m.FunctionMetric("difference", mean_difference), numbers),
]


def assert_same(a, b):
    if isinstance(a, tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def told(value):
    """The name of a case, the same in each process that collects it."""
    return getattr(value, "__name__", None) or re.sub(r" at 0x\w+", "", repr(value))


@pytest.mark.parametrize("metric, rows", CASES, ids=told)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 40), max_size=6), order=st.randoms())
def test_merged_pieces_are_the_whole(metric, rows, seed, cuts, order):
    output, target = rows(np.random.default_rng(seed), 40)
    borders = [0, *sorted(cuts), 40]
    pieces = list(itertools.pairwise(borders))
    order.shuffle(pieces)
    states = [metric.update(metric.start(), output[a:b], target[a:b]) for a, b in pieces]
    travelled = [pickle.loads(pickle.dumps(state)) for state in states]
    while len(travelled) > 1:
        first, second = (travelled.pop(order.randrange(len(travelled))) for _ in range(2))
        travelled.append(metric.merge(first, second))
    assert_same(metric.compute(travelled[0]), measured(metric, output, target))


@pytest.mark.parametrize("metric, rows", CASES, ids=told)
def test_metrics_are_values_that_start_empty_and_leave_states_alone(metric, rows):
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert isinstance(metric, m.Metric)
    nothing = metric.compute(metric.start())
    assert np.isnan(np.concatenate(nothing) if isinstance(nothing, tuple) else nothing).all()
    state = metric.update(metric.start(), *rows(np.random.default_rng(0), 9))
    before = pickle.dumps(state)
    output, target = rows(np.random.default_rng(1), 9)
    metric.merge(state, metric.update(state, output, target))
    output[...] = 0
    assert pickle.dumps(state) == before


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_a_batch_may_be_overwritten_once_it_was_seen(n):
    output, target = binary(np.random.default_rng(n), n)
    whole = measured(m.PrecisionRecallCurve(), output, target)
    state = m.PrecisionRecallCurve().update((), output, target)
    output[...], target[...] = 0, 0
    assert_same(m.PrecisionRecallCurve().compute(state), whole)


def test_kept_rows_stay_in_few_runs():
    metric, state = m.AUROC(), ()
    output, target = binary(np.random.default_rng(0), 8)
    for _ in range(1000):
        state = metric.update(state, output, target)
    assert sum(len(labels) for _, labels in state) == 8000
    assert len(state) <= 14


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric, output, target, value",
    [
        (m.BinaryCrossEntropy(), [[0.6, 0.4], [0.4, 0.6]], [[0, 1], [0, 0]], 0.81492424),
        (m.CategoricalCrossEntropy(), [[0.05, 0.95, 0], [0.1, 0.8, 0.1]], [[0, 1, 0], [0, 0, 1]], 1.1769392),
        (m.SparseCategoricalCrossEntropy(), [[0.05, 0.95, 0], [0.1, 0.8, 0.1]], [1, 2], 1.1769392),
        (m.KLDivergence(), [[0.6, 0.4], [0.4, 0.6]], [[0, 1], [0, 0]], 0.45814306),
        (m.Poisson(), [[1, 1], [0, 0]], [[0, 1], [0, 0]], 0.5),
        (m.MSE(), [[1, -2], [1, 1]], [[0, 1], [0, 1]], 2.75),
        (m.MAE(), [[1, -2], [1, 1]], [[0, 1], [0, 1]], 1.25),
        (m.BinaryAccuracy(), [0.1, 0.5, 0.6], [0, 1, 1], 2 / 3),
        (m.BinaryAccuracy(threshold=0), [-1.0, 0.2, -0.1], [0, 1, 1], 2 / 3),
        (m.CategoricalAccuracy(), [[0.1, 0.9], [0.8, 0.2]], [[0, 1], [0, 1]], 0.5),
        (m.Top5Accuracy(), [[6, 5, 4, 3, 2, 1.0]] * 2, [4, 5], 0.5),
    ],
)
def test_check_values(metric, output, target, value):
    assert measured(metric, np.array(output, np.float32), np.array(target)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    "output, target, value",
    [
        ([[0.6], [0.2]], [1, 1], 0.5),
        ([0.6, 0.2], [[1], [1]], 0.5),
        ([[0.1, 0.9, 0.8], [0.05, 0.95, 0]], [2, 1], 0.5),
        ([[0.1, 0.9, 0.8], [0.05, 0.95, 0]], [[2], [1]], 0.5),
        ([[0.1, 0.9, 0.8], [0.05, 0.95, 0]], [[0, 0, 1], [0, 1, 0]], 0.5),
        ([[0.1, 0.9, 0.8], [0.05, 0.95, 0]], [[0, 1, 1], [1, 1, 0]], 5 / 6),
    ],
)
def test_accuracy_chooses_by_shape(output, target, value):
    assert measured(m.Accuracy(), np.array(output), np.array(target)) == value


def test_accuracy_of_predicted_labels_compares_them():
    assert measured(m.Accuracy(), np.array([0, 2, 3, 4]), np.array([1, 2, 3, 4])) == 0.75


def test_labels_from_one():
    output = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert measured(m.Accuracy(zero_based_label=False), output, np.array([1, 2])) == 1
    assert measured(m.Accuracy(zero_based_label=False), np.array([[0.1], [0.9]]), np.array([1, 2])) == 1


def test_images_with_classes_on_the_second_axis():
    scores_last = np.random.default_rng(0).random((2, 4, 5, 3))
    labels = np.random.default_rng(1).integers(0, 3, (2, 4, 5))
    for metric in (m.Accuracy(), m.SparseCategoricalAccuracy(), m.SparseCategoricalCrossEntropy()):
        assert measured(metric, np.moveaxis(scores_last, -1, 1), labels) == measured(metric, scores_last, labels)


def test_logits_and_their_probabilities_have_the_same_entropy():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    hot = np.eye(4)[np.arange(20) % 4]
    for metric in (m.CategoricalCrossEntropy, m.SparseCategoricalCrossEntropy):
        target = hot if metric is m.CategoricalCrossEntropy else hot.argmax(axis=1)
        assert measured(metric(from_logits=True), logits, target) == pytest.approx(measured(metric(), softmax, target))
    sigmoid = 1 / (1 + np.exp(-logits))
    assert measured(m.BinaryCrossEntropy(from_logits=True), logits, hot) == pytest.approx(
        measured(m.BinaryCrossEntropy(), sigmoid, hot)
    )


def test_several_outputs_are_pooled_and_several_label_columns_are_columns():
    a, b = np.array([1.0, 2.0]), np.array([[3.0], [5.0]])
    zero = np.zeros(2)
    assert measured(m.MAE(), (a, b), (zero, zero)) == pytest.approx(11 / 4)
    assert measured(m.MAE(), np.array([[1.0, 3.0], [2.0, 5.0]]), (zero, zero)) == pytest.approx(11 / 4)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60))
def test_curves_against_sklearn(seed, n):
    output, target = binary(np.random.default_rng(seed), n)
    target[:2] = 0, 1
    score = output[:, 0]
    assert measured(m.AUROC(), output, target) == pytest.approx(sk.roc_auc_score(target, score))
    # scores are tenths, and no two fall between the same two of 200 thresholds
    assert measured(m.AUC(), output, target) == pytest.approx(sk.roc_auc_score(target, score))
    assert_same(measured(m.ROC(), output, target), sk.roc_curve(target, score, drop_intermediate=False))
    assert_same(measured(m.PrecisionRecallCurve(), output, target), sk.precision_recall_curve(target, score))


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_multiclass_area_against_sklearn(average):
    output, target = sparse(np.random.default_rng(3), 200)
    expected = sk.roc_auc_score(target, output, multi_class="ovr", average=average)
    assert measured(m.AUROC(num_classes=CLASSES, average=average), output, target) == pytest.approx(expected, abs=1e-6)


def test_multiclass_curves_are_one_class_against_the_rest():
    output, target = sparse(np.random.default_rng(3), 50)
    for c, curve in enumerate(zip(*measured(m.ROC(num_classes=CLASSES), output, target), strict=True)):
        assert_same(curve, sk.roc_curve(target == c, output[:, c], drop_intermediate=False))


@given(seed=st.integers(0, 2**32 - 1), average=st.sampled_from(["micro", "macro", "weighted", None]))
@pytest.mark.parametrize(
    "metric, expected",
    [(m.Precision, sk.precision_score), (m.Recall, sk.recall_score), (m.F1Score, sk.f1_score)],
)
def test_counts_against_sklearn(metric, expected, seed, average):
    output, target = sparse(np.random.default_rng(seed), 60)
    # macro averages over the classes that occur, in the target or in the answers
    there = np.union1d(target, output.argmax(axis=1)) if average == "macro" else np.arange(CLASSES)
    value = expected(target, output.argmax(axis=1), labels=there, average=average, zero_division=0)
    assert_same(measured(metric(num_classes=CLASSES, average=average), output, target), value)
    output, target = binary(np.random.default_rng(seed), 30)
    assert measured(metric(), output, target) == pytest.approx(expected(target, output[:, 0] > 0.5, zero_division=0))


def test_areas_with_one_kind_of_rows_are_nan():
    score, ones = np.array([0.1, 0.9]), np.array([1, 1])
    assert math.isnan(measured(m.AUC(), score, ones))
    assert math.isnan(measured(m.AUROC(), score, ones))
    assert math.isnan(measured(m.AUROC(num_classes=2, average="weighted"), np.eye(2), ones))


# --- errors -----------------------------------------------------------------------------------------------------------

THREE = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize(
    "metric, output, target, words",
    [
        (m.MSE(), np.zeros((2, 3)), np.zeros((2, 2)), ["MSE", "(2, 3)", "(2, 2)", "same shape"]),
        (m.MSE(), np.zeros(3), np.zeros(2), ["(3,)", "(2,)", "rows"]),
        (m.MSE(), np.float64(3), np.zeros(2), ["()", "rows"]),
        (m.Accuracy(), np.zeros((2, 3)), np.zeros((2, 2)), ["Accuracy", "(2, 3)", "(2, 2)", "one score per class"]),
        (m.Accuracy(), THREE, np.array([1, 3]), ["label 3", "3 classes 0..2", "zero_based_label=False"]),
        (m.Accuracy(zero_based_label=False), THREE, np.array([1, 0]), ["label 0", "1..3"]),
        (m.SparseCategoricalAccuracy(), THREE, np.array([0.5, 1]), ["whole numbers", "0.5"]),
        (m.SparseCategoricalAccuracy(), THREE, np.array([np.nan, 1]), ["whole numbers", "nan"]),
        (m.CategoricalAccuracy(), np.zeros(2), np.zeros(2), ["(2,)", "BinaryAccuracy"]),
        (m.Accuracy(), np.zeros(2), np.array([0, 2]), ["0 or 1", "2", "column per class"]),
        (m.MAE(), np.zeros(2), np.array(["a", "b"]), ["target", "numbers", "<U1"]),
        (m.BinaryCrossEntropy(), np.array([-1.0, 2.0]), np.zeros(2), ["[0, 1]", "-1 to 2", "from_logits=True"]),
        (m.SparseCategoricalCrossEntropy(), -THREE, np.zeros(2), ["-0.5", "softmax"]),
        (m.Poisson(), np.array([-1.0]), np.zeros(1), ["rates", "-1"]),
        (m.AUC(), np.array([3.0]), np.ones(1), ["[0, 1]", "AUROC"]),
        (m.AUROC(), np.array([np.nan]), np.ones(1), ["1 of 1", "NaN"]),
        (m.AUROC(num_classes=4), THREE, np.zeros(2), ["num_classes=3", "3 columns"]),
        (m.Recall(num_classes=4), THREE, np.zeros(2), ["num_classes=3", "3 columns"]),
        (m.MAE(), (np.zeros(2), np.zeros(2)), np.zeros(2), ["2 outputs", "1 targets"]),
        (m.AUC(), (np.zeros(2), np.zeros((2, 3))), (np.zeros(2), np.zeros((2, 3))), ["widths"]),
        (m.FunctionMetric("error", np.subtract), np.zeros(2), np.zeros(2), ["error", "(2,)", "mean"]),
    ],
)
def test_rows_that_do_not_fit(metric, output, target, words):
    with pytest.raises(DataError) as caught:
        metric.update(metric.start(), output, target)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: m.AUC(threshold_num=1), "threshold_num must be at least 2"),
        (lambda: m.F1Score("multilabel"), "'multilabel'.*torchmetrics"),
        (lambda: m.F1Score("multiclass"), "needs num_classes"),
        (lambda: m.F1Score("binary", num_classes=3), "takes no num_classes"),
        (lambda: m.AUROC(num_classes=1), "at least 2"),
        (lambda: m.AUROC(num_classes=3, average="micro"), "average must be one of 'macro'"),
        (lambda: m.Recall(num_classes=3, top_k=4), "top_k"),
        (lambda: m.by_name("acuracy"), "Did you mean 'accuracy'"),
    ],
)
def test_arguments_that_do_not_fit(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_names_and_tags():
    assert m.by_name("Mean_Squared_Error") == m.MSE()
    assert {m.by_name(made.__name__.upper()) for made in m.CLASSES} == {made() for made in m.CLASSES}
    assert [m.summary_tag(name) for name in ("Accuracy", "BinaryAccuracy_2", "AUC", "MAE", "Top5Accuracy", "loss")] == [
        "Top1Accuracy",
        "Top1Accuracy_2",
        "AucScore",
        "MAE",
        "Top5Accuracy",
        "Loss",
    ]
    assert m.MSE(name="error").name == "error"
