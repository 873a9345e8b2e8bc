"""What BigDL's modules without weights compute, on keras.ops: one function each, by the name that files of ours keep.

Axes count from 0, which is the batch. Lists of tensors are BigDL's tables.

Owns: arithmetic, reshaping, tables. Leaves: windows (windows), layers with weights (layers, families).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers.converters import hard_sigmoid
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net import windows

ops = library().ops


def reshape(x: Any, size: Sequence[int]) -> Any:
    """To rows of shape `size`, where one entry may be -1, and 0 keeps the input's."""
    rows = reshaped(x.shape[1:], size)
    if None not in rows and None not in x.shape[1:]:
        return ops.reshape(x, (-1, *rows))
    sizes = ops.shape(x)  # with the batch: rows of another size must not become more rows
    return ops.reshape(x, (sizes[0], *(sizes[place + 1] if entry == 0 else entry for place, entry in enumerate(size))))


def reshaped(row: Sequence[int | None], size: Sequence[int]) -> tuple[int | None, ...]:
    """The shape of rows that `reshape` makes of rows of a shape; None where that is not known.

    Raises:
        UsageError: they have another number of entries.
    """
    target = [row[place] if entry == 0 else entry for place, entry in enumerate(size)]
    if None in row or None in target:
        return tuple(None if entry == -1 else entry for entry in target)
    have, known = math.prod(row), math.prod(entry for entry in target if entry != -1)
    if (have % known if -1 in target else have != known) or known == 0:
        raise UsageError(f"rows of shape {tuple(row)} cannot become rows of shape {tuple(target)}.")
    return tuple(have // known if entry == -1 else entry for entry in target)


def squeeze(x: Any, axes: Sequence[int] | None) -> Any:
    """Without axes of one entry; all such but the batch where `axes` is None. Axes of more entries stay."""
    wanted = range(1, len(x.shape)) if axes is None else axes
    found = tuple(axis for axis in wanted if x.shape[axis] == 1)
    return ops.squeeze(x, found) if found else x


def transpose(x: Any, swaps: Sequence[Sequence[int]]) -> Any:
    """Swaps pairs of axes, one pair after the other."""
    for first, second in swaps:
        x = ops.swapaxes(x, first, second)
    return x


def select(x: Any, axis: int, index: int) -> Any:
    """One entry along an axis, which is gone."""
    size = x.shape[axis]
    if isinstance(size, int) and not -size <= index < size:  # JAX has dimensions that it leaves open
        raise UsageError(f"entry {index} of axis {axis}, which has {size} entries.")
    return x[(slice(None),) * (axis % len(x.shape)) + (index,)]


def narrow(x: Any, axis: int, start: int, length: int) -> Any:
    """`length` entries along an axis; a negative length counts from the end, -1 is all that follow."""
    stop = start + length if length >= 0 else (None if length == -1 else length + 1)
    return x[(slice(None),) * (axis % len(x.shape)) + (slice(start, stop),)]


def pad(x: Any, axis: int, before: int, after: int, value: float = 0.0) -> Any:
    """With further entries along an axis; negative numbers cut some off."""
    x = narrow(x, axis, max(0, -before), -1 if after >= 0 else after - 1)
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (max(0, before), max(0, after))
    return ops.pad(x, widths, constant_values=value)


def pad_image(x: Any, sides: Sequence[int], channels_last: bool) -> Any:
    """With `sides` (left, right, top, bottom) further zeros; negative numbers cut some off."""
    rows = 1 if channels_last else len(x.shape) - 2
    left, right, top, bottom = sides
    return pad(pad(x, rows, top, bottom), rows + 1, left, right)


def split(x: Any, axis: int) -> list[Any]:
    """One tensor for each entry of an axis."""
    if not isinstance(x.shape[axis], int):
        raise UsageError(f"the size of axis {axis} must be known to split along it. Pass input_shape=.")
    return [select(x, axis, index) for index in range(x.shape[axis])]


def flat(table: Any) -> list[Any]:
    """The tensors of nested lists, in order."""
    if not isinstance(table, list | tuple):
        return [table]
    return [tensor for part in table for tensor in flat(part)]


def fold(function: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """`function` of the first two tensors, then of that and the third, ..."""

    def folded(table: Any) -> Any:
        tensors = flat(table)
        result = tensors[0]
        for tensor in tensors[1:]:
            result = function(result, tensor)
        return result

    return folded


def mean_of(table: Any) -> Any:
    """The mean of several tensors."""
    return fold(ops.add)(table) / len(flat(table))


def matmul(table: Any, first: bool, second: bool) -> Any:
    """The product of two matrices of each row, each transposed where so said."""
    a, b = table
    return ops.matmul(ops.swapaxes(a, -1, -2) if first else a, ops.swapaxes(b, -1, -2) if second else b)


def cosine(table: Any) -> Any:
    """The cosine of two vectors of each row."""
    a, b = (normalize(tensor, 2.0, 1e-12) for tensor in table)
    return ops.sum(a * b, axis=-1, keepdims=True)


def normalize(x: Any, p: float, eps: float) -> Any:
    """Each vector over its p-norm."""
    if math.isinf(p):
        return x / (ops.max(ops.abs(x), axis=1, keepdims=True) + eps)
    return x / (ops.sum(ops.abs(x) ** p, axis=1, keepdims=True) + eps) ** (1 / p)


def reduction(name: str) -> Callable[..., Any]:
    """A function of keras.ops that takes an axis away, or leaves it with one entry."""
    return lambda x, axis, keepdims=False: getattr(ops, name)(x, axis=axis, keepdims=keepdims)


def replicate(x: Any, axis: int, count: int) -> Any:
    """The tensor `count` times along a new axis."""
    return ops.repeat(ops.expand_dims(x, axis), count, axis=axis)


def soft_max(x: Any, log: bool = False, sign: int = 1) -> Any:
    """Of vectors, or over the channels of images."""
    if len(x.shape) == 3:
        raise UsageError(f"SoftMax takes rows of vectors or of images. Received: {tuple(x.shape)}")
    return (ops.log_softmax if log else ops.softmax)(sign * x, axis=1)


def threshold(x: Any, at: float, value: float) -> Any:
    """Entries above `at`, and `value` for the others."""
    return ops.where(x > at, x, ops.full_like(x, value))


def soft_shrink(x: Any, by: float) -> Any:
    """Nearer to 0 by `by`."""
    return ops.sign(x) * ops.relu(ops.abs(x) - by)


def mask(x: Any, value: float) -> Any:
    """Zeros for the steps whose entries are all `value`."""
    kept = ops.any(ops.not_equal(x, value), axis=-1, keepdims=True)
    return x * ops.cast(kept, x.dtype)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    # of one tensor, entry by entry
    "abs": lambda x: ops.abs(x),
    "exp": lambda x: ops.exp(x),
    "log": lambda x: ops.log(x),
    "sqrt": lambda x: ops.sqrt(x),
    "square": lambda x: ops.square(x),
    "scale": lambda x, factor=1.0, shift=0.0: x * factor + shift,
    "power": lambda x, power, scale=1.0, shift=0.0: (shift + scale * x) ** power,
    "clamp": lambda x, low, high: ops.clip(x, low, high),
    "relu": lambda x: ops.relu(x),
    "elu": lambda x, alpha=1.0: ops.where(x > 0, x, alpha * ops.expm1(ops.minimum(x, 0.0))),
    "leaky_relu": lambda x, slope: ops.where(x > 0, x, slope * x),
    "threshold": threshold,
    "binary_threshold": lambda x, at: ops.cast(x > at, x.dtype),
    "tanh": lambda x: ops.tanh(x),
    "sigmoid": lambda x: ops.sigmoid(x),
    "log_sigmoid": lambda x: ops.log_sigmoid(x),
    "hard_sigmoid": hard_sigmoid,
    "soft_plus": lambda x, beta=1.0: ops.softplus(beta * x) / beta,
    "soft_sign": lambda x: ops.softsign(x),
    "soft_shrink": soft_shrink,
    "hard_shrink": lambda x, by: ops.where(ops.abs(x) > by, x, ops.zeros_like(x)),
    "tanh_shrink": lambda x: x - ops.tanh(x),
    "soft_max": soft_max,
    "mask": mask,
    # shapes
    "identity": lambda x: x,
    "reshape": reshape,
    "squeeze": squeeze,
    "expand_dims": lambda x, axis: ops.expand_dims(x, axis),
    "transpose": transpose,
    "move": lambda x, source, target: ops.moveaxis(x, source, target),
    "select": select,
    "narrow": narrow,
    "pad": pad,
    "pad_image": pad_image,
    "replicate": replicate,
    "tile": lambda x, axis, count: ops.concatenate([x] * count, axis=axis),
    "flip": lambda x, axis: ops.flip(x, axis=axis),
    "split": split,
    "normalize": normalize,
    "mean": reduction("mean"),
    "sum": reduction("sum"),
    "max": reduction("max"),
    "min": reduction("min"),
    # windows
    "max_pool": windows.max_pool,
    "average_pool": windows.average_pool,
    "global_average": windows.global_average,
    "channel_lrn": windows.channel_lrn,
    # of several tensors
    "add": fold(lambda a, b: a + b),
    "subtract": fold(lambda a, b: a - b),
    "multiply": fold(lambda a, b: a * b),
    "divide": fold(lambda a, b: a / b),
    "maximum": fold(lambda a, b: ops.maximum(a, b)),
    "minimum": fold(lambda a, b: ops.minimum(a, b)),
    "average": mean_of,
    "join": lambda table, axis: ops.concatenate(flat(table), axis=axis),
    "pack": lambda table, axis: ops.stack(flat(table), axis=axis),
    "matmul": matmul,
    "dot": lambda table: ops.sum(table[0] * table[1], axis=-1),
    "cosine": cosine,
}
