"""What a metric is: a pure way from rows to a state, from states to a state, and from a state to a value.

Owns: the contract, and the two kinds of state that all our metrics use: sums, and kept rows.
Leaves: what is summed or kept (the sibling modules), how states travel between processes (loop, run).

The law of every metric here: however rows are split into pieces (empty ones too), the value of the merged states is
the value of the whole, up to the rounding of float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from zoo.engine.errors import DataError
from zoo.engine.metrics.arrays import pairs

MetricState: TypeAlias = tuple[Any, ...]
"""A picklable value; ``()`` has seen nothing. States are never changed in place."""
Value: TypeAlias = Any
"""A float; for curves a tuple of arrays; for ``average="none"`` one array."""


@runtime_checkable
class Metric(Protocol):
    """Measures outputs against targets. Holds parameters only: picklable, and equal where its parameters are."""

    @property
    def name(self) -> str:
        """The key under which the value is reported; empty where the value is a dict of several, by their names."""

    def start(self) -> MetricState:
        """The state that has seen nothing."""

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        """The state that has seen these rows too.

        Args:
            state: what was seen before.
            output: the model's output, an array with rows first; or a tuple of them, one per output.
            target: the labels, likewise.

        Raises:
            DataError: the shapes or values do not fit each other.
        """

    def merge(self, a: MetricState, b: MetricState) -> MetricState:
        """The state that has seen the rows of both."""

    def compute(self, state: MetricState) -> Value:
        """The value over all rows seen; NaN where there were none."""


@dataclass(frozen=True, kw_only=True)
class _Named:
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", type(self).__name__)

    def start(self) -> MetricState:
        return ()


@dataclass(frozen=True)
class Summed(_Named, ABC):
    """A metric whose state is a few float64 sums; several outputs are pooled, pair by pair."""

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        for one_output, one_target in pairs(self.name, output, target):
            state = self.merge(state, self.sums(one_output, one_target))
        return state

    def merge(self, a: MetricState, b: MetricState) -> MetricState:
        if not a or not b:
            return a or b
        shapes = [tuple(map(np.shape, state)) for state in (a, b)]
        if shapes[0] != shapes[1]:
            raise DataError(
                f"{self.name}: outputs of different widths can't be measured together (states of shapes "
                f"{shapes[0]} and {shapes[1]}). Give every batch, and every output, the same number of columns."
            )
        return tuple(x + y for x, y in zip(a, b, strict=True))

    def compute(self, state: MetricState) -> Value:
        return self.result(*state) if state else math.nan

    @abstractmethod
    def sums(self, output: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
        """The sums over the rows of one piece: float64 numbers or arrays, by default (total, count)."""

    def result(self, *sums: Any) -> Value:
        """The value from the sums of all rows, by default total / count."""
        total, count = sums
        return float(total / count) if count else math.nan


@dataclass(frozen=True)
class Kept(_Named, ABC):
    """A metric that keeps (scores, labels) of every row, in a few runs of falling lengths.

    Memory: the scores and 4 bytes per row. A run is joined to its neighbour when it is as long, so a row is copied
    only log2(rows) times whatever the size of the pieces.
    """

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        for one_output, one_target in pairs(self.name, output, target):
            state = _pushed(state, self.rows(one_output, one_target))
        return state

    def merge(self, a: MetricState, b: MetricState) -> MetricState:
        for run in b:
            a = _pushed(a, run)
        return a

    def compute(self, state: MetricState) -> Value:
        if not state:
            return math.nan
        scores, labels = zip(*state, strict=True)
        return self.result(np.concatenate(scores), np.concatenate(labels))

    @abstractmethod
    def rows(self, output: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(scores, labels) to keep: (rows,) or (rows, classes) of floats, and (rows,) of int32."""

    @abstractmethod
    def result(self, scores: np.ndarray, labels: np.ndarray) -> Value:
        """The value from all rows, which come in any order."""


def _pushed(runs: MetricState, run: tuple[np.ndarray, np.ndarray]) -> MetricState:
    if not len(run[1]):
        return runs
    while runs and len(runs[-1][1]) <= len(run[1]):
        run = (np.concatenate([runs[-1][0], run[0]]), np.concatenate([runs[-1][1], run[1]]))
        runs = runs[:-1]
    return (*runs, run)
