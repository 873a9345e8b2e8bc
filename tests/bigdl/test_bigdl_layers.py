"""Each layer of zoo.bigdl.nn gives the values of its definition in numpy or torch, and survives copying and saving."""

import copy
import pickle

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.bigdl.nn import layer as L
from zoo.bigdl.nn.definition import LAYERS
from zoo.engine.errors import DataError, UsageError


def tensor(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) * 2 - 1


X, IMAGE, CUBE, STEPS = tensor(3, 4), tensor(2, 4, 7, 6), tensor(2, 3, 5, 6, 4), tensor(2, 5, 4)
PAIR = (X, tensor(3, 5)[:, :4])
POSITIVE = X.abs() + 0.1
ROW = torch.arange(12.0).reshape(2, 6)


# layer, input, definition: a function of the input
class Numpy:
    """numpy's functions, of tensors."""

    def __getattr__(self, name):
        function = np.linalg.norm if name == "norm" else getattr(np, name)
        return lambda *given, **words: torch.from_numpy(function(*map(self.array, given), **words))

    @staticmethod
    def array(value):
        return value.numpy() if isinstance(value, torch.Tensor) else value


N = Numpy()

FIXED = [
    (L.ReLU(), X, F.relu),
    (L.ReLU6(), 8 * X, F.relu6),
    (L.LeakyReLU(0.2), X, lambda x: torch.where(x > 0, x, 0.2 * x)),
    (L.ELU(0.5), X, lambda x: torch.where(x > 0, x, 0.5 * (x.exp() - 1))),
    (L.PReLU(), X, lambda x: torch.where(x > 0, x, 0.25 * x)),
    (L.RReLU(0.1, 0.3).evaluate(), X, lambda x: torch.where(x > 0, x, 0.2 * x)),
    (L.Tanh(), X, N.tanh),
    (L.TanhShrink(), X, lambda x: x - N.tanh(x)),
    (L.Sigmoid(), X, lambda x: 1 / (1 + torch.exp(-x))),
    (L.LogSigmoid(), X, lambda x: -torch.log1p(torch.exp(-x))),
    (L.HardTanh(-0.5, 0.3), X, lambda x: x.clip(-0.5, 0.3)),
    (L.Clamp(-0.1, 0.2), X, lambda x: x.clip(-0.1, 0.2)),
    (L.HardSigmoid(), 4 * X, lambda x: (0.2 * x + 0.5).clip(0, 1)),
    (L.HardShrink(0.3), X, lambda x: x * (x.abs() > 0.3)),
    (L.SoftShrink(0.3), X, lambda x: x.sign() * (x.abs() - 0.3).clip(min=0)),
    (L.SoftPlus(2.0), X, lambda x: torch.log1p(torch.exp(2 * x)) / 2),
    (L.SoftSign(), X, lambda x: x / (1 + x.abs())),
    (L.SoftMax(), X, lambda x: x.exp() / x.exp().sum(1, keepdim=True)),
    (L.SoftMax(), IMAGE, lambda x: x.exp() / x.exp().sum(1, keepdim=True)),
    (L.SoftMax(), IMAGE[0], lambda x: x.exp() / x.exp().sum(0, keepdim=True)),
    (L.SoftMax(), X[0], lambda x: x.exp() / x.exp().sum()),
    (L.SoftMin(), X, lambda x: (-x).exp() / (-x).exp().sum(1, keepdim=True)),
    (L.LogSoftMax(), X, lambda x: x - x.exp().sum(1, keepdim=True).log()),
    (L.Threshold(0.1, 7.0), X, lambda x: torch.where(x > 0.1, x, 7.0)),
    (L.BinaryThreshold(0.1), X, lambda x: (x > 0.1).float()),
    (L.Abs(), X, N.abs),
    (L.Exp(), X, N.exp),
    (L.Log(), POSITIVE, N.log),
    (L.Sqrt(), POSITIVE, N.sqrt),
    (L.Square(), X, lambda x: x * x),
    (L.Power(2, 3.0, 1.0), X, lambda x: (1 + 3 * x) ** 2),
    (L.Negative(), X, lambda x: -x),
    (L.AddConstant(2.0), X, lambda x: x + 2),
    (L.MulConstant(2.0), X, lambda x: x * 2),
    (L.GradientReversal(2.0), X, lambda x: x),
    (L.Normalize(2), X, lambda x: x / N.norm(x, axis=1, keepdims=True)),
    (L.Masking(0.0), STEPS * (torch.arange(5) != 2)[:, None], lambda x: x),
    (L.Contiguous(), X, lambda x: x),
    (L.Identity(), X, lambda x: x),
    (L.Dropout(0.4).evaluate(), X, lambda x: x),
    (L.GaussianNoise(0.4).evaluate(), X, lambda x: x),
    (L.GaussianDropout(0.4).evaluate(), X, lambda x: x),
    (L.SpatialDropout2D(0.4).evaluate(), IMAGE, lambda x: x),
    # shapes
    (L.Reshape([2, 2]), X, lambda x: x.reshape(3, 2, 2)),
    (L.Reshape([12]), X, lambda x: x.reshape(12)),
    (L.Reshape([4]), X[:1], lambda x: x),
    (L.Reshape([4], False), X[:1], lambda x: x.reshape(4)),
    (L.Reshape([3, 4], True), X.reshape(1, 12), lambda x: x.reshape(1, 3, 4)),
    (L.View([2, 2]), X, lambda x: x.reshape(3, 2, 2)),
    (L.View(28), IMAGE[:, 0, :, :4], lambda x: x.reshape(2, 28)),
    (L.View([12]), X, lambda x: x.reshape(12)),
    (L.View([4]), X[:1], lambda x: x),
    (L.View([-1, 2]), X, lambda x: x.reshape(6, 2)),
    (L.View([2, 2], 1), X, lambda x: x.reshape(3, 2, 2)),
    (L.InferReshape([0, -1, 2], False), X, lambda x: x.reshape(3, 2, 2)),
    (L.InferReshape([-1, 2], True), X, lambda x: x.reshape(3, 2, 2)),
    (L.Squeeze(2), X[:, None], lambda x: x[:, 0]),
    (L.Squeeze(1, 2), X[:, None], lambda x: x[:, 0]),
    (L.Squeeze(None), X[:, None], lambda x: x[:, 0]),
    (L.Unsqueeze(2), X, lambda x: x[:, None]),
    (L.Unsqueeze(1, 1), X, lambda x: x[:, None]),
    (L.Transpose([(1, 2), (2, 3)]), STEPS, lambda x: x.transpose(0, 1).transpose(1, 2)),
    (L.Replicate(3, 2), X, lambda x: N.repeat(x[:, None], 3, 1)),
    (L.Replicate(3, 1, 1), X, lambda x: N.repeat(x[:, None], 3, 1)),
    (L.Narrow(2, 2, 2), X, lambda x: x[:, 1:3]),
    (L.Narrow(2, 2, -1), X, lambda x: x[:, 1:]),
    (L.Narrow(2, -2, 2), X, lambda x: x[:, -2:]),
    (L.Select(2, -1), STEPS, lambda x: x[:, -1]),
    (L.Select(1, 2), X, lambda x: x[1]),
    (L.Padding(1, 2, 1, 9.0), X, lambda x: F.pad(x, (0, 2), value=9.0)),
    (L.Padding(1, -1, 1), X, lambda x: F.pad(x, (1, 0))),
    (L.Mean(2), X, lambda x: x.mean(1)),
    (L.Mean(1, 1, False), X, lambda x: x.mean(1, keepdim=True)),
    (L.Sum(2), X, lambda x: x.sum(1)),
    (L.Sum(1, 1, True), X, lambda x: x.mean(1)),
    (L.Max(2), X, lambda x: x.amax(1)),
    (L.Min(1, 1), X, lambda x: x.amin(1)),
    (L.Reverse(2), X, lambda x: x.flip(1)),
    (L.Tile(2, 3), X, lambda x: N.tile(x, (1, 3))),
    (L.UpSampling1D(2), STEPS, lambda x: N.repeat(x, 2, 1)),
    (L.UpSampling2D([2, 3]), IMAGE, lambda x: N.repeat(N.repeat(x, 2, 2), 3, 3)),
    (L.UpSampling3D([2, 1, 3]), CUBE, lambda x: N.repeat(N.repeat(x, 2, 2), 3, 4)),
    (L.ResizeBilinear(14, 12), IMAGE, lambda x: halfway(halfway(x, 2), 3)),
    (L.ResizeBilinear(9, 5, True), IMAGE, lambda x: F.interpolate(x, (9, 5), mode="bilinear", align_corners=True)),
    (L.Cropping2D([1, 2], [0, 3]), IMAGE, lambda x: x[:, :, 1:-2, :-3]),
    (L.Cropping2D([1, 2], [0, 1], "NHWC"), IMAGE, lambda x: x[:, 1:-2, :-1]),
    (L.Cropping3D([1, 1], [0, 2], [1, 0]), CUBE, lambda x: x[:, :, 1:-1, :-2, 1:]),
    # tables
    (L.CAddTable(), PAIR, lambda x: x[0] + x[1]),
    (L.CSubTable(), PAIR, lambda x: x[0] - x[1]),
    (L.CMulTable(), PAIR, lambda x: x[0] * x[1]),
    (L.CDivTable(), PAIR, lambda x: x[0] / x[1]),
    (L.CMaxTable(), PAIR, lambda x: N.maximum(*x)),
    (L.CMinTable(), PAIR, lambda x: N.minimum(*x)),
    (L.CAveTable(), PAIR, lambda x: (x[0] + x[1]) / 2),
    (L.JoinTable(2), PAIR, lambda x: torch.cat(x, 1)),
    (L.JoinTable(1, 1), PAIR, lambda x: torch.cat(x, 1)),
    (L.JoinTable(1, 2), PAIR, lambda x: torch.cat(x, 0)),
    (L.SplitTable(2), X, lambda x: x.unbind(1)),
    (L.SplitTable(1, 1), X, lambda x: x.unbind(1)),
    (L.Pack(2), PAIR, lambda x: torch.stack(x, 1)),
    (L.SelectTable(2), PAIR, lambda x: x[1]),
    (L.NarrowTable(1, 2), (*PAIR, X), lambda x: x[:2]),
    (L.NarrowTable(2, -1), (*PAIR, X), lambda x: x[1:]),
    (L.FlattenTable(), (X, PAIR), lambda x: (x[0], *x[1])),
    (L.Index(2), (X, torch.tensor([4, 1])), lambda x: x[0][:, [3, 0]]),
    (L.MaskedSelect(), (X, X > 0), lambda x: x[0][x[0] > 0]),
    (L.MM(), (X, X.T), lambda x: x[0] @ x[1]),
    (L.MM(True, True), (STEPS, STEPS.mT), lambda x: x[0].mT @ x[1].mT),
    (L.MV(), (STEPS, X[:2]), lambda x: N.einsum("bij,bj->bi", *x)),
    (L.MV(True), (X, X[:, 0]), lambda x: x[0].T @ x[1]),
    (L.DotProduct(), PAIR, lambda x: (x[0] * x[1]).sum(1)),
    (L.CosineDistance(), PAIR, lambda x: (x[0] * x[1]).sum(1) / x[0].norm(dim=1) / x[1].norm(dim=1)),
    (L.PairwiseDistance(), PAIR, lambda x: (x[0] - x[1]).norm(dim=1)),
    (L.CrossProduct(), (*PAIR, 2 * X), lambda x: torch.stack(
        [(x[0] * x[1]).sum(1), (x[0] * x[2]).sum(1), (x[1] * x[2]).sum(1)], 1)),
    # windows
    (L.SpatialMaxPooling(2, 3, 2, 2), IMAGE, lambda x: F.max_pool2d(x, (3, 2), 2)),
    (L.SpatialMaxPooling(2, 2, 2, 2).ceil(), IMAGE, lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True)),
    (L.SpatialMaxPooling(2, 2, 2, 2, to_ceil=True).floor(), IMAGE, lambda x: F.max_pool2d(x, 2, 2)),
    (L.SpatialMaxPooling(3, 3, 2, 2, -1, -1), IMAGE, lambda x: F.max_pool2d(
        F.pad(x, (0, 1, 1, 1), value=-np.inf), 3, 2)),
    (L.SpatialMaxPooling(2, 2, format="NHWC"), IMAGE.movedim(1, 3), lambda x: F.max_pool2d(
        x.movedim(3, 1), 2).movedim(1, 3)),
    (L.SpatialAveragePooling(2, 3, 2, 1, 1, 1), IMAGE, lambda x: F.avg_pool2d(x, (3, 2), (1, 2), 1)),
    (L.SpatialAveragePooling(2, 2, 2, 2, divide=False), IMAGE, lambda x: 4 * F.avg_pool2d(x, 2)),
    (L.SpatialAveragePooling(3, 3, 1, 1, 1, 1, count_include_pad=False), IMAGE, lambda x: F.avg_pool2d(
        x, 3, 1, 1, count_include_pad=False)),
    (L.SpatialAveragePooling(3, 3, 1, 1, -1, -1, count_include_pad=False), IMAGE, lambda x: F.avg_pool2d(
        x, 3, 1, 1, count_include_pad=False)),
    (L.SpatialAveragePooling(1, 1, global_pooling=True), IMAGE, lambda x: x.mean((2, 3), keepdim=True)),
    (L.TemporalMaxPooling(2), STEPS, lambda x: N.maximum(x[:, :4:2], x[:, 1:4:2])),
    (L.TemporalMaxPooling(-1), STEPS, lambda x: x.amax(1, keepdim=True)),
    (L.VolumetricMaxPooling(2, 3, 2), CUBE, lambda x: F.max_pool3d(x, (2, 2, 3))),
    (L.VolumetricAveragePooling(2, 2, 2, 1, 1, 1), CUBE, lambda x: F.avg_pool3d(x, 2, 1)),
    (L.SpatialZeroPadding(1, 2, 0, 3), IMAGE, lambda x: F.pad(x, (1, 2, 0, 3))),
    (L.SpatialZeroPadding(-1, 0, 0, 0), IMAGE, lambda x: x[..., 1:]),
    (L.SpatialCrossMapLRN(3, 0.5, 0.7, 2.0), IMAGE, lambda x: lrn(x, 3, 0.5, 0.7, 2.0)),
    (L.SpatialWithinChannelLRN(3, 0.5, 0.7), IMAGE, lambda x: x / (1 + 0.5 * F.avg_pool2d(x * x, 3, 1, 1)) ** 0.7),
]  # fmt: skip


