"""`zoo.bigdl.nn.criterion`: BigDL's losses. Classes count from 1.

Owns: the formulas.
Leaves: arrays, arguments and labels (loss), losses made of losses (composed).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.bigdl.nn.composed import (
    MultiCriterion,
    ParallelCriterion,
    TimeDistributedCriterion,
    TimeDistributedMaskCriterion,
)
from zoo.bigdl.nn.loss import Criterion, alike, classes, criterion, table
from zoo.engine.errors import UsageError

# --- classes ---------------------------------------------------------------------------------------------------------


@criterion(one_based=True)
def ClassNLLCriterion(weights=None, size_average=True, logProbAsInput=True, paddingValue=-1):
    """-weights[y] * x[y] of log-probabilities x (B, C), y from 1; the mean is over the weights of the targets.

    Args:
        weights: of the classes, an array of C numbers.
        size_average: the mean, else the sum.
        logProbAsInput: False: x are probabilities.
        paddingValue: a target that counts for nothing.
    """

    def loss(x: Tensor, y: Tensor) -> Tensor:
        logs = x if logProbAsInput else torch.log(x.clamp(1e-8, 1 - 1e-8))
        return _nll(logs, classes(x, y, "ClassNLLCriterion", paddingValue), weights, size_average)

    return loss


@criterion(one_based=True)
def CrossEntropyCriterion(weights=None, size_average=True):
    """`ClassNLLCriterion` of log_softmax(x): x (B, C) are scores of any size, y counts from 1."""
    return lambda x, y: _nll(
        F.log_softmax(x, min(1, x.ndim - 1)), classes(x, y, "CrossEntropyCriterion"), weights, size_average
    )


@criterion(one_based=True)
def SoftmaxWithCriterion(ignore_label=None, normalize_mode="VALID"):
    """`CrossEntropyCriterion` of (B, C, ...), divided by a number.

    Args:
        ignore_label: a target that counts for nothing.
        normalize_mode: by the targets that count (VALID), all (FULL), rows (BATCH_SIZE), 1 (NONE).
    """
    if normalize_mode not in ("VALID", "FULL", "BATCH_SIZE", "NONE"):
        raise UsageError(f"SoftmaxWithCriterion: normalize_mode is VALID, FULL, BATCH_SIZE or NONE: {normalize_mode!r}")

    def loss(x: Tensor, y: Tensor) -> Tensor:
        truth = classes(x, y, "SoftmaxWithCriterion", ignore_label)
        counts = {"VALID": (truth != -100).sum(), "FULL": truth.numel(), "BATCH_SIZE": len(x), "NONE": 1}
        return F.cross_entropy(x, truth, reduction="sum") / torch.as_tensor(counts[normalize_mode]).clamp(min=1)

    return loss


@criterion(one_based=True)
def MultiMarginCriterion(p=1, weights=None, margin=1.0, size_average=True):
    """Sum over i != y of weights[y] * max(0, margin - x[y] + x[i]) ** p, divided by C; x (B, C), y from 1."""
    if p not in (1, 2):
        raise UsageError(f"MultiMarginCriterion: p is 1 or 2. Received: {p!r}")
    return lambda x, y: F.multi_margin_loss(
        x, classes(x, y, "MultiMarginCriterion"), p, margin, _weights(weights, x), reduction=_by(size_average)
    )


@criterion(one_based=True)
def MultiLabelMarginCriterion(size_average=True):
    """Sum of max(0, 1 - (x[y] - x[i])) over labels y and others i, divided by C; y (B, C) from 1, ended by a 0."""
    return lambda x, y: F.multilabel_margin_loss(
        x, y.reshape(x.shape).long() - 1, reduction=_by(size_average)
    )  # fmt: skip


@criterion
def CategoricalCrossEntropy():
    """-sum(y * log p) of probabilities p, scaled to add to 1, and one-hot y, both (B, C); the mean over rows."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        p = (x / x.sum(-1, keepdim=True)).clamp(1e-7, 1 - 1e-7)
        return -(alike(x, y, "CategoricalCrossEntropy") * torch.log(p)).sum(-1).mean()

    return loss


@criterion
def BCECriterion(weights=None, size_average=True):
    """-(y log x + (1 - y) log(1 - x)) of probabilities x.

    Args:
        weights: of the elements of a row.
        size_average: the mean over all elements, else the sum.
    """

    def loss(x: Tensor, y: Tensor) -> Tensor:
        p = x.clamp(1e-7, 1 - 1e-7)
        y = alike(x, y, "BCECriterion")
        return _reduced(-(y * torch.log(p) + (1 - y) * torch.log1p(-p)), size_average, _weights(weights, x))

    return loss


