"""Layers of general use.

Owns: dense layers, dropout, layers that rearrange.
Leaves: arguments (words), layouts of weights (layouts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.axes import axis_of
from zoo.pipeline.api.keras.layers.layouts import DenseLayout
from zoo.pipeline.api.keras.layers.words import REQUIRED, Given, Layer, Renamed, Spelt, Word, keras, layers

ops = keras.ops
INTMIN = -(2**31)
_WEIGHTED = {"W_regularizer": None, "b_regularizer": None, "bias": True}


class Masking(Renamed, layers.Masking):
    """Leaves out steps whose entries all equal `mask_value`, in the layers behind it that know of masks.

    (batch, steps, features) -> the same.
    """

    arguments = {"mask_value": 0.0}


class Dropout(Renamed, layers.Dropout):
    """In training, sets a share `p` of the entries to 0 and scales the others by 1 / (1 - p)."""

    arguments = {"p": REQUIRED}


class SpatialDropout1D(Renamed, layers.SpatialDropout1D):
    """`Dropout` of whole channels: (batch, steps, channels) -> the same."""

    arguments = {"p": 0.5}
    axes = ("batch", "steps", "channels")


class SpatialDropout2D(Renamed, layers.SpatialDropout2D):
    """`Dropout` of whole channels of images: (batch, channels, rows, columns) -> the same."""

    arguments = {"p": 0.5, "dim_ordering": "th"}
    axes = ("batch", "channels", "rows", "columns")


class SpatialDropout3D(Renamed, layers.SpatialDropout3D):
    """`Dropout` of whole channels of volumes: (batch, channels, depth, rows, columns) -> the same."""

    arguments = {"p": 0.5, "dim_ordering": "th"}
    axes = ("batch", "channels", "depth", "rows", "columns")


class Activation(Renamed, layers.Activation):
    """An activation by its name, or a function of a tensor; 'hard_sigmoid' is Keras 1's."""

    arguments = {"activation": REQUIRED}


class Reshape(Renamed, layers.Reshape):
    """To `target_shape`, without the batch; one size may be -1."""

    arguments = {"target_shape": REQUIRED}


class Permute(Renamed, layers.Permute):
    """The axes in the order of `dims`, which counts from 1; the batch stays."""

    arguments = {"dims": REQUIRED}


class Flatten(Renamed, layers.Flatten):
    """(batch, ...) -> (batch, product of the other sizes), in the order of memory."""

    arguments: dict[str, Any] = {}
    new = {"data_format": "channels_last"}  # the other one would put channels last first


class RepeatVector(Renamed, layers.RepeatVector):
    """(batch, features) -> (batch, n, features)."""

    arguments = {"n": REQUIRED, "input_dim": None}
    words = {"n": Word("n", to.count)}
    axes = ("batch", "features")


class Dense(DenseLayout, Renamed, layers.Dense):
    """activation(x W + b): (batch, ..., input) -> (batch, ..., output_dim).

    `limits`, a pair, bounds the uniform initial values where `init` is 'uniform'.
    Weights: (output_dim, input), (output_dim,).
    """

    arguments = {"output_dim": REQUIRED, "init": "glorot_uniform", "limits": None, "activation": None, **_WEIGHTED,
                 "input_dim": None}  # fmt: skip

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        passed = super().passed_on(given)
        return within_limits(passed)


def within_limits(passed: dict[str, Any]) -> dict[str, Any]:
    """Arguments of Keras' layer, where `limits` has gone into the initial values."""
    limits = passed.pop("limits")
    if limits is not None:
        if not isinstance(passed["kernel_initializer"], keras.initializers.RandomUniform):
            raise UsageError(f"limits are those of init='uniform'. Received: limits={limits!r} with another init")
        passed["kernel_initializer"] = keras.initializers.RandomUniform(float(limits[0]), float(limits[1]))
    return passed


class SparseDense(DenseLayout, Renamed, layers.Dense):
    """A `Dense` for wide inputs of mostly zeros, whose gradient goes back to some columns only, or to none.

    (batch, input) -> (batch, output_dim). Backends of Keras train on dense arrays, so the input is one.
    The gradient goes back to the columns from `backward_start` on, `backward_length` of them; -1: to none.
    `init_weight` (output_dim, input) and `init_bias` (output_dim,) are the first values.
    """

    arguments = {"output_dim": REQUIRED, "init": "glorot_uniform", "activation": None, "W_regularizer": None,
                 "b_regularizer": None, "backward_start": -1, "backward_length": -1, "init_weight": None,
                 "init_bias": None, "init_grad_weight": None, "init_grad_bias": None, "bias": True}  # fmt: skip
    axes = ("batch", "features")
    kept = ("backward_start", "backward_length", "init_weight", "init_bias", "init_grad_weight", "init_grad_bias")
    unsaved = ("init_weight", "init_bias")

    @classmethod
    def checked(cls, given: Given) -> None:
        if given.init_grad_weight is not None or given.init_grad_bias is not None:
            raise UsageError(
                "SparseDense: gradients begin at 0 in each step; leave init_grad_weight, init_grad_bias out."
            )
        if (given.backward_start < 0) != (given.backward_length < 0):
            raise UsageError(
                "SparseDense: backward_start and backward_length go together. "
                f"Received: backward_start={given.backward_start}, backward_length={given.backward_length}"
            )

    def build(self, input_shape: Sequence[int]) -> None:
        super().build(input_shape)
        weights = self.get_weights()
        first = [self.given.init_weight, self.given.init_bias]
        if any(array is not None for array in first):
            self.set_weights([old if new is None else new for old, new in zip(weights, first, strict=False)])

    def call(self, inputs: Any, training: Any = None) -> Any:
        begin, end = self.given.backward_start, self.given.backward_start + self.given.backward_length
        stopped = ops.stop_gradient(inputs)
        if begin >= 0:
            stopped = ops.concatenate([stopped[:, :begin], inputs[:, begin:end], stopped[:, end:]], axis=1)
        return super().call(stopped)


