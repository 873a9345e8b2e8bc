"""Modules with weights, and pooling, as layers of Keras.

Owns: BigDL's layouts of weights and of padding.
Leaves: modules without weights (plain), recurrence (recurrent).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net.layers import Entrywise, ImageConvolution, LookupTable, VolumeConvolution
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.plain import layout_of
from zoo.pipeline.api.net.steps import Step, Steps, operation

keras = library()


def linear_step(module: Module, suffix: str = "") -> Step:
    """A Linear as Dense, whose kernel is (input, output)."""
    weight, *bias = module.weights
    make = partial(keras.layers.Dense, weight.shape[0], use_bias=bool(bias))
    return Step(make, [weight.T, *bias], suffix, (-1, weight.shape[-1]))


def _linear(module: Module, shape: Any) -> Sequence[Step]:
    return [linear_step(module)]


def _convolution(module: Module, shape: Any) -> Sequence[Step]:
    """Weights are (group, out, in, height, width), or (1, height, width, in, out) for NHWC."""
    weight, *bias = module.weights
    kernel, stride, padding = _window(module, "kernel", "stride", "pad")
    groups = module.get("nGroup", 1)
    if layout_of(module) == "channels_last":
        filters = weight.reshape(weight.shape[-4:])
    else:
        filters = weight.reshape(-1, weight.shape[-3], *kernel).transpose(2, 3, 1, 0)
    dilation = (module.get("dilationH", 1), module.get("dilationW", 1))
    before, border = _border(module, padding, kernel, stride, dilation)
    make = partial(
        ImageConvolution, filters.shape[-1], kernel, stride, border, layout_of(module), dilation, groups,
        use_bias=bool(bias),
    )  # fmt: skip
    axis = -1 if layout_of(module) == "channels_last" else 1
    return [*before, Step(make, [filters, *bias], takes=(axis, filters.shape[-2] * groups))]


def _border(
    module: Module, padding: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[Step], str]:
    """Steps before a convolution, and its own border; a padding of -1 is TensorFlow's SAME."""
    if padding[0] == padding[1] == 0:
        return [], "valid"
    around = [(size - 1) * far for size, far in zip(kernel, dilation, strict=True)]
    alike = all(step == 1 and reach == 2 * pad for step, reach, pad in zip(stride, around, padding, strict=True))
    if alike or -1 in padding:
        return [], "same"
    rows, columns = padding
    last = layout_of(module) == "channels_last"
    return [operation("pad_image", "pad", sides=[columns, columns, rows, rows], channels_last=last)], "valid"


def _window(module: Module, *names: str) -> list[tuple[int, int]]:
    """(height, width) of each attribute ``<name>H``, ``<name>W``."""
    defaults = {"pad": 0, "stride": 1, "d": 1}
    return [tuple(int(module.get(f"{name}{axis}", *_default(defaults, name))) for axis in ("H", "W")) for name in names]


def _default(defaults: Mapping[str, int], name: str) -> tuple[int, ...]:
    return (defaults[name],) if name in defaults else ()


def _full_convolution(module: Module, _: Any) -> Sequence[Step]:
    """Weights are (group, in, out, height, width)."""
    weight, *bias = module.weights
    kernel, stride, padding = _window(module, "k", "d", "pad")
    extra = (module.get("adjH", 0), module.get("adjW", 0))
    if module.get("nGroup", 1) != 1:
        raise UsageError("a transposed convolution of several groups is not known here.")
    filters = weight.reshape(*weight.shape[-4:-2], *kernel).transpose(2, 3, 1, 0)
    make = partial(
        keras.layers.Conv2DTranspose, filters.shape[2], kernel, stride, "valid", data_format="channels_last",
        use_bias=False,
    )  # fmt: skip
    beyond = [max(step - size, 0) for step, size in zip(stride, kernel, strict=True)]  # Keras gives so many more
    (top, left), (bottom, right) = (
        padding,
        (pad - more + gone for pad, more, gone in zip(padding, extra, beyond, strict=True)),
    )
    steps = [operation("move", "last", source=1, target=3), Step(make, [filters], "full", (-1, filters.shape[-1]))]
    steps.append(operation("move", "first", source=3, target=1))
    steps.append(operation("pad_image", "cut", sides=[-left, -right, -top, -bottom], channels_last=False))
    if bias:
        shape = (len(bias[0]), 1, 1)
        steps.append(Step(partial(Entrywise, None, shape), [bias[0].reshape(shape)]))
    return steps


def _temporal_convolution(module: Module, shape: Any) -> Sequence[Step]:
    weight, *bias = module.weights
    width, step = module.get("kernelW"), module.get("strideW", 1)
    filters = weight.reshape(weight.shape[0], width, -1).transpose(1, 2, 0)
    make = partial(keras.layers.Conv1D, weight.shape[0], width, step, use_bias=bool(bias))
    return [Step(make, [filters, *bias], takes=(-1, filters.shape[1]))]


def _volumetric_convolution(module: Module, shape: Any) -> Sequence[Step]:
    weight, *bias = module.weights
    kernel, stride, padding = (tuple(module.get(f"{name}{axis}") for axis in "THW") for name in ("k", "d", "pad"))
    filters = weight.reshape(*weight.shape[-5:-3], *kernel).transpose(2, 3, 4, 1, 0)
    make = partial(
        VolumeConvolution, filters.shape[-1], kernel, stride, "same" if -1 in padding else "valid",
        "channels_first", use_bias=bool(bias),
    )  # fmt: skip
    before = [
        operation("pad", f"pad{axis}", axis=2 + axis, before=size, after=size)
        for axis, size in enumerate(padding)
        if size > 0
    ]
    return [*before, Step(make, [filters, *bias], takes=(1, filters.shape[-2]))]


