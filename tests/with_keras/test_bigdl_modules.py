"""Each module of BigDL's files computes what its twin in torch.nn does; the files are written by the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bigdlfiles import M, box, encoded, graph, m, seq
from zoo.engine.errors import UsageError
from zoo.pipeline.api.net import Net
from zoo.pipeline.api.net.bigdl_file import read_module
from zoo.pipeline.api.net.containers import _in_order

RANDOM = np.random.default_rng(1)


def w(*shape: int) -> np.ndarray:
    return RANDOM.normal(scale=0.5, size=shape).astype(np.float32)


def t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def net_of(module: M, folder: Path, shape: Any = None, **how: Any) -> Any:
    path = folder / "model.bigdl"
    path.write_bytes(encoded(module, **how))
    return Net.load_bigdl(str(path), input_shape=shape)


def computed(net: Any, *arrays: np.ndarray) -> Any:
    found = net(arrays[0] if len(arrays) == 1 else list(arrays))
    if isinstance(found, list | tuple):
        return [keras.ops.convert_to_numpy(one) for one in found]
    return keras.ops.convert_to_numpy(found)


IMAGE, VECTOR, STEPS = (2, 4, 9, 10), (3, 6), (2, 5, 6)
SQUARE = (2, 4, 6, 6)  # convolved without padding it is as wide as it has channels


def conv(weight: np.ndarray, *bias: np.ndarray, stride=(1, 1), pad=(0, 0), groups=1, **more: Any) -> M:
    kind = "SpatialDilatedConvolution" if more else "SpatialConvolution"
    shape = weight.shape if more else (groups, weight.shape[0] // groups, *weight.shape[1:])
    return m(kind, weight.reshape(shape), *bias, nInputPlane=weight.shape[1] * groups, nOutputPlane=weight.shape[0],
             kernelW=weight.shape[3], kernelH=weight.shape[2], strideW=stride[1], strideH=stride[0], padW=pad[1],
             padH=pad[0], nGroup=groups, format="NCHW", **more)  # fmt: skip


def pool(kind: str, size, stride, pad=(0, 0), ceil=False, **more: Any) -> M:
    word = "ceil_mode" if kind == "SpatialMaxPooling" else "ceilMode"
    return m(kind, kH=size[0], kW=size[1], dH=stride[0], dW=stride[1], padH=pad[0], padW=pad[1],
             **{word: ceil}, **more)  # fmt: skip


C1, B1, C2, CG = w(5, 4, 3, 2), w(5), w(6, 4, 3, 3), w(6, 2, 3, 3)
L, LB = w(7, 6), w(7)
DECONV, DECONV2 = w(1, 4, 3, 3, 3), w(1, 4, 2, 1, 1)
TC, VC, VB = w(3, 2 * 6), w(1, 2, 1, 2, 2, 2), w(2)
MEAN, VAR, GAMMA, BETA = w(4), abs(w(4)) + 0.5, w(4), w(4)
SLOPES, TABLE = w(4), w(9, 3)
BN = {"nOutput": 4, "eps": 1e-3, "momentum": 0.1, "runningMean": MEAN, "runningVar": VAR}

Case = tuple[M, tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]]

WEIGHTED: dict[str, Case] = {
    "linear": (m("Linear", L, LB, inputSize=6), VECTOR, lambda x: F.linear(x, t(L), t(LB))),
    "linear without bias": (m("Linear", L, inputSize=6), VECTOR, lambda x: F.linear(x, t(L))),
    "convolution": (conv(C1, B1), IMAGE, lambda x: F.conv2d(x, t(C1), t(B1))),
    "as wide as it has channels": (conv(w7 := w(4, 4, 3, 3), b7 := w(4)), SQUARE,
                                   lambda x: F.conv2d(x, t(w7), t(b7))),
    "padded like same": (conv(C2, pad=(1, 1)), IMAGE, lambda x: F.conv2d(x, t(C2), padding=1)),
    "padded, strides": (conv(C1, B1, stride=(2, 3), pad=(2, 1)), IMAGE,
                        lambda x: F.conv2d(x, t(C1), t(B1), (2, 3), (2, 1))),
    "groups": (conv(CG, groups=2), IMAGE, lambda x: F.conv2d(x, t(CG), groups=2)),
    "dilation": (conv(C2, dilationW=2, dilationH=3), IMAGE, lambda x: F.conv2d(x, t(C2), dilation=(3, 2))),
    "transposed": (m("SpatialFullConvolution", DECONV, B1[:3], nInputPlane=4, kW=3, kH=3, dW=2, dH=2, padW=1, padH=1,
                     adjW=1, adjH=1), IMAGE, lambda x: F.conv_transpose2d(x, t(DECONV[0]), t(B1[:3]), 2, 1, 1)),
    "transposed, far": (m("SpatialFullConvolution", DECONV2, nInputPlane=4, kW=1, kH=1, dW=2, dH=2, padW=0, padH=0),
                        IMAGE, lambda x: F.conv_transpose2d(x, t(DECONV2[0]), stride=2)),
    "temporal convolution": (m("TemporalConvolution", TC, LB[:3], inputFrameSize=6, kernelW=2, strideW=2), STEPS,
                             lambda x: F.conv1d(x.mT, t(TC.reshape(3, 2, 6)).permute(0, 2, 1), t(LB[:3]), 2).mT),
    "volumetric convolution": (m("VolumetricConvolution", VC, VB, kT=2, kH=2, kW=2, dT=1, dH=2, dW=1, padT=1, padH=0,
                                 padW=1), (2, 1, 4, 5, 5),
                               lambda x: F.conv3d(x, t(VC[0]), t(VB), (1, 2, 1), (1, 0, 1))),
    "batch normalization": (m("SpatialBatchNormalization", GAMMA, BETA, affine=True, **BN), IMAGE,
                            lambda x: F.batch_norm(x, t(MEAN), t(VAR), t(GAMMA), t(BETA), eps=1e-3)),
    "batch normalization of as wide images": (m("SpatialBatchNormalization", GAMMA, BETA, **BN), (2, 4, 4, 4),
                                              lambda x: F.batch_norm(x, t(MEAN), t(VAR), t(GAMMA), t(BETA), eps=1e-3)),
    "batch normalization alone": (m("BatchNormalization", affine=False, **BN), (3, 4),
                                  lambda x: F.batch_norm(x, t(MEAN), t(VAR), eps=1e-3)),
    "prelu of channels": (m("PReLU", SLOPES, nOutputPlane=4), IMAGE, lambda x: F.prelu(x, t(SLOPES))),
    "prelu": (m("PReLU", SLOPES[:1], nOutputPlane=0), IMAGE, lambda x: F.prelu(x, t(SLOPES[:1]))),
    "mul": (m("Mul", w1 := w(1)), VECTOR, lambda x: x * t(w1)),
    "cmul": (m("CMul", w2 := w(1, 4, 1, 1)), IMAGE, lambda x: x * t(w2)),
    "cadd": (m("CAdd", w3 := w(6)), VECTOR, lambda x: x + t(w3)),
    "add": (m("Add", w4 := w(6)), VECTOR, lambda x: x + t(w4)),
    "scale": (m("Scale", w5 := w(4), w6 := w(4)), IMAGE,
              lambda x: x * t(w5)[:, None, None] + t(w6)[:, None, None]),
}  # fmt: skip

POOLS: dict[str, Case] = {
    "max": (pool("SpatialMaxPooling", (2, 3), (2, 1)), IMAGE, lambda x: F.max_pool2d(x, (2, 3), (2, 1))),
    "max, ceil": (pool("SpatialMaxPooling", (3, 3), (2, 2), ceil=True), IMAGE,
                  lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
    "max, padded": (pool("SpatialMaxPooling", (3, 3), (2, 2), (1, 1)), IMAGE, lambda x: F.max_pool2d(x, 3, 2, 1)),
    "max, padded, ceil": (pool("SpatialMaxPooling", (2, 2), (2, 2), (1, 1), True), IMAGE,
                          lambda x: F.max_pool2d(x, 2, 2, 1, ceil_mode=True)),
    "average": (pool("SpatialAveragePooling", (2, 3), (2, 1)), IMAGE, lambda x: F.avg_pool2d(x, (2, 3), (2, 1))),
    "average, padded": (pool("SpatialAveragePooling", (3, 3), (2, 2), (1, 1)), IMAGE,
                        lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "average of the image": (pool("SpatialAveragePooling", (3, 3), (2, 2), (1, 1), countIncludePad=False), IMAGE,
                             lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    "average, ceil": (pool("SpatialAveragePooling", (3, 3), (2, 2), (1, 1), True), IMAGE,
                      lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "average, ceil, image": (pool("SpatialAveragePooling", (2, 2), (2, 2), (0, 0), True, countIncludePad=False), IMAGE,
                             lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)),
    "sum": (pool("SpatialAveragePooling", (2, 2), (2, 2), divide=False), IMAGE,
            lambda x: F.avg_pool2d(x, 2, 2, divisor_override=1)),
    "global": (pool("SpatialAveragePooling", (1, 1), (1, 1), globalPooling=True), IMAGE,
               lambda x: x.mean((2, 3), keepdim=True)),
    "temporal": (m("TemporalMaxPooling", kW=2, dW=2), STEPS, lambda x: F.max_pool1d(x.mT, 2, 2).mT),
    "temporal, all": (m("TemporalMaxPooling", kW=-1, dW=-1), STEPS, lambda x: x.amax(1, keepdim=True)),
    "lrn": (m("SpatialCrossMapLRN", size=3, alpha=0.2, beta=0.75, k=2.0), IMAGE,
            lambda x: F.local_response_norm(x, 3, 0.2, 0.75, 2.0)),
    "lrn of an even size": (m("SpatialCrossMapLRN", size=5, alpha=1.0, beta=0.5, k=1.0), IMAGE,
                            lambda x: F.local_response_norm(x, 5, 1.0, 0.5, 1.0)),
}  # fmt: skip

ACTIVATIONS: dict[str, Case] = {
    name: (module, VECTOR, twin)
    for name, (module, twin) in {
        "relu": (m("ReLU"), F.relu), "relu6": (m("ReLU6"), F.relu6), "tanh": (m("Tanh"), torch.tanh),
        "sigmoid": (m("Sigmoid"), torch.sigmoid), "log_sigmoid": (m("LogSigmoid"), F.logsigmoid),
        "softmax": (m("SoftMax"), lambda x: F.softmax(x, 1)), "softmin": (m("SoftMin"), lambda x: F.softmin(x, 1)),
        "log_softmax": (m("LogSoftMax"), lambda x: F.log_softmax(x, 1)),
        "hardtanh": (m("HardTanh", minValue=-0.5, maxValue=0.3), lambda x: F.hardtanh(x, -0.5, 0.3)),
        "clamp": (m("Clamp", min=-1, max=1), lambda x: x.clamp(-1, 1)),
        "elu": (m("ELU", alpha=0.7), lambda x: F.elu(x, 0.7)),
        "leaky": (m("LeakyReLU", negval=0.2), lambda x: F.leaky_relu(x, 0.2)),
        "softplus": (m("SoftPlus", beta=2.0), lambda x: F.softplus(x, 2.0)), "softsign": (m("SoftSign"), F.softsign),
        "softshrink": (m("SoftShrink", **{"lambda": 0.3}), lambda x: F.softshrink(x, 0.3)),
        "hardshrink": (m("HardShrink", **{"lambda": 0.3}), lambda x: F.hardshrink(x, 0.3)),
        "tanhshrink": (m("TanhShrink"), F.tanhshrink),
        "hard_sigmoid": (m("HardSigmoid"), lambda x: (0.2 * x + 0.5).clamp(0, 1)),
        "threshold": (m("Threshold", threshold=0.1, value=-2.0), lambda x: F.threshold(x, 0.1, -2.0)),
        "abs": (m("Abs"), torch.abs), "exp": (m("Exp"), torch.exp), "square": (m("Square"), torch.square),
        "negative": (m("Negative"), torch.neg), "log of square": (seq(m("Square"), m("Log")), lambda x: (x * x).log()),
        "sqrt of abs": (seq(m("Abs"), m("Sqrt")), lambda x: x.abs().sqrt()),
        "power": (m("Power", power=2.0, scale=0.5, shift=1.0), lambda x: (1 + 0.5 * x) ** 2),
        "add constant": (m("AddConstant", constant_scalar=2.5), lambda x: x + 2.5),
        "mul constant": (m("MulConstant", scalar=-3.0), lambda x: x * -3),
        "normalize": (m("Normalize", p=2.0, eps=1e-10), lambda x: F.normalize(x)),
        "dropout": (m("Dropout", initP=0.5), lambda x: x), "identity": (m("Echo"), lambda x: x),
    }.items()
}  # fmt: skip

SHAPES: dict[str, Case] = {
    "reshape": (m("Reshape", size=[10, 36], batchMode=0), IMAGE, lambda x: x.reshape(2, 10, 36)),
    "reshape of a batch": (m("Reshape", size=[-1, 360], batchMode=1), IMAGE, lambda x: x.flatten(1)),
    "infer reshape": (m("InferReshape", size=[0, -1], batchMode=True), IMAGE, lambda x: x.flatten(2)),
    "view": (m("View", sizes=[360]), IMAGE, lambda x: x.flatten(1)),
    "view with the batch": (m("View", sizes=[-1, 9, 40]), IMAGE, lambda x: x.reshape(2, 9, 40)),
    "flatten": (m("Flatten"), IMAGE, lambda x: x.flatten(1)),
    "transpose": (M("Transpose", attributes={"length": 2, "permutation_0": [2, 3], "permutation_1": [3, 4]}), IMAGE,
                  lambda x: x.transpose(1, 2).transpose(2, 3)),
    "squeeze": (m("Squeeze", dims=[2], batchMode=False), (2, 1, 5), lambda x: x.squeeze(1)),
    "squeeze all": (m("Squeeze"), (2, 1, 5, 1), lambda x: x.squeeze(3).squeeze(1)),
    "squeeze a row's": (m("Squeeze", dims=[2], batchMode=True), (2, 5, 1), lambda x: x.squeeze(2)),
    "unsqueeze": (m("Unsqueeze", pos=[2], numInputDims=0), VECTOR, lambda x: x.unsqueeze(1)),
    "unsqueeze a row": (m("Unsqueeze", pos=[2], numInputDims=1), VECTOR, lambda x: x.unsqueeze(2)),
    "select": (m("Select", dimension=2, index=-1), STEPS, lambda x: x[:, -1]),
    "select the first": (m("Select", dimension=-1, index=1), STEPS, lambda x: x[..., 0]),
    "narrow": (m("Narrow", dimension=3, offset=2, length=3), STEPS, lambda x: x[..., 1:4]),
    "narrow to the end": (m("Narrow", dimension=2, offset=2, length=-1), STEPS, lambda x: x[:, 1:]),
    "narrow to the last but one": (m("Narrow", dimension=2, offset=1, length=-2), STEPS, lambda x: x[:, :-1]),
    "padding": (m("Padding", dim=1, pad=-2, nInputDim=2, value=7.0, nIndex=1), STEPS,
                lambda x: F.pad(x, (0, 0, 2, 0), value=7.0)),
    "padding behind": (m("Padding", dim=3, pad=2, nInputDim=0, value=0.0), STEPS, lambda x: F.pad(x, (0, 2))),
    "zero padding": (m("SpatialZeroPadding", padLeft=1, padRight=2, padTop=0, padBottom=-1), IMAGE,
                     lambda x: F.pad(x, (1, 2, 0, -1))),
    "replicate": (m("Replicate", nFeatures=3, dim=2), VECTOR, lambda x: x.unsqueeze(1).repeat(1, 3, 1)),
    "tile": (m("Tile", dim=2, copies=2), VECTOR, lambda x: torch.cat([x, x], 1)),
    "reverse": (m("Reverse", dimension=2), STEPS, lambda x: x.flip(1)),
    "upsampling": (m("UpSampling2D", size=[2, 3]), IMAGE,
                   lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, 3)),
    "mean": (m("Mean", dimension=2), STEPS, lambda x: x.mean(1)),
    "mean of a row": (m("Mean", dimension=2, nInputDims=2, squeeze=False), STEPS, lambda x: x.mean(2, keepdim=True)),
    "sum": (m("Sum", dimension=3), STEPS, lambda x: x.sum(2)),
    "sum over its size": (m("Sum", dimension=3, sizeAverage=True), STEPS, lambda x: x.mean(2)),
    "max": (m("Max", dim=2), STEPS, lambda x: x.amax(1)), "min": (m("Min", dim=2), STEPS, lambda x: x.amin(1)),
    "masking": (m("Masking", maskValue=0.0), STEPS, lambda x: x),
}  # fmt: skip

TWICE = box("ConcatTable", m("Tanh"), m("Sigmoid"))


def both(function: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: function(torch.tanh(x), torch.sigmoid(x))


TABLES: dict[str, Case] = {
    "add": (seq(TWICE, m("CAddTable")), VECTOR, both(torch.add)),
    "subtract": (seq(TWICE, m("CSubTable")), VECTOR, both(torch.sub)),
    "multiply": (seq(TWICE, m("CMulTable")), VECTOR, both(torch.mul)),
    "divide": (seq(TWICE, m("CDivTable")), VECTOR, both(torch.div)),
    "maximum": (seq(TWICE, m("CMaxTable")), VECTOR, both(torch.maximum)),
    "minimum": (seq(TWICE, m("CMinTable")), VECTOR, both(torch.minimum)),
    "average": (seq(TWICE, m("CAveTable")), VECTOR, both(lambda a, b: (a + b) / 2)),
    "join": (seq(TWICE, m("JoinTable", dimension=1, nInputDims=1)), VECTOR, both(lambda a, b: torch.cat([a, b], 1))),
    "join over steps": (seq(TWICE, m("JoinTable", dimension=2, nInputDims=0)), STEPS,
                        both(lambda a, b: torch.cat([a, b], 1))),
    "pack": (seq(TWICE, m("Pack", dimension=2)), VECTOR, both(lambda a, b: torch.stack([a, b], 1))),
    "matmul": (seq(TWICE, m("MM", transA=False, transB=True)), STEPS, both(lambda a, b: a @ b.mT)),
    "dot": (seq(TWICE, m("DotProduct")), VECTOR, both(lambda a, b: (a * b).sum(1))),
    "cosine": (seq(TWICE, m("CosineDistance")), VECTOR, both(lambda a, b: F.cosine_similarity(a, b)[:, None])),
    "concat": (box("Concat", m("Tanh"), seq(m("Abs"), m("Exp")), dimension=2), VECTOR,
               lambda x: torch.cat([x.tanh(), x.abs().exp()], 1)),
    "parallel": (seq(TWICE, box("ParallelTable", m("Exp"), m("Abs")), m("CSubTable")), VECTOR,
                 both(lambda a, b: a.exp() - b.abs())),
    "map": (seq(TWICE, box("MapTable", m("Linear", L, LB)), m("CSubTable")), VECTOR,
            both(lambda a, b: F.linear(a, t(L), t(LB)) - F.linear(b, t(L), t(LB)))),
    "select": (seq(TWICE, m("SelectTable", index=-1)), VECTOR, torch.sigmoid),
    "nested": (seq(box("ConcatTable", TWICE, m("Abs")), m("FlattenTable"), m("NarrowTable", offset=2, length=2),
                   m("CSubTable")), VECTOR, lambda x: x.sigmoid() - x.abs()),
    "split": (seq(m("SplitTable", dimension=2), m("CAddTable")), STEPS, lambda x: x.sum(1)),
}  # fmt: skip

CASES = {f"{kind}: {name}": case for kind, cases in {"weighted": WEIGHTED, "pool": POOLS, "activation": ACTIVATIONS,
         "shape": SHAPES, "table": TABLES}.items() for name, case in cases.items()}  # fmt: skip


HERE = [name for name in CASES if keras.backend.backend() == "tensorflow" or name.startswith(("weighted", "pool"))]
"""The others are the same functions of keras.ops on every backend."""


@pytest.mark.parametrize("name", HERE)
def test_a_module_computes_what_torch_does(name, tmp_path, expected_leftovers):
    module, shape, twin = CASES[name]
    x = w(*shape)
    with expected_leftovers.during():  # Keras compiles some convolutions; TensorFlow removes the code at exit
        found = computed(net_of(module, tmp_path, shape[1:]), x)
    np.testing.assert_allclose(found, twin(t(x)).numpy(), atol=2e-5, rtol=1e-4)


def test_sizes_of_images_may_stay_open(tmp_path):
    module = seq(
        conv(C2, pad=(1, 1)),
        pool("SpatialMaxPooling", (3, 3), (2, 2), ceil=True),
        pool("SpatialAveragePooling", (1, 1), (1, 1), globalPooling=True),
        m("View", sizes=[6]),
    )
    net = net_of(module, tmp_path)
    assert net.input_shape == (None, 4, None, None) and net.output_shape == (None, 6)
    for size in (8, 11):
        x = w(2, 4, size, size)
        twin = F.max_pool2d(F.conv2d(t(x), t(C2), padding=1), 3, 2, ceil_mode=True).mean((2, 3))
        np.testing.assert_allclose(computed(net, x), twin.numpy(), atol=2e-5)


def test_tensorflows_same_padding(tmp_path):
    """Padding -1: one entry more behind than before, where the number is odd."""
    x = w(2, 4, 9, 10)
    net = net_of(conv(C2, stride=(2, 2), pad=(-1, -1)), tmp_path, (4, 9, 10))
    np.testing.assert_allclose(computed(net, x), F.conv2d(F.pad(t(x), (0, 1, 1, 1)), t(C2), stride=2), atol=2e-5)


def test_channels_last_files(tmp_path):
    weight = w(1, 3, 3, 4, 6)
    module = seq(m("SpatialConvolution", weight, nInputPlane=4, kernelW=3, kernelH=3, strideW=1, strideH=1,
                   padW=0, padH=0, nGroup=1, format="NHWC"),
                 pool("SpatialMaxPooling", (3, 3), (2, 2), (1, 1), format="NHWC"))  # fmt: skip
    x = w(2, 9, 10, 4)
    twin = F.conv2d(t(x).permute(0, 3, 1, 2), t(weight[0]).permute(3, 2, 0, 1))
    twin = F.max_pool2d(twin, 3, 2, 1).permute(0, 2, 3, 1)
    np.testing.assert_allclose(computed(net_of(module, tmp_path), x), twin.numpy(), atol=2e-5)


def test_ids_count_from_one_and_norms_are_bounded(tmp_path):
    x = np.array([[1, 9, 3], [2, 2, 1]], np.float32)
    np.testing.assert_allclose(computed(net_of(m("LookupTable", TABLE), tmp_path), x), TABLE[x.astype(int) - 1])
    short = computed(net_of(m("LookupTable", TABLE, maxNorm=0.3, normType=2.0), tmp_path), x)
    twin = F.embedding(t(x).long() - 1, t(TABLE.copy()), max_norm=0.3).numpy()
    np.testing.assert_allclose(short, twin, atol=1e-5)


def test_a_module_that_stands_twice_has_one_layer(tmp_path):
    square = m("Linear", w(6, 6), name="same", inputSize=6)
    net = net_of(seq(square, m("Tanh"), square), tmp_path)
    assert sum(layer.name.startswith("same") for layer in net.layers) == 1 and len(net.weights) == 1
    x = w(*VECTOR)
    twin = F.linear(torch.tanh(F.linear(t(x), t(square.weights[0]))), t(square.weights[0]))
    np.testing.assert_allclose(computed(net, x), twin.numpy(), atol=1e-5)


def test_a_graph_with_two_inputs_and_entries_of_tables(tmp_path):
    def node(module: M, *sources: str) -> M:
        module.sources = sources
        return module

    nodes = [node(m("Input", name="a")), node(m("Input", name="b")),
             node(m("Linear", L, LB, name="fc", inputSize=6), "a"), node(m("Linear", L, name="fc2", inputSize=6), "b"),
             node(m("CSubTable", name="difference"), "fc2", "fc"),
             node(m("Reshape", name="wide", size=[7, 1]), "difference"),
             node(m("SplitTable", name="split", dimension=2), "wide"),
             node(m("CMulTable", name="product"), "split", "fc")]  # fmt: skip
    edges = {"product": {"split": 2}}
    net = net_of(graph(nodes, ["a", "b"], ["product", "difference"], edges), tmp_path)
    a, b = w(*VECTOR), w(*VECTOR)
    product, difference = computed(net, a, b)
    fc, fc2 = F.linear(t(a), t(L), t(LB)), F.linear(t(b), t(L))
    np.testing.assert_allclose(difference, (fc2 - fc).numpy(), atol=1e-5)
    np.testing.assert_allclose(product, ((fc2 - fc)[:, 1:2] * fc).numpy(), atol=1e-5)


def test_a_graph_that_turns_in_a_circle_is_refused(tmp_path):
    a, b = m("Tanh", name="x"), m("Tanh", name="y")
    a.sources, b.sources = ("y",), ("x",)
    with pytest.raises(UsageError, match="cycle through the node"):
        net_of(graph([m("Input", name="in"), a, b], ["in"], ["x"]), tmp_path, (3,))


def test_a_deep_graph_is_no_deep_recursion(tmp_path):
    nodes = [m("Input", name="n0")]
    for place in range(1, 1200):
        nodes.append(m("Identity", name=f"n{place}"))
        nodes[-1].sources = (f"n{place - 1}",)
    module = graph(nodes, ["n0"], ["n1199"])
    path = tmp_path / "deep.bigdl"
    path.write_bytes(encoded(module))
    read = read_module(str(path))
    order = _in_order(read, {child.name: child for child in read.children}, ["n1199"], {"n0": None})
    assert order == [f"n{place}" for place in range(1, 1200)]


@pytest.mark.parametrize(
    "module, shape, said",
    [
        (m("Quux", name="odd"), (3,), r"layer 'odd' \(Quux\) is of the class .*nn.Quux.*Known modules: Abs, .*Linear"),
        (seq(m("Tanh"), m("Reshape", name="re", size=[5])), (4,), r"layer 're' \(Reshape\) cannot take .*\(None, 4\)"),
        (m("Select", name="row", dimension=1, index=1), (4,), "layer 'row'.*selects a row of the batch"),
        (m("Reshape", name="re", size=[5, 2], batchMode=1), (10,), "layer 're'.*batches of 5 rows"),
        (m("Linear", L, name="fc"), (5,), "layer 'fc'"),
        (m("Select", name="far", dimension=2, index=9), (4,), "layer 'far'"),
        (m("ParallelTable", name="pt"), (4,), "'pt'.*takes several tensors"),
        (m("Tanh"), None, "does not say which shape its input has. Pass it without the batch"),
        (m("HardTanh", name="h", minValue=None), None, "does not say"),
        (M("Dense", name="d", package="com.intel.analytics.bigdl.nn.keras."), (4,), "saved before it was built"),
        (m("Recurrent", name="r", bnorm=True), (4, 5), "'r'.*bnorm"),
    ],
)
def test_what_cannot_be_read_is_named(module, shape, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        net_of(module, tmp_path, shape)
