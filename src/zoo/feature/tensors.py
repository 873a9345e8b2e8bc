"""Steps from numbers, lists, arrays and ML vectors to float32 arrays.

Owns: these steps, and what is said where a value does not fit.
Leaves: images (zoo.feature.image), samples of several arrays (samples).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.errors import DataError, UsageError
from zoo.feature.draws import Draws
from zoo.feature.preprocessing import Preprocessing, as_step

Size = tuple[int, ...]


@dataclass(frozen=True)
class ScalarToTensor(Preprocessing):
    """A number -> float32 array of shape (1,)."""

    def step(self, value: Any, draws: Draws) -> np.ndarray:
        """The array."""
        return shaped(value, (1,), self)


@dataclass(frozen=True)
class SeqToTensor(Preprocessing):
    """A number, or a sequence of numbers -> float32 array of shape `size`; of its own length where that is empty."""

    size: Sequence[int] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", checked_size(self.size, self))

    def step(self, value: Any, draws: Draws) -> np.ndarray:
        """The array."""
        return shaped(value, tuple(self.size), self)


@dataclass(frozen=True)
class SeqToMultipleTensors(Preprocessing):
    """A sequence of numbers -> a tuple of float32 arrays of the shapes `size`, cut off one after the other."""

    size: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        sizes = tuple(checked_size(one, self) for one in self.size)
        if not sizes or any(not one for one in sizes):
            raise UsageError(f"size must be a list of shapes, such as [[2], [3, 4]]. Received: {self.size!r}")
        object.__setattr__(self, "size", sizes)

    def step(self, value: Any, draws: Draws) -> tuple[np.ndarray, ...]:
        """The arrays, one for each input of a model."""
        counts = [int(np.prod(one)) for one in self.size]
        flat = shaped(value, (), self).reshape(-1)
        if len(flat) != sum(counts):
            raise DataError(f"{self} takes {sum(counts)} numbers. Received: {len(flat)} numbers.")
        pieces = np.split(flat, np.cumsum(counts)[:-1])
        return tuple(piece.reshape(tuple(one)) for piece, one in zip(pieces, self.size, strict=True))


@dataclass(frozen=True)
class ArrayToTensor(SeqToTensor):
    """An array of numbers -> float32 array of shape `size`."""

    size: Sequence[int]


@dataclass(frozen=True)
class MLlibVectorToTensor(SeqToTensor):
    """A dense or sparse ML vector -> float32 array of shape `size`."""

    size: Sequence[int]


@dataclass(frozen=True)
class FeatureLabelPreprocessing(Preprocessing):
    """A pair (feature, label) -> a pair of what two steps make of them; without a label, the feature alone."""

    feature_transformer: Preprocessing
    label_transformer: Preprocessing

    def __post_init__(self) -> None:
        for name in ("feature_transformer", "label_transformer"):
            object.__setattr__(self, name, as_step(getattr(self, name)))

    def step(self, value: Any, draws: Draws) -> Any:
        """The pair."""
        if not isinstance(value, tuple):
            return self.feature_transformer.step(value, draws)
        if len(value) != 2:
            raise DataError(f"{type(self).__name__} takes pairs (feature, label). Received: {len(value)} items.")
        feature, label = value
        made = self.feature_transformer.step(feature, draws)
        return made if label is None else (made, self.label_transformer.step(label, draws))


def shaped(value: Any, size: Size, step: Preprocessing) -> np.ndarray:
    """Numbers as float32 of a shape; of their own shape where `size` is empty.

    Raises:
        DataError: nulls, no numbers, or another number of them.
    """
    kind = type(value).__name__
    if value is None:
        raise DataError(f"{step} takes numbers. Received: a null. Filter such rows out, or fill them.")
    dense = getattr(value, "toArray", None)  # ML vectors and matrices
    try:
        array = np.asarray(dense() if callable(dense) else value, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{step} takes numbers. Received: {kind} ({error})") from None
    if not size:
        return array if array.ndim else array.reshape(1)
    if array.size != int(np.prod(size)):
        raise DataError(
            f"{step} gives arrays of shape {size}, {int(np.prod(size))} numbers. Received: {kind} of {array.size}. "
            "Correct the size, or the rows."
        )
    return array.reshape(size)


def checked_size(size: Any, step: Preprocessing) -> Size:
    """A shape as a tuple.

    Raises:
        UsageError: it is none.
    """
    sizes = (size,) if isinstance(size, int) else size
    whole = isinstance(sizes, list | tuple) and all(
        isinstance(one, int | np.integer) and not isinstance(one, bool) and one > 0 for one in sizes
    )
    if not whole:
        raise UsageError(
            f"size of {type(step).__name__} must be a list of whole numbers, at least 1. Received: {size!r}"
        )
    return tuple(int(one) for one in sizes)
