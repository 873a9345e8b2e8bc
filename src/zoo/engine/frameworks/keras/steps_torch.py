"""Steps on PyTorch: the passes as they are, with autograd.

torch.compile is left out: it never paid on a CPU (shared/FACTS.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

from zoo.engine.contracts import Array
from zoo.engine.frameworks.keras.passes import Passes, arrays_of
from zoo.engine.frameworks.keras.steps import ALL, variables_of
from zoo.engine.frameworks.keras.structures import Data


class CompiledSteps:
    """See `steps.Steps`."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._model = passes.model

    def train(self, data: Data) -> tuple[float, float]:
        loss, gradients = self._differentiated(_tensors(data))
        rate = self._update(gradients)
        return float(loss), rate

    def gradients(self, data: Data | None) -> Array:
        layout = self._passes.layout
        if data is None:
            return torch.zeros(layout.size, dtype=getattr(torch, layout.dtype))
        dtype = getattr(torch, layout.dtype)
        loss, gradients = self._differentiated(_tensors(data))
        variables = self._model.trainable_variables
        dense = [
            v.value.new_zeros(v.value.shape) if g is None else g for g, v in zip(gradients, variables, strict=True)
        ]
        padding = [torch.zeros((), dtype=dtype)] * layout.padding
        notes = torch.stack([*padding, loss.to(dtype), torch.zeros((), dtype=dtype)])
        statistics = [v.value.detach() for v in self._passes.statistics]
        return torch.cat([piece.reshape(-1).to(dtype) for piece in (*dense, notes, *statistics)])

    def apply(self, flat: Array) -> float:
        gradients, statistics = self._passes.layout.pieces(flat)
        for variable, value in zip(self._passes.statistics, statistics, strict=True):
            variable.assign(value)
        return self._update(gradients)

    def score(self, data: Data) -> tuple[float, tuple[np.ndarray, ...]]:
        if data.y is None or not self._passes.has_loss:
            return math.nan, self.predict(data.x)
        with torch.no_grad():
            made = _tensors(data)
            outputs = self._passes.outputs(made.x, training=False)
            return float(self._passes.loss(made, outputs, training=False)), arrays_of(outputs)

    def predict(self, x: Any) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            return arrays_of(self._passes.outputs(_tensors(Data(x)).x, training=False))

    def values(self, group: str) -> list[Any]:
        return [variable.value.detach().clone() for variable in variables_of(self._passes, group)]

    def assign(self, group: str, values: Sequence[Any]) -> None:
        for variable, value in zip(variables_of(self._passes, group), values, strict=True):
            variable.assign(value)

    def seed(self, number: int) -> None:
        torch.default_generator.manual_seed(number)  # of which a Dropout without a seed draws

    def pull(self, group: str = ALL) -> None:
        """The variables are Keras' own."""

    def push(self, group: str = ALL) -> None:
        """The variables are Keras' own."""

    def _differentiated(self, data: Data) -> tuple[torch.Tensor, list[Any]]:
        """(loss, gradients of the loss as the optimizer scales it)."""
        passes = self._passes
        outputs = passes.outputs(data.x, training=True)
        self._model.zero_grad()
        loss = passes.loss(data, outputs, training=True)
        passes.optimizer.scale_loss(loss).backward()
        with torch.no_grad():
            passes.measure(data, outputs)
        return loss.detach(), [v.value.grad for v in self._model.trainable_variables]

    @torch.no_grad()
    def _update(self, gradients: list[Any]) -> float:
        """The rate of the step, behind which the weights have changed."""
        variables, optimizer = self._model.trainable_variables, self._passes.optimizer
        rate = float(optimizer.learning_rate)
        if self._passes.shapes:
            values = [v.value for v in variables]
            dense = [torch.zeros_like(v) if g is None else g for g, v in zip(gradients, values, strict=True)]
            gradients = self._passes.shaped(dense, values)
        optimizer.apply(gradients, variables)
        return rate


def _tensors(data: Data) -> Data:
    """Arrays as tensors, which Keras would otherwise make again in each layer, loss and metric."""

    def each(value: Any) -> Any:
        return None if value is None else keras.tree.map_structure(keras.ops.convert_to_tensor, value)

    return Data(each(data.x), each(data.y), each(data.weights))
