"""Metrics of the Keras-style API: those of the engine, whose values over parts are those of the whole.

Owns: the names that ``compile`` knows, the accuracy of trees.
Leaves: the mathematics (zoo.engine.metrics).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.errors import DataError
from zoo.engine.metrics import (
    AUC,
    MAE,
    MSE,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    Metric,
    SparseCategoricalAccuracy,
    Top5Accuracy,
    metric_of,
)
from zoo.engine.metrics.metric import Summed
from zoo.pipeline.api.keras.engine.words import Unsupported

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "MAE", "MSE", "SparseCategoricalAccuracy",
    "Top5Accuracy", "TreeNNAccuracy",
]  # fmt: skip

LOSS = "loss"
"""The word for the mean loss among metrics."""


@dataclass(frozen=True)
class TreeNNAccuracy(Summed):
    """How often the root of a tree is classified right: outputs (rows, nodes, classes), labels (rows, nodes).

    The root is the first node. With one column of scores the task is binary, and an output above 0.5 says 1.

    Attributes:
        zero_based_label: False where labels count from 1.
    """

    zero_based_label: bool = True

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        """(roots that are right, roots)."""
        if output.ndim != 3 or target.ndim < 2:
            raise DataError(
                f"{self.name} needs outputs (rows, nodes, classes) and labels (rows, nodes). Received: {output.shape} "
                f"and {target.shape}"
            )
        scores = output[:, 0]
        labels = target.reshape(len(target), -1)[:, 0] - (0 if self.zero_based_label else 1)
        found = scores[:, 0] > 0.5 if scores.shape[1] == 1 else scores.argmax(axis=1)
        return np.float64((found == labels).sum()), np.float64(len(labels))


def _accuracy(zero_based: bool) -> Metric:
    return Accuracy(zero_based_label=zero_based)


NAMES: Mapping[str, Callable[[bool], Metric]] = {
    "accuracy": _accuracy,
    "acc": _accuracy,
    "top5accuracy": lambda zero_based: Top5Accuracy(zero_based_label=zero_based),
    "top5acc": lambda zero_based: Top5Accuracy(zero_based_label=zero_based),
    "mae": lambda _: MAE(),
    "mse": lambda _: MSE(),
    "auc": lambda _: AUC(),
    "treennaccuracy": lambda zero_based: TreeNNAccuracy(zero_based_label=zero_based),
}


def measured(given: Any, zero_based: bool = True) -> list[Any]:
    """What a program gives to ``compile`` as metrics: metrics of the engine, of Keras, or the word ``"loss"``.

    Args:
        given: None, a name, a metric or several.
        zero_based: whether the labels of the model's loss count from 0, for metrics that are named.

    Raises:
        Unsupported: something that is no metric.
    """
    if given is None:
        return []
    return [_measure(one, zero_based) for one in (given if isinstance(given, list | tuple) else [given])]


def _measure(given: Any, zero_based: bool) -> Any:
    if isinstance(given, str):
        name = given.lower()
        if name == LOSS:
            return LOSS
        if name not in NAMES:
            raise Unsupported.among("metric", given, [*NAMES, LOSS])
        return NAMES[name](zero_based)
    own = None if isinstance(given, type) else metric_of(given)
    if own is None and (isinstance(given, type) or not hasattr(given, "update_state")):
        raise Unsupported.among("metric", given, [*NAMES, LOSS])
    return given if own is None else own
