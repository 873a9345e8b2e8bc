"""Each layer, how it is made, and its definition: in PyTorch, of weights in BigDL's layout, channels first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from zoo.pipeline.api.keras import layers as L

RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


class Case(NamedTuple):
    """`make(**words)` makes the layer; `define(weights, *inputs)` is what it computes outside training."""

    make: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    define: Callable[..., torch.Tensor]
    channels: int | None = None  # the channels' axis with "th", of layers with a dim_ordering


FLAT, STEPS, IMAGE, VOLUME = normal(4, 6), normal(3, 5, 4), normal(2, 3, 7, 6), normal(2, 2, 4, 5, 4)
MOVIE, VOLUMES = normal(2, 3, 2, 5, 4), normal(1, 2, 2, 3, 4, 3)
IDS = np.array([[1, 3, 0, 2], [4, 0, 0, 1]], "int32")


def hard(x: torch.Tensor) -> torch.Tensor:
    return torch.clip(0.2 * x + 0.5, 0, 1)


def swapped(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2)


def conv1d(w: Any, x: Any, **words: Any) -> Any:
    return swapped(F.conv1d(swapped(x), w[0][0, ..., 0], w[1], **words))


def same(x: torch.Tensor, *windows: tuple[int, int]) -> torch.Tensor:
    """Padded as TensorFlow pads for 'same': (width, stride) for each axis."""
    sides: list[int] = []
    for size, (width, stride) in zip(x.shape[2:], windows, strict=True):
        missing = max((-(-size // stride) - 1) * stride + width - size, 0)
        sides = [missing // 2, missing - missing // 2, *sides]
    return F.pad(x, sides)


def rnn(w: Any, x: Any, all_steps: bool = False) -> Any:
    h = torch.zeros(len(x), len(w[1]))
    states = []
    for step in x.unbind(1):
        h = torch.tanh(step @ w[0].T + h @ w[1].T + w[2])
        states.append(h)
    return torch.stack(states, 1) if all_steps else h


def lstm(w: Any, x: Any, all_steps: bool = False) -> Any:
    h = c = torch.zeros(len(x), w[2].shape[1])
    states = []
    for step in x.unbind(1):
        i, g, f, o = (step @ w[0].T + w[1] + h @ w[2].T).chunk(4, 1)
        c = hard(f) * c + hard(i) * torch.tanh(g)
        h = hard(o) * torch.tanh(c)
        states.append(h)
    return torch.stack(states, 1) if all_steps else h


def gru(w: Any, x: Any) -> Any:
    h = torch.zeros(len(x), w[3].shape[1])
    for step in x.unbind(1):
        r, z, g = (step @ w[0].T + w[1]).chunk(3, 1)
        more_r, more_z = (h @ w[2].T).chunk(2, 1)
        r, z = hard(r + more_r), hard(z + more_z)
        h = z * h + (1 - z) * torch.tanh(g + (r * h) @ w[3].T)
    return h


def conv_lstm(w: Any, x: Any, convolve: Any, pad: Any) -> Any:
    h = c = None
    for step in x.unbind(1):
        gates = convolve(step, w[0], w[1])
        if h is None:
            h = c = torch.zeros_like(gates[:, : len(w[1]) // 4])
        i, g, f, o = (gates + convolve(pad(h), w[2])).chunk(4, 1)
        c = hard(f) * c + hard(i) * torch.tanh(g)
        h = hard(o) * torch.tanh(c)
    return h


def local(w: Any, x: Any, stride: Any, rows: int) -> Any:
    """Of images; a sequence is an image of one column."""
    cut = F.unfold(x, WINDOWS[rows], stride=stride)
    out = torch.einsum("bkp,pfk->bfp", cut, w[0]) + w[1].T[None]
    return out.reshape(*out.shape[:2], rows, -1)


WINDOWS = {3: (3, 2), 2: (2, 1)}


def table(w: Any, ids: Any) -> Any:
    return F.embedding(ids.long(), w[0])


def srelu(w: Any, x: Any) -> Any:
    t_left, a_left, t_right, a_right = w
    right = t_left + t_right.abs()
    upper = torch.where(x > right, right + a_right * (x - right), x)
    return torch.where(x < t_left, t_left + a_left * (x - t_left), upper)


def batch_norm(w: Any, x: Any) -> Any:
    return F.batch_norm(x, torch.zeros(x.shape[1]), torch.ones(x.shape[1]), w[0], w[1], eps=1e-3)


def within_channel(w: Any, x: Any) -> Any:
    means = F.avg_pool2d(x**2, 3, 1, padding=1, count_include_pad=True)
    return x * (1 + 0.5 * means) ** -0.75


def resized(align: bool) -> Any:
    """TensorFlow 1's, place by place."""

    def define(w: Any, x: Any) -> Any:
        new = []
        for size, number in ((7, 5), (6, 9)):
            scale = (size - 1) / (number - 1) if align else size / number
            shares = torch.zeros(number, size)
            for place in range(number):
                at = place * scale
                below = min(int(at + 1e-9), size - 1)
                above = min(below + 1, size - 1)
                shares[place, below] += 1 - (at - below)
                shares[place, above] += at - below
            new.append(shares)
        return torch.einsum("bcrk,hr,wk->bchw", x, *new)

    return define