def _batch_normalization(axes: int) -> Steps:
    def steps(module: Module, shape: Any) -> Sequence[Step]:
        axis = 1 if axes == 1 or layout_of(module) == "channels_first" else -1
        affine = len(module.weights) == 2
        make = partial(
            keras.layers.BatchNormalization, axis, 1.0 - module.get("momentum", 0.1), module.get("eps", 1e-5), affine,
            affine,
        )  # fmt: skip
        statistics = [module.get("runningMean"), module.get("runningVar")]
        return [Step(make, [*module.weights, *statistics], takes=(axis, statistics[0].size))]

    return steps


def _lookup_table(module: Module, shape: Any) -> Sequence[Step]:
    (weight,) = module.weights
    longest = module.get("maxNorm", 1e300)
    constraint = None
    if longest < 1e30:
        if module.get("normType", 2.0) != 2.0:
            raise UsageError(f"maxNorm is known with the 2-norm only. Received: normType={module.get('normType')}")
        norms = np.linalg.norm(weight, axis=1, keepdims=True)
        weight = np.where(norms > longest, weight * (longest / np.maximum(norms, 1e-7)), weight)
        constraint = keras.constraints.MaxNorm(longest, axis=1)
    return [Step(partial(LookupTable, *weight.shape, embeddings_constraint=constraint), [weight])]


def _prelu(module: Module, shape: Any) -> Sequence[Step]:
    (slopes,) = module.weights
    axes = len(shape) - 1
    shared = list(range(1 if slopes.size == 1 else 2, axes + 1))
    target = (slopes.size,) + (1,) * (axes - 1)
    takes = (1, slopes.size) if slopes.size > 1 else None
    return [Step(partial(keras.layers.PReLU, shared_axes=shared or None), [slopes.reshape(target)], takes=takes)]


def _entrywise(weight: int | None, bias: int | None) -> Steps:
    """Weights at these places of the module's; their shape may name the batch, as one entry."""

    def steps(module: Module, shape: Any) -> Sequence[Step]:
        arrays = [None if place is None else _for_rows(module.weights[place], shape) for place in (weight, bias)]
        shapes = [None if array is None else array.shape for array in arrays]
        return [Step(partial(Entrywise, *shapes), [array for array in arrays if array is not None])]

    return steps


def _for_rows(array: np.ndarray, shape: Sequence[Any]) -> np.ndarray:
    if array.ndim == len(shape) and array.shape[0] == 1:
        return array[0]
    if array.ndim == 1 and array.size > 1 and len(shape) > 2:
        return array.reshape(-1, *(1,) * (len(shape) - 2))  # one for each channel
    return array


def _max_pooling(module: Module, shape: Any) -> Sequence[Step]:
    size, stride, padding = _window(module, "k", "d", "pad")
    ceil = module.get("ceil_mode", module.get("ceilMode", False))
    return _pooling(module, ("max_pool", keras.layers.MaxPooling2D), (size, stride, padding), ceil)


def _average_pooling(module: Module, shape: Any) -> Sequence[Step]:
    last = layout_of(module) == "channels_last"
    if module.get("globalPooling", False):
        return [operation("global_average", channels_last=last)]
    size, stride, padding = _window(module, "k", "d", "pad")
    counting = "padding" if module.get("countIncludePad", True) else "image"
    counting = counting if module.get("divide", True) else "none"
    kind = ("average_pool", None if counting == "none" else keras.layers.AveragePooling2D)
    more = {"counting": counting}
    return _pooling(module, kind, (size, stride, padding), module.get("ceilMode", False), more)


def _pooling(
    module: Module, kind: tuple[str, Any], window: Sequence[Any], ceil: bool, more: Mapping[str, Any] | None = None
) -> Sequence[Step]:
    """Keras' layer where it computes the same, else the function."""
    (function, layer), (size, stride, padding) = kind, window
    border = "same" if -1 in padding else "valid"
    if layer is not None and (border == "same" or (not any(padding) and not ceil)):
        return [Step(partial(layer, size, stride, border, layout_of(module)))]
    if border == "same":
        raise UsageError("average pooling with SAME padding that does not divide is not known here.")
    last = layout_of(module) == "channels_last"
    words = {"size": size, "stride": stride, "padding": padding, "ceil": bool(ceil), "channels_last": last}
    return [operation(function, **{key: list(value) if isinstance(value, tuple) else value
                                   for key, value in words.items()}, **(more or {}))]  # fmt: skip


def _temporal_pooling(module: Module, shape: Any) -> Sequence[Step]:
    width = module.get("kW")
    if width == -1:
        return [operation("max", axis=1, keepdims=True)]
    return [Step(partial(keras.layers.MaxPooling1D, width, module.get("dW", width)))]


WEIGHTED: Mapping[str, Steps] = {
    "Linear": _linear, "SpatialConvolution": _convolution, "SpatialShareConvolution": _convolution,
    "SpatialDilatedConvolution": _convolution, "SpatialFullConvolution": _full_convolution,
    "TemporalConvolution": _temporal_convolution, "VolumetricConvolution": _volumetric_convolution,
    "BatchNormalization": _batch_normalization(1), "SpatialBatchNormalization": _batch_normalization(2),
    "LookupTable": _lookup_table, "PReLU": _prelu,
    "CMul": _entrywise(0, None), "Mul": _entrywise(0, None), "CAdd": _entrywise(None, 0), "Add": _entrywise(None, 0),
    "Scale": _entrywise(0, 1),
    "SpatialMaxPooling": _max_pooling, "SpatialAveragePooling": _average_pooling,
    "TemporalMaxPooling": _temporal_pooling,
}  # fmt: skip
