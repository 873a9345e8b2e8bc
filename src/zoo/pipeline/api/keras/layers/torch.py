"""Layers that BigDL has from Torch 7.

Owns: parts of tensors, functions of each entry, weights of a given size, normalization within an image.
Leaves: activations with parameters as Keras 1 has them (advanced_activations).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.axes import axis_of, spatial
from zoo.pipeline.api.keras.layers.convolutional import ShareConvolution2D
from zoo.pipeline.api.keras.layers.noise import GaussianSampler
from zoo.pipeline.api.keras.layers.resampling import ResizeBilinear
from zoo.pipeline.api.keras.layers.words import REQUIRED, Layer, Renamed, Spelt, Word, keras, layers

ops = keras.ops

_INDEX = Word("index", to.index)
_IMAGE = ("batch", "channels", "rows", "columns")


class _Same(Spelt):
    """The output has the input's shape."""

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        return tuple(input_shape)


class Select(Spelt, Layer):
    """Entry `index` along axis `dim`, which is gone from the result. 0 is the batch; below 0 counts from the end."""

    arguments = {"dim": REQUIRED, "index": REQUIRED}
    words = {"dim": _INDEX, "index": _INDEX}

    def call(self, inputs: Any) -> Any:
        axis = self._axis(inputs.shape)
        return inputs[(slice(None),) * axis + (self.given.index,)]

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        axis = self._axis(input_shape)
        return (*input_shape[:axis], *input_shape[axis + 1 :])

    def _axis(self, shape: Sequence[int]) -> int:
        axis = axis_of(self, self.given.dim, len(shape))
        size, index = shape[axis], self.given.index
        if size is not None and not -size <= index < size:
            raise UsageError(f"Select '{self.name}': axis {axis} has {size} entries. Received: index={index}")
        return axis


class Narrow(Spelt, Layer):
    """`length` entries along axis `dim`, from `offset` on; -1: to the end. 0 is the batch."""

    arguments = {"dim": REQUIRED, "offset": REQUIRED, "length": 1}
    words = {"dim": _INDEX, "offset": _INDEX, "length": _INDEX}

    def call(self, inputs: Any) -> Any:
        axis, begin, end = self._part(inputs.shape)
        return inputs[(slice(None),) * axis + (slice(begin, end),)]

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        axis, begin, end = self._part(input_shape)
        return (*input_shape[:axis], None if end is None else end - begin, *input_shape[axis + 1 :])

    def _part(self, shape: Sequence[int]) -> tuple[int, int, int | None]:
        axis = axis_of(self, self.given.dim, len(shape))
        size, begin, length = shape[axis], self.given.offset, self.given.length
        end = size if length == -1 else begin + length
        if begin < 0 or (end is not None and not begin < end) or (None not in (size, end) and end > size):
            raise UsageError(
                f"Narrow '{self.name}': axis {axis} has {size} entries. Received: offset={begin}, length={length}"
            )
        return axis, begin, end


class Squeeze(Spelt, Layer):
    """Without axis `dim`, or several, or all, of one entry; never without the batch, which is 0."""

    arguments = {"dim": None}

    def call(self, inputs: Any) -> Any:
        axes = self._axes(inputs.shape)
        return ops.squeeze(inputs, axes) if axes else inputs

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        axes = self._axes(input_shape)
        return tuple(size for axis, size in enumerate(input_shape) if axis not in axes)

    def _axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        dim = self.given.dim
        if dim is None:
            return tuple(axis for axis, size in enumerate(shape) if axis and size == 1)
        axes = tuple(axis_of(self, one, len(shape)) for one in (dim if isinstance(dim, list | tuple) else (dim,)))
        if large := [axis for axis in axes if shape[axis] != 1]:
            raise UsageError(f"Squeeze '{self.name}': axis {large[0]} has {shape[large[0]]} entries and not one.")
        return axes


class SelectTable(Spelt, Layer):
    """One of several inputs, counted from 0."""

    arguments = {"index": REQUIRED}
    words = {"index": _INDEX}

    def call(self, inputs: Any) -> Any:
        return inputs[self._index(len(inputs))]

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape[self._index(len(input_shape))])

    def _index(self, inputs: int) -> int:
        if not -inputs <= self.given.index < inputs:
            raise UsageError(
                f"SelectTable '{self.name}': there are {inputs} inputs. Received: index={self.given.index}"
            )
        return int(self.given.index)


def _entrywise(name: str, says: str, function: Callable[[Any, Any], Any], arguments: Any = None) -> type:
    """A layer that computes the same function of each entry; it gets the tensor and the layer's arguments."""

    def call(self: Any, inputs: Any) -> Any:
        return function(inputs, self.given)

    members = {"__doc__": says, "arguments": arguments or {}, "call": call, "__module__": __name__}
    return type(name, (_Same, Layer), members)