def highway(w: Any, x: Any) -> Any:
    share = torch.sigmoid(x @ w[1].T + w[3])
    return share * torch.tanh(x @ w[0].T + w[2]) + (1 - share) * x


def sparse_embedding(w: Any, ids: Any) -> Any:
    there = (ids > 0).float()
    rows = F.embedding((ids.long() - 1).clamp(0), w[0]) * there[..., None]
    return rows.sum(1) / there.sum(1, keepdim=True)


def deconvolved(extra: Any) -> Any:
    return lambda w, x: F.conv_transpose2d(x, w[0][0], w[1], stride=2, output_padding=extra)


def separable(w: Any, x: Any) -> Any:
    inner = F.conv2d(x, w[0].transpose(0, 1).reshape(6, 1, 3, 3), groups=3)
    return F.conv2d(inner, w[1], w[2])


def both_ways(w: Any, x: Any) -> Any:
    back = rnn(w[3:], x.flip(1), True).flip(1)
    return torch.cat([rnn(w[:3], x, True), back], 2)


CONVOLUTIONS = {
    "Convolution1D": Case(lambda **k: L.Convolution1D(3, 2, **k), (STEPS,), conv1d),
    "Convolution1D same": Case(
        lambda **k: L.Convolution1D(3, 2, border_mode="same", subsample_length=2, activation="tanh", **k), (STEPS,),
        lambda w, x: torch.tanh(swapped(F.conv1d(same(swapped(x), (2, 2)), w[0][0, ..., 0], w[1], stride=2))),
    ),
    "AtrousConvolution1D": Case(
        lambda **k: L.AtrousConvolution1D(3, 2, atrous_rate=2, **k), (STEPS,),
        lambda w, x: conv1d(w, x, dilation=2),
    ),
    "Convolution2D": Case(
        lambda **k: L.Convolution2D(4, 3, 2, subsample=(2, 1), activation="relu", **k), (IMAGE,),
        lambda w, x: F.relu(F.conv2d(x, w[0][0], w[1], stride=(2, 1))), 1,
    ),
    "Convolution2D same": Case(
        lambda **k: L.Convolution2D(4, 3, 2, border_mode="same", subsample=(2, 2), bias=False, **k), (IMAGE,),
        lambda w, x: F.conv2d(same(x, (3, 2), (2, 2)), w[0][0], stride=2), 1,
    ),
    "Convolution2D pads": Case(
        lambda **k: L.Convolution2D(4, 3, 3, pads=(1, 2), subsample=(2, 2), **k), (IMAGE,),
        lambda w, x: F.conv2d(x, w[0][0], w[1], stride=2, padding=(1, 2)), 1,
    ),
    "ShareConvolution2D": Case(
        lambda **k: L.ShareConvolution2D(4, 3, 3, pad_h=1, pad_w=2, propagate_back=False, **k), (IMAGE,),
        lambda w, x: F.conv2d(x.detach(), w[0][0], w[1], padding=(1, 2)), 1,
    ),
    "AtrousConvolution2D": Case(
        lambda **k: L.AtrousConvolution2D(3, 2, 2, atrous_rate=(2, 3), **k), (IMAGE,),
        lambda w, x: F.conv2d(x, w[0], w[1], dilation=(2, 3)), 1,
    ),
    "Deconvolution2D": Case(
        lambda **k: L.Deconvolution2D(4, 3, 2, None, subsample=(2, 2), **k), (IMAGE,), deconvolved(0), 1,
    ),
    "Deconvolution2D narrow": Case(
        lambda **k: L.Deconvolution2D(11, 1, 1, None, subsample=(2, 2), **k), (IMAGE,), deconvolved(0), 1,
    ),
    "SeparableConvolution2D": Case(
        lambda **k: L.SeparableConvolution2D(5, 3, 3, depth_multiplier=2, **k), (IMAGE,), separable, 1,
    ),
    "SeparableConvolution2D square": Case(
        lambda **k: L.SeparableConvolution2D(4, 3, 3, depth_multiplier=2, **k), (IMAGE,), separable, 1,
    ),
    "Convolution3D": Case(
        lambda **k: L.Convolution3D(3, 2, 3, 2, subsample=(1, 2, 1), **k), (VOLUME,),
        lambda w, x: F.conv3d(x, w[0], w[1], stride=(1, 2, 1)), 1,
    ),
    "LocallyConnected1D": Case(
        lambda **k: L.LocallyConnected1D(3, 2, subsample_length=3, **k), (STEPS,),
        lambda w, x: swapped(local(w, swapped(x)[..., None], 3, 2)[..., 0]),
    ),
    "LocallyConnected2D": Case(
        lambda **k: L.LocallyConnected2D(4, 3, 2, subsample=(2, 2), activation="tanh", **k), (IMAGE,),
        lambda w, x: torch.tanh(local(w, x, 2, 3)), 1,
    ),
    "LocallyConnected2D same": Case(
        lambda **k: L.LocallyConnected2D(4, 3, 2, subsample=(3, 2), border_mode="same", **k), (IMAGE,),
        lambda w, x: local(w, same(x, (3, 3), (2, 2)), (3, 2), 3), 1,
    ),
}  # fmt: skip

