"""What a file may ask for: checked before memory is taken, for the numbers in a damaged file can be any.

Owns: the largest windows, copies and rows; inputs that do not have the features of their weights.
Leaves: whether a module's numbers make sense otherwise, which Keras tells (assembly).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.operations import flat

WIDEST = 1 << 16
"""Windows, their steps and paddings, and copies."""
LARGEST = (1 << 31) - 1
"""Numbers of one row between two layers."""

_COUNTS = {
    "kW", "kH", "kT", "kernelW", "kernelH", "dW", "dH", "dT", "strideW", "strideH", "padW", "padH", "padT", "adjW",
    "adjH", "dilationW", "dilationH", "padLeft", "padRight", "padTop", "padBottom", "pad",
}  # fmt: skip
_COPIES = {"copies", "nFeatures"}
_SIZED = {"SpatialCrossMapLRN": "size", "UpSampling1D": "length", "UpSampling2D": "size"}


def check_counts(module: Module) -> None:
    """Refuses windows and copies beyond all measure.

    Raises:
        UsageError: names the module and its attribute.
    """
    for name in (_COUNTS | _COPIES | {_SIZED.get(module.kind, "")}) & module.attributes.keys():
        value = module.attributes[name]
        numbers = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int | float)]
        if any(abs(one) > WIDEST for one in numbers):
            raise UsageError(f"{module}: {name} is at most {WIDEST}. The file says: {value}")
        if name in _COPIES and min(numbers, default=0) < 1:
            raise UsageError(f"{module}: {name} is at least 1. The file says: {value}")


def check_rows(x: Any, of: str) -> None:
    """Refuses rows that no memory holds.

    Raises:
        UsageError: names the layer.
    """
    for one in flat(x):
        row = tuple(size for size in one.shape[1:] if size is not None)
        if math.prod(row) > LARGEST:
            raise UsageError(f"{of} would make rows of shape {tuple(one.shape[1:])}: more than {LARGEST} numbers each.")


def check_features(layer: str, shape: Sequence[Any], takes: tuple[int, int] | None) -> None:
    """Refuses an input of other features than the weights have, before a layer makes room for those.

    Args:
        layer: its name, for the error.
        shape: of the input, with the batch.
        takes: (axis, size); None where nothing is known.

    Raises:
        UsageError: names both sizes.
    """
    if takes is None:
        return
    axis, size = takes
    have = shape[axis] if -len(shape) <= axis < len(shape) else None
    if have not in (None, size):
        raise UsageError(f"layer '{layer}' has weights for {size} features; its input has {have} of them: {shape}.")


def checked_shape(shape: Any) -> Any:
    """An input's shape without the batch, or a list of them, as tuples.

    Raises:
        UsageError: it has something else than sizes from 1 on, or None for open ones.
    """
    if isinstance(shape, list | tuple) and any(isinstance(one, list | tuple) for one in shape):
        return [checked_shape(one) for one in shape]
    fits = isinstance(shape, list | tuple) and all(one is None or _is_size(one) for one in shape)
    if not fits or math.prod(one for one in shape if one is not None) > LARGEST:
        raise UsageError(
            f"an input's shape is sizes without the batch, None where open, such as (3, 224, 224), or a list of them, "
            f"with at most {LARGEST} numbers. Received: {shape!r}"
        )
    return tuple(shape)


def _is_size(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and value >= 1
