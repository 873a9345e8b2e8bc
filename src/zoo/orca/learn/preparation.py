"""From a stage's preprocessing to what the engine does with columns.

Owns: the forms that a program gives preprocessing in: None, sizes, objects with ``apply``, functions.
Leaves: running it on the ranks (zoo.engine.data.prepared), the preprocessing itself (zoo.feature).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.engine.data.columns import ArraySpec
from zoo.engine.data.pictures import among, decoded
from zoo.engine.data.prepared import with_pictures
from zoo.engine.errors import DataError, UsageError
from zoo.engine.jobs import Columns, ColumnTransform, ImageTransform, Transform

FORMS = (
    "None, a list of ints (the tensor's size), a list of lists of ints (one size for each input), or a Preprocessing: "
    "an object with apply(value) -> array, or a function"
)


@dataclass(frozen=True)
class Sized:
    """A column's values as tensors of given sizes; several sizes cut each row into as many tensors.

    Attributes:
        column: for errors.
        sizes: of the tensors, without the batch.
    """

    column: str
    sizes: tuple[tuple[int, ...], ...]

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        """Tensors of shape (rows, *size).

        Raises:
            DataError: rows of another number of values.
        """
        flat = values.reshape(len(values), -1) if len(values) else np.empty((0, self.length), np.float32)
        if flat.shape[1] != self.length:
            raise DataError(
                f"column '{self.column}' has {flat.shape[1]} values in a row, and the sizes "
                f"{[list(size) for size in self.sizes]} need {self.length}. Give the sizes that the column has."
            )
        ends = np.cumsum([math.prod(size) for size in self.sizes])[:-1]
        pieces = np.split(flat, ends, axis=1)
        return tuple(piece.reshape(-1, *size) for piece, size in zip(pieces, self.sizes, strict=True))

    @property
    def length(self) -> int:
        """Values of a row."""
        return sum(math.prod(size) for size in self.sizes)


@dataclass(frozen=True)
class Applied:
    """A preprocessing as a function of a row's value.

    Attributes:
        preprocessing: has ``apply``, or is a function.
    """

    preprocessing: Any

    def __call__(self, value: Any) -> Any:
        """An array, or a tuple of arrays where the preprocessing gives several."""
        apply = getattr(self.preprocessing, "apply", self.preprocessing)
        return _arrays(apply(value))

    def of_epoch(self, seed: int, epoch: int) -> Applied:
        """With the random draws of an epoch."""
        seeded = getattr(self.preprocessing, "seeded", None)
        return self if seeded is None else replace(self, preprocessing=seeded(seed, epoch))


@dataclass(frozen=True)
class OnPixels(Applied):
    """A preprocessing of images as a function of RGB pixels: its steps have colours in OpenCV's order."""

    def __call__(self, value: np.ndarray) -> Any:
        """As `Applied`."""
        return super().__call__(np.ascontiguousarray(value[:, :, ::-1]))


def one_column(values: np.ndarray) -> np.ndarray:
    """Numbers as a matrix of one column."""
    return values.reshape(len(values), 1)


def check(preprocessing: Any, argument: str) -> None:
    """Refuses what is none of `FORMS`.

    Raises:
        UsageError: it is not.
    """
    if preprocessing is None or callable(getattr(preprocessing, "apply", None)):
        return
    if isinstance(preprocessing, type) or not (callable(preprocessing) or _is_sizes(preprocessing)):
        raise UsageError(f"{argument} must be {FORMS}. Received: {preprocessing!r}")


def transforms(preprocessing: Any, specs: Sequence[ArraySpec], argument: str) -> Mapping[str, ColumnTransform]:
    """What is done with each of the columns `specs`; columns that stay as they are have none.

    Args:
        preprocessing: one of `FORMS`.
        specs: the columns, in the order of the model's inputs.
        argument: that held it, for errors.

    Raises:
        UsageError: sizes for another number of columns.
    """
    if preprocessing is None:
        numbers = [spec.name for spec in specs if spec.shape == () and spec.dtype != object]
        return {name: ColumnTransform(one_column, batched=True) for name in numbers}
    if _is_sizes(preprocessing):
        sizes = _sizes(preprocessing)
        return {name: ColumnTransform(sized, batched=True) for name, sized in _sized(sizes, specs, argument)}
    return {spec.name: ColumnTransform(Applied(preprocessing), raw=True) for spec in specs}