AddConstant = _entrywise(
    "AddConstant", "x + constant.", lambda x, given: x + given.constant, {"constant": REQUIRED}
)  # fmt: skip
MulConstant = _entrywise("MulConstant", "x constant.", lambda x, given: x * given.constant, {"constant": REQUIRED})
Exp = _entrywise("Exp", "exp(x).", lambda x, given: ops.exp(x))
Identity = _entrywise("Identity", "x.", lambda x, given: x)
Log = _entrywise("Log", "log(x).", lambda x, given: ops.log(x))
Sqrt = _entrywise("Sqrt", "sqrt(x).", lambda x, given: ops.sqrt(x))
Square = _entrywise("Square", "x squared.", lambda x, given: ops.square(x))
Negative = _entrywise("Negative", "-x.", lambda x, given: -x)
Power = _entrywise(
    "Power", "(shift + scale x) to the power.", lambda x, given: (given.shift + given.scale * x) ** given.power,
    {"power": REQUIRED, "scale": 1, "shift": 0},
)  # fmt: skip
HardShrink = _entrywise(
    "HardShrink", "x where it is beyond -value ... value, else 0.",
    lambda x, given: ops.where(ops.abs(x) > given.value, x, ops.zeros_like(x)), {"value": 0.5},
)  # fmt: skip
SoftShrink = _entrywise(
    "SoftShrink", "x moved by value towards 0, and 0 within -value ... value.",
    lambda x, given: ops.sign(x) * ops.relu(ops.abs(x) - given.value), {"value": 0.5},
)  # fmt: skip
HardTanh = _entrywise(
    "HardTanh", "x within min_value ... max_value.", lambda x, given: ops.clip(x, given.min_value, given.max_value),
    {"min_value": -1, "max_value": 1},
)  # fmt: skip
Threshold = _entrywise(
    "Threshold", "x where it is above th, else v.",
    lambda x, given: ops.where(x > given.th, x, ops.full_like(x, given.v)), {"th": 1e-6, "v": 0.0},
)  # fmt: skip
BinaryThreshold = _entrywise(
    "BinaryThreshold", "1 where x is above value, else 0.", lambda x, given: ops.cast(x > given.value, x.dtype),
    {"value": 1e-6},
)  # fmt: skip


