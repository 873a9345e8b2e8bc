"""Pooling.

Owns: the largest and the mean entry of windows and of whole inputs.
Leaves: padding (padding).
"""

from __future__ import annotations

from typing import Any

from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.padding import Padded, fits, pads
from zoo.pipeline.api.keras.layers.words import Given, Renamed, Word, keras, layers

ops = keras.ops

SEQUENCE = ("batch", "steps", "channels")
IMAGE = ("batch", "channels", "rows", "columns")
VOLUME = ("batch", "channels", "depth", "rows", "columns")

_LINE = {"pool_length": 2, "stride": None, "border_mode": "valid"}
_IMAGE = {"pool_size": (2, 2), "strides": None, "border_mode": "valid", "dim_ordering": "th", "input_shape": None,
          "pads": None}  # fmt: skip
_VOLUME = {"pool_size": (2, 2, 2), "strides": None, "border_mode": "valid", "dim_ordering": "th"}


class MaxPooling1D(Padded, Renamed, layers.MaxPooling1D):
    """The largest of each window of `pool_length` steps: (batch, steps, channels) -> (batch, new steps, channels).

    `pad` steps at both ends, in place of what `border_mode` says, are in no window the largest.
    """

    arguments = {**_LINE, "input_shape": None, "pad": 0}
    words = {"pad": Word("pad", to.whole(0, "a whole number of at least 0"))}
    kept = ("pad",)
    new = {"data_format": "channels_last"}
    axes = SEQUENCE
    fill = float("-inf")

    @classmethod
    def checked(cls, given: Given) -> None:
        fits("MaxPooling1D", ((given.pad, given.pad),), (given.pool_length,))

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        return super().passed_on(given) | ({"padding": "valid"} if given.pad else {})

    @property
    def padding_sides(self) -> Any:
        return ((self.given.pad, self.given.pad),)


class AveragePooling1D(Renamed, layers.AveragePooling1D):
    """The mean of each window of `pool_length` steps: (batch, steps, channels) -> (batch, new steps, channels)."""

    arguments = dict(_LINE)
    new = {"data_format": "channels_last"}
    axes = SEQUENCE


class _ImagePads(Padded):
    @classmethod
    def checked(cls, given: Given) -> None:
        size = given.pool_size
        fits(cls.__name__, given.pads, (size, size) if isinstance(size, int) else size)

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        return super().passed_on(given) | ({"padding": "valid"} if given.pads else {})  # type: ignore[misc]

    @property
    def padding_sides(self) -> Any:
        return self.given.pads  # type: ignore[attr-defined]


class MaxPooling2D(_ImagePads, Renamed, layers.MaxPooling2D):
    """The largest of each window: (batch, channels, rows, columns) -> (batch, channels, new rows, new columns).

    `pads`, (rows, columns) or (top, left, bottom, right), is padding in place of what `border_mode` says.
    """

    arguments = dict(_IMAGE)
    words = {"pads": Word("pads", pads)}
    kept = ("pads",)
    axes = IMAGE
    fill = float("-inf")


class AveragePooling2D(_ImagePads, Renamed, layers.AveragePooling2D):
    """The mean of each window: (batch, channels, rows, columns) -> (batch, channels, new rows, new columns).

    `pads`, (rows, columns) or (top, left, bottom, right), is padding in place of what `border_mode` says; with
    `count_include_pad` its zeros count in the mean.
    """

    arguments = {**_IMAGE, "count_include_pad": False}
    words = {"pads": Word("pads", pads)}
    kept = ("pads", "count_include_pad")
    axes = IMAGE

    def call(self, inputs: Any) -> Any:
        means = super().call(inputs)
        if self.given.pads is None or self.given.count_include_pad:
            return means
        return means / super().call(ops.ones_like(inputs[:1]))


class MaxPooling3D(Renamed, layers.MaxPooling3D):
    """The largest of each window: (batch, channels, depth, rows, columns) -> (batch, channels, new sizes ...)."""

    arguments = dict(_VOLUME)
    axes = VOLUME


class AveragePooling3D(Renamed, layers.AveragePooling3D):
    """The mean of each window: (batch, channels, depth, rows, columns) -> (batch, channels, new sizes ...)."""

    arguments = dict(_VOLUME)
    axes = VOLUME


class GlobalAveragePooling1D(Renamed, layers.GlobalAveragePooling1D):
    """The mean over steps: (batch, steps, channels) -> (batch, channels)."""

    arguments: dict[str, Any] = {}
    new = {"data_format": "channels_last"}
    axes = SEQUENCE


class GlobalMaxPooling1D(Renamed, layers.GlobalMaxPooling1D):
    """The largest over steps: (batch, steps, channels) -> (batch, channels)."""

    arguments: dict[str, Any] = {}
    new = {"data_format": "channels_last"}
    axes = SEQUENCE


class GlobalAveragePooling2D(Renamed, layers.GlobalAveragePooling2D):
    """The mean over rows and columns: (batch, channels, rows, columns) -> (batch, channels)."""

    arguments = {"dim_ordering": "th"}
    axes = IMAGE


class GlobalMaxPooling2D(Renamed, layers.GlobalMaxPooling2D):
    """The largest over rows and columns: (batch, channels, rows, columns) -> (batch, channels)."""

    arguments = {"dim_ordering": "th"}
    axes = IMAGE


class GlobalAveragePooling3D(Renamed, layers.GlobalAveragePooling3D):
    """The mean over depth, rows and columns: (batch, channels, depth, rows, columns) -> (batch, channels)."""

    arguments = {"dim_ordering": "th"}
    axes = VOLUME


class GlobalMaxPooling3D(Renamed, layers.GlobalMaxPooling3D):
    """The largest over depth, rows and columns: (batch, channels, depth, rows, columns) -> (batch, channels)."""

    arguments = {"dim_ordering": "th"}
    axes = VOLUME


__all__ = [
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
    "GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "MaxPooling1D",
    "MaxPooling2D", "MaxPooling3D",
]  # fmt: skip
