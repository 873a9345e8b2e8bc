"""Areas and curves over all thresholds.

Owns: AUC from a histogram (bounded memory), and AUROC, ROC and precision-recall from every score (exact).
Leaves: laying arrays against each other (arrays), keeping rows (metric).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.engine.metrics.arrays import alike, probabilities, ranked, scored, zero_one
from zoo.engine.metrics.counts import check_average, check_task, check_width
from zoo.engine.metrics.metric import Kept, MetricState, Summed, Value


@dataclass(frozen=True)
class AUC(Summed):
    """Area under the ROC curve from counts between `threshold_num` thresholds, as Keras' AUC.

    Thresholds are -1e-7, 1/(n-1), 2/(n-1), ..., 1 + 1e-7; the curve is joined by straight lines (trapezoids), so the
    error is at most half the share of pairs (positive, negative) that fall between the same two thresholds.
    `AUROC` is exact, at the price of keeping all scores.

    Outputs are probabilities, (rows,) or (rows, 1), targets 0 or 1. With (rows, k) for both, the mean of the areas
    of those columns which have both kinds of rows; NaN where none has.

    Attributes:
        threshold_num: number of thresholds, at least 2.
    """

    threshold_num: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold_num < 2:
            raise UsageError(f"{self.name}: threshold_num must be at least 2. Received: {self.threshold_num}")

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        """One array (2, columns, thresholds + 1): negatives and positives by number of thresholds below the score."""
        scores, target = alike(self.name, output, target)
        positive = zero_one(self.name, target)
        scores = ranked(self.name, probabilities(self.name, scores, "Apply a sigmoid to them, or use AUROC."))
        columns = scores.shape[-1] if scores.ndim > 1 else 1
        below = np.searchsorted(self._thresholds(), np.clip(scores, 0, 1).reshape(-1, columns))
        cell = below + (positive.reshape(-1, columns) * columns + np.arange(columns)) * (self.threshold_num + 1)
        shape = (2, columns, self.threshold_num + 1)
        return (np.bincount(cell.ravel(), minlength=math.prod(shape)).reshape(shape).astype(np.float64),)

    def result(self, *sums: Any) -> Value:
        from_above = sums[0][:, :, ::-1].cumsum(axis=2)  # rows above each threshold, from the highest threshold on
        areas = [_area(wrong, right) for wrong, right in zip(*from_above, strict=True)]
        return _mean([area for area in areas if not math.isnan(area)])

    def _thresholds(self) -> np.ndarray:
        thresholds = np.linspace(0, 1, self.threshold_num)
        thresholds[[0, -1]] = -1e-7, 1 + 1e-7
        return thresholds


@dataclass(frozen=True)
class _Curve(Kept):
    """Keeps every score.

    Attributes:
        task: "binary" or "multiclass"; None for multiclass exactly where num_classes is given.
        num_classes: multiclass: columns of the output (rows, classes), each class against the rest.
    """

    task: str | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_task(self.name, self.task, self.num_classes)

    def rows(self, output: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.num_classes is None:
            _, target = alike(self.name, output, target)
            scores, labels = output.reshape(-1), zero_one(self.name, target).reshape(-1)
        else:
            scores, labels = scored(self.name, output, target)
            check_width(self.name, scores, self.num_classes)
        kept = np.float64 if scores.dtype.itemsize > 4 else np.float32
        return ranked(self.name, scores.astype(kept)), labels.astype(np.int32)  # copies: a batch may be reused

    def result(self, scores: np.ndarray, labels: np.ndarray) -> Value:
        if self.num_classes is None:
            return self.joined([self.of(*_cumulated(scores, labels == 1))])
        return self.joined([self.of(*_cumulated(scores[:, c], labels == c)) for c in range(self.num_classes)])

    @abstractmethod
    def of(self, wrong: np.ndarray, right: np.ndarray, thresholds: np.ndarray) -> Any:
        """The answer for one class, from negatives and positives at or above each threshold, highest first."""

    @abstractmethod
    def joined(self, classes: list[Any]) -> Value:
        """The answer for all classes; binary has one."""


@dataclass(frozen=True)
class AUROC(_Curve):
    """The exact area under the ROC curve: the chance that a positive row scores above a negative one, ties half.

    Binary: any scores (logits too), (rows,) or (rows, 1), targets 0 or 1; NaN where one kind of rows is missing.
    Multiclass: scores (rows, classes), labels (rows,); each class against the rest.
    Keeps all scores in memory; `AUC` does not.

    Attributes:
        task, num_classes: "binary" or "multiclass" with num_classes.
        average: "macro" averages over the classes that have rows (and are not all rows), "weighted" by rows of each
            class, "none" or None gives an array with NaN for classes without rows.
    """

    average: str | None = "macro"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_average(self.name, self.average, ("macro", "weighted", "none", None))

    def of(self, wrong: np.ndarray, right: np.ndarray, thresholds: np.ndarray) -> Any:
        return _area(wrong, right), right[-1]

    def joined(self, classes: list[Any]) -> Value:
        areas, rows = (np.array(values, np.float64) for values in zip(*classes, strict=True))
        if self.num_classes is not None and self.average in ("none", None):
            return areas
        there = ~np.isnan(areas)
        if self.average == "weighted" and there.any():
            return float(np.average(areas[there], weights=rows[there]))
        return _mean(list(areas[there]))


@dataclass(frozen=True)
class ROC(_Curve):
    """The ROC curve at every score: (false positive rates, true positive rates, thresholds).

    Three float64 arrays, from (0, 0) at threshold +inf to (1, 1); a row counts as positive at or above a threshold.
    Multiclass: three tuples with one array per class. Rates are NaN where one kind of rows is missing.
    Arguments: task, num_classes as in `AUROC`.
    """

    def of(self, wrong: np.ndarray, right: np.ndarray, thresholds: np.ndarray) -> Any:
        return _rate(wrong), _rate(right), thresholds

    def joined(self, classes: list[Any]) -> Value:
        return _curves(self.num_classes, classes)

    def compute(self, state: MetricState) -> Value:
        return super().compute(state) if state else _EMPTY


@dataclass(frozen=True)
class PrecisionRecallCurve(_Curve):
    """Precision and recall at every score: (precision, recall, thresholds).

    Three float64 arrays in the order of rising thresholds; precision and recall have one more point, (1, 0), at their
    end. Multiclass: three tuples with one array per class. Recall is NaN where there are no positive rows.
    Arguments: task, num_classes as in `AUROC`.
    """

    def of(self, wrong: np.ndarray, right: np.ndarray, thresholds: np.ndarray) -> Any:
        precision = (right[1:] / (right[1:] + wrong[1:]))[::-1]
        return np.append(precision, 1.0), _rate(right)[::-1], thresholds[:0:-1]

    def joined(self, classes: list[Any]) -> Value:
        return _curves(self.num_classes, classes)

    def compute(self, state: MetricState) -> Value:
        return super().compute(state) if state else _EMPTY


_EMPTY = (np.array([math.nan]),) * 3


def _cumulated(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(negatives, positives) at or above each distinct score, highest first and +inf before it; and the scores."""
    distinct, place = np.unique(scores, return_inverse=True)
    counts = [np.bincount(place[kind], minlength=len(distinct))[::-1] for kind in (~positive, positive)]
    wrong, right = (np.append(0.0, count.cumsum()) for count in counts)
    return wrong, right, np.append(math.inf, distinct[::-1]).astype(np.float64)


def _area(wrong: np.ndarray, right: np.ndarray) -> float:
    """The trapezoids under positives over negatives, both cumulated; NaN without rows of one kind."""
    pairs = wrong[-1] * right[-1]
    return float((np.diff(wrong) * (right[1:] + right[:-1])).sum() / 2 / pairs) if pairs else math.nan


def _rate(counts: np.ndarray) -> np.ndarray:
    return counts / counts[-1] if counts[-1] else np.full(len(counts), math.nan)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _curves(num_classes: int | None, classes: list[Any]) -> Value:
    return classes[0] if num_classes is None else tuple(zip(*classes, strict=True))
