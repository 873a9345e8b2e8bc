"""Layers in the words of Keras 2, with channels first unless `data_format` says otherwise.

Owns: the layers that Analytics Zoo had under these words.
Leaves: all others (zoo.pipeline.api.keras.layers), which work beside these.
"""

from __future__ import annotations

from typing import Any

from zoo.pipeline.api.keras.initializations import initializer
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.channels import ChannelsFirst
from zoo.pipeline.api.keras.layers.layouts import DenseLayout, KernelLayout, LineKernelLayout
from zoo.pipeline.api.keras.layers.local import LineOfPlaces
from zoo.pipeline.api.keras.layers.words import REQUIRED, Given, Layer, Renamed, Word, layers
from zoo.pipeline.api.keras.regularizers import regularizer
from zoo.pipeline.api.variable import Variable

SEQUENCE = ("batch", "steps", "channels")
IMAGE = ("batch", "channels", "rows", "columns")

_COUNT, _COUNTS, _OPTIONAL = (Word("", convert) for convert in (to.count, to.counts, to.optional_counts))
_INITIAL, _PENALTY = Word("", initializer), Word("", regularizer)
_SAME_NAMES = {
    "units": _COUNT, "filters": _COUNT, "kernel_size": _COUNTS, "strides": _OPTIONAL, "pool_size": _COUNTS,
    "padding": Word("", to.border), "data_format": Word("", to.data_format), "use_bias": Word("", bool),
    "kernel_initializer": _INITIAL, "bias_initializer": _INITIAL, "kernel_regularizer": _PENALTY,
    "bias_regularizer": _PENALTY, "activation": Word("", to.activation), "rate": Word("", to.rate),
}  # fmt: skip
WORDS = {name: Word(name, word.convert) for name, word in _SAME_NAMES.items()}

_BEGUN = {"use_bias": True, "kernel_initializer": "glorot_uniform", "bias_initializer": "zero",
          "kernel_regularizer": None, "bias_regularizer": None}  # fmt: skip


class _Modern(Renamed):
    words = WORDS
    package = "zoo.keras2"


class Dense(DenseLayout, _Modern, layers.Dense):
    """activation(x W + b): (batch, ..., input) -> (batch, ..., units). Weights: (units, input), (units,)."""

    arguments = {"units": REQUIRED, "kernel_initializer": "glorot_uniform", "bias_initializer": "zero",
                 "activation": None, "kernel_regularizer": None, "bias_regularizer": None, "use_bias": True,
                 "input_dim": None}  # fmt: skip


class Activation(_Modern, layers.Activation):
    """An activation by its name, or a function of a tensor."""

    arguments = {"activation": REQUIRED}


class Dropout(_Modern, layers.Dropout):
    """In training, sets a share `rate` of the entries to 0 and scales the others by 1 / (1 - rate)."""

    arguments = {"rate": REQUIRED}


class Flatten(_Modern, layers.Flatten):
    """(batch, ...) -> (batch, product of the other sizes), in the order of memory."""

    arguments: dict[str, Any] = {}
    new = {"data_format": "channels_last"}


class Conv1D(LineKernelLayout, _Modern, layers.Conv1D):
    """Convolution over steps: (batch, steps, channels) -> (batch, new steps, filters)."""

    arguments = {"filters": REQUIRED, "kernel_size": REQUIRED, "strides": 1, "padding": "valid", "activation": None,
                 **_BEGUN}  # fmt: skip
    axes = SEQUENCE


class Conv2D(KernelLayout, ChannelsFirst, _Modern, layers.Conv2D):
    """Convolution over images: (batch, channels, rows, columns) -> (batch, filters, new rows, new columns)."""

    arguments = {"filters": REQUIRED, "kernel_size": REQUIRED, "strides": (1, 1), "padding": "valid",
                 "data_format": "channels_first", "activation": None, **_BEGUN}  # fmt: skip
    axes = IMAGE


class Cropping1D(_Modern, layers.Cropping1D):
    """Without the first cropping[0] and the last cropping[1] steps."""

    arguments = {"cropping": (1, 1)}
    axes = SEQUENCE


class LocallyConnected1D(LineOfPlaces, Layer):
    """`Conv1D` with weights of its own at each step: (batch, steps, channels) -> (batch, new steps, filters)."""

    arguments = {"filters": REQUIRED, "kernel_size": REQUIRED, "strides": 1, "padding": "valid", "activation": None,
                 "kernel_regularizer": None, "bias_regularizer": None, "use_bias": True}  # fmt: skip
    words = WORDS | {"kernel_size": Word("kernel_size", to.count), "strides": Word("strides", to.count)}
    package = "zoo.keras2"
    axes = SEQUENCE

    @classmethod
    def checked(cls, given: Given) -> None:
        old = {"nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides",
               "border_mode": "padding", "W_regularizer": "kernel_regularizer", "b_regularizer": "bias_regularizer",
               "bias": "use_bias"}  # fmt: skip
        vars(given).update({name: getattr(given, new) for name, new in old.items()})


class MaxPooling1D(_Modern, layers.MaxPooling1D):
    """The largest of each window of `pool_size` steps: (batch, steps, channels) -> (batch, new steps, channels)."""

    arguments = {"pool_size": 2, "strides": None, "padding": "valid"}
    new = {"data_format": "channels_last"}
    axes = SEQUENCE


class AveragePooling1D(_Modern, layers.AveragePooling1D):
    """The mean of each window of `pool_size` steps: (batch, steps, channels) -> (batch, new steps, channels)."""

    arguments = {"pool_size": 2, "strides": None, "padding": "valid"}
    new = {"data_format": "channels_last"}
    axes = SEQUENCE


class GlobalAveragePooling1D(_Modern, layers.GlobalAveragePooling1D):
    """The mean over steps: (batch, steps, channels) -> (batch, channels)."""

    arguments: dict[str, Any] = {}
    new = {"data_format": "channels_last"}
    axes = SEQUENCE


class GlobalMaxPooling1D(_Modern, layers.GlobalMaxPooling1D):
    """The largest over steps: (batch, steps, channels) -> (batch, channels)."""

    arguments: dict[str, Any] = {}
    new = {"data_format": "channels_last"}
    axes = SEQUENCE


class GlobalAveragePooling2D(_Modern, layers.GlobalAveragePooling2D):
    """The mean over rows and columns: (batch, channels, rows, columns) -> (batch, channels)."""

    arguments = {"data_format": "channels_first"}
    axes = IMAGE


class Maximum(_Modern, layers.Maximum):
    """The largest of several inputs of one shape, entry by entry."""

    arguments: dict[str, Any] = {}


class Minimum(_Modern, layers.Minimum):
    """The smallest of several inputs of one shape, entry by entry."""

    arguments: dict[str, Any] = {}


class Average(_Modern, layers.Average):
    """The mean of several inputs of one shape, entry by entry."""

    arguments: dict[str, Any] = {}


def maximum(inputs: list[Any], **kwargs: Any) -> Variable:
    """`Maximum` of variables."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: list[Any], **kwargs: Any) -> Variable:
    """`Minimum` of variables."""
    return Minimum(**kwargs)(inputs)


def average(inputs: list[Any], **kwargs: Any) -> Variable:
    """`Average` of variables."""
    return Average(**kwargs)(inputs)


__all__ = [
    "Activation", "Average", "AveragePooling1D", "Conv1D", "Conv2D", "Cropping1D", "Dense", "Dropout", "Flatten",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "LocallyConnected1D", "MaxPooling1D",
    "Maximum", "Minimum", "average", "maximum", "minimum",
]  # fmt: skip
