"""Layers that repeat, pad or cut rows, columns and steps.

Owns: up-sampling, zero padding, cropping, bilinear resizing.
Leaves: convolutions (convolutional).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.axes import spatial
from zoo.pipeline.api.keras.layers.words import REQUIRED, Layer, Renamed, Spelt, Word, keras, layers

ops = keras.ops

SEQUENCE = ("batch", "steps", "channels")
IMAGE = ("batch", "channels", "rows", "columns")
VOLUME = ("batch", "channels", "depth", "rows", "columns")


class UpSampling1D(Renamed, layers.UpSampling1D):
    """Each step `length` times: (batch, steps, channels) -> (batch, steps x length, channels)."""

    arguments = {"length": 2}
    axes = SEQUENCE


class UpSampling2D(Renamed, layers.UpSampling2D):
    """Each row size[0] times, each column size[1] times."""

    arguments = {"size": (2, 2), "dim_ordering": "th"}
    axes = IMAGE


class UpSampling3D(Renamed, layers.UpSampling3D):
    """Each entry size[0], size[1], size[2] times along depth, rows and columns."""

    arguments = {"size": (2, 2, 2), "dim_ordering": "th"}
    axes = VOLUME


def _sides(value: Any) -> Any:
    """Four sizes are those of top, bottom, left and right."""
    if isinstance(value, list | tuple) and len(value) == 4:
        return (tuple(value[:2]), tuple(value[2:]))
    return value


class ZeroPadding1D(Renamed, layers.ZeroPadding1D):
    """`padding` steps of zeros at both ends, or (at the beginning, at the end)."""

    arguments = {"padding": 1}
    axes = SEQUENCE


class ZeroPadding2D(Renamed, layers.ZeroPadding2D):
    """(rows, columns) of zeros on each side, or (top, bottom, left, right)."""

    arguments = {"padding": (1, 1), "dim_ordering": "th"}
    words = {"padding": Word("padding", _sides)}
    axes = IMAGE


class ZeroPadding3D(Renamed, layers.ZeroPadding3D):
    """Zeros on each side along depth, rows and columns."""

    arguments = {"padding": (1, 1, 1), "dim_ordering": "th"}
    axes = VOLUME


class Cropping1D(Renamed, layers.Cropping1D):
    """Without the first cropping[0] and the last cropping[1] steps."""

    arguments = {"cropping": (1, 1)}
    axes = SEQUENCE


class Cropping2D(Renamed, layers.Cropping2D):
    """Without ((top, bottom), (left, right)) rows and columns."""

    arguments = {"cropping": ((0, 0), (0, 0)), "dim_ordering": "th"}
    axes = IMAGE


class Cropping3D(Renamed, layers.Cropping3D):
    """Without the first and last entries along depth, rows and columns."""

    arguments = {"cropping": ((1, 1), (1, 1), (1, 1)), "dim_ordering": "th"}
    axes = VOLUME


class ResizeBilinear(Spelt, Layer):
    """Images of another size, by bilinear interpolation: (batch, channels, rows, columns) -> (..., output sizes).

    Output row i lies at i rows / output_height; with `align_corner` at i (rows - 1) / (output_height - 1).
    """

    arguments = {"output_height": REQUIRED, "output_width": REQUIRED, "align_corner": False, "dim_ordering": "th"}
    words = dict.fromkeys(("output_height", "output_width"), Word("size", to.count))
    axes = IMAGE

    def build(self, input_shape: Sequence[int]) -> None:
        sizes = [input_shape[axis] for axis in spatial(input_shape, self.given.dim_ordering)]
        if None in sizes:
            raise UsageError(f"ResizeBilinear '{self.name}' needs images of one size. Received: {tuple(input_shape)}")
        wanted = (self.given.output_height, self.given.output_width)
        self._shares = tuple(
            _interpolation(size, new, self.given.align_corner) for size, new in zip(sizes, wanted, strict=True)
        )

    def call(self, inputs: Any) -> Any:
        rows, columns = (ops.convert_to_tensor(share, self.compute_dtype) for share in self._shares)
        formula = "bcrk,hr,wk->bchw" if self.given.dim_ordering == "channels_first" else "brkc,hr,wk->bhwc"
        return ops.einsum(formula, inputs, rows, columns)

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        shape = list(input_shape)
        for axis, size in zip(
            spatial(shape, self.given.dim_ordering), (self.given.output_height, self.given.output_width), strict=True
        ):
            shape[axis] = size
        return tuple(shape)


def _interpolation(size: int, new: int, align: bool) -> np.ndarray:
    """(new, size): the share of each old entry in each new one."""
    scale = (size - 1) / (new - 1) if align and new > 1 else size / new
    at = np.minimum(np.arange(new) * scale, size - 1)
    below = np.minimum(at.astype(int), size - 1)
    share = at - below
    shares = np.zeros((new, size), "float32")
    np.add.at(shares, (np.arange(new), below), 1 - share)
    np.add.at(shares, (np.arange(new), np.minimum(below + 1, size - 1)), share)
    return shares


__all__ = [
    "Cropping1D", "Cropping2D", "Cropping3D", "ResizeBilinear", "UpSampling1D", "UpSampling2D", "UpSampling3D",
    "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
]  # fmt: skip
