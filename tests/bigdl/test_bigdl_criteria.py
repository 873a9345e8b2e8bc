"""Each criterion of zoo.bigdl.nn is its formula, forward and backward, on arrays and tensors."""

import pickle

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.bigdl.nn import criterion as C
from zoo.engine.errors import DataError, UsageError


def tensor(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) * 2 - 1


X, Y = tensor(4, 3), tensor(5, 3)[:4]
P = X.softmax(1)
LOGS = X.log_softmax(1)
CLASS = torch.tensor([1, 3, 2, 3])  # from 1
SIGNS = torch.tensor([1.0, -1.0, -1.0, 1.0])
ZEROS_ONES = (Y > 0).float()
PAIR = (X, Y)
W = [0.5, 1.0, 2.0]
IMAGE = tensor(2, 3, 4, 5)
PIXELS = torch.arange(40).reshape(2, 4, 5) % 3 + 1


def picked(x, y=CLASS):
    return x[range(len(y)), y - 1]


def margins(x):
    missing = (1 - picked(x)[:, None] + x).clamp(min=0)
    missing[range(4), CLASS - 1] = 0
    return missing


CASES = [
    (C.ClassNLLCriterion(), LOGS, CLASS, lambda x: -picked(x).mean()),
    (C.ClassNLLCriterion(), LOGS, CLASS[:, None].float(), lambda x: -picked(x).mean()),
    (C.ClassNLLCriterion(), LOGS[0], torch.tensor(2.0), lambda x: -x[1]),
    (C.ClassNLLCriterion(W), LOGS, CLASS, lambda x: -(w := torch.tensor(W)[CLASS - 1]) @ picked(x) / w.sum()),
    (C.ClassNLLCriterion(W, False), LOGS, CLASS, lambda x: -torch.tensor(W)[CLASS - 1] @ picked(x)),
    (C.ClassNLLCriterion(logProbAsInput=False), P, CLASS, lambda x: -picked(x.log()).mean()),
    (C.ClassNLLCriterion(paddingValue=3), LOGS, CLASS, lambda x: -(x[0, 0] + x[2, 1]) / 2),
    (C.ClassNLLCriterion(paddingValue=0), LOGS, 0 * CLASS, lambda x: 0 * x.sum()),
    (C.CrossEntropyCriterion(), X, CLASS, lambda x: -picked(x.log_softmax(1)).mean()),
    (C.CrossEntropyCriterion(size_average=False), X, CLASS, lambda x: -picked(x.log_softmax(1)).sum()),
    (C.SoftmaxWithCriterion(), IMAGE, PIXELS, lambda x: F.cross_entropy(x, PIXELS - 1)),
    (C.SoftmaxWithCriterion(2), IMAGE, PIXELS, lambda x: F.cross_entropy(x, PIXELS - 1, ignore_index=1)),
    (C.SoftmaxWithCriterion(None, "BATCH_SIZE"), IMAGE, PIXELS, lambda x: 20 * F.cross_entropy(x, PIXELS - 1)),
    (C.MultiMarginCriterion(), X, CLASS, lambda x: margins(x).sum(1).mean() / 3),
    (C.MultiMarginCriterion(2, W, size_average=False), X, CLASS,
     lambda x: torch.tensor(W)[CLASS - 1] @ margins(x).square().sum(1) / 3),
    (C.MultiLabelMarginCriterion(), X[:1], torch.tensor([[3, 0, 0]]),
     lambda x: ((1 - x[0, 2] + x[0, 0]).clamp(min=0) + (1 - x[0, 2] + x[0, 1]).clamp(min=0)) / 3),
    (C.CategoricalCrossEntropy(), P, F.one_hot(CLASS - 1), lambda x: -picked(
        (x / x.sum(1, keepdim=True)).log()).mean()),
    (C.BCECriterion(), P, ZEROS_ONES, lambda x: F.binary_cross_entropy(x, ZEROS_ONES)),
    (C.BCECriterion(W, False), P, ZEROS_ONES, lambda x: (torch.tensor(W) * F.binary_cross_entropy(
        x, ZEROS_ONES, reduction="none")).sum()),
    (C.MultiLabelSoftMarginCriterion(), X, ZEROS_ONES, lambda x: F.binary_cross_entropy(x.sigmoid(), ZEROS_ONES)),
    (C.MSECriterion(), X, Y, lambda x: ((x - Y) ** 2).mean()),
    (C.MSECriterion(), X[:, :1], Y[:, 0], lambda x: ((x - Y[:, :1]) ** 2).mean()),
    (C.AbsCriterion(False), X, Y, lambda x: (x - Y).abs().sum()),
    (C.SmoothL1Criterion(), 2 * X, Y, lambda x: torch.where(
        (x - Y).abs() < 1, (x - Y) ** 2 / 2, (x - Y).abs() - 0.5).mean()),
    (C.SmoothL1CriterionWithWeights(2.0, 5), X, (Y, Y, X.abs()), lambda x: (X.abs() * torch.where(
        (d := (Y * (x - Y)).abs()) < 0.25, 2 * d * d, d - 0.125)).sum() / 5),
    (C.MeanAbsolutePercentageCriterion(), X, Y, lambda x: 100 * ((x - Y) / Y).abs().mean()),
    (C.MeanSquaredLogarithmicCriterion(), P, Y.abs(), lambda x: ((1 + x).log() - (1 + Y.abs()).log()).square().mean()),
    (C.PoissonCriterion(), P, Y.abs(), lambda x: (x - Y.abs() * x.log()).mean()),
    (C.L1Cost(), X, Y, lambda x: x.abs().sum()),
    (C.DotProductCriterion(), X, Y, lambda x: -(x * Y).sum()),
    (C.DotProductCriterion(True), X, Y, lambda x: -(x * Y).sum() / 4),
    (C.DiceCoefficientCriterion(), P, ZEROS_ONES, lambda x: (
        1 - (2 * (x * ZEROS_ONES).sum(1) + 1) / (x.sum(1) + ZEROS_ONES.sum(1) + 1)).mean()),
    (C.DistKLDivCriterion(), LOGS, P, lambda x: (P * (P.log() - x)).mean()),
    (C.KullbackLeiblerDivergenceCriterion(), P, Y.softmax(1), lambda x: (
        Y.softmax(1) * (Y.log_softmax(1) - x.log())).sum(1).mean()),
    (C.KLDCriterion(), PAIR, X, lambda x: torch.distributions.kl_divergence(
        torch.distributions.Normal(x[0], (x[1] / 2).exp()), torch.distributions.Normal(0.0, 1.0)).sum() / 4),
    (C.GaussianCriterion(), PAIR, P, lambda x: -torch.distributions.Normal(x[0], (x[1] / 2).exp()).log_prob(P).sum()),
    (C.MarginCriterion(0.5), X, Y.sign(), lambda x: (0.5 - x * Y.sign()).clamp(min=0).mean()),
    (C.MarginCriterion(squared=True), X, Y.sign(), lambda x: (1 - x * Y.sign()).clamp(min=0).square().mean()),
    (C.SoftMarginCriterion(), X, Y.sign(), lambda x: (1 + (-x * Y.sign()).exp()).log().mean()),
    (C.MarginRankingCriterion(0.3), (X[:, 0], Y[:, 0]), SIGNS,
     lambda x: (0.3 - SIGNS * (x[0] - x[1])).clamp(min=0).mean()),
    (C.MarginRankingCriterion(), (X[:, 0], Y[:, 0]), (torch.tensor([1.0]),),
     lambda x: (1 - x[0] + x[1]).clamp(min=0).mean()),
    (C.HingeEmbeddingCriterion(0.5), X[:, 0], SIGNS, lambda x: torch.where(
        SIGNS > 0, x, (0.5 - x).clamp(min=0)).mean()),
    (C.L1HingeEmbeddingCriterion(3.0), PAIR, SIGNS, lambda x: torch.where(
        SIGNS > 0, d := (x[0] - x[1]).abs().sum(1), (3 - d).clamp(min=0)).sum()),
    (C.CosineEmbeddingCriterion(0.1), PAIR, SIGNS, lambda x: torch.where(
        SIGNS > 0, 1 - (c := cosine(*x)), (c - 0.1).clamp(min=0)).mean()),
    (C.CosineDistanceCriterion(), X, Y, lambda x: (1 - cosine(x, Y)).mean()),
    (C.CosineProximityCriterion(), X, Y, lambda x: -cosine(x, Y).sum() / 12),
    (C.MultiCriterion().add(C.MSECriterion(), 2.0).add(nn.L1Loss()), X, Y,
     lambda x: 2 * ((x - Y) ** 2).mean() + (x - Y).abs().mean()),
    (C.ParallelCriterion().add(C.MSECriterion(), 0.5).add(C.CrossEntropyCriterion()), PAIR, (Y, CLASS),
     lambda x: 0.5 * ((x[0] - Y) ** 2).mean() - picked(x[1].log_softmax(1)).mean()),
    (C.ParallelCriterion(True).add(C.MSECriterion()).add(C.AbsCriterion()), PAIR, P,
     lambda x: ((x[0] - P) ** 2).mean() + (x[1] - P).abs().mean()),
    (C.TimeDistributedCriterion(C.CrossEntropyCriterion()), IMAGE[0].movedim(0, 2), PIXELS[0],
     lambda x: 5 * F.cross_entropy(x.movedim(2, 1), PIXELS[0] - 1)),
    (C.TimeDistributedCriterion(C.MSECriterion(), True), IMAGE, 2 * IMAGE, lambda x: ((x - 2 * IMAGE) ** 2).mean()),
    (C.TimeDistributedMaskCriterion(C.CrossEntropyCriterion(), 2), IMAGE[0].movedim(0, 2), PIXELS[0],
     lambda x: F.cross_entropy(x.movedim(2, 1), PIXELS[0] - 1, ignore_index=1)),
]  # fmt: skip