def halfway(x, axis):
    """Twice as long: each entry, and the mean with the next (the last stays)."""
    following = torch.cat([x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, x.shape[axis] - 1, 1)], axis)
    return torch.stack([x, (x + following) / 2], axis + 1).flatten(axis, axis + 1)


def lrn(x, size, alpha, beta, k):
    around = sum(F.pad(x * x, (0, 0, 0, 0, 1, 1))[:, at : at + x.shape[1]] for at in range(size))
    return x / (k + alpha / size * around) ** beta


def same(found, wanted):
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return found.shape == torch.as_tensor(wanted).shape and np.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(("layer", "x", "definition"), FIXED, ids=lambda one: type(one).__name__)
def test_a_layer_without_random_weights_is_its_definition(layer, x, definition, tmp_path):
    with torch.no_grad():
        wanted, found = definition(x), layer(x)
        assert same(found, wanted)
        assert same(copy.deepcopy(layer)(x), wanted)
        assert same(pickle.loads(cloudpickle.dumps(layer))(x), wanted)
        loaded = L.Model.load(layer.save(str(tmp_path / "layer")))
        assert type(loaded) is type(layer) and same(loaded.train(layer.training)(x), wanted)


def weights(layer):
    return [torch.from_numpy(one) for one in layer.get_weights()]


