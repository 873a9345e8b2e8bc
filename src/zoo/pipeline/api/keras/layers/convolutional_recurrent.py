"""Recurrent layers of images and volumes.

Owns: the arguments of ConvLSTM2D and ConvLSTM3D.
Leaves: their computation (Keras), layouts of weights (layouts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.pipeline.api.keras.layers.converters import hard_sigmoid
from zoo.pipeline.api.keras.layers.layouts import ConvGateLayout
from zoo.pipeline.api.keras.layers.words import REQUIRED, Renamed, keras, layers

ops = keras.ops

_SEQUENCES = {"W_regularizer": None, "U_regularizer": None, "b_regularizer": None, "return_sequences": False,
              "go_backwards": False}  # fmt: skip


class ConvLSTM2D(ConvGateLayout, Renamed, layers.ConvLSTM2D):
    """An LSTM whose products are convolutions: (batch, steps, channels, rows, columns) -> (batch, nb_filter, ...).

    `border_mode` is the input's; the recurrent convolution keeps sizes. `return_sequences` gives all steps.
    Weights: (4 nb_filter, channels, nb_row, nb_col), (4 nb_filter,), (4 nb_filter, nb_filter, nb_row, nb_col),
    gates in the order input, candidate, forget, output.
    """

    arguments = {"nb_filter": REQUIRED, "nb_row": REQUIRED, "nb_col": REQUIRED, "activation": "tanh",
                 "inner_activation": "hard_sigmoid", "dim_ordering": "th", "border_mode": "valid",
                 "subsample": (1, 1), **_SEQUENCES}  # fmt: skip
    axes = ("batch", "steps", "channels", "rows", "columns")


class ConvLSTM3D(ConvGateLayout, Renamed, layers.ConvLSTM3D):
    """An LSTM whose products are convolutions with kernels of `nb_kernel` entries along each of three axes.

    (batch, steps, channels, depth, rows, columns) -> (batch, nb_filter, ...); see `ConvLSTM2D`.
    """

    arguments = {"nb_filter": REQUIRED, "nb_kernel": REQUIRED, "dim_ordering": "th", "border_mode": "valid",
                 "subsample": (1, 1, 1), **_SEQUENCES}  # fmt: skip
    # Keras computes with channels last: with channels first TensorFlow on a CPU would compile each convolution.
    kept = ("dim_ordering",)
    new = {"recurrent_activation": hard_sigmoid, "data_format": "channels_last"}
    axes = ("batch", "steps", "channels", "depth", "rows", "columns")

    def build(self, input_shape: Sequence[Any]) -> None:
        super().build(self._last(input_shape))

    def call(self, sequences: Any, mask: Any = None, training: Any = False) -> Any:
        if self.given.dim_ordering == "channels_last":
            return super().call(sequences, mask=mask, training=training)
        outputs = super().call(ops.moveaxis(sequences, 2, -1), mask=mask, training=training)
        return ops.moveaxis(outputs, -1, -4)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        shape = list(super().compute_output_shape(self._last(input_shape)))
        if self.given.dim_ordering == "channels_first":
            shape.insert(-3, shape.pop())
        return tuple(shape)

    def _last(self, shape: Sequence[Any]) -> tuple[int | None, ...]:
        first = self.given.dim_ordering == "channels_first"
        return (*shape[:2], *shape[3:], shape[2]) if first else tuple(shape)


__all__ = ["ConvLSTM2D", "ConvLSTM3D"]
