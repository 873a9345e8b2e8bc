"""Makes a `GraphNet` of a BigDL file.

Owns: the inputs of the graph, the weights' precision.
Leaves: reading (bigdl_file), modules (assembly).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.graphs import keras_name
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net.assembly import Assembly
from zoo.pipeline.api.net.bigdl_file import read_module
from zoo.pipeline.api.net.bounds import checked_shape
from zoo.pipeline.api.net.entries import input_shape
from zoo.pipeline.api.net.graph_net import GraphNet
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.operations import flat

keras = library()


def load_bigdl(path: str, weight_path: str | None = None, shape: Any = None) -> GraphNet:
    """A model from a file; see `Net.load_bigdl`."""
    return graph_of(read_module(path, weight_path), storage.masked(path), shape)


def graph_of(module: Module, of: str, shape: Any = None) -> GraphNet:
    """A model from a file's outermost module.

    Args:
        module: that.
        of: the file's name, for errors.
        shape: of the input without the batch, or a list of them; None to take what the modules tell.

    Raises:
        UsageError: the shape is not known, or a module is not.
    """
    shape = shape if shape is not None else input_shape(module)
    if shape is None:
        raise UsageError(
            f"{of} does not say which shape its input has. Pass it without the batch: "
            "Net.load_bigdl(path, input_shape=(3, 224, 224)), or a list of shapes for several inputs."
        )
    inputs = _inputs(_fitting(shape, of), _input_names(module))
    outputs = flat(Assembly().apply(module, inputs))
    name = keras_name(module.given_name) if module.given_name else None
    return GraphNet(inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)


def _fitting(shape: Any, of: str) -> Any:
    try:
        return checked_shape(shape)
    except UsageError as error:
        raise UsageError(f"{of}: {error}") from error


def _inputs(shape: Any, names: Sequence[str]) -> Any:
    if not _is_table(shape):
        return keras.Input(tuple(shape), name=names[0] if len(names) == 1 else None)
    if len(names) != len(shape):
        names = [None] * len(shape)
    return [_inputs(one, [name] if name else []) for one, name in zip(shape, names, strict=True)]


def _is_table(shape: Any) -> bool:
    return any(isinstance(one, list | tuple) for one in shape)


def _input_names(module: Module) -> list[str]:
    while module.keras_style and module.children:
        module = module.children[0]
    return [keras_name(name) for name in module.get("inputNames", [])]