def linear(x, w, b):
    return x @ w.T + b


def lstm(x, w, b, u, gates=lambda z: z):
    h = c = torch.zeros(len(x), u.shape[1])
    out = []
    for step in x.unbind(1):
        i, g, f, o = (linear(step, w, b) + h @ u.T).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return torch.stack(out, 1)


def gru(x, w, b, gates, candidate):
    u = torch.cat([gates, candidate])
    size, h, out = u.shape[1], torch.zeros(len(x), u.shape[1]), []
    for step in x.unbind(1):
        given = linear(step, w, b)
        r, z = torch.sigmoid(given[:, : 2 * size] + h @ u[: 2 * size].T).chunk(2, 1)
        h = (1 - z) * torch.tanh(given[:, 2 * size :] + (r * h) @ u[2 * size :].T) + z * h
        out.append(h)
    return torch.stack(out, 1)


def rnn(x, w, b, u, c):
    h, out = torch.zeros(len(x), u.shape[1]), []
    for step in x.unbind(1):
        h = torch.tanh(linear(step, w, b) + linear(h, u, c))
        out.append(h)
    return torch.stack(out, 1)


def peephole(x, w, b, u, p):
    h = c = torch.zeros(len(x), u.shape[1])
    out = []
    for step in x.unbind(1):
        i, g, f, o = (linear(step, w, b) + h @ u.T).chunk(4, 1)
        c = torch.sigmoid(f + p[1] * c) * c + torch.sigmoid(i + p[0] * c) * torch.tanh(g)
        h = torch.sigmoid(o + p[2] * c) * torch.tanh(c)
        out.append(h)
    return torch.stack(out, 1)