class MaxoutDense(Spelt, Layer):
    """The largest of `nb_feature` linear maps: (batch, input) -> (batch, output_dim).

    Weights: (nb_feature, input, output_dim), (nb_feature, output_dim), as in Keras 1.
    """

    arguments = {"output_dim": REQUIRED, "nb_feature": 4, **_WEIGHTED, "input_dim": None}
    words = {"nb_feature": Word("nb_feature", to.count)}
    axes = ("batch", "features")

    def build(self, input_shape: Sequence[int]) -> None:
        given = self.given
        size = (given.nb_feature, input_shape[-1], given.output_dim)
        self.kernel = self.add_weight(size, "glorot_uniform", name="kernel", regularizer=given.W_regularizer)
        if given.bias:
            self.bias = self.add_weight(
                (given.nb_feature, given.output_dim), "zeros", name="bias", regularizer=given.b_regularizer
            )

    def call(self, inputs: Any) -> Any:
        maps = ops.einsum("bi,fio->bfo", inputs, self.kernel)
        return ops.max(maps + self.bias if self.given.bias else maps, axis=1)

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        return input_shape[0], self.given.output_dim


class Highway(DenseLayout, Spelt, Layer):
    """t activation(x W + b) + (1 - t) x with t = sigmoid(x W_t + b_t): (batch, input) -> the same.

    Weights: W, W_t, b, b_t, the matrices (output, input). b_t begins at -2, so that most of x passes.
    """

    arguments = {"activation": None, **_WEIGHTED, "input_dim": None}
    axes = ("batch", "features")

    def build(self, input_shape: Sequence[int]) -> None:
        size, given = input_shape[-1], self.given
        matrix = {"initializer": "glorot_uniform", "regularizer": given.W_regularizer}
        self.kernel = self.add_weight((size, size), name="kernel", **matrix)
        self.carry_kernel = self.add_weight((size, size), name="carry_kernel", **matrix)
        if given.bias:
            self.bias = self.add_weight((size,), "zeros", name="bias", regularizer=given.b_regularizer)
            self.carry_bias = self.add_weight((size,), keras.initializers.Constant(-2.0), name="carry_bias")

    def call(self, inputs: Any) -> Any:
        changed, through = ops.matmul(inputs, self.kernel), ops.matmul(inputs, self.carry_kernel)
        if self.given.bias:
            changed, through = changed + self.bias, through + self.carry_bias
        changed = self.given.activation(changed) if self.given.activation else changed
        share = ops.sigmoid(through)
        return share * changed + (1 - share) * inputs

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        return tuple(input_shape)


class GetShape(Spelt, Layer):
    """The sizes of its input, the batch first, as a float vector (number of axes,)."""

    arguments: dict[str, Any] = {}

    def call(self, inputs: Any) -> Any:
        return ops.cast(ops.stack([ops.cast(size, "int32") for size in ops.shape(inputs)]), self.compute_dtype)

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        return (len(input_shape),)


class Max(Spelt, Layer):
    """The largest entry along axis `dim`, which is gone from the result; 0 is the batch.

    `return_value=False` gives its index in place of it, counted from 0.
    `num_input_dims` is accepted for older programs: the batch always counts.
    """

    arguments = {"dim": REQUIRED, "num_input_dims": INTMIN, "return_value": True}
    words = {"dim": Word("dim", to.index)}

    def call(self, inputs: Any) -> Any:
        axis = axis_of(self, self.given.dim, len(inputs.shape))
        return ops.max(inputs, axis) if self.given.return_value else ops.argmax(inputs, axis)

    def compute_output_spec(self, inputs: Any) -> Any:
        axis = axis_of(self, self.given.dim, len(inputs.shape))
        shape = (*inputs.shape[:axis], *inputs.shape[axis + 1 :])
        return keras.KerasTensor(shape, self.compute_dtype if self.given.return_value else "int32")


class ExpandDim(Spelt, Layer):
    """A new axis of one entry in front of axis `dim`; 0 is the batch, -1 puts it last."""

    arguments = {"dim": REQUIRED}
    words = {"dim": Word("dim", to.index)}

    def call(self, inputs: Any) -> Any:
        return ops.expand_dims(inputs, axis_of(self, self.given.dim, len(inputs.shape) + 1))

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        axis = axis_of(self, self.given.dim, len(input_shape) + 1)
        return (*input_shape[:axis], 1, *input_shape[axis:])


__all__ = [
    "Activation", "Dense", "Dropout", "ExpandDim", "Flatten", "GetShape", "Highway", "Masking", "Max", "MaxoutDense",
    "Permute", "RepeatVector", "Reshape", "SparseDense", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
]  # fmt: skip