RESAMPLED = {
    "UpSampling1D": Case(L.UpSampling1D, (STEPS,), lambda w, x: x.repeat_interleave(2, 1)),
    "UpSampling2D": Case(
        lambda **k: L.UpSampling2D((2, 3), **k), (IMAGE,),
        lambda w, x: x.repeat_interleave(2, 2).repeat_interleave(3, 3), 1,
    ),
    "UpSampling3D": Case(
        L.UpSampling3D, (VOLUME,), lambda w, x: F.interpolate(x, scale_factor=2.0, mode="nearest"), 1
    ),
    "ZeroPadding1D": Case(lambda **k: L.ZeroPadding1D((1, 2), **k), (STEPS,), lambda w, x: F.pad(x, (0, 0, 1, 2))),
    "ZeroPadding2D": Case(
        lambda **k: L.ZeroPadding2D((1, 2, 3, 0), **k), (IMAGE,), lambda w, x: F.pad(x, (3, 0, 1, 2)), 1
    ),
    "ZeroPadding3D": Case(L.ZeroPadding3D, (VOLUME,), lambda w, x: F.pad(x, (1,) * 6), 1),
    "Cropping1D": Case(L.Cropping1D, (STEPS,), lambda w, x: x[:, 1:-1]),
    "Cropping2D": Case(
        lambda **k: L.Cropping2D(((1, 2), (0, 1)), **k), (IMAGE,), lambda w, x: x[:, :, 1:-2, :-1], 1
    ),
    "Cropping3D": Case(L.Cropping3D, (VOLUME,), lambda w, x: x[:, :, 1:-1, 1:-1, 1:-1], 1),
    "ResizeBilinear": Case(lambda **k: L.ResizeBilinear(5, 9, **k), (IMAGE,), resized(False), 1),
    "ResizeBilinear aligned": Case(lambda **k: L.ResizeBilinear(5, 9, True, **k), (IMAGE,), resized(True), 1),
}  # fmt: skip

