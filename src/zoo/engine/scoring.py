"""A model's score on some rows: a value that merges exactly.

Owns: the sums behind an evaluation.
Leaves: each metric's mathematics (metrics), the model's outputs (replica).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo.engine.contracts import Batch, Replica
from zoo.engine.metrics import Metric

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Score:
    """What is known of a model on some rows.

    Attributes:
        rows: how many.
        batches: in how many batches.
        loss: sum of the rows' losses; NaN where there is no loss.
        states: each metric's state.
    """

    rows: int
    batches: int
    loss: float
    states: tuple[Any, ...]

    @classmethod
    def empty(cls, metrics: Sequence[Metric]) -> Score:
        """Of no rows."""
        return cls(0, 0, 0.0, tuple(metric.start() for metric in metrics))

    def plus(self, replica: Replica, batch: Batch, metrics: Sequence[Metric]) -> Score:
        """With one more batch."""
        loss, outputs = replica.score(batch)
        output, target = _single(outputs), _single(batch.labels)
        states = tuple(
            metric.update(state, output, target) for metric, state in zip(metrics, self.states, strict=True)
        )
        return Score(self.rows + batch.weight, self.batches + 1, self.loss + loss * batch.weight, states)

    @classmethod
    def merged(cls, scores: Sequence[Score], metrics: Sequence[Metric]) -> Score:
        """Of all their rows together."""
        total = cls.empty(metrics)
        for score in scores:
            states = tuple(
                metric.merge(a, b) for metric, a, b in zip(metrics, total.states, score.states, strict=True)
            )
            total = Score(
                total.rows + score.rows, total.batches + score.batches, total.loss + score.loss, states
            )
        return total

    def results(self, metrics: Sequence[Metric]) -> dict[str, Any]:
        """Metric name -> value; the mean loss first, where there is one."""
        values = {metric.name: metric.compute(state) for metric, state in zip(metrics, self.states, strict=True)}
        loss = self.loss / self.rows if self.rows else float("nan")
        return values if loss != loss and values else {LOSS: loss} | values


def _single(arrays: tuple[Any, ...]) -> Any:
    return arrays[0] if len(arrays) == 1 else arrays
