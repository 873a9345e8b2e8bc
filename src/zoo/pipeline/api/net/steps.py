"""What a module becomes: one layer of Keras, or a few in a row, with the weights of the file.

Owns: `Step`, and reading BigDL's axes.
Leaves: which steps a module becomes (plain, weighted, recurrent), applying them (assembly).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from zoo.pipeline.api.net.layers import Operation


class Step(NamedTuple):
    """One layer.

    Attributes:
        make: the layer, of ``name=``.
        weights: in Keras' order and layout; None to keep what a layer begins with.
        suffix: of the layer's name, if further steps follow.
        takes: (axis, size) that the input of a layer with weights has; None where the weights do not tell.
    """

    make: Callable[..., Any]
    weights: Sequence[np.ndarray] | None = None
    suffix: str = ""
    takes: tuple[int, int] | None = None


Steps = Callable[[Any, Any], Sequence[Step]]
"""Of a `Module` and the shape of its input, with the batch; a list of shapes for a table."""


def operation(function: str, suffix: str = "", **arguments: Any) -> Step:
    """A step without weights."""
    return Step(partial(Operation, function, arguments), suffix=suffix)


def axis_of(dimension: int, shape: Sequence[Any], row_axes: int = 0) -> int:
    """The axis from 0 of a dimension that BigDL counts from 1.

    Args:
        dimension: the batch is 1; negative ones count from the end.
        shape: of the input, with the batch.
        row_axes: axes of a row where `dimension` counts those only; 0 or less where it counts the batch.
    """
    if dimension < 0:
        return len(shape) + dimension
    return dimension if 0 < row_axes < len(shape) else dimension - 1


def entry_of(index: int) -> int:
    """An entry from 0 of one that BigDL counts from 1; negative ones count from the end in both."""
    return index if index < 0 else index - 1


def first(shape: Any) -> Any:
    """The shape of a table's first tensor."""
    while isinstance(shape, list):
        shape = shape[0]
    return shape