POOLED = {
    "MaxPooling1D": Case(
        lambda **k: L.MaxPooling1D(3, 2, pad=1, **k), (STEPS,), lambda w, x: swapped(F.max_pool1d(swapped(x), 3, 2, 1))
    ),
    "AveragePooling1D": Case(L.AveragePooling1D, (STEPS,), lambda w, x: swapped(F.avg_pool1d(swapped(x), 2))),
    "MaxPooling2D": Case(
        lambda **k: L.MaxPooling2D((3, 2), (2, 2), **k), (IMAGE,), lambda w, x: F.max_pool2d(x, (3, 2), 2), 1
    ),
    "MaxPooling2D pads": Case(
        lambda **k: L.MaxPooling2D((3, 3), (2, 2), pads=(1, 1), **k), (IMAGE,),
        lambda w, x: F.max_pool2d(x, 3, 2, padding=1), 1,
    ),
    "AveragePooling2D": Case(
        lambda **k: L.AveragePooling2D((2, 2), (2, 1), border_mode="same", **k), (IMAGE,),
        lambda w, x: F.avg_pool2d(same(x, (2, 2), (2, 1)), 2, (2, 1))
        / F.avg_pool2d(same(torch.ones_like(x), (2, 2), (2, 1)), 2, (2, 1)), 1,
    ),
    "AveragePooling2D pads": Case(
        lambda **k: L.AveragePooling2D((3, 3), (2, 2), pads=(1, 1), **k), (IMAGE,),
        lambda w, x: F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False), 1,
    ),
    "AveragePooling2D zeros": Case(
        lambda **k: L.AveragePooling2D((3, 3), (2, 2), pads=(1, 1), count_include_pad=True, **k), (IMAGE,),
        lambda w, x: F.avg_pool2d(x, 3, 2, padding=1), 1,
    ),
    "MaxPooling3D": Case(L.MaxPooling3D, (VOLUME,), lambda w, x: F.max_pool3d(x, 2), 1),
    "AveragePooling3D": Case(L.AveragePooling3D, (VOLUME,), lambda w, x: F.avg_pool3d(x, 2), 1),
    "GlobalAveragePooling1D": Case(L.GlobalAveragePooling1D, (STEPS,), lambda w, x: x.mean(1)),
    "GlobalMaxPooling1D": Case(L.GlobalMaxPooling1D, (STEPS,), lambda w, x: x.amax(1)),
    "GlobalAveragePooling2D": Case(L.GlobalAveragePooling2D, (IMAGE,), lambda w, x: x.mean((2, 3)), 1),
    "GlobalMaxPooling2D": Case(L.GlobalMaxPooling2D, (IMAGE,), lambda w, x: x.amax((2, 3)), 1),
    "GlobalAveragePooling3D": Case(L.GlobalAveragePooling3D, (VOLUME,), lambda w, x: x.mean((2, 3, 4)), 1),
    "GlobalMaxPooling3D": Case(L.GlobalMaxPooling3D, (VOLUME,), lambda w, x: x.amax((2, 3, 4)), 1),
    "LRN2D": Case(
        lambda **k: L.LRN2D(alpha=0.1, k=2.0, n=3, **k), (IMAGE,),
        lambda w, x: F.local_response_norm(x, 3, 0.1, 0.75, 2.0), 1,
    ),
    "WithinChannelLRN2D": Case(lambda **k: L.WithinChannelLRN2D(3, 0.5, **k), (IMAGE,), within_channel),
    "BatchNormalization": Case(L.BatchNormalization, (IMAGE,), batch_norm, 1),
    "BatchNormalization flat": Case(L.BatchNormalization, (FLAT,), batch_norm, 1),
    "SpatialDropout2D": Case(L.SpatialDropout2D, (IMAGE,), lambda w, x: x, 1),
    "SpatialDropout3D": Case(L.SpatialDropout3D, (VOLUME,), lambda w, x: x, 1),
}  # fmt: skip