def cosine(a, b):
    return (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)


def lists(value, fn):
    return [fn(one) for one in value] if isinstance(value, tuple) else fn(value)


@pytest.mark.parametrize(("criterion", "x", "target", "formula"), CASES, ids=lambda one: type(one).__name__)
def test_a_criterion_is_its_formula(criterion, x, target, formula):
    leaves = lists(x, lambda one: one.clone().requires_grad_())
    wanted = formula(tuple(leaves) if isinstance(x, tuple) else leaves)
    wanted.backward()
    gradients = lists(tuple(leaves) if isinstance(x, tuple) else leaves,
                      lambda one: torch.zeros_like(one) if one.grad is None else one.grad)  # fmt: skip
    assert criterion(x, target).item() == pytest.approx(wanted.item(), abs=1e-5)
    arrays, targets = lists(x, np.asarray), lists(target, np.asarray)
    for one in (criterion, pickle.loads(cloudpickle.dumps(criterion))):
        loss = one.forward(arrays, targets)
        assert type(loss) is float and loss == pytest.approx(wanted.item(), abs=1e-5)
    found = criterion.backward(arrays, targets)
    for one, gradient in zip(
        found if isinstance(x, tuple) else [found], gradients if isinstance(x, tuple) else [gradients], strict=True
    ):
        np.testing.assert_allclose(one, gradient, atol=1e-5)


