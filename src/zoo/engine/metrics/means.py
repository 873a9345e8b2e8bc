"""Metrics that are a mean: errors, cross-entropies, and the user's own function.

Owns: the formulas.
Leaves: laying arrays against each other (arrays), summing (metric).

Probabilities are clipped to [EPSILON, 1 - EPSILON] as Keras does. Source of all formulas: keras.metrics, keras.losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.engine.errors import DataError
from zoo.engine.metrics.arrays import alike, many, probabilities, scored, squared
from zoo.engine.metrics.metric import MetricState, Summed

EPSILON = 1e-7
_SIGMOID = "Apply a sigmoid to them, or say from_logits=True."
_SOFTMAX = "Apply a softmax to them, or say from_logits=True."


@dataclass(frozen=True)
class MAE(Summed):
    """Mean absolute error over all elements; output and target of one shape."""

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        return _total(np.abs(output - target))


@dataclass(frozen=True)
class MSE(Summed):
    """Mean squared error over all elements; output and target of one shape."""

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        return _total(np.square(output - target))


@dataclass(frozen=True)
class BinaryCrossEntropy(Summed):
    """Mean over all elements of -t log p - (1-t) log(1-p).

    Attributes:
        from_logits: whether outputs are logits; otherwise probabilities in [0, 1].
    """

    from_logits: bool = False

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        if self.from_logits:
            return _total(np.maximum(output, 0) - output * target + np.log1p(np.exp(-np.abs(output))))
        p = np.clip(probabilities(self.name, output, _SIGMOID), EPSILON, 1 - EPSILON)
        return _total(-target * np.log(p) - (1 - target) * np.log1p(-p))


@dataclass(frozen=True)
class CategoricalCrossEntropy(Summed):
    """Mean over rows of -sum(t log p) over classes; target one-hot (or a distribution), of the output's shape.

    Attributes:
        from_logits: whether outputs are logits; otherwise probabilities, scaled to add to 1.
    """

    from_logits: bool = False

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        logs = _log_probabilities(self.name, output, self.from_logits)
        return _total(-(target * logs).sum(axis=-1))


@dataclass(frozen=True)
class SparseCategoricalCrossEntropy(Summed):
    """Mean over labels of -log p of the label's class; scores (rows, ..., classes), labels (rows, ...) from 0.

    Attributes:
        from_logits: whether outputs are logits; otherwise probabilities, scaled to add to 1.
    """

    from_logits: bool = False

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        scores, labels = scored(self.name, output, target)
        logs = _log_probabilities(self.name, scores.astype(np.float64, copy=False), self.from_logits)
        return _total(-np.take_along_axis(logs, labels[:, None], axis=1))


@dataclass(frozen=True)
class KLDivergence(Summed):
    """Mean over rows of sum(t log(t / p)) over the last axis, t and p clipped to [EPSILON, 1]."""

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        p = np.clip(probabilities(self.name, output, "Apply a softmax to them."), EPSILON, 1)
        t = np.clip(target, EPSILON, 1)
        return _total((t * np.log(t / p)).sum(axis=-1))


@dataclass(frozen=True)
class Poisson(Summed):
    """Mean over all elements of p - t log(p + EPSILON); outputs are rates, not less than 0."""

    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        output, target = alike(self.name, output, target)
        if output.size and output.min() < 0:
            raise DataError(
                f"{self.name}: outputs must be rates, not less than 0. Received: {output.min():.6g}. "
                f"End the model with an exp or a softplus."
            )
        return _total(output - target * np.log(output + EPSILON))


@dataclass(frozen=True)
class FunctionMetric(Summed):
    """A plain function, averaged over batches, each weighted by its rows.

    Merging is exact only where the function is a mean over rows: the mean of batch-wise F1 scores is no F1 score.

    Attributes:
        name: the key in the results.
        fn: fn(output, target) -> a number; gets tuples where the model has several outputs or targets. Never called
            with no rows.
    """

    name: str = field()
    fn: Callable[[Any, Any], Any] = field()

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        return self.merge(state, self.sums(output, target)) if len(many(output)[0]) else state

    def sums(self, output: Any, target: Any) -> tuple[Any, ...]:
        """(value * rows, rows) of one batch."""
        outputs, targets = many(output), many(target)
        if len(outputs) == len(targets) == 1:
            value = self.fn(*squared(outputs[0], targets[0]))
        else:
            value = self.fn(outputs if len(outputs) > 1 else outputs[0], targets if len(targets) > 1 else targets[0])
        if np.size(value) != 1:
            raise DataError(
                f"{self.name}: a metric function must return one number for a batch. "
                f"Received shape: {np.shape(value)}. Return its mean."
            )
        rows = np.float64(len(outputs[0]))
        return np.float64(np.asarray(value).item()) * rows, rows


def _total(values: np.ndarray) -> tuple[Any, ...]:
    return values.sum(dtype=np.float64), np.float64(values.size)


def _log_probabilities(name: str, scores: np.ndarray, from_logits: bool) -> np.ndarray:
    if from_logits:
        shifted = scores - scores.max(axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
    if scores.size and scores.min() < -1e-3:
        raise DataError(
            f"{name}: outputs must be probabilities. Received values down to {scores.min():.6g}. {_SOFTMAX}"
        )
    sums = scores.sum(axis=-1, keepdims=True)
    scaled = np.divide(scores, sums, out=np.zeros_like(scores), where=sums != 0)
    return np.asarray(np.log(np.clip(scaled, EPSILON, 1 - EPSILON)))
