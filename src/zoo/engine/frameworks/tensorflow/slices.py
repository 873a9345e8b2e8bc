"""Arrays through functions of tf.data, element by element.

Owns: that, and the form of what comes out.
Leaves: where the arrays are (front ends), data sets of programs (datasets).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import DataError
from zoo.engine.frameworks.tensorflow.pipelines import elements
from zoo.engine.frameworks.tensorflow.process import clear_generated_files, eagerly, library


def mapped(arrays: Any, functions: Sequence[Callable[..., Any]]) -> dict[str, Any]:
    """``{"x": arrays}`` or ``{"x": arrays, "y": arrays}`` of what functions make of each element.

    Args:
        arrays: an array, or a tuple, list or dict of arrays (nested as you like), each of shape (rows, ...).
        functions: one behind the other, as ``tf.data.Dataset.map`` calls them.

    Raises:
        DataError: elements of different shapes, or none.
    """
    tf = library("the data is a zoo.orca.data.tf.data.Dataset")
    try:
        with eagerly():
            dataset = tf.data.Dataset.from_tensor_slices(_plain(arrays))
            rows = int(dataset.cardinality())
            for function in functions:
                dataset = dataset.map(function)
            dataset = dataset.batch(max(rows, 1))
    finally:
        clear_generated_files()
    try:
        found = next(elements(dataset), None)
    except tf.errors.InvalidArgumentError as error:
        raise DataError(f"the functions of map() must give elements of one shape: {error.message}") from error
    if found is None:
        raise DataError("a shard has no rows.")
    if isinstance(found, Mapping) and "x" in found and set(found) <= {"x", "y"}:
        return dict(found)
    return {"x": found[0], "y": found[1]} if isinstance(found, tuple) and len(found) == 2 else {"x": found}


def _plain(arrays: Any) -> Any:
    """Lists, which TensorFlow takes for one array, as tuples."""
    if isinstance(arrays, Mapping):
        return {key: _plain(part) for key, part in arrays.items()}
    if isinstance(arrays, list | tuple) and not isinstance(arrays, np.ndarray):
        return tuple(map(_plain, arrays))
    return arrays
