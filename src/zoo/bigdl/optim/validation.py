"""Validation methods: what is measured while training, in BigDL's words. Classes count from 1.

Owns: the names, and losses as measures.
Leaves: the mathematics (zoo.engine.metrics).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.engine import metrics
from zoo.engine.errors import UsageError


def Top1Accuracy(bigdl_type: str = "float") -> metrics.Metric:
    """How often the class with the highest output is the label's; one output: whether above 0.5 is the label 1."""
    return _Top1(zero_based_label=False, name="Top1Accuracy")


def Top5Accuracy(bigdl_type: str = "float") -> metrics.Metric:
    """How often the label's output is among the five highest."""
    return metrics.Top5Accuracy(zero_based_label=False, name="Top5Accuracy")


def MAE(bigdl_type: str = "float") -> metrics.Metric:
    """The mean of |output - label|."""
    return metrics.MAE()


def MSE(bigdl_type: str = "float") -> metrics.Metric:
    """The mean of (output - label) ** 2."""
    return metrics.MSE()


def Loss(cri: Any = None, bigdl_type: str = "float") -> metrics.Metric:
    """The mean of a criterion, weighted by rows; `ClassNLLCriterion()` by default."""
    if cri is None:
        from zoo.bigdl.nn.criterion import ClassNLLCriterion

        cri = ClassNLLCriterion()
    if not callable(cri):
        raise UsageError(f"Loss takes a criterion of zoo.bigdl.nn.criterion. Received: {cri!r}")
    return metrics.FunctionMetric("Loss", _OnArrays(cri))


@dataclass(frozen=True)
class EvaluatedResult:
    """What a validation method gave.

    Attributes:
        result: the value.
        total_num: rows that were measured; 0 where nobody counted them.
        method: its name.
    """

    result: float
    total_num: int
    method: str


def methods_of(given: Any) -> list[metrics.Metric]:
    """Validation methods for a name, a method, or a list of them.

    Raises:
        UsageError: something that is none.
    """
    asked = given if isinstance(given, list | tuple) else [given]
    found = [_NAMES[one]() if one in _NAMES else metrics.metric_of(one) for one in asked]
    for one, metric in zip(asked, found, strict=True):
        if metric is None:
            raise UsageError(f"a validation method is Top1Accuracy(), Loss(), ... or one's name. Received: {one!r}")
    return found


@dataclass(frozen=True)
class _Top1(metrics.Accuracy):
    """One output of probabilities has labels 0 and 1, and several have classes from 1."""

    zero_based_label: bool = field(default=False)

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        if output.ndim == 1 or output.shape[-1] == 1:
            return metrics.Accuracy(name=self.name).sums(output, target)
        return super().sums(output, target)


@dataclass(frozen=True)
class _OnArrays:
    criterion: Callable[[Any, Any], Any]

    def __call__(self, output: Any, target: Any) -> float:
        return float(self.criterion(output, target))


_NAMES: dict[Any, Callable[[], metrics.Metric]] = {
    "Top1Accuracy": Top1Accuracy, "Top5Accuracy": Top5Accuracy, "Loss": Loss, "MAE": MAE, "MSE": MSE,
}  # fmt: skip