@criterion
def MultiLabelSoftMarginCriterion(weights=None, size_average=True):
    """`BCECriterion` of sigmoid(x)."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        y = alike(x, y, "MultiLabelSoftMarginCriterion")
        return F.binary_cross_entropy_with_logits(x, y, _weights(weights, x), reduction=_by(size_average))

    return loss


# --- numbers ---------------------------------------------------------------------------------------------------------


@criterion
def MSECriterion(size_average=True):
    """(x - y) ** 2, the mean over all elements, or the sum."""
    return lambda x, y: F.mse_loss(x, alike(x, y, "MSECriterion"), reduction=_by(size_average))


@criterion
def AbsCriterion(size_average=True):
    """|x - y|, the mean over all elements, or the sum."""
    return lambda x, y: F.l1_loss(x, alike(x, y, "AbsCriterion"), reduction=_by(size_average))


@criterion
def SmoothL1Criterion(size_average=True):
    """D ** 2 / 2 where d = |x - y| < 1, else d - 1 / 2; the mean over all elements, or the sum."""
    return lambda x, y: F.smooth_l1_loss(x, alike(x, y, "SmoothL1Criterion"), reduction=_by(size_average))


@criterion
def SmoothL1CriterionWithWeights(sigma, num=0):
    """`SmoothL1Criterion` with a bend at 1 / sigma ** 2, of a table of targets (y, inside weights, outside weights).

    Args:
        sigma: of the bend.
        num: by which the sum is divided; 0: by the rows.
    """

    def loss(x: Tensor, target: Any) -> Tensor:
        y, inside, outside = table(target, "SmoothL1CriterionWithWeights", 3)
        bend = 1 / sigma**2
        values = F.smooth_l1_loss(inside * x, inside * alike(x, y, "SmoothL1"), reduction="none", beta=bend)
        return (outside * values).sum() / (num or len(x))

    return loss


@criterion
def MeanAbsolutePercentageCriterion():
    """100 * mean(|x - y| / |y|), |y| at least 1e-7."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        y = alike(x, y, "MeanAbsolutePercentageCriterion")
        return 100 * ((x - y).abs() / y.abs().clamp(min=1e-7)).mean()

    return loss


@criterion
def MeanSquaredLogarithmicCriterion():
    """mean((log(x + 1) - log(y + 1)) ** 2), x and y at least 1e-7."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        y = alike(x, y, "MeanSquaredLogarithmicCriterion")
        return (torch.log1p(x.clamp(min=1e-7)) - torch.log1p(y.clamp(min=1e-7))).square().mean()

    return loss


@criterion
def PoissonCriterion():
    """mean(x - y * log(x)), log of at least 1e-7."""
    return lambda x, y: (x - alike(x, y, "PoissonCriterion") * torch.log(x + 1e-7)).mean()


@criterion
def L1Cost():
    """The sum of |x|; there is no target."""
    return lambda x, y: x.abs().sum()


@criterion
def DotProductCriterion(size_average=False):
    """-sum(x * y), or that divided by the rows."""
    return lambda x, y: -(x * alike(x, y, "DotProductCriterion")).sum() / (len(x) if size_average else 1)


@criterion
def DiceCoefficientCriterion(size_average=True, epsilon=1.0):
    """1 - (2 x . y + epsilon) / (sum x + sum y + epsilon), for each row; the mean, or the sum."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        x, y = x.flatten(1), alike(x, y, "DiceCoefficientCriterion").flatten(1)
        return _reduced(1 - (2 * (x * y).sum(1) + epsilon) / (x.sum(1) + y.sum(1) + epsilon), size_average)

    return loss


# --- distributions ---------------------------------------------------------------------------------------------------


@criterion
def DistKLDivCriterion(size_average=True):
    """Y * (log y - x) of log-probabilities x, 0 where y is 0; the mean over all elements, or the sum."""
    return lambda x, y: _reduced(F.kl_div(x, alike(x, y, "DistKLDivCriterion"), reduction="none"), size_average)


@criterion
def KullbackLeiblerDivergenceCriterion():
    """sum(y * log(y / x)) of probabilities, both within [1e-7, 1]; the mean over rows."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        p, y = x.clamp(1e-7, 1), alike(x, y, "KullbackLeiblerDivergenceCriterion").clamp(1e-7, 1)
        return (y * torch.log(y / p)).sum(-1).mean()

    return loss


@criterion
def KLDCriterion(size_average=True):
    """The divergence of normal distributions (mean, log of the variance) from the standard one.

    Args:
        size_average: the mean over rows, else the sum.
    """

    def loss(x: Any, target: Any) -> Tensor:
        mean, log_variance = table(x, "KLDCriterion", 2)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return divergence / len(mean) if size_average else divergence

    return loss


@criterion
def GaussianCriterion():
    """-log of the density of y under normal distributions (mean, log of the variance); the sum."""

    def loss(x: Any, y: Tensor) -> Tensor:
        mean, log_variance = table(x, "GaussianCriterion", 2)
        distance = (alike(mean, y, "GaussianCriterion") - mean).square() / log_variance.exp()
        return 0.5 * (np.log(2 * np.pi) + log_variance + distance).sum()

    return loss


# --- margins and angles ----------------------------------------------------------------------------------------------


@criterion
def MarginCriterion(margin=1.0, size_average=True, squared=False):
    """max(0, margin - x * y), y of 1 and -1, or its square; the mean over all elements, or the sum."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        missing = F.relu(margin - x * alike(x, y, "MarginCriterion"))
        return _reduced(missing.square() if squared else missing, size_average)

    return loss