def highway(x, w, t, b, c):
    gate = torch.sigmoid(linear(x, t, c))
    return gate * torch.tanh(linear(x, w, b)) + (1 - gate) * x


def frames(x, w, b):
    windows = x.unfold(1, 3, 2).permute(0, 1, 3, 2).flatten(2)  # frame after frame
    return linear(windows, w, b)


IDS = torch.tensor([[1, 3], [5, 1]])

# layer, input, definition: a function of the input and the weights in BigDL's layout, shapes of those
WEIGHTED = [
    (L.Linear(4, 2), X, linear, [(2, 4), (2,)]),
    (L.Linear(4, 2, with_bias=False), X[0], lambda x, w: w @ x, [(2, 4)]),
    (L.Bilinear(4, 4, 2), PAIR, lambda x, w, b: N.einsum("bi,kij,bj->bk", x[0], w, x[1]) + b, [(2, 4, 4), (2,)]),
    (L.Add(4), X, lambda x, b: x + b, [(4,)]),
    (L.Mul(), X, lambda x, w: x * w, [(1,)]),
    (L.CMul([1, 4]), X, lambda x, w: x * w, [(1, 4)]),
    (L.CAdd([4]), X, lambda x, b: x + b, [(4,)]),
    (L.Scale([4]), X, lambda x, w, b: x * w + b, [(4,), (4,)]),
    (L.Cosine(4, 2), X, lambda x, w: x @ w.T / x.norm(dim=1)[:, None] / w.norm(dim=1), [(2, 4)]),
    (L.Euclidean(4, 2), X, lambda x, w: torch.cdist(x, w), [(2, 4)]),
    (L.Maxout(4, 2, 3), X, lambda x, w, b: linear(x, w, b).reshape(3, 3, 2).amax(1), [(6, 4), (6,)]),
    (L.Highway(4, activation=L.Tanh()), X, highway, [(4, 4), (4, 4), (4,), (4,)]),
    (L.LookupTable(5, 3), IDS, lambda x, w: w[x - 1], [(5, 3)]),
    (L.PReLU(4), IMAGE, lambda x, w: torch.where(x > 0, x, w[:, None, None] * x), [(4,)]),
    (L.SpatialConvolution(4, 6, 3, 2, 2, 1, 1, 0, 2), IMAGE,
     lambda x, w, b: F.conv2d(x, w.reshape(6, 2, 2, 3), b, (1, 2), (0, 1), 1, 2), [(2, 3, 2, 2, 3), (6,)]),
    (L.SpatialConvolution(4, 3, 3, 3, 2, 2, -1, -1), IMAGE,
     lambda x, w, b: F.conv2d(F.pad(x, (0, 1, 1, 1)), w[0], b, 2), [(1, 3, 4, 3, 3), (3,)]),
    (L.SpatialConvolution(4, 3, 1, 1, with_bias=False, data_format="NHWC"), IMAGE.movedim(1, 3),
     lambda x, w: x @ w[0, :, :, 0, 0].T, [(1, 3, 4, 1, 1)]),
    (L.SpatialShareConvolution(4, 3, 2, 2), IMAGE, lambda x, w, b: F.conv2d(x, w[0], b), [(1, 3, 4, 2, 2), (3,)]),
    (L.SpatialDilatedConvolution(4, 3, 2, 2, dilation_w=2, dilation_h=3), IMAGE,
     lambda x, w, b: F.conv2d(x, w, b, dilation=(3, 2)), [(3, 4, 2, 2), (3,)]),
    (L.SpatialFullConvolution(4, 2, 3, 3, 2, 2, 1, 1, 1, 1), IMAGE,
     lambda x, w, b: F.conv_transpose2d(x, w[0], b, 2, 1, 1), [(1, 4, 2, 3, 3), (2,)]),
    (L.SpatialSeparableConvolution(4, 3, 2, 3, 3), IMAGE,
     lambda x, w, b, p: F.conv2d(F.conv2d(x, w, groups=4), p, b), [(8, 1, 3, 3), (3,), (3, 8, 1, 1)]),
    (L.TemporalConvolution(4, 2, 3, 2), STEPS, frames, [(2, 12), (2,)]),
    (L.VolumetricConvolution(3, 2, 2, 3, 1, pad_t=1), CUBE,
     lambda x, w, b: F.conv3d(x, w, b, padding=(1, 0, 0)), [(2, 3, 2, 1, 3), (2,)]),
    (L.VolumetricFullConvolution(3, 2, 2, 2, 2), CUBE, lambda x, w, b: F.conv_transpose3d(x, w[0], b),
     [(1, 3, 2, 2, 2, 2), (2,)]),
    (L.BatchNormalization(4), X, lambda x, w, b: (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() * w + b,
     [(4,), (4,)]),
    (L.SpatialBatchNormalization(4), IMAGE,
     lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(4,), (4,)]),
    (L.SpatialBatchNormalization(6, data_format="NHWC"), IMAGE,
     lambda x, w, b: F.batch_norm(x.movedim(3, 1), None, None, w, b, True).movedim(1, 3), [(6,), (6,)]),
    (L.VolumetricBatchNormalization(3), CUBE, lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(3,), (3,)]),
    (L.Recurrent().add(L.LSTM(4, 3)), STEPS, lstm, [(12, 4), (12,), (12, 3)]),
    (L.Recurrent().add(L.LSTM(4, 3, activation=L.Tanh(), inner_activation=L.Sigmoid())), STEPS, lstm,
     [(12, 4), (12,), (12, 3)]),
    (L.Recurrent().add(L.LSTMPeephole(4, 3)), STEPS, peephole, [(12, 4), (12,), (12, 3), (3, 3)]),
    (L.Recurrent().add(L.GRU(4, 3)), STEPS, gru, [(9, 4), (9,), (6, 3), (3, 3)]),
    (L.Recurrent().add(L.RnnCell(4, 3)), STEPS, rnn, [(3, 4), (3,), (3, 3), (3,)]),
    (L.BiRecurrent().add(L.GRU(4, 3)), STEPS,
     lambda x, *w: gru(x, *w[:4]) + gru(x.flip(1), *w[4:]).flip(1), [(9, 4), (9,), (6, 3), (3, 3)] * 2),
    (L.BiRecurrent(L.JoinTable(3)).add(L.RnnCell(4, 3)), STEPS,
     lambda x, *w: torch.cat([rnn(x, *w[:4]), rnn(x.flip(1), *w[4:]).flip(1)], 2), [(3, 4), (3,), (3, 3), (3,)] * 2),
    (L.RecurrentDecoder(2).add(L.RnnCell(4, 4)), X, lambda x, w, b, u, c: torch.stack([
        h := torch.tanh(linear(x, w, b) + c), torch.tanh(linear(h, w, b) + linear(h, u, c))], 1),
     [(4, 4), (4,), (4, 4), (4,)]),
    # containers
    (L.Sequential().add(L.Linear(4, 3)).add(L.Tanh()).add(nn.Identity()), X,
     lambda x, w, b: torch.tanh(linear(x, w, b)), [(3, 4), (3,)]),
    (L.Concat(2).add(L.Linear(4, 2)).add(L.Identity()), X, lambda x, w, b: torch.cat([linear(x, w, b), x], 1),
     [(2, 4), (2,)]),
    (L.ConcatTable().add(L.Linear(4, 2)).add(L.Identity()), X, lambda x, w, b: (linear(x, w, b), x), [(2, 4), (2,)]),
    (L.ParallelTable().add(L.Linear(4, 2)).add(L.Identity()), PAIR, lambda x, w, b: (linear(x[0], w, b), x[1]),
     [(2, 4), (2,)]),
    (L.Parallel(2, 2).add(L.Linear(4, 2)).add(L.Identity()), STEPS[:, :2],
     lambda x, w, b: torch.cat([linear(x[:, 0], w, b), x[:, 1]], 1), [(2, 4), (2,)]),
    (L.MapTable(L.Linear(4, 2)), PAIR, lambda x, w, b: (linear(x[0], w, b), linear(x[1], w, b)), [(2, 4), (2,)]),
    (L.Bottle(L.Linear(4, 2)), STEPS, linear, [(2, 4), (2,)]),
    (L.TimeDistributed(L.Linear(4, 2)), STEPS, linear, [(2, 4), (2,)]),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "x", "definition", "shapes"), WEIGHTED, ids=lambda one: type(one).__name__)
