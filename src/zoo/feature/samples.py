"""Samples: the arrays of one row, features and labels, and steps that make and take them.

A sample of BigDL's (`zoo.bigdl.util.common.Sample`) has the same attributes, and is taken wherever one of these is.

Owns: the value, its steps, and a sample as the pair that training takes.
Leaves: single arrays (tensors).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from zoo.engine.errors import DataError, UsageError
from zoo.feature.draws import Draws
from zoo.feature.preprocessing import Preprocessing, as_step


@dataclass(frozen=True)
class Sample:
    """One row.

    Attributes:
        features: an array for each input of a model.
        labels: an array for each target; empty for none.
    """

    features: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, features: Any, labels: Any = None) -> Sample:
        """Of an array or a list of arrays each; numbers become arrays."""
        return cls(_arrays(features), () if labels is None else _arrays(labels))

    @property
    def feature(self) -> np.ndarray:
        """The first feature."""
        return self.features[0]

    @property
    def label(self) -> np.ndarray | None:
        """The first label; None for none."""
        return self.labels[0] if self.labels else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and _alike(self.features, other.features) and _alike(self.labels, other.labels)

    __hash__ = None  # type: ignore[assignment]  # arrays have none


def is_sample(value: Any) -> bool:
    """Whether a value is a sample, of whichever class."""
    return hasattr(value, "features") and hasattr(value, "labels")


def as_pair(value: Any) -> Any:
    """A row as training takes it: (x, y) or x; several features or labels are a list. Pairs and arrays stay."""
    if not is_sample(value):
        return value
    features, labels = _arrays(value.features), _arrays(value.labels or ())
    x = features[0] if len(features) == 1 else list(features)
    return (x, labels[0] if len(labels) == 1 else list(labels)) if labels else x


@dataclass(frozen=True)
class TensorToSample(Preprocessing):
    """An array, a tuple of arrays, or a pair (features, labels) -> `Sample`.

    A pair's first item, too, may be a list or tuple of arrays. A tuple of two arrays is taken for a pair.
    """

    def step(self, value: Any, draws: Draws) -> Sample:
        """The sample."""
        if isinstance(value, tuple) and len(value) == 2:
            return Sample.of(*value)
        return Sample.of(value)


@dataclass(frozen=True)
class FeatureToTupleAdapter(Preprocessing):
    """A row -> what a step makes of the pair (row, None): a step for pairs where there are no labels."""

    sample_transformer: Preprocessing

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_transformer", as_step(self.sample_transformer))

    def step(self, value: Any, draws: Draws) -> Any:
        """The step's answer."""
        return self.sample_transformer.step((value, None), draws)


@dataclass(frozen=True)
class ToTuple(Preprocessing):
    """A row -> the pair (row, None)."""

    def step(self, value: Any, draws: Draws) -> tuple[Any, None]:
        """The pair."""
        return value, None


@dataclass(frozen=True)
class BigDLAdapter(Preprocessing):
    """A transformer of BigDL's as a step: an object with ``transform(value)``, or a function of one value."""

    bigdl_transformer: Any

    def __post_init__(self) -> None:
        if not callable(getattr(self.bigdl_transformer, "transform", self.bigdl_transformer)):
            raise UsageError(
                f"BigDLAdapter takes an object with a method transform(value). Received: {self.bigdl_transformer!r}"
            )

    def step(self, value: Any, draws: Draws) -> Any:
        """The transformer's answer."""
        return getattr(self.bigdl_transformer, "transform", self.bigdl_transformer)(value)


@dataclass(frozen=True)
class MiniBatch:
    """Rows together, rows first.

    Attributes:
        features: one array for each input, of shape (rows, ...).
        labels: one for each target.
    """

    features: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...] = field(default=())

    @property
    def size(self) -> int:
        """Rows."""
        return len(self.features[0])


@dataclass(frozen=True)
class SampleToMiniBatch(Preprocessing):
    """Samples -> batches of `batch_size` rows; the last may have fewer."""

    batch_size: int

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int) or isinstance(self.batch_size, bool) or self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1 row. Received: {self.batch_size!r}")

    def step(self, value: Any, draws: Draws) -> MiniBatch:
        """One sample, or a tuple of samples, as one batch."""
        return together(value if isinstance(value, tuple) else (value,))

    def __call__(self, values: Any) -> Any:
        """Batches of the samples of a list (as a list), an iterator or an RDD's partitions (as the same)."""
        if hasattr(values, "mapPartitionsWithIndex"):
            return values.mapPartitions(self.batches)
        if isinstance(values, list):
            return list(self.batches(values))
        return self.batches(values) if isinstance(values, Iterator) else self.apply(values)

    def batches(self, samples: Iterable[Any]) -> Iterator[MiniBatch]:
        """Batches, in order."""
        rest = iter(samples)
        while rows := tuple(islice(rest, self.batch_size)):
            yield together(rows)


def together(samples: tuple[Any, ...]) -> MiniBatch:
    """Samples as one batch.

    Raises:
        DataError: something else is among them, or arrays of different shapes.
    """
    odd = next((one for one in samples if not is_sample(one)), None)
    if odd is not None:
        raise DataError(f"a batch is made of samples. Received: {type(odd).__name__}. Make them with TensorToSample().")
    rows = [(_arrays(one.features), _arrays(one.labels or ())) for one in samples]
    if len({(len(x), len(y)) for x, y in rows}) > 1:
        raise DataError("the samples of one batch must have equally many features and labels.")
    features, labels = zip(*rows, strict=True)
    return MiniBatch(_stacked(features, "feature"), _stacked(labels, "label"))


def _stacked(rows: tuple[tuple[np.ndarray, ...], ...], what: str) -> tuple[np.ndarray, ...]:
    for number, column in enumerate(zip(*rows, strict=True)):
        shapes = sorted({one.shape for one in column})
        if len(shapes) > 1:
            raise DataError(
                f"{what} {number} of the samples has the shapes {shapes[:5]} in one batch. Make them alike."
            )
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _arrays(values: Any) -> tuple[np.ndarray, ...]:
    several = isinstance(values, tuple) or (isinstance(values, list) and any(hasattr(v, "shape") for v in values))
    return tuple(_array(one) for one in values) if several else (_array(values),)


def _array(value: Any) -> np.ndarray:
    """JTensors know how to become arrays; numbers become float32."""
    array = value.to_ndarray() if hasattr(value, "to_ndarray") else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DataError(f"a sample is made of arrays of numbers. Received: {type(value).__name__}")
    return array if hasattr(value, "shape") else array.astype(np.float32)


def _alike(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
