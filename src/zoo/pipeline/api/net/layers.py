"""Layers that BigDL has and Keras has not; they are kept in files as "zoo" layers.

Owns: a layer for all modules without weights, convolutions, entrywise weights, ids from 1, time, cells from files.
Leaves: the functions themselves (operations), how modules become layers (families).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.keras.layers.channels import ChannelsFirst
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net.operations import FUNCTIONS, reshaped

keras = library()
ops = keras.ops
_register = keras.saving.register_keras_serializable("zoo")


@_register
class Operation(ZooKerasLayer, keras.layers.Layer):
    """A function of one tensor or several, without weights.

    Args:
        function: its name in `operations.FUNCTIONS`.
        arguments: further ones.
    """

    def __init__(self, function: str, arguments: Mapping[str, Any] | None = None, **words: Any) -> None:
        super().__init__(**words)
        if function not in FUNCTIONS:
            raise UsageError(f"no function '{function}' among {', '.join(FUNCTIONS)}")
        self.function = function
        self.arguments = dict(arguments or {})

    def build(self, input_shape: Any) -> None:
        """Nothing to make."""

    def call(self, inputs: Any) -> Any:
        """The function's value.

        Raises:
            UsageError: the input has a shape that the function does not take; names the layer.
        """
        with self._named():
            return FUNCTIONS[self.function](inputs, **self.arguments)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Of a reshape by itself: backends that try a layer out with invented sizes cannot tell."""
        if self.function != "reshape":
            return super().compute_output_spec(inputs)
        with self._named():
            row = reshaped(inputs.shape[1:], self.arguments["size"])
        return keras.KerasTensor((inputs.shape[0], *row), inputs.dtype)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            raise UsageError(f"layer '{self.name}': {error}") from error

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function, "arguments": self.arguments}


@_register
class ImageConvolution(ChannelsFirst, ZooKerasLayer, keras.layers.Conv2D):
    """`keras.layers.Conv2D`."""


@_register
class VolumeConvolution(ChannelsFirst, ZooKerasLayer, keras.layers.Conv3D):
    """`keras.layers.Conv3D`."""


@_register
class Entrywise(ZooKerasLayer, keras.layers.Layer):
    """``x * weight + bias``, both of a shape that spreads over a row; either may be absent.

    Args:
        weight_shape: None for no weight.
        bias_shape: None for no bias.
    """

    def __init__(
        self, weight_shape: Sequence[int] | None = None, bias_shape: Sequence[int] | None = None, **words: Any
    ) -> None:
        super().__init__(**words)
        self.weight_shape = None if weight_shape is None else tuple(weight_shape)
        self.bias_shape = None if bias_shape is None else tuple(bias_shape)

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        shapes = {"ones": ("weight", self.weight_shape), "zeros": ("bias", self.bias_shape)}
        self.weight, self.bias = (
            None if shape is None else self.add_weight(name=name, shape=shape, initializer=start)
            for start, (name, shape) in shapes.items()
        )

    def call(self, inputs: Any) -> Any:
        if self.weight is not None:
            inputs = inputs * self.weight
        return inputs if self.bias is None else inputs + self.bias

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight_shape": self.weight_shape, "bias_shape": self.bias_shape}


@_register
class LookupTable(ZooKerasLayer, keras.layers.Embedding):
    """An embedding of ids that count from 1."""

    def call(self, inputs: Any) -> Any:
        return super().call(ops.cast(inputs, "int32") - 1)


@_register
class OverTime(ZooKerasLayer, keras.layers.Wrapper):
    """A layer applied to each step of a sequence: (batch, time, ...) -> (batch, time, ...)."""

    def build(self, input_shape: Any) -> None:
        """Builds the layer for one step."""
        if not self.layer.built:
            self.layer.build((input_shape[0], *input_shape[2:]))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        shape = ops.shape(inputs)
        steps = ops.reshape(inputs, (-1, *shape[2:]))
        given = {"training": training} if self.layer._call_has_training_arg else {}
        results = self.layer(steps, **given)
        return ops.reshape(results, (-1, shape[1], *results.shape[1:]))

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        one = self.layer.compute_output_spec(keras.KerasTensor((inputs.shape[0], *inputs.shape[2:]), inputs.dtype))
        return keras.KerasTensor((one.shape[0], inputs.shape[1], *one.shape[1:]), one.dtype)


@_register
class GraphCell(ZooKerasLayer, keras.layers.Wrapper):
    """A cell of `keras.layers.RNN` whose step is a graph: [input, state, ...] -> [output, state, ...].

    Args:
        layer: the graph.
        state_size: units of each state.
    """

    def __init__(self, layer: Any, state_size: Sequence[int], **words: Any) -> None:
        super().__init__(layer, **words)
        self.state_size = list(state_size)

    def build(self, input_shape: Any) -> None:
        """The graph is built."""

    def call(self, inputs: Any, states: Any, training: bool | None = None) -> Any:
        output, *following = self.layer([inputs, *states], training=training)
        return output, following

    @property
    def output_size(self) -> int:
        """Units of the output."""
        return int(self.layer.outputs[0].shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "state_size": self.state_size}
