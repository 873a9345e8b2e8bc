"""Modules without weights, except pooling: which function of `operations`, or layer of Keras, each of them is.

Owns: a table from BigDL's class names.
Leaves: computing (operations), pooling, modules with weights (weighted).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.steps import Step, Steps, axis_of, entry_of, first, operation

keras = library()


def _always(function: str, **arguments: Any) -> Steps:
    return lambda module, shape: [operation(function, **arguments)]


def _with(function: str, **names: Any) -> Steps:
    """`function` with arguments that are attributes: argument=(attribute, default)."""
    return lambda module, shape: [
        operation(function, **{argument: module.get(*attribute) for argument, attribute in names.items()})
    ]


def _reshape(module: Module, shape: Any) -> Sequence[Step]:
    size = [int(entry) for entry in module.get("size")]
    if module.get("batchMode", 0) != 1:  # BigDL keeps None, false and true as 0, 1 and 2
        return [operation("reshape", size=size)]
    return [operation("reshape", size=_behind_batch(module, size))]


def _infer_reshape(module: Module, shape: Any) -> Sequence[Step]:
    size = [int(entry) for entry in module.get("size")]
    return [operation("reshape", size=size if module.get("batchMode", False) else _behind_batch(module, size))]


def _behind_batch(module: Module, size: Sequence[int]) -> list[int]:
    if size[0] not in (-1, 0):
        raise UsageError(f"it makes batches of {size[0]} rows, and the number of rows must stay open: {list(size)}.")
    return list(size[1:])


def _view(module: Module, shape: Any) -> Sequence[Step]:
    sizes = [int(entry) for entry in module.get("sizes")]
    row = first(shape)[1:]
    count = None if None in row else math.prod(row)
    names_batch = sizes[0] == -1 and len(sizes) > 1 and count in (None, math.prod(sizes[1:]))
    return [operation("reshape", size=sizes[1:] if names_batch else sizes)]


def _squeeze(module: Module, shape: Any) -> Sequence[Step]:
    dims = module.get("dims", module.get("dim", None))
    if dims is None:
        return [operation("squeeze", axes=None)]
    dims = [dims] if isinstance(dims, int) else dims
    shift = 1 if module.get("batchMode", False) else 0
    axes = [axis_of(dim, first(shape)) + (shift if dim > 0 else 0) for dim in dims]
    if 0 in axes:
        raise UsageError("it squeezes the batch, which must stay.")
    return [operation("squeeze", axes=axes)]


def _unsqueeze(module: Module, shape: Any) -> Sequence[Step]:
    given = module.get("pos")
    positions = [given] if isinstance(given, int) else list(given)
    shape, rows = first(shape), module.get("numInputDims", 0)
    return [operation("expand_dims", axis=axis_of(position, shape, rows)) for position in positions]


def _transpose(module: Module, shape: Any) -> Sequence[Step]:
    names = sorted((name for name in module.attributes if name.startswith("permutation")), key=_ordinal)
    swaps = [module.get(name) for name in names]
    swaps = [pair for found in swaps for pair in (found if isinstance(found[0], list) else [found])]
    swaps = [[axis_of(dim, first(shape)) for dim in pair] for pair in swaps]
    if not swaps or any(0 in pair for pair in swaps):
        raise UsageError(f"it must swap axes other than the batch. Received: {swaps or 'none'} (from 0)")
    return [operation("transpose", swaps=swaps)]


def _ordinal(name: str) -> int:
    digits = "".join(character for character in name if character.isdigit())
    return int(digits or 0)


def _select(module: Module, shape: Any) -> Sequence[Step]:
    axis = axis_of(module.get("dimension"), first(shape))
    if axis == 0:
        raise UsageError("it selects a row of the batch; rows must stay independent.")
    return [operation("select", axis=axis, index=entry_of(module.get("index")))]


def _narrow(module: Module, shape: Any) -> Sequence[Step]:
    axis = axis_of(module.get("dimension"), first(shape))
    if axis == 0:
        raise UsageError("it takes rows out of the batch; rows must stay independent.")
    return [operation("narrow", axis=axis, start=entry_of(module.get("offset")), length=module.get("length", 1))]


def _padding(module: Module, shape: Any) -> Sequence[Step]:
    count = module.get("pad")
    axis = axis_of(module.get("dim"), first(shape), module.get("nInputDim", 0))
    sides = (-count, 0) if count < 0 else (0, count)
    if module.get("nIndex", 1) != 1:
        raise UsageError("it pads in the middle (nIndex), which is not known here.")
    return [operation("pad", axis=axis, before=sides[0], after=sides[1], value=module.get("value", 0.0))]


def _zero_padding(module: Module, shape: Any) -> Sequence[Step]:
    sides = [module.get(f"pad{side}") for side in ("Left", "Right", "Top", "Bottom")]
    return [operation("pad_image", sides=sides, channels_last=_channels_last(module))]


def _join(function: str) -> Steps:
    return lambda module, shape: [
        operation(function, axis=axis_of(module.get("dimension"), first(shape), module.get("nInputDims", 0)))
    ]


def _reduce(function: str, dimension: str, rows: str) -> Steps:
    def steps(module: Module, shape: Any) -> Sequence[Step]:
        axis = axis_of(module.get(dimension, 1), first(shape), module.get(rows, -1))
        if axis == 0:
            raise UsageError("it reduces over the batch; rows must stay independent.")
        name = "mean" if function == "sum" and module.get("sizeAverage", False) else function
        return [operation(name, axis=axis, keepdims=not module.get("squeeze", True))]

    return steps


def _replicate(module: Module, shape: Any) -> Sequence[Step]:
    axis = axis_of(module.get("dim", 1), first(shape), max(0, module.get("nDim", 0)))
    if axis == 0:
        raise UsageError("it repeats along the batch; rows must stay independent.")
    return [operation("replicate", axis=axis, count=module.get("nFeatures"))]


def _along(function: str, dimension: str, **names: Any) -> Steps:
    def steps(module: Module, shape: Any) -> Sequence[Step]:
        axis = axis_of(module.get(dimension), first(shape))
        return [operation(function, axis=axis, **{key: module.get(*value) for key, value in names.items()})]

    return steps


def _clamp(module: Module, shape: Any) -> Sequence[Step]:
    low, high = (module.get(name, module.get(f"{name}Value", None)) for name in ("min", "max"))
    return [operation("clamp", low=low, high=high)]


def _dropout(module: Module, shape: Any) -> Sequence[Step]:
    return [Step(partial(keras.layers.Dropout, module.get("initP", 0.5)))]


def _spatial_dropout(axes: int) -> Steps:
    kind = getattr(keras.layers, f"SpatialDropout{axes}D")

    def steps(module: Module, shape: Any) -> Sequence[Step]:
        layout = {} if axes == 1 else {"data_format": layout_of(module)}
        return [Step(partial(kind, module.get("initP", 0.5), **layout))]

    return steps


def _keras_layer(kind: str, attribute: str, default: float) -> Steps:
    make = getattr(keras.layers, kind)
    return lambda module, shape: [Step(partial(make, module.get(attribute, default)))]


def _upsampling(module: Module, shape: Any) -> Sequence[Step]:
    size = tuple(module.get("size"))
    return [Step(partial(keras.layers.UpSampling2D, size, data_format=layout_of(module)))]


def _lrn(module: Module, shape: Any) -> Sequence[Step]:
    return [
        operation(
            "channel_lrn", size=module.get("size", 5), alpha=module.get("alpha", 1.0), beta=module.get("beta", 0.75),
            k=module.get("k", 1.0), channels_last=_channels_last(module),
        )
    ]  # fmt: skip


def layout_of(module: Module) -> str:
    """Keras' word for where a module's images have their channels."""
    given = module.get("format", module.get("dataFormat", "NCHW"))
    return "channels_last" if given == "NHWC" else "channels_first"


def _channels_last(module: Module) -> bool:
    return layout_of(module) == "channels_last"


_SLOPE = ("negval", 0.01)

PLAIN: Mapping[str, Steps] = {
    "Identity": _always("identity"), "Echo": _always("identity"), "Contiguous": _always("identity"),
    "Input": _always("identity"), "InputLayer": _always("identity"), "KerasIdentityWrapper": _always("identity"),
    "GradientReversal": _always("identity"), "ActivityRegularization": _always("identity"),
    "Abs": _always("abs"), "Exp": _always("exp"), "Log": _always("log"), "Sqrt": _always("sqrt"),
    "Square": _always("square"), "Negative": _always("scale", factor=-1.0),
    "AddConstant": _with("scale", shift=("constant_scalar", 0.0)),
    "MulConstant": _with("scale", factor=("scalar", 1.0)),
    "Power": _with("power", power=("power",), scale=("scale", 1.0), shift=("shift", 0.0)),
    "Clamp": _clamp,
    "HardTanh": _with("clamp", low=("minValue", -1.0), high=("maxValue", 1.0)),
    "ReLU": _always("relu"), "ReLU6": _always("clamp", low=0.0, high=6.0),
    "ELU": _with("elu", alpha=("alpha", 1.0)), "LeakyReLU": _with("leaky_relu", slope=_SLOPE),
    "Threshold": _with("threshold", at=("threshold", 1e-6), value=("value", 0.0)),
    "BinaryThreshold": _with("binary_threshold", at=("th", 1e-6)),
    "Tanh": _always("tanh"), "Sigmoid": _always("sigmoid"), "LogSigmoid": _always("log_sigmoid"),
    "HardSigmoid": _always("hard_sigmoid"), "SoftPlus": _with("soft_plus", beta=("beta", 1.0)),
    "SoftSign": _always("soft_sign"), "SoftShrink": _with("soft_shrink", by=("lambda", 0.5)),
    "HardShrink": _with("hard_shrink", by=("lambda", 0.5)), "TanhShrink": _always("tanh_shrink"),
    "SoftMax": _always("soft_max"), "SoftMin": _always("soft_max", sign=-1),
    "LogSoftMax": _always("soft_max", log=True), "Masking": _with("mask", value=("maskValue", 0.0)),
    "Dropout": _dropout, "GaussianDropout": _keras_layer("GaussianDropout", "rate", 0.5),
    "GaussianNoise": _keras_layer("GaussianNoise", "stddev", 0.1),
    "SpatialDropout1D": _spatial_dropout(1), "SpatialDropout2D": _spatial_dropout(2),
    "SpatialDropout3D": _spatial_dropout(3),
    "Reshape": _reshape, "InferReshape": _infer_reshape, "View": _view, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Transpose": _transpose, "Select": _select, "Narrow": _narrow, "Padding": _padding,
    "SpatialZeroPadding": _zero_padding, "Replicate": _replicate, "Tile": _along("tile", "dim", count=("copies", 2)),
    "Reverse": _along("flip", "dimension"),
    "Flatten": _always("reshape", size=[-1]),
    "UpSampling1D": _keras_layer("UpSampling1D", "length", 2), "UpSampling2D": _upsampling,
    "SpatialCrossMapLRN": _lrn, "Normalize": _with("normalize", p=("p",), eps=("eps", 1e-10)),
    "Mean": _reduce("mean", "dimension", "nInputDims"), "Sum": _reduce("sum", "dimension", "nInputDims"),
    "Max": _reduce("max", "dim", "numInputDims"), "Min": _reduce("min", "dim", "numInputDims"),
    "JoinTable": _join("join"), "SplitTable": _join("split"), "Pack": _along("pack", "dimension"),
    "CAddTable": _always("add"), "CSubTable": _always("subtract"), "CMulTable": _always("multiply"),
    "CDivTable": _always("divide"), "CMaxTable": _always("maximum"), "CMinTable": _always("minimum"),
    "CAveTable": _always("average"), "MM": _with("matmul", first=("transA", False), second=("transB", False)),
    "DotProduct": _always("dot"), "CosineDistance": _always("cosine"),
}  # fmt: skip
