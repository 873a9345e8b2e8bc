"""Recurrent layers.

Owns: the arguments of SimpleRNN, GRU and LSTM.
Leaves: their computation (Keras), layouts of weights (layouts).
"""

from __future__ import annotations

from zoo.pipeline.api.keras.layers.layouts import GateLayout, GRULayout, LSTMLayout
from zoo.pipeline.api.keras.layers.words import REQUIRED, Renamed, layers

_SEQUENCES = {"return_sequences": False, "go_backwards": False, "W_regularizer": None, "U_regularizer": None,
              "b_regularizer": None}  # fmt: skip
_GATED = {"output_dim": REQUIRED, "activation": "tanh", "inner_activation": "hard_sigmoid", **_SEQUENCES}
SEQUENCE = ("batch", "steps", "features")


class _OrderedGates(GateLayout):
    def to_bigdl(self, weights: list) -> list:
        turned = super().to_bigdl(weights)
        return [turned[0], turned[2], turned[1]] if turned else []

    def from_bigdl(self, weights: list) -> list:
        return super().from_bigdl([weights[0], weights[2], weights[1]])


class SimpleRNN(_OrderedGates, Renamed, layers.SimpleRNN):
    """h = activation(W x + U h + b): (batch, steps, features) -> (batch, output_dim), the last step's.

    `return_sequences`: (batch, steps, output_dim), all steps'. `go_backwards`: from the last step to the first.
    Weights: (output_dim, features), (output_dim, output_dim), (output_dim,).
    """

    arguments = {"output_dim": REQUIRED, "activation": "tanh", **_SEQUENCES}
    axes = SEQUENCE


class GRU(GRULayout, Renamed, layers.GRU):
    """A gated recurrent unit: (batch, steps, features) -> (batch, output_dim); see `SimpleRNN`.

    The reset gate acts before the recurrent weights, as in Keras 1 and BigDL.
    Weights: (3 output_dim, features), (3 output_dim,), (2 output_dim, output_dim), (output_dim, output_dim),
    gates in the order reset, update, candidate.
    """

    arguments = dict(_GATED)
    new = {"reset_after": False}
    axes = SEQUENCE


class LSTM(LSTMLayout, Renamed, layers.LSTM):
    """Long short-term memory: (batch, steps, features) -> (batch, output_dim); see `SimpleRNN`.

    Weights: (4 output_dim, features), (4 output_dim,), (4 output_dim, output_dim), gates in the order input,
    candidate, forget, output. The forget gate's bias begins at 1.
    """

    arguments = dict(_GATED)
    axes = SEQUENCE


__all__ = ["GRU", "LSTM", "SimpleRNN"]
