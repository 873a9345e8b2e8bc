"""Metrics of a graph: tensors of it, and metrics of `zoo.orca.learn.metrics` on its outputs.

Scoring a batch gives (outputs, measured tensors); each metric here knows which of them are its own.

Owns: that.
Leaves: the engine's own metrics (zoo.engine.metrics), running the graph (replica).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.metrics import Metric, MetricState, Value


@dataclass(frozen=True)
class TensorMetric:
    """The mean over all rows of a tensor, which is itself the mean over a batch.

    Attributes:
        name: of the metric.
        place: of the tensor among everything that scoring gives.
    """

    name: str
    place: int
    needs_labels = False

    def start(self) -> MetricState:
        return (0.0, 0)

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        values = np.asarray(_all(output)[self.place], np.float64)
        return (state[0] + float(values.sum()), state[1] + values.size)

    def merge(self, a: MetricState, b: MetricState) -> MetricState:
        return (a[0] + b[0], a[1] + b[1])

    def compute(self, state: MetricState) -> Value:
        return state[0] / state[1] if state[1] else float("nan")


@dataclass(frozen=True)
class PlacedMetric:
    """A metric of the engine on some of what scoring gives.

    Attributes:
        metric: the engine's.
        outputs: places of what it takes for outputs.
        labels: places of what it takes for targets; empty for the targets of the data.
    """

    metric: Metric
    outputs: tuple[int, ...]
    labels: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The metric's."""
        return self.metric.name

    @property
    def needs_labels(self) -> bool:
        """Whether it looks at the data's targets."""
        return not self.labels

    def start(self) -> MetricState:
        return self.metric.start()

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        found = _all(output)
        labels = _single([found[place] for place in self.labels]) if self.labels else target
        return self.metric.update(state, _single([found[place] for place in self.outputs]), labels)

    def merge(self, a: MetricState, b: MetricState) -> MetricState:
        return self.metric.merge(a, b)

    def compute(self, state: MetricState) -> Value:
        return self.metric.compute(state)


def _all(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def _single(arrays: Sequence[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else tuple(arrays)
