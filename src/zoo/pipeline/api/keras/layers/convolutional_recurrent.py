"""Recurrent layers of images and volumes.

Owns: the arguments of ConvLSTM2D and ConvLSTM3D.
Leaves: their computation (Keras), layouts of weights (layouts).
"""

from __future__ import annotations

from zoo.pipeline.api.keras.layers.converters import hard_sigmoid
from zoo.pipeline.api.keras.layers.layouts import ConvGateLayout
from zoo.pipeline.api.keras.layers.words import REQUIRED, Renamed, layers

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
    new = {"recurrent_activation": hard_sigmoid}
    axes = ("batch", "steps", "channels", "depth", "rows", "columns")


__all__ = ["ConvLSTM2D", "ConvLSTM3D"]
