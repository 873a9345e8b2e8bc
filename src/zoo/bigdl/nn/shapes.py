"""Layers that choose, move or sum up axes; axes count from 1.

Owns: where the batch is counted and where not.
Leaves: tables (tables).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.bigdl.nn.activities import axis_of
from zoo.bigdl.nn.definition import layer
from zoo.engine.errors import UsageError

INT_MIN, INT_MAX = -2147483648, 2147483647
"""What BigDL programs pass where nothing is said."""


@layer(integers=True)
def Reshape(size, batch_mode=None):
    """(B, ...) -> (B, *size).

    Args:
        size: of a row.
        batch_mode: False: the input is one row; True: it is a batch; None: a batch, unless it has just as many numbers
            as one row and its first axis is not 1.
    """

    def reshape(x: Tensor) -> Tensor:
        alone = batch_mode is False or (batch_mode is None and x.numel() == math.prod(size) and x.shape[0] != 1)
        return _fitted(x, tuple(size) if alone else (x.shape[0], *size), "Reshape")

    return reshape


@layer(integers=True)
def View(sizes, num_input_dims=0):
    """(B, ...) -> (B, *sizes); a single row whose first axis is not 1 stays alone.

    Args:
        sizes: of a row; a -1 among them takes what is left, then all axes are counted, the batch included.
        num_input_dims: axes of a row of the input; with it, further axes in front are the batch.
    """
    sizes = [sizes] if isinstance(sizes, int) else list(sizes)

    def view(x: Tensor) -> Tensor:
        if num_input_dims and x.ndim > num_input_dims:
            return _fitted(x, (math.prod(x.shape[:-num_input_dims]), *sizes), "View")
        if num_input_dims or -1 in sizes:
            return _fitted(x, tuple(sizes), "View")
        rows, rest = divmod(x.numel(), math.prod(sizes))
        if rest:
            raise UsageError(f"View of {sizes} does not fit {tuple(x.shape)}: its numbers make no whole rows.")
        return x.reshape(sizes if rows == 1 and x.shape[0] != 1 else [rows, *sizes])

    return view


@layer(integers=True)
def InferReshape(size, batch_mode=False):
    """Of this size, where 0 keeps the input's axis and -1 takes what is left; with batch_mode, of each row."""

    def reshape(x: Tensor) -> Tensor:
        old = x.shape[1:] if batch_mode else x.shape
        new = [old[axis] if entry == 0 else entry for axis, entry in enumerate(size)]
        return _fitted(x, (x.shape[0], *new) if batch_mode else tuple(new), "InferReshape")

    return reshape


@layer(integers=True)
def Squeeze(dim, num_input_dims=INT_MIN):
    """Without this axis, or several, of one entry.

    Args:
        dim: a number or a list; None for all such axes.
        num_input_dims: axes of a row; where the input has one more, `dim` does not count the batch.
    """

    def squeeze(x: Tensor) -> Tensor:
        batch = _batch(x, num_input_dims)
        if dim is None:
            return x.squeeze(tuple(axis for axis in range(batch, x.ndim) if x.shape[axis] == 1))
        asked = dim if isinstance(dim, Sequence) else [dim]
        return x.squeeze(tuple(axis_of(one, x.ndim, "Squeeze", batch) for one in asked))

    return squeeze


@layer(integers=True)
def Unsqueeze(pos, num_input_dims=INT_MIN):
    """With an axis of one entry more, at `pos`; num_input_dims as of `Squeeze`."""
    return lambda x: x.unsqueeze(axis_of(pos, x.ndim + 1, "Unsqueeze", _batch(x, num_input_dims)))


@layer(integers=True)
def Transpose(permutations):
    """Swaps pairs of axes, one pair after the other: ``[(1, 2), (3, 4)]``."""

    def transpose(x: Tensor) -> Tensor:
        for one, other in permutations:
            x = x.transpose(axis_of(one, x.ndim, "Transpose"), axis_of(other, x.ndim, "Transpose"))
        return x

    return transpose


@layer(integers=True)
def Replicate(n_features, dim=1, n_dim=INT_MAX):
    """n_features copies along a new axis `dim`; where the input has more axes than n_dim, behind the batch."""

    def replicate(x: Tensor) -> Tensor:
        axis = axis_of(dim, x.ndim + 1, "Replicate", int(x.ndim > n_dim))
        return x.unsqueeze(axis).repeat_interleave(n_features, axis)

    return replicate


@layer(integers=True)
def Narrow(dimension, offset, length=1):
    """`length` entries along an axis, from `offset` (counted from 1) on; a negative length counts from the end."""

    def narrow(x: Tensor) -> Tensor:
        axis = axis_of(dimension, x.ndim, "Narrow")
        start = offset - 1 if offset > 0 else x.shape[axis] + offset
        taken = length if length > 0 else x.shape[axis] - start + length + 1
        if not 0 <= start < start + taken <= x.shape[axis]:
            raise UsageError(f"Narrow: axis {dimension} has {x.shape[axis]} entries. Got {offset=}, {length=}")
        return x.narrow(axis, start, taken)

    return narrow


@layer(integers=True)
def Select(dim, index):
    """Entry `index`, from 1 or, negative, from the end, along an axis, which is gone then."""
    return lambda x: x.select(axis := axis_of(dim, x.ndim, "Select"), axis_of(index, x.shape[axis], "Select's index"))


