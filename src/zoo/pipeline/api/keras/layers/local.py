"""Convolutions with a kernel of its own at each place.

Owns: LocallyConnected1D and 2D.
Leaves: convolutions (convolutional).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers.axes import spatial
from zoo.pipeline.api.keras.layers.words import REQUIRED, Layer, Spelt, keras

ops = keras.ops

_WEIGHTED = {"W_regularizer": None, "b_regularizer": None, "bias": True}


class _Local(Spelt):
    """The kernel is (places, kernel places x channels, filters), the bias (places, filters)."""

    def build(self, input_shape: Sequence[int]) -> None:
        given, data_format = self.given, self._data_format()
        sizes = [input_shape[axis] for axis in spatial(input_shape, data_format)]
        if None in sizes:
            raise UsageError(
                f"{type(self).__name__} '{self.name}' has weights for each place, so needs inputs of one size. "
                f"Received: {tuple(input_shape)}"
            )
        self._channels = input_shape[1 if data_format == "channels_first" else -1]
        places = math.prod(self._new_sizes(sizes))
        inside = math.prod(self._window()) * self._channels
        scale = math.sqrt(6 / (inside + given.nb_filter))
        self.kernel = self.add_weight(
            (places, inside, given.nb_filter), keras.initializers.RandomUniform(-scale, scale), name="kernel",
            regularizer=given.W_regularizer,
        )  # fmt: skip
        if given.bias:
            self.bias = self.add_weight(
                (places, given.nb_filter), "zeros", name="bias", regularizer=given.b_regularizer
            )

    def call(self, inputs: Any) -> Any:
        first = self._data_format() == "channels_first"
        last = ops.moveaxis(inputs, 1, -1) if first else inputs
        new = self._new_sizes(last.shape[1:-1])
        outputs = ops.einsum("bpi,pif->bpf", self._windows(last, new), self.kernel)
        outputs = outputs + self.bias if self.given.bias else outputs
        outputs = ops.reshape(outputs, (-1, *new, self.given.nb_filter))
        outputs = self.given.activation(outputs) if self.given.activation else outputs
        return ops.moveaxis(outputs, -1, 1) if first else outputs

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        data_format = self._data_format()
        new = self._new_sizes([input_shape[axis] for axis in spatial(input_shape, data_format)])
        filters = self.given.nb_filter
        return (input_shape[0], filters, *new) if data_format == "channels_first" else (input_shape[0], *new, filters)

    def to_bigdl(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        if not weights:
            return []
        kernel = weights[0].reshape(len(weights[0]), -1, self._channels, self.given.nb_filter)
        return [kernel.transpose(0, 3, 2, 1).reshape(len(kernel), self.given.nb_filter, -1), *weights[1:]]

    def from_bigdl(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        kernel = weights[0].reshape(len(weights[0]), self.given.nb_filter, self._channels, -1)
        return [kernel.transpose(0, 3, 2, 1).reshape(len(kernel), -1, self.given.nb_filter), *weights[1:]]

    def _windows(self, inputs: Any, new: Sequence[int]) -> Any:
        """(batch, places, kernel places x channels) of (batch, ..., channels)."""
        window, strides = self._window(), self._strides()
        if self.given.border_mode == "same":
            inputs = ops.pad(inputs, [(0, 0), *self._same(inputs.shape[1:-1], new), (0, 0)])
        cut = []
        for begin in itertools.product(*map(range, window)):
            slices = [
                slice(first, first + (size - 1) * stride + 1, stride)
                for first, size, stride in zip(begin, new, strides, strict=True)
            ]
            cut.append(inputs[(slice(None), *slices)])
        stacked = ops.stack(cut, axis=-2)
        return ops.reshape(stacked, (-1, math.prod(new), len(cut) * self._channels))

    def _same(self, sizes: Sequence[int], new: Sequence[int]) -> list[tuple[int, int]]:
        missing = [
            max((number - 1) * stride + width - size, 0)
            for number, stride, width, size in zip(new, self._strides(), self._window(), sizes, strict=True)
        ]
        return [(number // 2, number - number // 2) for number in missing]

    def _new_sizes(self, sizes: Sequence[int]) -> tuple[int, ...]:
        whole = zip(sizes, self._window(), self._strides(), strict=True)
        if self.given.border_mode == "same":
            return tuple(-(-size // stride) for size, _, stride in whole)
        new = tuple((size - width) // stride + 1 for size, width, stride in whole)
        if min(new) < 1:
            raise UsageError(
                f"{type(self).__name__} '{self.name}': its kernel {self._window()} is larger than its input. "
                f"Received: an input of the sizes {tuple(sizes)}"
            )
        return new

    def _data_format(self) -> str:
        return getattr(self.given, "dim_ordering", "channels_last")

    def _window(self) -> tuple[int, ...]:
        raise TypeError(f"{type(self).__name__} has no window")

    def _strides(self) -> tuple[int, ...]:
        raise TypeError(f"{type(self).__name__} has no strides")


class LineOfPlaces(_Local):
    """Over steps."""

    def _window(self) -> tuple[int, ...]:
        return (self.given.filter_length,)

    def _strides(self) -> tuple[int, ...]:
        return (self.given.subsample_length,)


class LocallyConnected1D(LineOfPlaces, Layer):
    """`Convolution1D` with weights of its own at each step: (batch, steps, channels) -> (batch, new steps, nb_filter).

    Weights: (new steps, nb_filter, channels x filter_length), (new steps, nb_filter).
    """

    arguments = {"nb_filter": REQUIRED, "filter_length": REQUIRED, "activation": None, "border_mode": "valid",
                 "subsample_length": 1, **_WEIGHTED}  # fmt: skip
    axes = ("batch", "steps", "channels")


class LocallyConnected2D(_Local, Layer):
    """`Convolution2D` with weights of its own at each place.

    (batch, channels, rows, columns) -> (batch, nb_filter, new rows, new columns).
    Weights: (new rows x new columns, nb_filter, channels x nb_row x nb_col), (new rows x new columns, nb_filter).
    """

    arguments = {"nb_filter": REQUIRED, "nb_row": REQUIRED, "nb_col": REQUIRED, "activation": None,
                 "border_mode": "valid", "subsample": (1, 1), "dim_ordering": "th", **_WEIGHTED}  # fmt: skip
    axes = ("batch", "channels", "rows", "columns")

    def _window(self) -> tuple[int, ...]:
        return self.given.nb_row, self.given.nb_col

    def _strides(self) -> tuple[int, ...]:
        subsample = self.given.subsample
        return (subsample, subsample) if isinstance(subsample, int) else subsample


__all__ = ["LocallyConnected1D", "LocallyConnected2D"]
