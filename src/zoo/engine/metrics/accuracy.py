"""The share of right answers, in five kinds.

Owns: what counts as right.
Leaves: laying arrays against each other (arrays), summing (metric).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.errors import DataError
from zoo.engine.metrics.arrays import alike, one_column, scored, zero_one
from zoo.engine.metrics.metric import Summed, Value

_TOP = 5


@dataclass(frozen=True)
class Accuracy(Summed):
    """Accuracy of the kind that the shapes call for.

    - One column, (rows,) or (rows, 1): an output above 0.5 says 1. Outputs of an integer type are labels themselves.
    - Labels (rows, ...) for outputs (rows, ..., classes): the class with the highest score.
    - One-hot targets of the output's shape: likewise. If any target row seen is not one-hot, the task is one of
      several labels per row, and every element above 0.5 says 1. This is judged over all rows, not per batch.

    Attributes:
        zero_based_label: False where labels count from 1 (BigDL's convention).
    """

    zero_based_label: bool = True

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        """(hits, elements) beyond doubt, then those of one-hot rows, and of several labels; rows not one-hot."""
        first = 0 if self.zero_based_label else 1
        if one_column(output):
            return *_hits(self._right_columns(output, target, first)), *_NONE, *_NONE, np.float64(0)
        if output.shape != target.shape:
            scores, labels = scored(self.name, output, target, first)
            return *_hits(scores.argmax(axis=1) == labels), *_NONE, *_NONE, np.float64(0)
        scores, labels = scored(self.name, output, target)
        truth = target.reshape(scores.shape)
        one_hot = ((truth == 0) | (truth == 1)).all(axis=1) & (truth.sum(axis=1) == 1)
        as_classes = _hits(scores.argmax(axis=1) == labels)
        as_labels = _hits((scores > 0.5) == truth)
        return *_NONE, *as_classes, *as_labels, np.float64(len(one_hot) - one_hot.sum())

    def result(self, *sums: Any) -> Value:
        hits, count, class_hits, class_count, label_hits, label_count, not_one_hot = sums
        if not_one_hot:
            hits, count = hits + label_hits, count + label_count
        else:
            hits, count = hits + class_hits, count + class_count
        return float(hits / count) if count else math.nan

    def _right_columns(self, output: np.ndarray, target: np.ndarray, first: int) -> np.ndarray:
        numbers, truth = alike(self.name, output, target)
        if output.dtype.kind in "iu":
            return np.asarray(numbers == truth)
        return np.asarray((numbers > 0.5) == zero_one(self.name, truth - first))


@dataclass(frozen=True)
class SparseCategoricalAccuracy(Summed):
    """How often the highest score is the label's: outputs (rows, ..., classes), labels (rows, ...) from 0."""

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        scores, labels = scored(self.name, output, target)
        return _hits(scores.argmax(axis=1) == labels)


@dataclass(frozen=True)
class CategoricalAccuracy(Summed):
    """How often the highest score is where the target is highest; target one-hot, of the output's shape."""

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        if output.ndim < 2:
            raise DataError(
                f"{self.name}: the output has shape {output.shape}, which has no axis of classes. "
                f"Give one-hot targets and one score per class, or use BinaryAccuracy."
            )
        return _hits(output.argmax(axis=-1) == target.argmax(axis=-1))


@dataclass(frozen=True)
class BinaryAccuracy(Summed):
    """How often an element above the threshold has target 1, and one not above it target 0.

    Attributes:
        threshold: 0.5 suits probabilities, 0 suits logits.
    """

    threshold: float = 0.5

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        return _hits((output > self.threshold) == target)


@dataclass(frozen=True)
class Top5Accuracy(Summed):
    """How often fewer than 5 classes have a higher score than the label's; equal scores count for the label.

    Attributes:
        zero_based_label: False where labels count from 1 (BigDL's convention).
    """

    zero_based_label: bool = True

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        scores, labels = scored(self.name, output, target, 0 if self.zero_based_label else 1)
        own = np.take_along_axis(scores, labels[:, None], axis=1)
        return _hits(((scores > own).sum(axis=1) < _TOP) & np.isfinite(own[:, 0]))


_NONE = (np.float64(0), np.float64(0))


def _hits(right: np.ndarray) -> tuple[np.float64, np.float64]:
    return np.float64(right.sum()), np.float64(right.size)