def test_a_layer_is_its_definition_over_its_weights_in_bigdls_layout(layer, x, definition, shapes, tmp_path):
    assert [one.shape for one in layer.get_weights()] == shapes
    layer.set_weights([tensor(*shape, 7)[..., 0].numpy() for shape in shapes])
    with torch.no_grad():
        wanted = definition(x, *weights(layer))
        assert same(layer(x), wanted)
        assert same(copy.deepcopy(layer)(x), wanted)
        assert same(pickle.loads(cloudpickle.dumps(layer))(x), wanted)
        if all(isinstance(one, L.Layer) for one in getattr(layer, "layers", ())):
            loaded = L.Model.load(layer.save(str(tmp_path / "layer")))
            assert same(loaded(x), wanted)
            assert all(map(np.array_equal, loaded.get_weights(), layer.get_weights()))


@pytest.mark.parametrize(("layer", "x", "definition", "shapes"), WEIGHTED, ids=lambda one: type(one).__name__)
def test_every_weight_has_a_gradient(layer, x, definition, shapes):
    layer.zero_grad_parameters()
    output = layer(x)
    parts = output if isinstance(output, tuple) else (output,)
    sum((one * tensor(*one.shape, 3)[..., 0]).sum() for one in parts).backward()
    assert all(one.grad.abs().max() > 0 for one in layer.parameters())


