"""Layers for images, volumes and sequences of frames, channels first: (B, C, H, W), (B, C, T, H, W), (B, T, F).

A padding of -1 is TensorFlow's SAME: as many outputs as the input has strides.

Owns: convolutions and normalisation.
Leaves: pooling (pooling), changes of size (shapes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bigdl.nn.definition import layer
from zoo.bigdl.nn.padding import checked_format, first, last, same
from zoo.engine.errors import UsageError


def _grouped(core: Any, name: str, array: np.ndarray) -> np.ndarray:
    """BigDL's weights have an axis of groups in front."""
    groups = core.groups
    return array.reshape(groups, array.shape[0] // groups, *array.shape[1:]) if name == "weight" else array


@layer(layout=_grouped)
def SpatialConvolution(
    n_input_plane, n_output_plane, kernel_w, kernel_h, stride_w=1, stride_h=1, pad_w=0, pad_h=0, n_group=1,
    propagate_back=True, wRegularizer=None, bRegularizer=None, init_weight=None, init_bias=None,
    init_grad_weight=None, init_grad_bias=None, with_bias=True, data_format="NCHW",
):  # fmt: skip
    """Convolution of images; weight (n_group, out / n_group, in / n_group, kernel_h, kernel_w) in BigDL's layout.

    Args:
        n_input_plane: channels.
        n_output_plane: channels of the result.
        kernel_w: width first, in all of BigDL's arguments.
        kernel_h: height.
        stride_w: columns from one window to the next.
        stride_h: rows.
        pad_w: columns of zeros on each side; -1 for SAME.
        pad_h: rows of zeros on each side; -1 for SAME.
        n_group: groups of channels that do not see each other.
        propagate_back: False: no gradient with respect to the input.
        wRegularizer: a penalty on the weight.
        bRegularizer: likewise on the bias.
        init_weight: first weights.
        init_bias: likewise.
        init_grad_weight: first gradients.
        init_grad_bias: likewise.
        with_bias: whether there is a bias.
        data_format: ``"NCHW"`` or ``"NHWC"``.
    """
    core = _Convolution(
        n_input_plane, n_output_plane, (kernel_h, kernel_w), (stride_h, stride_w), groups=n_group, bias=with_bias
    )
    return core.padded((pad_h, pad_w), data_format, propagate_back)


@layer(layout=_grouped)
def SpatialShareConvolution(
    n_input_plane, n_output_plane, kernel_w, kernel_h, stride_w=1, stride_h=1, pad_w=0, pad_h=0, n_group=1,
    propagate_back=True, wRegularizer=None, bRegularizer=None, init_weight=None, init_bias=None,
    init_grad_weight=None, init_grad_bias=None, with_bias=True,
):  # fmt: skip
    """As `SpatialConvolution`, of which it was a variant that needed less memory."""
    core = _Convolution(
        n_input_plane, n_output_plane, (kernel_h, kernel_w), (stride_h, stride_w), groups=n_group, bias=with_bias
    )
    return core.padded((pad_h, pad_w), "NCHW", propagate_back)


@layer
def SpatialDilatedConvolution(
    n_input_plane, n_output_plane, kw, kh, dw=1, dh=1, pad_w=0, pad_h=0, dilation_w=1, dilation_h=1,
    wRegularizer=None, bRegularizer=None, init_weight=None, init_bias=None,
):  # fmt: skip
    """Convolution with dilation_w - 1 columns, and rows likewise, left out between those of the kernel."""
    return _Convolution(
        n_input_plane, n_output_plane, (kh, kw), (dh, dw), dilation=(dilation_h, dilation_w)
    ).padded((pad_h, pad_w))  # fmt: skip


def _full_layout(core: Any, name: str, array: np.ndarray) -> np.ndarray:
    return array.reshape(core.groups, -1, *array.shape[1:]) if name == "weight" else array


@layer(layout=_full_layout)
def SpatialFullConvolution(
    n_input_plane, n_output_plane, kw, kh, dw=1, dh=1, pad_w=0, pad_h=0, adj_w=0, adj_h=0, n_group=1, no_bias=False,
    wRegularizer=None, bRegularizer=None, init_weight=None, init_bias=None,
):  # fmt: skip
    """The transpose of a convolution; `adj` rows and columns more on one side of the result."""
    return nn.ConvTranspose2d(
        n_input_plane, n_output_plane, (kh, kw), (dh, dw), (pad_h, pad_w), (adj_h, adj_w), n_group, not no_bias
    )


@layer
def SpatialSeparableConvolution(
    n_input_channel, n_output_channel, depth_multiplier, kernel_w, kernel_h, stride_w=1, stride_h=1, pad_w=0, pad_h=0,
    with_bias=True, data_format="NCHW", w_regularizer=None, b_regularizer=None, p_regularizer=None,
):  # fmt: skip
    """depth_multiplier kernels for each channel alone (weight), then a 1 x 1 convolution (pointwise)."""
    depth = _Convolution(
        n_input_channel, n_input_channel * depth_multiplier, (kernel_h, kernel_w), (stride_h, stride_w),
        groups=n_input_channel, bias=with_bias,
    ).padded((pad_h, pad_w), data_format)  # fmt: skip
    depth.bias = nn.Parameter(torch.zeros(n_output_channel)) if with_bias else None
    depth.pointwise = nn.Parameter(nn.Conv2d(depth.out_channels, n_output_channel, 1).weight.detach())
    return depth


def _frames(core: Any, name: str, array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 1).reshape(len(array), -1) if name == "weight" else array


@layer(layout=_frames)
def TemporalConvolution(
    input_frame_size, output_frame_size, kernel_w, stride_w=1, propagate_back=True, weight_regularizer=None,
    bias_regularizer=None, init_weight=None, init_bias=None, init_grad_weight=None, init_grad_bias=None,
):  # fmt: skip
    """(B, T, input_frame_size) -> (B, T', output_frame_size); weight (out, kernel_w * in), frame after frame."""
    return _Frames(input_frame_size, output_frame_size, kernel_w, stride_w)


@layer
def VolumetricConvolution(
    n_input_plane, n_output_plane, k_t, k_w, k_h, d_t=1, d_w=1, d_h=1, pad_t=0, pad_w=0, pad_h=0, with_bias=True,
    wRegularizer=None, bRegularizer=None, init_weight=None, init_bias=None,
):  # fmt: skip
    """Convolution of volumes (B, C, T, H, W)."""
    return _Volume(n_input_plane, n_output_plane, (k_t, k_h, k_w), (d_t, d_h, d_w), bias=with_bias).padded(
        (pad_t, pad_h, pad_w)
    )


@layer(layout=_full_layout)
def VolumetricFullConvolution(
    n_input_plane, n_output_plane, kt, kw, kh, dt=1, dw=1, dh=1, pad_t=0, pad_w=0, pad_h=0, adj_t=0, adj_w=0, adj_h=0,
    n_group=1, no_bias=False, wRegularizer=None, bRegularizer=None,
):  # fmt: skip
    """The transpose of a convolution of volumes."""
    return nn.ConvTranspose3d(
        n_input_plane, n_output_plane, (kt, kh, kw), (dt, dh, dw), (pad_t, pad_h, pad_w), (adj_t, adj_h, adj_w),
        n_group, not no_bias,
    )  # fmt: skip


@layer
def SpatialZeroPadding(pad_left, pad_right, pad_top, pad_bottom):
    """Zeros around (.., H, W); negative numbers cut."""
    return nn.ZeroPad2d((pad_left, pad_right, pad_top, pad_bottom))


# --- normalisation ---------------------------------------------------------------------------------------------------


@layer
def BatchNormalization(
    n_output, eps=1e-5, momentum=0.1, affine=True, init_weight=None, init_bias=None, init_grad_weight=None,
    init_grad_bias=None,
):  # fmt: skip
    """(B, n_output): each feature with mean 0 and variance 1 over the batch; in evaluation, over all that it has seen.

    Args:
        n_output: features.
        eps: added to the variance.
        momentum: the newest batch's share in the running statistics.
        affine: whether a weight (from 1) and a bias (from 0) follow.
        init_weight: first weights.
        init_bias: likewise.
        init_grad_weight: first gradients.
        init_grad_bias: likewise.
    """
    return nn.BatchNorm1d(n_output, eps, momentum, affine)


@layer
def SpatialBatchNormalization(
    n_output, eps=1e-5, momentum=0.1, affine=True, init_weight=None, init_bias=None, init_grad_weight=None,
    init_grad_bias=None, data_format="NCHW",
):  # fmt: skip
    """As `BatchNormalization`, of the channels of (B, C, H, W)."""
    return _ImageNorm(n_output, eps, momentum, affine).laid_out(data_format)


@layer
def VolumetricBatchNormalization(n_output, eps=1e-5, momentum=0.1, affine=True, init_weight=None, init_bias=None):
    """As `BatchNormalization`, of the channels of (B, C, T, H, W)."""
    return nn.BatchNorm3d(n_output, eps, momentum, affine)


@layer
def SpatialCrossMapLRN(size=5, alpha=1.0, beta=0.75, k=1.0, data_format="NCHW"):
    """X / (k + alpha / size * sum of squares over `size` channels around) ** beta. Source: Krizhevsky et al., 2012."""
    checked_format(data_format, "SpatialCrossMapLRN")
    norm = nn.LocalResponseNorm(size, alpha, beta, k)
    return norm if data_format == "NCHW" else lambda x: last(norm(first(x)))


@layer
def SpatialWithinChannelLRN(size=5, alpha=1.0, beta=0.75):
    """X / (1 + alpha * mean of squares over a window of size x size) ** beta, within each channel."""
    if size % 2 == 0:
        raise UsageError(f"SpatialWithinChannelLRN: size must be odd. Received: {size}")
    return lambda x: x / (1 + alpha * F.avg_pool2d(x * x, size, 1, size // 2)) ** beta


# --- what they are made of -------------------------------------------------------------------------------------------


class _Padded:
    """A convolution whose padding may be SAME."""

    def padded(self, pads: tuple[int, ...], data_format: str = "NCHW", propagate_back: bool = True) -> Any:
        if any(pad < -1 for pad in pads):
            raise UsageError(f"a padding is a number of zeros, or -1 for SAME. Received: {pads}")
        self.last = checked_format(data_format, type(self).__name__.strip("_"))
        self.pads, self.propagate_back, self.pointwise = pads, propagate_back, None
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.propagate_back else x.detach()
        x = first(x) if self.last else x
        x = self.convolved(x)
        return last(x) if self.last else x

    def convolved(self, x: Tensor) -> Tensor:
        sizes, windows = x.shape[-len(self.pads) :], zip(self.kernel_size, self.stride, self.dilation, strict=True)
        sides: list[int] = []
        for size, pad, (kernel, stride, dilation) in zip(sizes, self.pads, windows, strict=True):
            sides = [*(same(size, (kernel - 1) * dilation + 1, stride) if pad == -1 else (pad, pad)), *sides]
        convolve = F.conv2d if len(self.pads) == 2 else F.conv3d
        bias = self.bias if self.pointwise is None else None
        if sides[::2] == sides[1::2]:
            padding = tuple(reversed(sides[::2]))
        else:
            padding, x = 0, F.pad(x, sides)
        x = convolve(x, self.weight, bias, self.stride, padding, self.dilation, self.groups)
        return x if self.pointwise is None else F.conv2d(x, self.pointwise, self.bias)


class _Convolution(_Padded, nn.Conv2d):
    pass


class _Volume(_Padded, nn.Conv3d):
    pass


class _Frames(nn.Conv1d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mT).mT

    def from_bigdl(self, name: str, array: np.ndarray) -> np.ndarray:
        if name != "weight":
            return array
        return array.reshape(self.out_channels, -1, self.in_channels).transpose(0, 2, 1)


class _ImageNorm(nn.BatchNorm2d):
    def laid_out(self, data_format: str) -> _ImageNorm:
        self.last = checked_format(data_format, "SpatialBatchNormalization")
        return self

    def forward(self, x: Tensor) -> Tensor:
        alone = x.ndim == 3
        x = x[None] if alone else x
        x = last(super().forward(first(x))) if self.last else super().forward(x)
        return x[0] if alone else x
