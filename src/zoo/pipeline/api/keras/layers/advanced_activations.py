"""Activations with parameters.

Owns: rectifiers beyond ReLU.
Leaves: activations by name (converters), Torch's (torch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.pipeline.api.keras.initializations import initializer
from zoo.pipeline.api.keras.layers.axes import axis_of
from zoo.pipeline.api.keras.layers.words import Layer, Renamed, Spelt, Word, keras, layers

ops = keras.ops


class LeakyReLU(Renamed, layers.LeakyReLU):
    """x where it is above 0, else alpha x."""

    arguments = {"alpha": 0.01}
    words = {"alpha": Word("negative_slope", float)}


class ELU(Renamed, layers.ELU):
    """x where it is above 0, else alpha (exp(x) - 1)."""

    arguments = {"alpha": 1.0}
    words = {"alpha": Word("alpha", float)}


class ThresholdedReLU(Renamed, layers.ReLU):
    """x where it is above theta, else 0."""

    arguments = {"theta": 1.0}
    words = {"theta": Word("threshold", float)}


class SReLU(Spelt, Layer):
    """Three lines: slope a_left up to t_left, then 1, and from t_left + abs(t_right) on slope a_right.

    The four are weights of the input's shape, with one entry along each of `shared_axes` (which count from 1).
    """

    arguments = {"t_left_init": "zero", "a_left_init": "glorot_uniform", "t_right_init": "glorot_uniform",
                 "a_right_init": "one", "shared_axes": None}  # fmt: skip
    words = dict.fromkeys(
        ("t_left_init", "a_left_init", "t_right_init", "a_right_init"), Word("initializer", initializer)
    )

    def build(self, input_shape: Sequence[int]) -> None:
        axes = len(input_shape)
        shared = {axis_of(self, axis, axes) for axis in self.given.shared_axes or ()}
        shape = tuple(1 if axis in shared else input_shape[axis] for axis in range(1, axes))
        for name in ("t_left", "a_left", "t_right", "a_right"):
            setattr(self, name, self.add_weight(shape, getattr(self.given, f"{name}_init"), name=name))

    def call(self, inputs: Any) -> Any:
        t_right = self.t_left + ops.abs(self.t_right)
        left = self.t_left + self.a_left * (inputs - self.t_left)
        right = t_right + self.a_right * (inputs - t_right)
        return ops.where(inputs < self.t_left, left, ops.where(inputs > t_right, right, inputs))

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        return tuple(input_shape)


__all__ = ["ELU", "LeakyReLU", "SReLU", "ThresholdedReLU"]
