"""Pooling of images, volumes and sequences of frames.

Owns: windows, rounding their number up or down.
Leaves: SAME padding (padding).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bigdl.nn.definition import layer
from zoo.bigdl.nn.padding import checked_format, first, last, same
from zoo.engine.errors import UsageError


@layer
def SpatialMaxPooling(kw, kh, dw=None, dh=None, pad_w=0, pad_h=0, to_ceil=False, format="NCHW"):
    """The largest entry of each window of (B, C, H, W); `ceil()` and `floor()` change the rounding.

    Args:
        kw: the window's width.
        kh: its height.
        dw: columns from one window to the next; kw by default.
        dh: rows; kh by default.
        pad_w: columns on each side that count for nothing; -1 for SAME.
        pad_h: rows likewise.
        to_ceil: whether a window may reach beyond the image at the end.
        format: ``"NCHW"`` or ``"NHWC"``.
    """
    strides = (kh if dh is None else dh, kw if dw is None else dw)
    return _Max((kh, kw), strides, (pad_h, pad_w), to_ceil, checked_format(format, "SpatialMaxPooling"))


@layer
def SpatialAveragePooling(
    kw, kh, dw=1, dh=1, pad_w=0, pad_h=0, global_pooling=False, ceil_mode=False, count_include_pad=True, divide=True,
    format="NCHW",
):  # fmt: skip
    """The mean of each window of (B, C, H, W).

    Args:
        kw: the window's width.
        kh: its height.
        dw: columns from one window to the next.
        dh: rows.
        pad_w: columns of zeros on each side; -1 for SAME.
        pad_h: rows likewise.
        global_pooling: one window, the whole image.
        ceil_mode: whether a window may reach beyond the image at the end.
        count_include_pad: whether the zeros of the padding count in the mean.
        divide: False: the sum.
        format: ``"NCHW"`` or ``"NHWC"``.
    """
    window = None if global_pooling else (kh, kw)
    core = _Average(window, (dh, dw), (pad_h, pad_w), ceil_mode, checked_format(format, "SpatialAveragePooling"))
    core.counted, core.divided = count_include_pad, divide
    return core


@layer
def TemporalMaxPooling(k_w, d_w=None):
    """(B, T, F): the largest entry of k_w frames, every d_w (default k_w) of them; k_w -1: of all."""
    if k_w == -1:
        return lambda x: x.amax(-2, keepdim=True)
    return lambda x: F.max_pool1d(x.mT, k_w, d_w or k_w).mT


@layer
def VolumetricMaxPooling(k_t, k_w, k_h, d_t=None, d_w=None, d_h=None, pad_t=0, pad_w=0, pad_h=0):
    """The largest entry of each window of (B, C, T, H, W); steps are the windows' sizes by default."""
    return _Max((k_t, k_h, k_w), (d_t or k_t, d_h or k_h, d_w or k_w), (pad_t, pad_h, pad_w), False, False)


@layer
def VolumetricAveragePooling(
    k_t, k_w, k_h, d_t=None, d_w=None, d_h=None, pad_t=0, pad_w=0, pad_h=0, count_include_pad=True, ceil_mode=False
):
    """The mean of each window of (B, C, T, H, W); steps are the windows' sizes by default."""
    strides = (d_t or k_t, d_h or k_h, d_w or k_w)
    core = _Average((k_t, k_h, k_w), strides, (pad_t, pad_h, pad_w), ceil_mode, False)
    core.counted = count_include_pad
    return core


# --- what they are made of -------------------------------------------------------------------------------------------


class _Pool(nn.Module):
    """Windows over the last axes.

    Attributes:
        window: its sizes; None for all there is.
        ceil_mode: whether the number of windows is rounded up.
    """

    counted = divided = True

    def __init__(
        self, window: Sequence[int] | None, stride: Sequence[int], pads: Sequence[int], ceil_mode: bool, last: bool
    ) -> None:
        super().__init__()
        self.window, self.stride, self.pads = window, stride, pads
        self.ceil_mode, self.last = ceil_mode, last
        if any(pad < -1 for pad in pads) or (
            window is not None and any(2 * p > k for p, k in zip(pads, window, strict=True))
        ):
            raise UsageError(
                f"pooling: a padding is -1 or at most half of the window {window}. Received: {tuple(pads)}"
            )

    def forward(self, x: Tensor) -> Tensor:
        x = first(x) if self.last else x
        window = tuple(x.shape[-2:]) if self.window is None else self.window
        sides: list[int] = []
        for size, kernel, stride, pad in zip(x.shape[-len(window) :], window, self.stride, self.pads, strict=True):
            sides = [*(same(size, kernel, stride) if pad == -1 else (pad, pad)), *sides]
        x = self.pooled(x, window, sides)
        return last(x) if self.last else x

    def pooled(self, x: Tensor, window: Sequence[int], sides: list[int]) -> Tensor:
        raise NotImplementedError


class _Max(_Pool):
    def pooled(self, x: Tensor, window: Sequence[int], sides: list[int]) -> Tensor:
        pool = F.max_pool2d if len(window) == 2 else F.max_pool3d
        if -1 not in self.pads:
            return pool(x, window, self.stride, self.pads, ceil_mode=self.ceil_mode)
        return pool(F.pad(x, sides, value=-math.inf), window, self.stride)


class _Average(_Pool):
    def pooled(self, x: Tensor, window: Sequence[int], sides: list[int]) -> Tensor:
        pool = F.avg_pool2d if len(window) == 2 else F.avg_pool3d
        stride = [1] * len(window) if self.window is None else self.stride
        area = math.prod(window)
        if -1 not in self.pads:
            divisor = None if self.divided else 1
            return pool(x, window, stride, self.pads, self.ceil_mode, self.counted, divisor)
        sums = area * pool(F.pad(x, sides), window, stride)
        if not self.divided:
            return sums
        return sums / (area if self.counted else area * pool(F.pad(torch.ones_like(x), sides), window, stride))