def test_all_criteria_are_tried():
    tried = {type(case[0]).__name__ for case in CASES}
    assert set(C.__all__) - tried == {"Criterion"}


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        (lambda: C.ClassNLLCriterion()(LOGS, CLASS - 1), DataError, "count from 1, here to 3. Received classes from 0"),
        (lambda: C.CrossEntropyCriterion()(X, CLASS + 1), DataError, "to 4: add 1 to labels"),
        (lambda: C.CrossEntropyCriterion()(X, Y), UsageError, r"take classes \(4,\). Received: \(4, 3\)"),
        (lambda: C.MSECriterion()(X, Y[:, 0]), UsageError, r"output \(4, 3\) and target \(4,\) differ in size"),
        (lambda: C.MSECriterion(sizeaverage=True), UsageError, "Did you mean 'size_average'"),
        (lambda: C.MultiCriterion()(X, Y), UsageError, "is empty"),
        (lambda: C.ParallelCriterion().add(C.MSECriterion())(PAIR, Y), UsageError, "table of 1 tensors"),
        (lambda: C.MultiCriterion().add(3), UsageError, "add takes a criterion"),
        (lambda: C.KLDCriterion()(X, Y), UsageError, "table of 2 tensors. Received: one tensor"),
        (lambda: C.SoftmaxWithCriterion(None, "MEAN"), UsageError, "normalize_mode"),
        (lambda: C.TimeDistributedCriterion(C.MSECriterion())(X, Y[:, :2]), UsageError, "other steps along axis 2"),
    ],
)
def test_mistakes_are_named(wrong, error, told):
    with pytest.raises(error, match=told):
        wrong()