class _Sized(_Same):
    """Weights of a given size, which broadcasts over the input; the batch may be left out of it."""

    words = {"size": Word("size", to.sizes)}

    def weight(self, name: str, regularizer: Any = None) -> Any:
        """A weight of the size; uniform within 1 / sqrt(number of entries), as in Torch."""
        size = self.given.size
        limit = 1 / math.sqrt(math.prod(size))
        first = keras.initializers.RandomUniform(-limit, limit)
        return self.add_weight(size, first, name=name, regularizer=regularizer)

    def build(self, input_shape: Sequence[int]) -> None:
        size = self.given.size
        shape = (1, *input_shape[1:])[-len(size) :]
        fits = len(size) <= len(input_shape) and all(
            one in (1, of) or of is None for one, of in zip(size, shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"{type(self).__name__} '{self.name}' has weights of the size {size}, which does not broadcast over an "
                f"input of the shape {tuple(input_shape)}: give 1, or the input's size, for each axis."
            )


class CAdd(_Sized, Layer):
    """x + bias, with weights of `size`: each 1 or the input's, with or without the batch."""

    arguments = {"size": REQUIRED, "b_regularizer": None}

    def build(self, input_shape: Sequence[int]) -> None:
        super().build(input_shape)
        self.bias = self.weight("bias", self.given.b_regularizer)

    def call(self, inputs: Any) -> Any:
        return inputs + self.bias


class CMul(_Sized, Layer):
    """x weight, with weights of `size`: each 1 or the input's, with or without the batch."""

    arguments = {"size": REQUIRED, "W_regularizer": None}

    def build(self, input_shape: Sequence[int]) -> None:
        super().build(input_shape)
        self.kernel = self.weight("weight", self.given.W_regularizer)

    def call(self, inputs: Any) -> Any:
        return inputs * self.kernel


class Scale(_Sized, Layer):
    """x weight + bias, both of `size`: each 1 or the input's, with or without the batch."""

    arguments = {"size": REQUIRED}

    def build(self, input_shape: Sequence[int]) -> None:
        super().build(input_shape)
        self.kernel, self.bias = self.weight("weight"), self.weight("bias")

    def call(self, inputs: Any) -> Any:
        return inputs * self.kernel + self.bias


class Mul(_Same, Layer):
    """x weight, with one weight, (1,)."""

    arguments: dict[str, Any] = {}

    def build(self, input_shape: Sequence[int]) -> None:
        self.kernel = self.add_weight((1,), keras.initializers.RandomUniform(-1.0, 1.0), name="weight")

    def call(self, inputs: Any) -> Any:
        return inputs * self.kernel


class PReLU(Renamed, layers.PReLU):
    """x where it is above 0, else weight x: one weight (`n_output_plane=0`), or one for each entry of axis 1.

    The weights begin at 0.25, as in Torch.
    """

    arguments = {"n_output_plane": 0}
    words = {"n_output_plane": Word("planes", to.whole(0, "a whole number of at least 0"))}
    kept = ("n_output_plane",)
    new = {"alpha_initializer": keras.initializers.Constant(0.25)}

    def build(self, input_shape: Sequence[int]) -> None:
        planes = self.given.n_output_plane
        if planes and input_shape[1] != planes:
            raise UsageError(
                f"PReLU '{self.name}' has weights for {planes} planes (n_output_plane). "
                f"Received: an input of the shape {tuple(input_shape)}"
            )
        self.shared_axes = list(range(2 if planes else 1, len(input_shape)))
        super().build(input_shape)

    def to_bigdl(self, weights: list) -> list:
        return [array.reshape(-1) for array in weights]

    def from_bigdl(self, weights: list) -> list:
        return [array.reshape(self.alpha.shape) for array in weights]


class RReLU(_Same, Layer):
    """x where it is above 0, else slope x: in training random ones within lower ... upper, else their mean."""

    arguments = {"lower": 1.0 / 8, "upper": 1.0 / 3}

    def build(self, input_shape: Sequence[int]) -> None:
        self.seeds = keras.random.SeedGenerator()

    def call(self, inputs: Any, training: Any = None) -> Any:
        lower, upper = self.given.lower, self.given.upper
        slope: Any = (lower + upper) / 2
        if training:
            slope = keras.random.uniform(ops.shape(inputs), lower, upper, dtype=self.compute_dtype, seed=self.seeds)
        return ops.where(inputs > 0, inputs, slope * inputs)


class LRN2D(_Same, Layer):
    """x / (k + alpha / n times the sum of squares over n neighbouring channels) to the power of beta."""

    arguments = {"alpha": 0.0001, "k": 1.0, "beta": 0.75, "n": 5, "dim_ordering": "th"}
    words = {"n": Word("n", to.count)}
    axes = _IMAGE

    def call(self, inputs: Any) -> Any:
        given, axis = self.given, 1 if self.given.dim_ordering == "channels_first" else 3
        channels, before = inputs.shape[axis], (given.n - 1) // 2
        widths = [(before, given.n - 1 - before) if one == axis else (0, 0) for one in range(4)]
        squares = ops.pad(ops.square(inputs), widths)
        part = [slice(None)] * 4
        total = 0
        for begin in range(given.n):
            part[axis] = slice(begin, begin + channels)
            total = total + squares[tuple(part)]
        return inputs * (given.k + given.alpha / given.n * total) ** -given.beta


class WithinChannelLRN2D(_Same, Layer):
    """x / (1 + alpha times the mean of squares over size x size places around, 0 beyond the border) ^ beta.

    (batch, channels, rows, columns) -> the same.
    """

    arguments = {"size": 5, "alpha": 1.0, "beta": 0.75}
    words = {"size": Word("size", to.count)}
    axes = ("batch", "maps", "rows", "columns")

    def call(self, inputs: Any) -> Any:
        given, before = self.given, (self.given.size - 1) // 2
        sides = (before, given.size - 1 - before)
        squares = ops.pad(ops.square(inputs), [(0, 0), (0, 0), sides, sides])
        rows, columns = spatial(inputs.shape, "channels_first")
        total: Any = 0
        for row in range(given.size):
            total = total + squares[:, :, row : row + inputs.shape[rows], :]
        wide, total = total, 0
        for column in range(given.size):
            total = total + wide[:, :, :, column : column + inputs.shape[columns]]
        return inputs * (1 + given.alpha / given.size**2 * total) ** -given.beta


__all__ = [
    "AddConstant", "BinaryThreshold", "CAdd", "CMul", "Exp", "GaussianSampler", "HardShrink", "HardTanh", "Identity",
    "LRN2D", "Log", "Mul", "MulConstant", "Narrow", "Negative", "PReLU", "Power", "RReLU", "ResizeBilinear", "Scale",
    "Select", "SelectTable", "ShareConvolution2D", "SoftShrink", "Sqrt", "Square", "Squeeze", "Threshold",
    "WithinChannelLRN2D",
]  # fmt: skip