SEQUENCES = {
    "SimpleRNN": Case(lambda **k: L.SimpleRNN(3, **k), (STEPS,), rnn),
    "SimpleRNN backwards": Case(
        lambda **k: L.SimpleRNN(3, go_backwards=True, **k), (STEPS,), lambda w, x: rnn(w, x.flip(1))
    ),
    "LSTM": Case(lambda **k: L.LSTM(3, **k), (STEPS,), lstm),
    "LSTM steps": Case(
        lambda **k: L.LSTM(3, return_sequences=True, **k), (STEPS,), lambda w, x: lstm(w, x, all_steps=True)
    ),
    "GRU": Case(lambda **k: L.GRU(3, **k), (STEPS,), gru),
    "ConvLSTM2D": Case(
        lambda **k: L.ConvLSTM2D(3, 3, 3, border_mode="same", **k), (MOVIE,),
        lambda w, x: conv_lstm(w, x, lambda y, *v: F.conv2d(F.pad(y, (1,) * 4), *v), lambda y: y), 2,
    ),
    "ConvLSTM2D valid": Case(
        lambda **k: L.ConvLSTM2D(3, 3, 3, **k), (MOVIE,),
        lambda w, x: conv_lstm(w, x, F.conv2d, lambda y: F.pad(y, (1,) * 4)), 2,
    ),
    "ConvLSTM3D": Case(
        lambda **k: L.ConvLSTM3D(2, 3, **k), (VOLUMES,),
        lambda w, x: conv_lstm(w, x, F.conv3d, lambda y: F.pad(y, (1,) * 6)), 2,
    ),
    "TimeDistributed": Case(
        lambda **k: L.TimeDistributed(L.Dense(3), **k), (STEPS,), lambda w, x: x @ w[0].T + w[1]
    ),
    "Bidirectional": Case(
        lambda **k: L.Bidirectional(L.SimpleRNN(3, return_sequences=True), **k), (STEPS,), both_ways
    ),
    "Bidirectional sum": Case(
        lambda **k: L.Bidirectional(L.LSTM(3), "sum", **k), (STEPS,),
        lambda w, x: lstm(w[:3], x) + lstm(w[3:], x.flip(1)),
    ),
    "Masking": Case(L.Masking, (STEPS,), lambda w, x: x),
    "SpatialDropout1D": Case(L.SpatialDropout1D, (STEPS,), lambda w, x: x),
    "Embedding": Case(lambda **k: L.Embedding(5, 3, **k), (IDS,), table),
    "Embedding masked": Case(
        lambda **k: L.Embedding(5, 3, mask_zero=True, padding_value=3, **k), (IDS,),
        lambda w, x: table(w, x) * (x != 3)[..., None],
    ),
    "Embedding from 1": Case(
        lambda **k: L.Embedding(4, 3, mask_zero=True, zero_based_id=False, **k), (IDS,),
        lambda w, x: table(w, (x - 1).clamp(0)) * (x != 0)[..., None],
    ),
    "SparseEmbedding": Case(lambda **k: L.SparseEmbedding(4, 3, "mean", **k), (IDS,), sparse_embedding),
}  # fmt: skip