def test_all_layers_are_tried():
    tried = {type(one) for case in (*FIXED, *WEIGHTED) for one in case[0].modules()}
    missing = {name for name, one in LAYERS.items() if one not in tried}
    assert missing == {"Echo", "GaussianSampler", "SpatialDropout1D", "SpatialDropout3D"}  # below


def test_random_layers_draw_in_training_only():
    torch.manual_seed(0)
    ones = torch.ones(400, 10)
    dropped = L.Dropout(0.25)(ones)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3]) and 0.7 < (dropped > 0).float().mean() < 0.8
    assert set(L.Dropout(0.25, scale=False)(ones).unique().tolist()) == {0.0, 1.0}
    for layer, shape, spread in (
        (L.SpatialDropout1D(0.5), (20, 6, 10), 1),
        (L.SpatialDropout2D(0.5), (20, 10, 6, 5), (2, 3)),
        (L.SpatialDropout2D(0.5, "NHWC"), (20, 6, 5, 10), (1, 2)),
        (L.SpatialDropout3D(0.5), (20, 10, 2, 6, 5), (2, 3, 4)),
    ):
        found = layer(torch.ones(shape))
        assert torch.equal(found.amax(spread), found.amin(spread)) and set(found.unique().tolist()) == {0.0, 2.0}
        assert torch.equal(layer.evaluate()(torch.ones(shape)), torch.ones(shape))
    assert L.GaussianNoise(2.0)(torch.zeros(4000)).std() == pytest.approx(2, abs=0.2)
    assert L.GaussianDropout(0.5)(torch.ones(4000)).std() == pytest.approx(1, abs=0.1)
    draws = L.GaussianSampler()((torch.full((4000,), 3.0), torch.full((4000,), np.log(4.0))))
    assert draws.mean() == pytest.approx(3, abs=0.2) and draws.std() == pytest.approx(2, abs=0.2)
    sloped = -L.RReLU(0.1, 0.3)(-torch.ones(1000))
    assert 0.1 <= sloped.min() < 0.15 and 0.25 < sloped.max() <= 0.3


