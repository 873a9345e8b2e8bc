"""What goes through a layer: a tensor, or a table of them (a tuple, which may nest).

Owns: arrays to tensors and back, axes counted from 1.
Leaves: what layers compute (layer), their words (module).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.engine.errors import UsageError


def mapped(fn: Callable[[Any], Any], activity: Any) -> Any:
    """`fn` of each tensor of a table, as a table; of one tensor alone."""
    if isinstance(activity, list | tuple):
        return tuple(mapped(fn, one) for one in activity)
    return fn(activity)


def flat(activity: Any) -> Iterator[Any]:
    """The tensors of a table, from the left."""
    if isinstance(activity, list | tuple):
        for one in activity:
            yield from flat(one)
    else:
        yield activity


def are_arrays(activity: Any) -> bool:
    """Whether there is something in it that is no tensor yet: arrays, numbers."""
    return any(not isinstance(one, Tensor) for one in flat(activity))


def to_tensors(activity: Any) -> Any:
    """Tensors of arrays, of the same dtypes but for float64, which becomes float32.

    Raises:
        UsageError: something that is no array of numbers.
    """
    return mapped(_to_tensor, activity)


def to_arrays(activity: Any) -> Any:
    """Arrays of tensors: one array, or a list for a table."""
    if isinstance(activity, list | tuple):
        return [to_arrays(one) for one in activity]
    return activity.detach().cpu().numpy()


def told(activity: Any) -> str:
    """The shapes in it, for an error: ``(3, 4)``, of a table ``[(3, 4), (3, 2)]``."""
    if isinstance(activity, list | tuple):
        return f"[{', '.join(told(one) for one in activity)}]"
    return str(tuple(activity.shape)) if isinstance(activity, Tensor) else repr(activity)


def axis_of(dim: int, axes: int, owner: str, batch: int = 0) -> int:
    """An axis counted from 1 as torch counts it; negative ones count from the end.

    Args:
        dim: 1 ... axes, or -axes ... -1.
        axes: of the tensor.
        owner: the layer, for the error.
        batch: axes in front that `dim` does not count.

    Raises:
        UsageError: the tensor has no such axis.
    """
    axis = dim - 1 + batch if dim > 0 else dim + axes
    if dim == 0 or not batch <= axis < axes:
        raise UsageError(f"{owner} takes an axis of 1 ... {axes - batch}, or negative ones. Received: {dim}")
    return axis


def _to_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise UsageError(
            "layers take arrays of numbers, tensors of torch, and nodes as Input of zoo.bigdl.nn.layer gives them. "
            f"Received: {type(value).__module__}.{type(value).__qualname__} of {array.dtype}"
        )
    return torch.from_numpy(np.array(array, dtype=np.float32 if array.dtype.kind == "f" else array.dtype, copy=True))