@criterion
def SoftMarginCriterion(size_average=True):
    """log(1 + exp(-x * y)), y of 1 and -1; the mean over all elements, or the sum."""
    return lambda x, y: F.soft_margin_loss(x, alike(x, y, "SoftMarginCriterion"), reduction=_by(size_average))


@criterion
def MarginRankingCriterion(margin=1.0, size_average=True):
    """max(0, -y * (x1 - x2) + margin) of a table (x1, x2), y of 1 and -1; the mean, or the sum."""

    def loss(x: Any, y: Any) -> Tensor:
        one, other = table(x, "MarginRankingCriterion", 2)
        y = _only(y)
        y = y if y.numel() == 1 else alike(one, y, "MarginRankingCriterion")
        return _reduced(F.relu(margin - y * (one - other)), size_average)

    return loss


@criterion
def HingeEmbeddingCriterion(margin=1.0, size_average=True):
    """X where y is 1, max(0, margin - x) where y is -1; the mean over all elements, or the sum."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        y = alike(x, y, "HingeEmbeddingCriterion")
        return F.hinge_embedding_loss(x, y, margin, reduction=_by(size_average))

    return loss


@criterion
def L1HingeEmbeddingCriterion(margin=1.0):
    """The L1 distance d of a table's two tensors where y is 1, max(0, margin - d) where -1; the sum over rows."""

    def loss(x: Any, y: Any) -> Tensor:
        one, other = table(x, "L1HingeEmbeddingCriterion", 2)
        distance = (one - other).abs().sum(-1)
        near = alike(distance, _only(y), "L1HingeEmbeddingCriterion") == 1
        return torch.where(near, distance, F.relu(margin - distance)).sum()

    return loss


@criterion
def CosineEmbeddingCriterion(margin=0.0, size_average=True):
    """1 - cos(x1, x2) of a table where y is 1, max(0, cos - margin) where -1; the mean over rows, or the sum."""

    def loss(x: Any, y: Any) -> Tensor:
        one, other = table(x, "CosineEmbeddingCriterion", 2)
        cosine = F.cosine_similarity(one, other, dim=-1, eps=1e-12)
        near = alike(cosine, _only(y), "CosineEmbeddingCriterion") == 1
        return _reduced(torch.where(near, 1 - cosine, F.relu(cosine - margin)), size_average)

    return loss


@criterion
def CosineDistanceCriterion(size_average=True):
    """1 - cos(x, y), row by row; the mean, or the sum."""
    return lambda x, y: _reduced(
        1 - F.cosine_similarity(x, alike(x, y, "CosineDistanceCriterion"), dim=-1, eps=1e-12), size_average
    )


@criterion
def CosineProximityCriterion():
    """-cos(x, y), row by row, summed up and divided by the number of elements."""
    return lambda x, y: -F.cosine_similarity(
        x, alike(x, y, "CosineProximityCriterion"), dim=-1, eps=1e-12
    ).sum() / x.numel()  # fmt: skip


# --- what they are made of -------------------------------------------------------------------------------------------


def _by(size_average: bool) -> str:
    return "mean" if size_average else "sum"


def _reduced(values: Tensor, size_average: bool, weights: Tensor | None = None) -> Tensor:
    values = values if weights is None else values * weights
    return values.mean() if size_average else values.sum()


def _weights(weights: Any, like: Tensor) -> Tensor | None:
    return None if weights is None else torch.as_tensor(np.asarray(weights), dtype=like.dtype, device=like.device)


def _only(target: Any) -> Tensor:
    """The target of tables may be a table of one."""
    return target[0] if isinstance(target, list | tuple) else target


def _nll(logs: Tensor, truth: Tensor, weights: Any, size_average: bool) -> Tensor:
    if not bool((truth != -100).any()):
        return 0 * logs.sum()  # nothing counts: torch's mean would be NaN
    return F.nll_loss(logs, truth, _weights(weights, logs), reduction=_by(size_average))


__all__ = [
    "AbsCriterion", "BCECriterion", "CategoricalCrossEntropy", "ClassNLLCriterion", "CosineDistanceCriterion",
    "CosineEmbeddingCriterion", "CosineProximityCriterion", "Criterion", "CrossEntropyCriterion",
    "DiceCoefficientCriterion", "DistKLDivCriterion", "DotProductCriterion", "GaussianCriterion",
    "HingeEmbeddingCriterion", "KLDCriterion", "KullbackLeiblerDivergenceCriterion", "L1Cost",
    "L1HingeEmbeddingCriterion", "MSECriterion", "MarginCriterion", "MarginRankingCriterion",
    "MeanAbsolutePercentageCriterion", "MeanSquaredLogarithmicCriterion", "MultiCriterion",
    "MultiLabelMarginCriterion", "MultiLabelSoftMarginCriterion", "MultiMarginCriterion", "ParallelCriterion",
    "PoissonCriterion", "SmoothL1Criterion", "SmoothL1CriterionWithWeights", "SoftMarginCriterion",
    "SoftmaxWithCriterion", "TimeDistributedCriterion", "TimeDistributedMaskCriterion",
]  # fmt: skip
