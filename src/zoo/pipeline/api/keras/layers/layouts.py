"""Layouts of weights: Keras 3's and BigDL's.

Owns: the ways from one to the other, by kind of layer.
Leaves: get_weights and set_weights (engine.layer, words).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Arrays = list[np.ndarray]


class DenseLayout:
    """Matrices (output, input), vectors as they are."""

    def to_bigdl(self, weights: Arrays) -> Arrays:
        return [array.T for array in weights]

    from_bigdl = to_bigdl


class KernelLayout:
    """Kernels (1, output, input, rows, columns); those of one dimension have one column."""

    leading: tuple[int, ...] = (1,)
    trailing: tuple[int, ...] = ()

    def to_bigdl(self, weights: Arrays) -> Arrays:
        kernel, *rest = weights or [None]
        if kernel is None:
            return []
        turned = np.moveaxis(kernel, (-1, -2), (0, 1))
        return [turned.reshape(*self.leading, *turned.shape, *self.trailing), *rest]

    def from_bigdl(self, weights: Arrays) -> Arrays:
        kernel, *rest = weights
        begin, end = len(self.leading), kernel.ndim - len(self.trailing)
        return [np.moveaxis(kernel.reshape(kernel.shape[begin:end]), (0, 1), (-1, -2)), *rest]


class PlainKernelLayout(KernelLayout):
    """Kernels (output, input, rows, columns)."""

    leading = ()


class LineKernelLayout(KernelLayout):
    """Kernels (1, output, input, length, 1)."""

    trailing = (1,)


class GateLayout:
    """Of a recurrent layer: (gates x output, input), (gates x output,), (gates x output, output).

    Attributes:
        order: of a class: where each of BigDL's gates is among Keras'.
    """

    order: Sequence[int] = (0,)

    def to_bigdl(self, weights: Arrays) -> Arrays:
        if not weights:
            return []
        kernel, recurrent, bias = (_gates(array, self.order) for array in weights)
        return [kernel.T, bias, recurrent.T]

    def from_bigdl(self, weights: Arrays) -> Arrays:
        kernel, bias, recurrent = weights
        return [_gates(array, _inverse(self.order)) for array in (kernel.T, recurrent.T, bias)]


class LSTMLayout(GateLayout):
    """Gates in the order input, candidate, forget, output."""

    order = (0, 2, 1, 3)


class GRULayout(GateLayout):
    """Gates in the order reset, update, candidate; the candidate's recurrent weights are an array of their own."""

    order = (1, 0, 2)

    def to_bigdl(self, weights: Arrays) -> Arrays:
        turned = super().to_bigdl(weights)
        if not turned:
            return []
        units = turned[2].shape[1]
        return [*turned[:2], turned[2][: 2 * units], turned[2][2 * units :]]

    def from_bigdl(self, weights: Arrays) -> Arrays:
        return super().from_bigdl([*weights[:2], np.concatenate(weights[2:])])


class ConvGateLayout(GateLayout):
    """Of ConvLSTM: (4 x output, input, rows, columns), (4 x output,), (4 x output, output, rows, columns)."""

    order = (0, 2, 1, 3)

    def to_bigdl(self, weights: Arrays) -> Arrays:
        if not weights:
            return []
        kernel, recurrent, bias = (_gates(array, self.order) for array in weights)
        return [np.moveaxis(kernel, (-1, -2), (0, 1)), bias, np.moveaxis(recurrent, (-1, -2), (0, 1))]

    def from_bigdl(self, weights: Arrays) -> Arrays:
        kernel, bias, recurrent = weights
        turned = (np.moveaxis(kernel, (0, 1), (-1, -2)), np.moveaxis(recurrent, (0, 1), (-1, -2)), bias)
        return [_gates(array, _inverse(self.order)) for array in turned]


def _gates(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    gates = np.split(array, len(order), axis=-1)
    return np.concatenate([gates[gate] for gate in order], axis=-1)


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(gate) for gate in range(len(order))]
