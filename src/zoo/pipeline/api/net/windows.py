"""Pooling and normalisation over windows as Torch and BigDL cut them: any padding, rounding up, counting or not.

Windows have as many axes as `size`; the images' axes follow the channels, or stand before them (`channels_last`).

Owns: that. Leaves: pooling that Keras has itself (families.pooling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.library import library

ops = library().ops

_LOWEST = -3.4e38  # of float32: -inf times 0 would be NaN in some gradients


def max_pool(
    x: Any, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool, channels_last: bool
) -> Any:
    """The largest entry of each window; nothing is larger than padding."""
    widths = _widths(x, (size, stride, padding), ceil, channels_last)
    x = ops.pad(x, widths, constant_values=_LOWEST)
    return ops.max_pool(x, tuple(size), tuple(stride), "valid", _format(channels_last))


def average_pool(
    x: Any,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil: bool,
    channels_last: bool,
    counting: str = "padding",
) -> Any:
    """The sum of each window over the number of its entries.

    Args:
        x: images.
        size: of windows.
        stride: from window to window.
        padding: zeros on either side.
        ceil: whether a last window may reach beyond the padding.
        channels_last: where the channels are.
        counting: which entries count: those of the image and its ``"padding"``, of the ``"image"`` alone, or
            ``"none"``: then the result is the sum.
    """
    widths = _widths(x, (size, stride, padding), ceil, channels_last)
    of_all = ops.average_pool(ops.pad(x, widths), tuple(size), tuple(stride), "valid", _format(channels_last))
    if counting == "none":
        for length in size:
            of_all = of_all * length
        return of_all
    if all(width == (0, 0) for width in widths):
        return of_all
    inner = [(p, p) if counting == "padding" and width != (0, 0) else (0, 0) for width, p in _with_padding(
        widths, padding, channels_last)]  # fmt: skip
    ones = ops.pad(ops.ones_like(x), inner, constant_values=1.0)
    outer = [(w[0] - i[0], w[1] - i[1]) for w, i in zip(widths, inner, strict=True)]
    share = ops.average_pool(ops.pad(ones, outer), tuple(size), tuple(stride), "valid", _format(channels_last))
    return of_all / share


def global_average(x: Any, channels_last: bool) -> Any:
    """The mean of all of an image, with axes of one entry."""
    axes = range(1, len(x.shape) - 1) if channels_last else range(2, len(x.shape))
    return ops.mean(x, axis=tuple(axes), keepdims=True)


def channel_lrn(x: Any, size: int, alpha: float, beta: float, k: float, channels_last: bool) -> Any:
    """Each entry over a power of the mean square of the `size` channels around it."""
    axis = len(x.shape) - 1 if channels_last else 1
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (size // 2, size - 1 - size // 2)
    squares = ops.pad(ops.square(x), widths)
    channels = x.shape[axis]
    at = (slice(None),) * axis
    around = sum(squares[(*at, slice(start, start + channels))] for start in range(size))
    return x / (k + around * (alpha / size)) ** beta


def _with_padding(widths: Sequence[Any], padding: Sequence[int], channels_last: bool) -> list[tuple[Any, int]]:
    before = 1 if channels_last else 2
    paddings = [0] * before + list(padding) + [0] * (len(widths) - before - len(padding))
    return list(zip(widths, paddings, strict=True))


def _widths(x: Any, window: Sequence[Sequence[int]], ceil: bool, channels_last: bool) -> list[tuple[int, int]]:
    """The padding of each axis, with what the last windows need where sizes are rounded up."""
    widths = [(0, 0)] * len(x.shape)
    first = 1 if channels_last else len(x.shape) - len(window[0])
    for number, (size, stride, padding) in enumerate(zip(*window, strict=True)):
        length = x.shape[first + number]
        widths[first + number] = (padding, padding + (_beyond(length, size, stride, padding) if ceil else 0))
    return widths


def _beyond(length: Any, size: int, stride: int, padding: int) -> int:
    """How many entries the last window needs behind the padding; it begins within image or padding before it."""
    if not isinstance(length, int):  # None, or a dimension that JAX leaves open
        if padding or size < stride:
            raise UsageError("pooling with ceil mode and padding needs the images' size. Pass input_shape=.")
        return stride - 1  # rounding down behind so many is rounding up before them
    count = -(-(length + 2 * padding - size) // stride) + 1
    if (count - 1) * stride >= length + padding:
        count -= 1
    return max(0, (count - 1) * stride + size - length - 2 * padding)


def _format(channels_last: bool) -> str:
    return "channels_last" if channels_last else "channels_first"
