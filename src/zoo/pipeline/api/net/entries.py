"""Which shape the input of a model has, as far as its modules tell.

BigDL's Torch-style files do not say it. The first module with weights knows how many features or channels it takes;
what stays open (the size of images, the number of steps) is None.

Owns: that.
Leaves: making the graph (assembly).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.plain import layout_of

Shape = Any
"""A tuple without the batch, a list of them for a table, or None where it is not known."""

_KEEPING = {  # modules whose output has as many axes and channels as their input
    "Identity", "Echo", "Contiguous", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "ReLU", "ReLU6", "Tanh",
    "Sigmoid", "HardTanh", "HardSigmoid", "ELU", "LeakyReLU", "SoftPlus", "SoftSign", "Abs", "Exp", "Log", "Sqrt",
    "Square", "Power", "AddConstant", "MulConstant", "Clamp", "GaussianNoise", "GaussianDropout", "SpatialZeroPadding",
    "SpatialMaxPooling", "SpatialAveragePooling", "SpatialCrossMapLRN", "Threshold", "Masking", "Negative", "PReLU",
    "Mul", "CMul", "CAdd", "Input", "InputLayer", "Normalize", "UpSampling2D", "TemporalMaxPooling",
}  # fmt: skip


def input_shape(module: Module) -> Shape:
    """The shape that a module's input has."""
    if module.input_shape is not None:
        return module.input_shape
    if module.keras_style and module.get("inputShape", None):
        return module.get("inputShape")
    if module.kind in _SHAPES and not module.keras_style:
        return _SHAPES[module.kind](module)
    return _of_row(module.children) if module.children else None


def _of_row(modules: Any) -> Shape:
    for module in modules:
        shape = input_shape(module)
        if shape is not None:
            return shape
        if module.kind not in _KEEPING:
            return None
    return None


def _of_any(module: Module) -> Shape:
    return next((shape for shape in map(input_shape, module.children) if shape is not None), None)


def _of_each(module: Module) -> Shape:
    shapes = [input_shape(child) for child in module.children]
    return None if None in shapes else shapes


def _of_graph(module: Module) -> Shape:
    nodes = {child.name: child for child in module.children}
    names = module.get("inputNames")
    shapes = [_of_node(nodes[name], nodes) if name in nodes else None for name in names]
    if len(shapes) == 1:
        return shapes[0]
    return None if None in shapes else shapes


def _of_node(node: Module, nodes: Mapping[str, Module]) -> Shape:
    """What the node takes, or the first one behind it that tells."""
    waiting, seen = [node], {node.name}
    while waiting:
        here = waiting.pop(0)
        shape = input_shape(here)
        if isinstance(shape, tuple):
            return shape
        if here.kind not in _KEEPING:
            continue
        followers = [other for other in nodes.values() if here.name in other.sources and other.name not in seen]
        seen.update(other.name for other in followers)
        waiting += followers
    return None


def _image(count: str) -> Callable[[Module], Shape]:
    def shape(module: Module) -> Shape:
        channels = module.get(count)
        return (None, None, channels) if layout_of(module) == "channels_last" else (channels, None, None)

    return shape


def _sizes(name: str) -> Callable[[Module], Shape]:
    def shape(module: Module) -> Shape:
        sizes = module.get(name)
        return tuple(sizes) if min(sizes, default=0) > 0 and module.get("batchMode", 0) != 1 else None

    return shape


def _of_cell(module: Module) -> Shape:
    cell = module.get("topology", None)
    size = cell.get("inputSize", None) if isinstance(cell, Module) else None
    return None if size is None else (None, size)


def _of_two(module: Module) -> Shape:
    held = next((module.get(name, None) for name in ("layer", "birnn") if module.get(name, None)), None)
    return None if held is None else input_shape(held)


def _of_step(module: Module) -> Shape:
    held = module.get("layer", None)
    shape = None if held is None else input_shape(held)
    return (None, *shape) if isinstance(shape, tuple) else None


_SHAPES: Mapping[str, Callable[[Module], Shape]] = {
    "Linear": lambda module: (module.get("inputSize"),),
    "BatchNormalization": lambda module: (module.get("nOutput"),),
    "SpatialConvolution": _image("nInputPlane"), "SpatialDilatedConvolution": _image("nInputPlane"),
    "SpatialShareConvolution": _image("nInputPlane"), "SpatialFullConvolution": _image("nInputPlane"),
    "SpatialBatchNormalization": _image("nOutput"),
    "TemporalConvolution": lambda module: (None, module.get("inputFrameSize")),
    "LookupTable": lambda module: (None,),
    "Reshape": _sizes("size"), "View": _sizes("sizes"),
    "Recurrent": _of_cell, "BiRecurrent": _of_two, "TimeDistributed": _of_step,
    "Concat": _of_any, "ConcatTable": _of_any, "ParallelTable": _of_each,
    "Graph": _of_graph, "StaticGraph": _of_graph, "DynamicGraph": _of_graph,
    "JoinTable": lambda module: None, "MapTable": lambda module: None,
}  # fmt: skip
