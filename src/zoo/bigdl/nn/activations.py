"""Layers that change each element, or each row, by a fixed function, and layers that draw random numbers.

Owns: the functions.
Leaves: layers with weights (linear, spatial).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bigdl.nn.definition import layer
from zoo.engine.errors import UsageError


@layer
def ReLU(ip=False):
    """max(x, 0)."""
    return F.relu


@layer
def ReLU6(inplace=False):
    """min(max(x, 0), 6)."""
    return F.relu6


@layer
def PReLU(n_output_plane=0):
    """max(x, 0) + weight * min(x, 0): one weight, or one for each channel (axis 1)."""
    return nn.PReLU(max(n_output_plane, 1))


@layer
def RReLU(lower=1.0 / 8, upper=1.0 / 3, inplace=False):
    """X where positive, else a * x: a is drawn from [lower, upper] in training, and its mean in evaluation."""
    return nn.RReLU(lower, upper)


@layer
def LeakyReLU(negval=0.01, inplace=False):
    """X where positive, else negval * x."""
    return nn.LeakyReLU(negval)


@layer
def ELU(alpha=1.0, inplace=False):
    """X where positive, else alpha * (exp(x) - 1)."""
    return nn.ELU(alpha)


@layer
def Tanh():
    """tanh(x)."""
    return torch.tanh


@layer
def TanhShrink():
    """X - tanh(x)."""
    return F.tanhshrink


@layer
def Sigmoid():
    """1 / (1 + exp(-x))."""
    return torch.sigmoid


@layer
def LogSigmoid():
    """log(sigmoid(x))."""
    return F.logsigmoid


@layer
def HardTanh(min_value=-1.0, max_value=1.0, inplace=False):
    """X within [min_value, max_value]."""
    return _within(min_value, max_value, "HardTanh")


@layer
def Clamp(min, max):
    """X within [min, max]."""
    return _within(min, max, "Clamp")


@layer
def HardSigmoid():
    """0.2 x + 0.5 within [0, 1]."""
    return lambda x: torch.clamp(0.2 * x + 0.5, 0, 1)


@layer
def HardShrink(the_lambda=0.5):
    """x, and 0 where |x| <= the_lambda."""
    return nn.Hardshrink(the_lambda)


@layer
def SoftShrink(the_lambda=0.5):
    """X moved towards 0 by the_lambda, and 0 where |x| <= the_lambda."""
    return nn.Softshrink(the_lambda)


@layer
def SoftPlus(beta=1.0):
    """log(1 + exp(beta * x)) / beta."""
    return nn.Softplus(beta)


@layer
def SoftSign():
    """X / (1 + |x|)."""
    return F.softsign


@layer
def SoftMax(pos=1):
    """exp(x) / sum(exp(x)), over the channels: the only axis, axis 1 of (B, C) and (B, C, H, W), axis 0 of (C, H, W).

    Args:
        pos: accepted for older programs.
    """
    return lambda x: F.softmax(x, _channels(x))


@layer
def SoftMin():
    """exp(-x) / sum(exp(-x)), over the axis of `SoftMax`."""
    return lambda x: F.softmin(x, _channels(x))


@layer
def LogSoftMax():
    """log(softmax(x)), over the axis of `SoftMax`."""
    return lambda x: F.log_softmax(x, _channels(x))


@layer
def Threshold(th=1e-6, v=0.0, ip=False):
    """X where above th, else v."""
    return nn.Threshold(th, v)


@layer
def BinaryThreshold(th=1e-6, ip=False):
    """1 where x is above th, else 0; it has no gradient."""
    return lambda x: (x > th).to(x.dtype)


@layer
def Abs():
    """|x|."""
    return torch.abs


@layer
def Exp():
    """exp(x)."""
    return torch.exp


@layer
def Log():
    """log(x)."""
    return torch.log


@layer
def Sqrt():
    """The square root."""
    return torch.sqrt


@layer
def Square():
    """X ** 2."""
    return torch.square


@layer
def Power(power, scale=1.0, shift=0.0):
    """(shift + scale * x) ** power."""
    return lambda x: (shift + scale * x) ** power


@layer
def Negative(inplace=False):
    """-x."""
    return torch.neg


@layer
def AddConstant(constant_scalar, inplace=False):
    """X + constant_scalar."""
    return lambda x: x + constant_scalar


@layer
def MulConstant(scalar, inplace=False):
    """X * scalar."""
    return lambda x: x * scalar


@layer
def GradientReversal(the_lambda=1.0):
    """x; its gradient is multiplied by -the_lambda. Source: Ganin and Lempitsky, ICML 2015."""
    return lambda x: _Reversed.apply(x, the_lambda)


@layer
def Normalize(p, eps=1e-10):
    """X / (||x||_p + eps), for each row (axis 1)."""

    def normalize(x: Tensor) -> Tensor:
        axis = min(x.ndim - 1, 1)
        return x / (torch.linalg.vector_norm(x, p, axis, keepdim=True) + eps)

    return normalize


@layer
def Masking(mask_value=0.0):
    """(B, T, F): 0 at the steps whose features all equal mask_value."""
    return lambda x: x * (x != mask_value).any(-1, keepdim=True)


@layer(integers=True)
def Contiguous():
    """x, in one piece of memory."""
    return lambda x: x.contiguous()


@layer(integers=True)
def Echo():
    """x; prints its shape."""

    def echo(x: Tensor) -> Tensor:
        print(f"Echo: {tuple(x.shape)}")  # noqa: T201  what it is for
        return x

    return echo


# --- random ----------------------------------------------------------------------------------------------------------


@layer
def Dropout(init_p=0.5, inplace=False, scale=True):
    """In training, each element is 0 with probability init_p, the others are divided by 1 - init_p.

    Args:
        init_p: in [0, 1).
        inplace: accepted for older programs.
        scale: False: the others stay as they are.
    """
    _check_share(init_p, "Dropout", "init_p")
    return nn.Dropout(init_p) if scale else _Unscaled(init_p)


@layer
def SpatialDropout1D(init_p=0.5):
    """(B, T, C): in training, whole channels are 0 with probability init_p."""
    _check_share(init_p, "SpatialDropout1D", "init_p")
    return _Channels(init_p, last=True)


@layer
def SpatialDropout2D(init_p=0.5, data_format="NCHW"):
    """(B, C, H, W), or channels last: in training, whole channels are 0 with probability init_p."""
    _check_share(init_p, "SpatialDropout2D", "init_p")
    return _Channels(init_p, last=data_format == "NHWC")


@layer
def SpatialDropout3D(init_p=0.5, data_format="NCHW"):
    """(B, C, T, H, W), or channels last: in training, whole channels are 0 with probability init_p."""
    _check_share(init_p, "SpatialDropout3D", "init_p")
    return _Channels(init_p, last=data_format == "NHWC")


@layer
def GaussianDropout(rate):
    """In training, times a normal number of mean 1 and variance rate / (1 - rate)."""
    _check_share(rate, "GaussianDropout", "rate")
    return _Noise((rate / (1 - rate)) ** 0.5, multiplied=True)


@layer
def GaussianNoise(stddev):
    """In training, plus a normal number of mean 0 and this standard deviation."""
    return _Noise(stddev, multiplied=False)


# --- what they are made of -------------------------------------------------------------------------------------------


class _Unscaled(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= self.p) if self.training else x


class _Channels(nn.Module):
    """Dropout of whole channels."""

    def __init__(self, p: float, last: bool) -> None:
        super().__init__()
        self.p, self.last = p, last

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], *(1 for _ in x.shape[2:]), x.shape[-1]) if self.last else (*x.shape[:2],)
        shape = shape if self.last else (*shape, *(1 for _ in x.shape[2:]))
        return x * F.dropout(x.new_ones(shape), self.p, self.training)


class _Noise(nn.Module):
    def __init__(self, stddev: float, multiplied: bool) -> None:
        super().__init__()
        self.stddev, self.multiplied = stddev, multiplied

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        noise = self.stddev * torch.randn_like(x)
        return x * (1 + noise) if self.multiplied else x + noise


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def _within(low: float, high: float, owner: str) -> nn.Module:
    if low > high:
        raise UsageError(f"{owner}: min must not be above max. Received: {low}, {high}")
    return nn.Hardtanh(low, high)


def _check_share(p: float, owner: str, name: str) -> None:
    if not 0 <= p < 1:
        raise UsageError(f"{owner}: {name} must be in [0, 1). Received: {p}")


def _channels(x: Tensor) -> int:
    """The axis of classes: the last of one or two axes, the third from the end of images."""
    return x.ndim - 1 if x.ndim < 3 else x.ndim - 3