def with_transform(columns: Columns, schema: pa.Schema, transform: Transform | None) -> Columns:
    """`with_pictures` of a transform as programs give it: a `Preprocessing` in it gets images in BGR, as everywhere.

    Args:
        columns: inputs and targets.
        schema: of the data.
        transform: a function, an `ImageTransform`, or one for each column.
    """
    return with_pictures(columns, schema, _of_steps(transform, schema, columns.features))


def _of_steps(transform: Transform | None, schema: pa.Schema, features: Sequence[str]) -> Transform | None:
    if isinstance(transform, ImageTransform):
        steps = _is_steps(transform.function) and not transform.batched
        return replace(transform, function=OnPixels(transform.function)) if steps else transform
    if isinstance(transform, Mapping):
        return {name: _stepped(one, schema, name) if _is_steps(one) else one for name, one in transform.items()}
    if _is_steps(transform) and (found := among(schema, features)):
        return {name: _stepped(transform, schema, name) for name in found}
    return transform


def _is_steps(given: Any) -> bool:
    return callable(getattr(given, "apply", None)) and not isinstance(given, type)


def _stepped(steps: Any, schema: pa.Schema, name: str) -> ColumnTransform:
    if not among(schema, [name]) or decoded(schema.field(name).type):
        return ColumnTransform(Applied(steps), raw=True)
    return ColumnTransform(OnPixels(steps))


def _sized(
    sizes: tuple[tuple[int, ...], ...], specs: Sequence[ArraySpec], argument: str
) -> list[tuple[str, Sized]]:  # fmt: skip
    text = [spec.name for spec in specs if spec.dtype == object]
    if text:
        raise UsageError(
            f"{argument}={[list(size) for size in sizes]} is for columns of numbers, and {', '.join(map(repr, text))} "
            "holds text, bytes or images. Give a Preprocessing that makes arrays of it."
        )
    if len(specs) == 1:
        return [(specs[0].name, Sized(specs[0].name, sizes))]
    if len(sizes) != len(specs):
        raise UsageError(f"{argument} has {len(sizes)} sizes for {len(specs)} columns. Give one for each.")
    return [(spec.name, Sized(spec.name, (size,))) for spec, size in zip(specs, sizes, strict=True)]


def _is_sizes(given: Any) -> bool:
    if not isinstance(given, list | tuple) or not given:
        return False
    if all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in given):
        return True
    return all(isinstance(size, list | tuple) and _is_sizes(size) and isinstance(size[0], int) for size in given)


def _sizes(given: Any) -> tuple[tuple[int, ...], ...]:
    return (tuple(given),) if isinstance(given[0], int) else tuple(tuple(size) for size in given)


def _arrays(made: Any) -> Any:
    """What a preprocessing has made as the engine takes it: JTensors and lists of arrays are arrays and tuples."""
    _refuse_mapping(made)
    if isinstance(made, list | tuple) and made and any(hasattr(one, "to_ndarray") or _has_axes(one) for one in made):
        return tuple(map(_array, made))
    return _array(made)


def _refuse_mapping(made: Any) -> None:
    if isinstance(made, Mapping):  # an ImageFeature, say
        raise DataError(
            f"a preprocessing must end with an array, and this one ends with {made!r}. For an image, end the chain "
            "with ImageMatToTensor() >> ImageFeatureToTensor()."
        )


def _has_axes(one: Any) -> bool:
    return isinstance(one, np.ndarray) and one.ndim > 0


def _array(one: Any) -> Any:
    return one.to_ndarray() if hasattr(one, "to_ndarray") else one