def test_echo_tells_the_shape(capsys):
    assert L.Echo()(X) is X
    assert capsys.readouterr().out == "Echo: (3, 4)\n"


def test_a_reversed_gradient():
    x = X.clone().requires_grad_()
    L.GradientReversal(2.0)(x).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, -2.0))


def test_padding_and_norm_of_a_lookup_table():
    table = L.LookupTable(5, 3, padding_value=2, max_norm=0.5)
    found = table(torch.tensor([[2.0, 1.0, 4.0]]))  # BigDL's numbers are floats
    assert torch.equal(found[0, 0], torch.zeros(3)) and found.norm(dim=-1).max() < 0.5001
    with pytest.raises(DataError, match="rows 1 ... 5. Received numbers from 0 to 3"):
        table(torch.tensor([0, 3]))


@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_a_bounded_lookup_scales_rows_and_leaves_the_weight(norm):
    rows = np.array([[3, 4], [0.1, 0.2], [0, 0]], np.float32)
    table = L.LookupTable(3, 2, max_norm=0.5, norm_type=norm)
    table.set_weights([rows])
    ids = torch.tensor([1, 2, 3, 1])
    found = table(ids)
    wanted = F.embedding(ids - 1, torch.from_numpy(rows.copy()), max_norm=0.5, norm_type=norm)
    torch.testing.assert_close(found, wanted)
    assert (table.get_weights()[0] == rows).all()
    found.sum().backward()  # of the scaled rows, as BigDL has it
    assert torch.equal(next(table.parameters()).grad, torch.tensor([[2.0, 2], [1, 1], [1, 1]]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: L.Linear(2, 3, with_bais=True), "no argument 'with_bais'. Did you mean 'with_bias'"),
        (lambda: L.Linear(2), "missing a required argument: 'output_size'. It is called Linear\\(input_size"),
        (lambda: L.Select(3, 1)(X), "axis of 1 ... 2, or negative ones. Received: 3"),
        (lambda: L.Reshape([5])(X), r"Reshape: \(3, 4\) does not become \(3, 5\)"),
        (lambda: L.View([5])(X), "make no whole rows"),
        (lambda: L.CAddTable()(X), "takes a table of several tensors. Received: one tensor"),
        (lambda: L.MM()((X, X, X)), "table of 2 tensors. Received: 3 tensors"),
        (lambda: L.ParallelTable().add(L.Tanh())(PAIR), "table of 1 inputs, one a layer. Received: 2 inputs"),
        (lambda: L.Sequential().add("Linear"), "takes a layer of zoo.bigdl.nn.layer, or a torch module"),
        (lambda: L.Recurrent().add(L.Linear(2, 2))(STEPS), "takes one cell"),
        (lambda: L.Recurrent().add(L.GRU(4, 2))(X), r"take \(B, T, F\)"),
        (lambda: L.Dropout(1.5), r"init_p must be in \[0, 1\). Received: 1.5"),
        (lambda: L.Linear(2, 3).forward("text"), "arrays of numbers, .*Received: builtins.str"),
        (lambda: L.Linear(2, 3).set_weights([np.ones((2, 2)), np.ones(3)]), r"weight has the shape \(3, 2\)"),
        (lambda: L.Linear(2, 3).set_weights([np.ones((3, 2))]), "has 2 arrays of weights. Received: 1"),
        (lambda: L.Tanh().ceil(), "no windows to round"),
        (lambda: L.SpatialConvolution(1, 1, 2, 2, data_format="CHWN"), "'NCHW' or 'NHWC'"),
        (lambda: L.SpatialMaxPooling(2, 2, 2, 2, 3), "at most half of the window"),
        (lambda: L.Sequential().freeze("fc9"), "no layer is called 'fc9'"),
        (lambda: L.Narrow(2, 3, 4)(X), "axis 2 has 4 entries"),
        (lambda: L.Input() and L.Linear(4, 2)([L.Input(), X]), "nodes or with tensors, not both"),
    ],
)
def test_mistakes_are_named(wrong, told):
    with pytest.raises(UsageError, match=told):
        wrong()
