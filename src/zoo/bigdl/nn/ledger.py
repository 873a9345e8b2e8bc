"""The parameters of a layer, asked in torch's way and in BigDL's.

Owns: one object that iterates over tensors and looks up layers.
Leaves: which weights a layer has (module).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch.nn import Parameter

    from zoo.bigdl.nn.module import Layer


class Parameters:
    """An iterator over parameters; ``[layer name]`` gives copies of weights and gradients as arrays."""

    def __init__(self, iterator: Iterator[Parameter], layers: tuple[Layer, ...]) -> None:
        self._iterator = iterator
        self._layers = {layer.name(): layer for layer in layers}

    def __iter__(self) -> Iterator[Parameter]:
        return self._iterator

    def __next__(self) -> Parameter:
        return next(self._iterator)

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        layer = self._layers[name]
        for kind, weight in layer.own_weights():
            gradient = weight.new_zeros(weight.shape) if weight.grad is None else weight.grad
            found[kind] = layer.to_bigdl(kind, weight.detach().cpu().numpy().copy())
            found["grad" + kind[0].upper() + kind[1:]] = layer.to_bigdl(kind, gradient.cpu().numpy().copy())
        return found

    def keys(self) -> list[str]:
        """Names of layers."""
        return list(self._layers)

    def items(self) -> list[tuple[str, Any]]:
        """(name of a layer, its arrays)."""
        return [(name, self[name]) for name in self._layers]

    def values(self) -> list[Any]:
        """The arrays of each layer."""
        return [self[name] for name in self._layers]
