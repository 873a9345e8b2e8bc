"""Precision, recall and F1, from counts per class of rows rightly and wrongly given to it.

Owns: counting, and averaging over classes.
Leaves: laying arrays against each other (arrays), summing (metric).

Arguments and averages mean what they mean in torchmetrics; a quotient 0 / 0 is 0. Unlike there, outputs are never
guessed to be logits: a guess from one batch's values would not merge. For logits set threshold=0.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.errors import DataError, UsageError
from zoo.engine.metrics.arrays import alike, labels, scored, zero_one
from zoo.engine.metrics.metric import Summed, Value

AVERAGES = ("micro", "macro", "weighted", "none", None)


def check_task(name: str, task: str | None, classes: int | None) -> None:
    """Refuses a task that is not there, and a number of classes that does not go with it.

    Raises:
        UsageError: names the arguments.
    """
    if task not in (None, "binary", "multiclass"):
        raise UsageError(
            f"{name}: task must be 'binary' or 'multiclass'. Received: {task!r}. "
            f"For other tasks give a torchmetrics object as the metric."
        )
    if task == "multiclass" and classes is None:
        raise UsageError(f"{name}(task='multiclass') needs num_classes.")
    if task == "binary" and classes is not None:
        raise UsageError(f"{name}(task='binary') takes no num_classes. Received: {classes}")
    if classes is not None and classes < 2:
        raise UsageError(f"{name}: num_classes must be at least 2. Received: {classes}")


def check_average(name: str, average: str | None, known: tuple[str | None, ...] = AVERAGES) -> None:
    """Refuses an average that is not known.

    Raises:
        UsageError: lists the known ones.
    """
    if average not in known:
        raise UsageError(f"{name}: average must be one of {', '.join(map(repr, known))}. Received: {average!r}")


@dataclass(frozen=True)
class Counted(Summed):
    """A score from true positives, false positives and false negatives.

    Attributes:
        task: "binary" or "multiclass"; None for multiclass exactly where num_classes is given.
        threshold: binary: an output above it says 1.
        num_classes: multiclass: columns of the output (rows, classes); outputs of an integer type are labels.
        average: multiclass: "micro" counts all classes together, "macro" averages over the classes that occur,
            "weighted" by rows of each class, "none" or None gives an array of one score per class.
        top_k: multiclass: a row is right when its label is among the k highest scores.
    """

    task: str | None = None
    threshold: float = 0.5
    num_classes: int | None = None
    average: str | None = "micro"
    top_k: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_task(self.name, self.task, self.num_classes)
        check_average(self.name, self.average)
        if not 1 <= self.top_k <= (self.num_classes or 1):
            raise UsageError(f"{self.name}: top_k must be in 1..num_classes. Received: {self.top_k}")

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        """One array (3, classes): true positives, false positives, false negatives."""
        if self.num_classes is None:
            scores, target = alike(self.name, output, target)
            said, truth = scores > self.threshold, zero_one(self.name, target)
            counts = [(said & truth).sum(), (said & ~truth).sum(), (~said & truth).sum()]
            return (np.array(counts, np.float64)[:, None],)
        said, truth = self._answers(output, target, self.num_classes)
        hits, given, wanted = (
            np.bincount(x, minlength=self.num_classes).astype(np.float64) for x in (said[said == truth], said, truth)
        )
        return (np.stack([hits, given - hits, wanted - hits]),)

    def result(self, *sums: Any) -> Value:
        counts = sums[0]
        if self.num_classes is None or self.average == "micro":
            return float(self.score(*counts.sum(axis=1)))
        scores = self.score(*counts)
        if self.average in ("none", None):
            return scores
        hits, _, missed = counts
        weights = hits + missed if self.average == "weighted" else counts.any(axis=0).astype(np.float64)
        return float(quotient((weights * scores).sum(), weights.sum()))

    @abstractmethod
    def score(self, hits: Any, wrong: Any, missed: Any) -> Any:
        """The score from true positives, false positives and false negatives, element by element."""

    def _answers(self, output: np.ndarray, target: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
        if output.dtype.kind in "iu" and output.shape == target.shape:
            return labels(self.name, output, classes), labels(self.name, target, classes)
        scores, truth = scored(self.name, output, target)
        check_width(self.name, scores, classes)
        said = scores.argmax(axis=1)
        if self.top_k == 1:
            return said, truth
        best = np.argpartition(scores, -self.top_k, axis=1)[:, -self.top_k :]
        return np.where((best == truth[:, None]).any(axis=1), truth, said), truth


@dataclass(frozen=True)
class Precision(Counted):
    """Of the rows given to a class, the share that belongs to it. Arguments: see `Counted`."""

    def score(self, hits: Any, wrong: Any, missed: Any) -> Any:
        return quotient(hits, hits + wrong)


@dataclass(frozen=True)
class Recall(Counted):
    """Of the rows that belong to a class, the share given to it. Arguments: see `Counted`."""

    def score(self, hits: Any, wrong: Any, missed: Any) -> Any:
        return quotient(hits, hits + missed)


@dataclass(frozen=True)
class F1Score(Counted):
    """The harmonic mean of precision and recall. Arguments: see `Counted`."""

    def score(self, hits: Any, wrong: Any, missed: Any) -> Any:
        return quotient(2 * hits, 2 * hits + wrong + missed)


def quotient(part: Any, whole: Any) -> Any:
    """The quotient part / whole, element by element; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) != 0)


def check_width(name: str, scores: np.ndarray, classes: int) -> None:
    """Refuses scores of another number of classes.

    Raises:
        DataError: names both numbers.
    """
    if scores.shape[1] != classes:
        raise DataError(
            f"{name}(num_classes={classes}): the model's output has {scores.shape[1]} columns. "
            f"Set num_classes={scores.shape[1]}, or change the model's last layer."
        )
