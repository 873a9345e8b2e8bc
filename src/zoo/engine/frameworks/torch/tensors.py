"""Arrays as torch tensors, and outputs as arrays.

Owns: what a batch's values become on a device, without a copy where one can be avoided; how outputs come back.
Leaves: which dtype a column has (columns), what is done with the tensors (replica).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.engine.errors import DataError


def to_device(device: torch.device) -> Callable[[Any], Any]:
    """A function that brings arrays and tensors, nested in tuples, lists and dicts, to `device`.

    On the CPU a writable array shares its memory with the tensor; a read-only one is copied, since torch code may write
    in place. To a GPU, copies go from pinned memory and overlap with computation.
    """
    if device.type != "cuda":
        return _map(lambda tensor: tensor if tensor.device == device else tensor.to(device))

    def upload(tensor: Tensor) -> Tensor:
        if tensor.device.type == "cpu" and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)

    return _map(upload)


def tensor_of(array: np.ndarray) -> Tensor:
    """A tensor over the array's memory, or over a copy of a read-only one.

    Raises:
        DataError: the dtype is not of numbers.
    """
    try:
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except TypeError as error:
        raise DataError(
            f"an array of dtype {array.dtype} and shape {array.shape} cannot become a tensor. "
            "Give numbers: encode text, and parse dates, before training."
        ) from error


def arrays_of(output: Any) -> tuple[np.ndarray, ...]:
    """A model's outputs (a tensor, or tuples, lists and dicts of them) in order; bfloat16 becomes float32."""
    if isinstance(output, Tensor):
        tensor = output.detach()
        return ((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy(),)
    parts = output.values() if isinstance(output, Mapping) else output
    if isinstance(parts, np.ndarray | float | int):
        return (np.asarray(parts),)
    return tuple(array for part in parts for array in arrays_of(part))


def rows_of(values: Any) -> int:
    """The first dimension of the first array in nested values; 0 where there is none."""
    if isinstance(values, Tensor | np.ndarray):
        return int(values.shape[0]) if values.ndim else 1
    parts = values.values() if isinstance(values, Mapping) else values
    return next((rows_of(part) for part in parts), 0) if isinstance(parts, list | tuple) else rows_of(list(parts))


def describe(values: Any) -> str:
    """Element types and shapes of nested values, in words: ``float32 (32, 10), int64 (32,)``."""
    if isinstance(values, Tensor | np.ndarray):
        return f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"
    if isinstance(values, Mapping):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in values.items()) + "}"
    if isinstance(values, list | tuple):
        return ", ".join(describe(value) for value in values)
    return type(values).__name__


def ranges_of(error: Exception, inputs: Any) -> str:
    """For an index that an embedding does not have: the range of each whole-number input."""
    if not isinstance(error, IndexError):
        return ""
    ranges = [
        f"input {number}: {int(value.min())} .. {int(value.max())}"
        for number, value in enumerate(inputs)
        if isinstance(value, Tensor) and not value.is_floating_point() and value.numel()
    ]
    return f" Ranges of whole-number inputs: {'; '.join(ranges)}." if ranges else ""


def _map(move: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    def walk(value: Any) -> Any:
        if type(value) is tuple:  # first: it is what a batch is, at each step
            return tuple([walk(item) for item in value])
        if isinstance(value, Tensor):
            return move(value)
        if isinstance(value, np.ndarray):
            return move(tensor_of(value))
        if isinstance(value, Mapping):
            return {key: walk(item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(walk(item) for item in value))
        if isinstance(value, list | tuple):
            return type(value)(walk(item) for item in value)
        return value

    return walk
