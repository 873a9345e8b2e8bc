"""Layers made of layers: chains, branches, tables.

Owns: how inputs and outputs of sub-layers are put together.
Leaves: graphs (graph), what the sub-layers compute.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.bigdl.nn.activities import axis_of, mapped
from zoo.bigdl.nn.definition import LAYERS
from zoo.bigdl.nn.module import Layer
from zoo.engine.errors import UsageError
from zoo.orca.learn.kinds import is_of

_OF_KERAS = (
    " Layers of Keras, and what Net.load_bigdl gives, go into Sequential and Model of zoo.pipeline.api.keras; into "
    "this one only where Keras computes with torch (KERAS_BACKEND=torch)."
)


class Container(Layer):
    """A layer made of others: each has a number, from 0, by which torch names its weights."""

    def add(self, model: nn.Module) -> Any:
        """Appends a layer, or any torch module; returns self.

        Raises:
            UsageError: something else, or the container itself, or one that it is in.
        """
        kind = type(self).__name__
        if not isinstance(model, nn.Module):
            hint = _OF_KERAS if is_of(model, "keras.") else ""
            raise UsageError(f"{kind}.add takes a layer of zoo.bigdl.nn.layer, or a torch module.{hint} Got: {model!r}")
        if any(one is self for one in model.modules()):
            told = "itself" if model is self else f"{type(model).__name__}, which holds it"
            raise UsageError(f"{kind}.add takes a layer that the container is not in. Received: {told}")
        self.add_module(str(len(self.layers)), model)
        return self

    @property
    def layers(self) -> list[nn.Module]:
        """The sub-layers, in order."""
        return [one for number, one in self._modules.items() if number.isdigit()]

    def flattened_layers(self, include_container: bool = False) -> list[Layer]:
        """The layers in it at any depth, each once."""
        found = [one for one in self.modules() if isinstance(one, Layer) and one is not self]
        return [one for one in found if include_container or not isinstance(one, Container)]

    def _pairs(self, x: Any) -> list[tuple[nn.Module, Any]]:
        if not isinstance(x, list | tuple) or len(x) != len(self.layers):
            told = f"{len(x)} inputs" if isinstance(x, list | tuple) else "one tensor"
            raise UsageError(f"{self.name()} takes a table of {len(self.layers)} inputs, one a layer. Received: {told}")
        return list(zip(self.layers, x, strict=True))


class Sequential(Container):
    """One layer after the other."""

    def __init__(self, bigdl_type: str = "float") -> None:
        super().__init__()

    def compute(self, x: Any) -> Any:
        for one in self._modules.values():  # this is called often
            x = one(x)
        return x


class Concat(Container):
    """Each layer is given the input; their outputs are joined along an axis.

    Args:
        dimension: counted from 1, the batch included: 2 for the channels of (B, C, H, W).
    """

    def __init__(self, dimension: int, bigdl_type: str = "float") -> None:
        super().__init__()
        self.arguments = {"dimension": dimension}

    def compute(self, x: Any) -> Any:
        outputs = [one(x) for one in self.layers]
        return torch.cat(outputs, axis_of(self.arguments["dimension"], outputs[0].ndim, self.name()))


class ConcatTable(Container):
    """Each layer is given the input; the output is the table of their outputs."""

    def __init__(self, bigdl_type: str = "float") -> None:
        super().__init__()

    def compute(self, x: Any) -> Any:
        return tuple(one(x) for one in self.layers)


class ParallelTable(Container):
    """The i-th layer is given the i-th input of a table; the output is the table of their outputs."""

    def __init__(self, bigdl_type: str = "float") -> None:
        super().__init__()

    def compute(self, x: Any) -> Any:
        return tuple(one(value) for one, value in self._pairs(x))


class Parallel(Container):
    """The i-th layer is given the i-th slice of the input along one axis; the outputs are joined along another.

    Args:
        input_dimension: counted from 1, the batch included.
        output_dimension: likewise, of the outputs.
    """

    def __init__(self, input_dimension: int, output_dimension: int, bigdl_type: str = "float") -> None:
        super().__init__()
        self.arguments = {"input_dimension": input_dimension, "output_dimension": output_dimension}

    def compute(self, x: Any) -> Any:
        slices = x.unbind(axis_of(self.arguments["input_dimension"], x.ndim, self.name()))
        outputs = [one(value) for one, value in self._pairs(slices)]
        return torch.cat(outputs, axis_of(self.arguments["output_dimension"], outputs[0].ndim, self.name()))


class _Around(Container):
    """Around one layer, given when it is made or added."""

    def _given(self, model: Any) -> None:
        if model is not None:
            self.add(model)

    @property
    def inner(self) -> nn.Module:
        if len(self.layers) != 1:
            raise UsageError(f"{self.name()} is around one layer. It has: {len(self.layers)}")
        return self.layers[0]


class MapTable(_Around):
    """One layer for each input of a table, with the same weights."""

    def __init__(self, module: Any = None, bigdl_type: str = "float") -> None:
        super().__init__()
        self._given(module)

    def compute(self, x: Any) -> Any:
        return tuple(mapped(self.inner, tuple(x)))


class TimeDistributed(_Around):
    """One layer for each step of (B, T, ...), with the same weights."""

    def __init__(self, model: Any = None, bigdl_type: str = "float") -> None:
        super().__init__()
        self._given(model)

    def compute(self, x: Any) -> Any:
        if x.ndim < 3:
            raise UsageError(f"{self.name()} takes (B, T, ...). Received: {tuple(x.shape)}")
        output = self.inner(x.flatten(0, 1))
        return output.unflatten(0, x.shape[:2])


class Bottle(_Around):
    """A layer of few axes for inputs of more: those in front are taken as rows, and put back.

    Args:
        module: the layer.
        n_input_dim: axes that the layer takes, rows included.
        n_output_dim1: accepted for older programs; the layer's own output tells.
    """

    def __init__(
        self, module: Any = None, n_input_dim: int = 2, n_output_dim1: int | None = None, bigdl_type: str = "float"
    ) -> None:
        super().__init__()
        self.arguments = {"n_input_dim": n_input_dim}
        self._given(module)

    def compute(self, x: Any) -> Any:
        more = x.ndim - self.arguments["n_input_dim"]
        if more <= 0:
            return self.inner(x)
        return self.inner(x.flatten(0, more)).unflatten(0, x.shape[: more + 1])


LAYERS.update(
    {one.__name__: one for one in (Sequential, Concat, ConcatTable, ParallelTable, Parallel)}
    | {one.__name__: one for one in (MapTable, TimeDistributed, Bottle)}
)
