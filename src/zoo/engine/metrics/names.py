"""Metrics by the names that programs write, and the names under which TensorBoard shows them."""

from __future__ import annotations

import re
from typing import Any

from zoo.engine.errors import UsageError, did_you_mean
from zoo.engine.metrics import accuracy, counts, curves, means
from zoo.engine.metrics.metric import Metric

CLASSES: tuple[type, ...] = (
    accuracy.Accuracy,
    accuracy.SparseCategoricalAccuracy,
    accuracy.CategoricalAccuracy,
    accuracy.BinaryAccuracy,
    accuracy.Top5Accuracy,
    curves.AUC,
    means.MAE,
    means.MSE,
    means.BinaryCrossEntropy,
    means.CategoricalCrossEntropy,
    means.SparseCategoricalCrossEntropy,
    means.KLDivergence,
    means.Poisson,
    curves.AUROC,
    curves.ROC,
    counts.F1Score,
    counts.Precision,
    counts.Recall,
    curves.PrecisionRecallCurve,
)
"""Every metric that needs no argument."""

_OTHER_NAMES: dict[str, type] = {
    "acc": accuracy.Accuracy,
    "top1accuracy": accuracy.Accuracy,
    "top5acc": accuracy.Top5Accuracy,
    "meanabsoluteerror": means.MAE,
    "meansquarederror": means.MSE,
    "kld": means.KLDivergence,
    "kullbackleiblerdivergence": means.KLDivergence,
    "f1": counts.F1Score,
}
_NAMES = {made.__name__.lower(): made for made in CLASSES} | _OTHER_NAMES
_TAGS = {
    "Accuracy": "Top1Accuracy",
    "BinaryAccuracy": "Top1Accuracy",
    "CategoricalAccuracy": "Top1Accuracy",
    "SparseCategoricalAccuracy": "Top1Accuracy",
    "AUC": "AucScore",
    "loss": "Loss",
}


def by_name(name: str) -> Metric:
    """The metric that a program calls `name`; case and underscores do not count.

    Raises:
        UsageError: there is none; holds the nearest name and all names.
    """
    made = _NAMES.get(re.sub(r"[_\s-]", "", name).lower())
    if made is None:
        hint = did_you_mean(name.lower(), _NAMES)
        raise UsageError(f"no metric is called '{name}'.{hint}\n  Known names: {', '.join(sorted(_NAMES))}")
    metric: Metric = made()
    return metric


def metric_of(given: Any) -> Metric | None:
    """The metric that a program means by a name, a metric of ours or of `zoo.orca.learn.metrics`; None for others.

    Raises:
        UsageError: a name that no metric has.
    """
    if isinstance(given, str):
        return by_name(given)
    if hasattr(given, "to_engine"):
        own: Metric = given.to_engine()
        return own
    return given if isinstance(given, Metric) and not isinstance(given, type) else None


def summary_tag(name: str) -> str:
    """The tag under which TensorBoard shows the metric reported as `name`, BigDL's where it has one.

    A number at the end, which keeps two metrics of one name apart, stays: ``Accuracy_2`` -> ``Top1Accuracy_2``.
    """
    plain, number = re.fullmatch(r"(.*?)(_\d+)?", name, re.DOTALL).groups("")  # type: ignore[union-attr]
    return _TAGS.get(plain, plain) + number
