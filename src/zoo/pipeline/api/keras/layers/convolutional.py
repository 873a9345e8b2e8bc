"""Convolutions.

Owns: convolutions over one, two and three axes.
Leaves: padding, cropping and up-sampling as layers (resampling), pooling (pooling), layouts of weights (layouts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.initializations import initializer
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.axes import channels_axis, spatial
from zoo.pipeline.api.keras.layers.channels import ChannelsFirst
from zoo.pipeline.api.keras.layers.core import within_limits
from zoo.pipeline.api.keras.layers.layouts import Arrays, KernelLayout, LineKernelLayout, PlainKernelLayout
from zoo.pipeline.api.keras.layers.padding import Padded, pads
from zoo.pipeline.api.keras.layers.resampling import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from zoo.pipeline.api.keras.layers.words import REQUIRED, Given, Renamed, Word, keras, layers

ops = keras.ops

SEQUENCE = ("batch", "steps", "channels")
IMAGE = ("batch", "channels", "rows", "columns")
VOLUME = ("batch", "channels", "depth", "rows", "columns")

_WEIGHTED = {"W_regularizer": None, "b_regularizer": None, "bias": True}
_LINE = {"nb_filter": REQUIRED, "filter_length": REQUIRED, "init": "glorot_uniform"}
_IMAGE = {"nb_filter": REQUIRED, "nb_row": REQUIRED, "nb_col": REQUIRED, "init": "glorot_uniform",
          "activation": None, "border_mode": "valid", "subsample": (1, 1)}  # fmt: skip


class Convolution1D(LineKernelLayout, Renamed, layers.Conv1D):
    """Convolution over steps: (batch, steps, channels) -> (batch, new steps, nb_filter).

    Weights: (1, nb_filter, channels, filter_length, 1), (nb_filter,).
    """

    arguments = {**_LINE, "limits": None, "activation": None, "border_mode": "valid", "subsample_length": 1,
                 **_WEIGHTED}  # fmt: skip
    axes = SEQUENCE

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        return within_limits(super().passed_on(given))


class AtrousConvolution1D(LineKernelLayout, Renamed, layers.Conv1D):
    """`Convolution1D` whose kernel looks at each `atrous_rate`-th step.

    Weights: (1, nb_filter, channels, filter_length, 1), (nb_filter,).
    """

    arguments = {**_LINE, "activation": None, "border_mode": "valid", "subsample_length": 1, "atrous_rate": 1,
                 **_WEIGHTED}  # fmt: skip
    axes = SEQUENCE


class Convolution2D(KernelLayout, Padded, ChannelsFirst, Renamed, layers.Conv2D):
    """Convolution over images: (batch, channels, rows, columns) -> (batch, nb_filter, new rows, new columns).

    `pads`, (rows, columns) or (top, left, bottom, right), is padding in place of what `border_mode` says.
    Weights: (1, nb_filter, channels, nb_row, nb_col), (nb_filter,).
    """

    arguments = {**_IMAGE, "dim_ordering": "th", **_WEIGHTED, "input_shape": None, "pads": None}
    words = {"pads": Word("pads", pads)}
    kept = ("pads",)
    axes = IMAGE

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        return super().passed_on(given) | ({"padding": "valid"} if given.pads else {})

    @property
    def padding_sides(self) -> Any:
        return self.given.pads


class ShareConvolution2D(KernelLayout, Padded, ChannelsFirst, Renamed, layers.Conv2D):
    """`Convolution2D` with `pad_h` rows and `pad_w` columns of padding on each side.

    `propagate_back=False`: no gradient goes back to its input. (Its name told of buffers that BigDL's copies share.)
    """

    arguments = {"nb_filter": REQUIRED, "nb_row": REQUIRED, "nb_col": REQUIRED, "init": "glorot_uniform",
                 "activation": None, "subsample": (1, 1), "pad_h": 0, "pad_w": 0, "propagate_back": True,
                 "dim_ordering": "th", **_WEIGHTED}  # fmt: skip
    words = dict.fromkeys(("pad_h", "pad_w"), Word("pads", to.whole(0, "a whole number of at least 0")))
    kept = ("pad_h", "pad_w", "propagate_back")
    axes = IMAGE

    @property
    def padding_sides(self) -> Any:
        return (self.given.pad_h,) * 2, (self.given.pad_w,) * 2

    def call(self, inputs: Any) -> Any:
        return super().call(inputs if self.given.propagate_back else ops.stop_gradient(inputs))


class AtrousConvolution2D(PlainKernelLayout, ChannelsFirst, Renamed, layers.Conv2D):
    """`Convolution2D` whose kernel looks at each `atrous_rate`-th row and column.

    Weights: (nb_filter, channels, nb_row, nb_col), (nb_filter,).
    """

    arguments = {**_IMAGE, "atrous_rate": (1, 1), "dim_ordering": "th", **_WEIGHTED}
    axes = IMAGE

    @classmethod
    def checked(cls, given: Given) -> None:
        if given.subsample not in (1, (1, 1)) and given.atrous_rate not in (1, (1, 1)):
            raise UsageError(
                "AtrousConvolution2D: either subsample or atrous_rate is above 1, not both. "
                f"Received: subsample={given.subsample}, atrous_rate={given.atrous_rate}"
            )


class Deconvolution2D(KernelLayout, ChannelsFirst, Renamed, layers.Conv2DTranspose):
    """The transpose of a convolution: (batch, channels, rows, columns) -> (batch, nb_filter, new rows, new columns).

    New rows are (rows - 1) subsample + nb_row ('valid') or rows subsample ('same'), columns likewise, unless
    `output_shape` says more: with or without the batch, in the order of `dim_ordering`; None where it need not.
    Weights: (1, channels, nb_filter, nb_row, nb_col), (nb_filter,).
    """

    arguments = {"nb_filter": REQUIRED, "nb_row": REQUIRED, "nb_col": REQUIRED, "output_shape": REQUIRED,
                 "init": "glorot_uniform", "activation": None, "border_mode": "valid", "subsample": (1, 1),
                 "dim_ordering": "th", **_WEIGHTED}  # fmt: skip
    words = {"output_shape": Word("output_shape", to.shape_with_batch)}
    kept = ("output_shape",)
    axes = IMAGE

    def build(self, input_shape: Sequence[int]) -> None:
        super().build(input_shape)
        if self.padding == "valid":
            self.output_padding = tuple(self._further(tuple(input_shape)))

    def _further(self, shape: tuple[int | None, ...]) -> list[int]:
        """Rows and columns beyond the smallest output that convolution turns into this input."""
        wanted = self.given.output_shape
        if wanted is None:
            return [0, 0]
        wanted = wanted if len(wanted) == len(shape) else (None, *wanted)
        further = []
        for number, axis in enumerate(spatial(shape, self.data_format)):
            size, stride = shape[axis], self.strides[number]
            least = None if size is None else (size - 1) * stride + self.kernel_size[number]
            more = 0 if least is None or wanted[axis] is None else wanted[axis] - least
            if not 0 <= more < stride or wanted[channels_axis(self.data_format)] not in (None, self.filters):
                raise UsageError(
                    f"Deconvolution2D '{self.name}' cannot make {self.given.output_shape} from an input of the shape "
                    f"{shape}: axis {axis} would be {least} ... {(least or 0) + stride - 1}, with {self.filters} maps."
                )
            further.append(more)
        return further

    def convolved(self, inputs: Any, data_format: str) -> Any:
        return ops.conv_transpose(
            inputs, self.kernel, list(self.strides), self.padding, self.output_padding, data_format
        )

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        if self.padding == "valid":
            self.output_padding = tuple(self._further(tuple(input_shape)))
        return super().compute_output_shape(input_shape)  # type: ignore[no-any-return]


class SeparableConvolution2D(ChannelsFirst, Renamed, layers.SeparableConv2D):
    """One convolution for each channel, then one over channels, of one row and column.

    (batch, channels, rows, columns) -> (batch, nb_filter, new rows, new columns).
    Weights: (depth_multiplier, channels, nb_row, nb_col), (nb_filter, channels x depth_multiplier, 1, 1),
    (nb_filter,).
    """

    arguments = {**_IMAGE, "depth_multiplier": 1, "dim_ordering": "th", "depthwise_regularizer": None,
                 "pointwise_regularizer": None, "b_regularizer": None, "bias": True}  # fmt: skip
    words = {"init": Word("depthwise_initializer", initializer)}
    axes = IMAGE

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        return super().passed_on(given) | {"pointwise_initializer": given.init}

    def convolved(self, inputs: Any, data_format: str) -> Any:
        return ops.separable_conv(
            inputs, self.depthwise_kernel, self.pointwise_kernel, self.strides, self.padding, data_format
        )

    def to_bigdl(self, weights: Arrays) -> Arrays:
        return [*(array.transpose(3, 2, 0, 1) for array in weights[:2]), *weights[2:]]

    def from_bigdl(self, weights: Arrays) -> Arrays:
        return [*(array.transpose(2, 3, 1, 0) for array in weights[:2]), *weights[2:]]


class Convolution3D(PlainKernelLayout, ChannelsFirst, Renamed, layers.Conv3D):
    """Convolution over volumes: (batch, channels, depth, rows, columns) -> (batch, nb_filter, new sizes ...).

    Weights: (nb_filter, channels, kernel_dim1, kernel_dim2, kernel_dim3), (nb_filter,).
    """

    arguments = {"nb_filter": REQUIRED, "kernel_dim1": REQUIRED, "kernel_dim2": REQUIRED, "kernel_dim3": REQUIRED,
                 "init": "glorot_uniform", "activation": None, "border_mode": "valid", "subsample": (1, 1, 1),
                 "dim_ordering": "th", **_WEIGHTED}  # fmt: skip
    axes = VOLUME


__all__ = [
    "AtrousConvolution1D", "AtrousConvolution2D", "Convolution1D", "Convolution2D", "Convolution3D", "Cropping1D",
    "Cropping2D", "Cropping3D", "Deconvolution2D", "SeparableConvolution2D", "ShareConvolution2D", "UpSampling1D",
    "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
]  # fmt: skip