GENERAL = {
    "Dense": Case(lambda **k: L.Dense(3, activation="relu", **k), (FLAT,), lambda w, x: F.relu(x @ w[0].T + w[1])),
    "Dense steps": Case(lambda **k: L.Dense(3, bias=False, **k), (STEPS,), lambda w, x: x @ w[0].T),
    "SparseDense": Case(lambda **k: L.SparseDense(3, **k), (FLAT,), lambda w, x: x.detach() @ w[0].T + w[1]),
    "SparseDense part": Case(
        lambda **k: L.SparseDense(3, backward_start=1, backward_length=2, **k), (FLAT,),
        lambda w, x: torch.cat([x[:, :1].detach(), x[:, 1:3], x[:, 3:].detach()], 1) @ w[0].T + w[1],
    ),
    "MaxoutDense": Case(
        lambda **k: L.MaxoutDense(3, 2, **k), (FLAT,),
        lambda w, x: (torch.einsum("bi,fio->bfo", x, w[0]) + w[1]).amax(1),
    ),
    "Highway": Case(lambda **k: L.Highway("tanh", **k), (FLAT,), highway),
    "Dropout": Case(lambda **k: L.Dropout(0.3, **k), (FLAT,), lambda w, x: x),
    "GaussianNoise": Case(lambda **k: L.GaussianNoise(0.3, **k), (FLAT,), lambda w, x: x),
    "GaussianDropout": Case(lambda **k: L.GaussianDropout(0.3, **k), (FLAT,), lambda w, x: x),
    "Activation": Case(lambda **k: L.Activation("hard_sigmoid", **k), (3 * FLAT,), lambda w, x: hard(x)),
    "Activation softmin": Case(lambda **k: L.Activation("softmin", **k), (FLAT,), lambda w, x: F.softmin(x, 1)),
    "Reshape": Case(lambda **k: L.Reshape((2, -1), **k), (STEPS,), lambda w, x: x.reshape(3, 2, -1)),
    "Permute": Case(lambda **k: L.Permute((3, 1, 2), **k), (IMAGE,), lambda w, x: x.permute(0, 3, 1, 2)),
    "Flatten": Case(L.Flatten, (IMAGE,), lambda w, x: x.flatten(1)),
    "RepeatVector": Case(lambda **k: L.RepeatVector(3, **k), (FLAT,), lambda w, x: x[:, None].repeat(1, 3, 1)),
    "Max": Case(lambda **k: L.Max(-1, **k), (STEPS,), lambda w, x: x.amax(2)),
    "ExpandDim": Case(lambda **k: L.ExpandDim(1, **k), (STEPS,), lambda w, x: x[:, None]),
    "LeakyReLU": Case(L.LeakyReLU, (FLAT,), lambda w, x: F.leaky_relu(x, 0.01)),
    "ELU": Case(lambda **k: L.ELU(0.7, **k), (FLAT,), lambda w, x: F.elu(x, 0.7)),
    "ThresholdedReLU": Case(lambda **k: L.ThresholdedReLU(0.4, **k), (FLAT,), lambda w, x: F.threshold(x, 0.4, 0)),
    "SReLU": Case(lambda **k: L.SReLU(shared_axes=[1], **k), (2 * STEPS,), srelu),
    "PReLU": Case(L.PReLU, (STEPS,), lambda w, x: F.prelu(x, w[0])),
    "PReLU planes": Case(lambda **k: L.PReLU(3, **k), (IMAGE,), lambda w, x: F.prelu(x, w[0])),
    "RReLU": Case(L.RReLU, (FLAT,), lambda w, x: F.rrelu(x)),
    "Select": Case(lambda **k: L.Select(1, -2, **k), (STEPS,), lambda w, x: x[:, -2]),
    "Narrow": Case(lambda **k: L.Narrow(1, 1, 3, **k), (STEPS,), lambda w, x: x[:, 1:4]),
    "Narrow to the end": Case(lambda **k: L.Narrow(-1, 2, -1, **k), (STEPS,), lambda w, x: x[..., 2:]),
    "Squeeze": Case(lambda **k: L.Squeeze(2, **k), (normal(3, 4, 1, 1),), lambda w, x: x.squeeze(2)),
    "Squeeze all": Case(L.Squeeze, (normal(3, 1, 4, 1),), lambda w, x: x.squeeze((1, 3))),
    "AddConstant": Case(lambda **k: L.AddConstant(2, **k), (FLAT,), lambda w, x: x + 2),
    "MulConstant": Case(lambda **k: L.MulConstant(-2.5, **k), (FLAT,), lambda w, x: -2.5 * x),
    "CAdd": Case(lambda **k: L.CAdd((1, 3, 1, 1), **k), (IMAGE,), lambda w, x: x + w[0]),
    "CMul": Case(lambda **k: L.CMul((5, 1), **k), (STEPS,), lambda w, x: x * w[0]),
    "Scale": Case(lambda **k: L.Scale((3, 1, 1), **k), (IMAGE,), lambda w, x: x * w[0] + w[1]),
    "Mul": Case(L.Mul, (FLAT,), lambda w, x: x * w[0]),
    "Exp": Case(L.Exp, (FLAT,), lambda w, x: x.exp()),
    "Identity": Case(L.Identity, (FLAT,), lambda w, x: x),
    "Log": Case(L.Log, (np.abs(FLAT) + 0.1,), lambda w, x: x.log()),
    "Sqrt": Case(L.Sqrt, (np.abs(FLAT) + 0.1,), lambda w, x: x.sqrt()),
    "Square": Case(L.Square, (FLAT,), lambda w, x: x**2),
    "Negative": Case(L.Negative, (FLAT,), lambda w, x: -x),
    "Power": Case(lambda **k: L.Power(3, 2, 1, **k), (FLAT,), lambda w, x: (1 + 2 * x) ** 3),
    "HardShrink": Case(L.HardShrink, (FLAT,), lambda w, x: F.hardshrink(x)),
    "SoftShrink": Case(L.SoftShrink, (FLAT,), lambda w, x: F.softshrink(x)),
    "HardTanh": Case(lambda **k: L.HardTanh(-0.5, 0.4, **k), (FLAT,), lambda w, x: F.hardtanh(x, -0.5, 0.4)),
    "Threshold": Case(lambda **k: L.Threshold(0.1, -2.0, **k), (FLAT,), lambda w, x: F.threshold(x, 0.1, -2.0)),
    "BinaryThreshold": Case(L.BinaryThreshold, (FLAT,), lambda w, x: (x > 1e-6).float()),
    "SelectTable": Case(lambda **k: L.SelectTable(1, **k), (FLAT[:3], STEPS), lambda w, x, y: y),
}  # fmt: skip

CASES = CONVOLUTIONS | RESAMPLED | POOLED | SEQUENCES | GENERAL
OTHERWISE = {  # what is tested by itself
    "BERT", "GaussianSampler", "GetShape", "KerasLayerWrapper", "SummedEmbedding", "TransformerLayer", "WordEmbedding",
    "layer_norm", "prepare_embedding", "Input", "InputLayer", "Merge", "merge",
}  # fmt: skip
