"""Columns whose values a user's function makes into arrays when a batch is taken.

Owns: one column's values to arrays, and the mistakes of what a function gives.
Leaves: which columns have a function (jobs), images without one, batches (prepared).
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.engine.data.pictures import picture, record
from zoo.engine.errors import DataError
from zoo.engine.jobs import ColumnTransform


def numbers(made: Any, rule: str) -> np.ndarray:
    """What a user's function has made, as an array.

    Args:
        made: an array, or anything that numpy makes one of.
        rule: what the function must give, for the error.

    Raises:
        DataError: it does not consist of numbers, or not of rows of one length.
    """
    try:
        array = np.asarray(made)
    except ValueError:  # lists of unequal lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{rule}. Received: {type(made).__name__}")
    return array


def transformed(kept: np.ndarray, name: str, transform: ColumnTransform, image: bool) -> list[np.ndarray]:
    """The arrays of a column, rows first: one, or as many as the function gives for a row.

    Args:
        kept: the column's values, rows first.
        name: of the column, for errors.
        transform: its function.
        image: whether `kept` holds images as `pictures` keeps them.

    Raises:
        DataError: no numbers, other numbers of rows or of arrays, shapes that differ within the batch.
    """
    values: Any = _images(kept, name, transform.raw) if image else kept
    if image and transform.batched:
        values = list(values)
    if transform.batched:
        made = transform.function(values)
        arrays = [_array(one, name) for one in (made if isinstance(made, tuple) else (made,))]
        if any(array.ndim == 0 or len(array) != len(kept) for array in arrays):
            raise DataError(
                f"the transform of column '{name}' got {len(kept)} values and must give arrays of as many rows. "
                f"Received shapes: {', '.join(str(array.shape) for array in arrays)}."
            )
        return arrays
    rows = [_row(_of_value(transform.function, value, name), name) for value in values]
    if not rows:
        return [np.empty((0,), np.float32)]
    if any(len(row) != len(rows[0]) for row in rows):
        raise DataError(f"the transform of column '{name}' gives {len(rows[0])} arrays for one row, not for another.")
    return [_stacked(column, name) for column in zip(*rows, strict=True)]


def _of_value(function: Callable[[Any], Any], value: Any, name: str) -> Any:
    try:
        return function(value)
    except Exception as error:
        error.add_note(f"The transform of column '{name}' was given {reprlib.repr(value)}.")
        raise


def _images(kept: np.ndarray, name: str, raw: bool) -> Any:
    return (record(row) if raw else picture(row, name) for row in kept)


def _row(made: Any, name: str) -> tuple[np.ndarray, ...]:
    return tuple(_array(one, name) for one in (made if isinstance(made, tuple) else (made,)))


def _array(made: Any, name: str) -> np.ndarray:
    array = numbers(made, f"the transform of column '{name}' must give an array of numbers, or a tuple of arrays")
    return array.astype(np.float32) if array.dtype == np.float64 else array  # as columns of such numbers are


def _stacked(arrays: Sequence[np.ndarray], name: str) -> np.ndarray:
    other = next((array for array in arrays if array.shape != arrays[0].shape), None)
    if other is not None:
        raise DataError(
            f"the transform of column '{name}' gives arrays of the shapes {arrays[0].shape} and {other.shape} in one "
            "batch. All rows must come to one shape: images by ImageResize(height, width), say."
        )
    return np.stack(arrays)