@layer(integers=True)
def Padding(dim, pad, n_input_dim, value=0.0, n_index=1):
    """`pad` entries of `value` behind an axis, or in front of it where `pad` is negative.

    Args:
        dim: the axis.
        pad: how many.
        n_input_dim: axes of a row; where the input has one more, `dim` does not count the batch.
        value: of the entries.
        n_index: where they go, counted from 1 at that end.
    """

    def padded(x: Tensor) -> Tensor:
        axis = axis_of(dim, x.ndim, "Padding", _batch(x, n_input_dim))
        size = x.shape[axis]
        place = n_index - 1 if pad < 0 else size - n_index + 1
        entries = x.new_full((*x.shape[:axis], abs(pad), *x.shape[axis + 1 :]), value)
        return torch.cat([x.narrow(axis, 0, place), entries, x.narrow(axis, place, size - place)], axis)

    return padded


@layer
def Mean(dimension=1, n_input_dims=-1, squeeze=True):
    """The mean along an axis; where the input has n_input_dims + 1 axes, the batch is not counted."""
    return lambda x: x.mean(axis_of(dimension, x.ndim, "Mean", _batch(x, n_input_dims)), keepdim=not squeeze)


@layer
def Sum(dimension=1, n_input_dims=-1, size_average=False, squeeze=True):
    """The sum along an axis, or with size_average the mean; n_input_dims as of `Mean`."""

    def summed(x: Tensor) -> Tensor:
        axis = axis_of(dimension, x.ndim, "Sum", _batch(x, n_input_dims))
        return x.mean(axis, keepdim=not squeeze) if size_average else x.sum(axis, keepdim=not squeeze)

    return summed


@layer
def Max(dim, num_input_dims=INT_MIN):
    """The largest entry along an axis; num_input_dims as of `Squeeze`."""
    return lambda x: x.max(axis_of(dim, x.ndim, "Max", _batch(x, num_input_dims))).values


@layer
def Min(dim=1, num_input_dims=INT_MIN):
    """The smallest entry along an axis; num_input_dims as of `Squeeze`."""
    return lambda x: x.min(axis_of(dim, x.ndim, "Min", _batch(x, num_input_dims))).values


@layer(integers=True)
def Reverse(dimension=1, is_inplace=False):
    """The entries along an axis, the last first."""
    return lambda x: x.flip(axis_of(dimension, x.ndim, "Reverse"))


@layer(integers=True)
def Tile(dim=1, copies=2):
    """`copies` of the input behind each other along an axis."""
    return lambda x: torch.cat([x] * copies, axis_of(dim, x.ndim, "Tile"))


@layer
def UpSampling1D(length):
    """(B, T, F): each step `length` times."""
    return lambda x: x.repeat_interleave(length, 1)


@layer
def UpSampling2D(size):
    """(B, C, H, W): each row size[0] times, each column size[1] times."""
    return lambda x: x.repeat_interleave(size[0], 2).repeat_interleave(size[1], 3)


@layer
def UpSampling3D(size):
    """(B, C, T, H, W): each entry of the three last axes size[i] times."""

    def enlarged(x: Tensor) -> Tensor:
        for axis, times in enumerate(size, 2):
            x = x.repeat_interleave(times, axis)
        return x

    return enlarged


@layer
def ResizeBilinear(output_height, output_width, align_corner=False):
    """(B, C, H, W) -> (B, C, output_height, output_width), by bilinear interpolation.

    Args:
        output_height: new H.
        output_width: new W.
        align_corner: whether the corners' centres stay where they are; else a pixel i stands at i * H / output_height.
    """

    def resized(x: Tensor) -> Tensor:
        size = (output_height, output_width)
        if align_corner:
            return F.interpolate(x, size, mode="bilinear", align_corners=True)
        for axis, length in enumerate(size, 2):
            x = _stretched(x, axis, length)
        return x

    return resized


@layer
def Cropping2D(heightCrop, widthCrop, data_format="NCHW"):
    """Without (first, last) rows and columns of (B, C, H, W), or of channels last."""
    return lambda x: _cropped(x, (heightCrop, widthCrop), 2 if data_format == "NCHW" else 1)


@layer
def Cropping3D(dim1Crop, dim2Crop, dim3Crop, data_format="channel_first"):
    """Without (first, last) entries of the three axes of (B, C, D1, D2, D3), or of channels last."""
    return lambda x: _cropped(x, (dim1Crop, dim2Crop, dim3Crop), 2 if data_format == "channel_first" else 1)


# --- what they are made of -------------------------------------------------------------------------------------------


def _batch(x: Tensor, axes: int) -> int:
    """1 where the input has one axis more than a row."""
    return int(axes > 0 and x.ndim == axes + 1)


def _fitted(x: Tensor, shape: Sequence[int], owner: str) -> Tensor:
    known = math.prod(entry for entry in shape if entry != -1)
    fits = x.numel() == known if -1 not in shape else known and x.numel() % known == 0
    if not fits:
        raise UsageError(f"{owner}: {tuple(x.shape)} does not become {tuple(shape)}: other numbers of elements.")
    return x.reshape(tuple(shape))


def _stretched(x: Tensor, axis: int, length: int) -> Tensor:
    size = x.shape[axis]
    at = torch.arange(length, device=x.device, dtype=x.dtype) * (size / length)
    low = at.floor().long()
    high = (low + 1).clamp(max=size - 1)
    share = (at - low).reshape([-1] + [1] * (x.ndim - axis - 1))
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


def _cropped(x: Tensor, crops: Sequence[Sequence[int]], first: int) -> Tensor:
    for axis, (before, behind) in enumerate(crops, first):
        left = x.shape[axis] - before - behind
        if left < 1:
            raise UsageError(f"Cropping leaves nothing of an axis of {x.shape[axis]}: {(before, behind)}")
        x = x.narrow(axis, before, left)
    return x
