"""Variables that depend on no input: weights and constants of a graph, and what is computed from these alone.

A Keras graph begins at inputs. So such a value waits until it meets a variable that has one: there it becomes a layer,
applied to that variable, which does not look at it.

Owns: waiting, operators of such values, the two layers.
Leaves: variables of inputs (variable), functions (autograd).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras import initializations
from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.library import library
from zoo.pipeline.api.variable import Variable, anchor_of, is_symbolic, unwrapped

keras = library()


def applied(function: Callable[..., Any], *values: Any) -> Any:
    """``function(tensors)`` as a variable; of values without an input, as one that waits; of tensors, as a tensor."""
    if anchor_of(values) is None and is_symbolic(values):
        return Free(lambda anchor: function(*unwrapped(values, anchor)))
    result = function(*unwrapped(values))
    return Variable(node=result) if is_symbolic(values) else result


def _binary(function: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forth(self: Variable, other: Any) -> Any:
        return applied(function, self, other)

    def back(self: Variable, other: Any) -> Any:
        return applied(function, other, self)

    return forth, back


class Free(Variable):
    """A value that depends on no input (yet).

    Args:
        at: from a tensor of a graph to the value's tensor there.
        name: of the value.
    """

    free = True

    def __init__(self, at: Callable[[Any], Any], name: str | None = None) -> None:
        self._at = at
        self._name = name or "free"

    def at(self, anchor: Any) -> Any:
        """The tensor, in the graph that the tensor `anchor` is of.

        Raises:
            UsageError: there is none.
        """
        if anchor is None:
            raise UsageError(
                f"'{self.name}' depends on no Input, and a graph begins at one. Combine it with a Variable that does, "
                "e.g. Input(shape=...) + parameter."
            )
        return self._at(anchor)

    @property
    def node(self) -> Any:  # type: ignore[override]
        """The tensor; there is none before the value has met an input."""
        return self.at(None)

    @property
    def name(self) -> str:
        """Of the value."""
        return self._name

    def set_name(self, name: str) -> Free:
        """Names it."""
        self._name = name
        return self

    @property
    def shape(self) -> tuple[int | None, ...]:
        """There is no batch in it."""
        return tuple(self._at(keras.Input(())).shape)

    def __neg__(self) -> Any:
        return applied(operator.neg, self)

    __add__, __radd__ = _binary(operator.add)
    __sub__, __rsub__ = _binary(operator.sub)
    __mul__, __rmul__ = _binary(operator.mul)
    __truediv__, __rtruediv__ = _binary(operator.truediv)
    __pow__, __rpow__ = _binary(operator.pow)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, name='{self.name}')"


@keras.saving.register_keras_serializable("zoo")
class Weight(ZooKerasLayer, keras.layers.Layer):
    """The layer of a `Parameter`: gives its weight, whatever it is applied to."""

    def __init__(self, shape: Sequence[int], initializer: Any = None, **words: Any) -> None:
        super().__init__(**words)
        self.size = tuple(shape)
        self.initializer = initializations.initializer("uniform" if initializer is None else initializer)
        self.weight = self.add_weight(
            shape=self.size, initializer=self.initializer, trainable=self.trainable, name="weight"
        )

    def call(self, inputs: Any) -> Any:
        """The weight."""
        return keras.ops.convert_to_tensor(self.weight)

    def compute_output_shape(self, input_shape: Any) -> tuple[int, ...]:
        """The weight's."""
        return self.size

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "shape": self.size, "initializer": initializer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Weight:
        """The way back."""
        return cls(**{**config, "initializer": keras.initializers.deserialize(config["initializer"])})


@keras.saving.register_keras_serializable("zoo")
class Value(ZooKerasLayer, keras.layers.Layer):
    """The layer of a `Constant`: gives its value, whatever it is applied to."""

    def __init__(self, value: Any, **words: Any) -> None:
        super().__init__(**words)
        self.value = np.asarray(value, np.float32)

    def call(self, inputs: Any) -> Any:
        """The value."""
        return keras.ops.convert_to_tensor(self.value, dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int, ...]:
        """The value's."""
        return tuple(self.value.shape)

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        return {**super().get_config(), "value": self.value.tolist()}


class Parameter(Free):
    """A weight of the graph.

    Args:
        shape: without a batch; every row of the batch meets the same weight.
        init_method: as a layer's `init`: a name, an initializer of Keras; None: uniform in [-0.05, 0.05].
        init_weight: its first value, in place of that.
        trainable: whether training changes it.
        name: of its layer.
    """

    def __init__(
        self, shape: Sequence[int] | int, init_method: Any = None, init_weight: Any = None, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        size = (shape,) if isinstance(shape, int) else tuple(shape)
        words = {} if name is None else {"name": name}
        self.layer = Weight(size, init_method, trainable=trainable, **words)
        super().__init__(self.layer, self.layer.name)
        if init_weight is not None:
            self.set_weight(init_weight)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """There is no batch in it."""
        return self.layer.size

    def get_weight(self) -> np.ndarray:
        """Its value."""
        return np.array(keras.ops.convert_to_numpy(self.layer.weight.value))

    def set_weight(self, value: Any) -> None:
        """Gives it a value.

        Raises:
            UsageError: of another shape.
        """
        array = np.asarray(value, np.float32)
        if array.shape != self.shape:
            raise UsageError(f"the parameter '{self.name}' has the shape {self.shape}. Received: {array.shape}")
        self.layer.weight.assign(array)


class Constant(Free):
    """Numbers of the graph that training does not change.

    Args:
        data: an array, without a batch.
        name: of its layer.
    """

    def __init__(self, data: Any, name: str | None = None) -> None:
        self.layer = Value(data, **({} if name is None else {"name": name}))
        super().__init__(self.layer, self.layer.name)
