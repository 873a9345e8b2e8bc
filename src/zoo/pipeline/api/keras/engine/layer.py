"""What every layer of this API can do beyond a layer of Keras 3.

Owns: variables into and out of a layer, its input shape, weights in BigDL's layout.
Leaves: what layers compute (layers), models (topology), gradients (backprop).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.pipeline.api.keras.engine.backprop import Backprop
from zoo.pipeline.api.keras.engine.graphs import keras_name
from zoo.pipeline.api.library import library
from zoo.pipeline.api.variable import is_symbolic, unwrapped, wrapped


class ZooKerasLayer(Backprop):
    """Mixed into a layer of Keras: ``class Dense(ZooKerasLayer, keras.layers.Dense)``.

    Attributes:
        given_input_shape: without the batch, for the first layer of a `Sequential`; None where it was not given.
    """

    given_input_shape: tuple[int | None, ...] | list[tuple[int | None, ...]] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Applies the layer to a `Variable`, or several, or to what Keras takes."""
        call = super().__call__  # type: ignore[misc]
        if is_symbolic(args) or is_symbolic(tuple(kwargs.values())):
            return wrapped(call(*unwrapped(args), **{name: unwrapped(value) for name, value in kwargs.items()}))
        return call(*_tensors(args), **kwargs)

    def _open_name_scope(self) -> Any:
        """Where Keras computes the layer; TensorFlow's graphs take no space and no letter beyond ASCII in its name."""
        scope = super()._open_name_scope()  # type: ignore[misc]
        name = keras_name(self.name)  # type: ignore[attr-defined]
        keras = library()
        if name == self.name or keras.backend.backend() != "tensorflow":  # type: ignore[attr-defined]
            return scope
        return keras.name_scope(name, caller=self)

    def set_name(self, name: str) -> Any:
        """Names the layer."""
        self.name = name
        return self

    def get_input_shape(self) -> Any:
        """With the batch, which is None; of a layer that has been applied."""
        return _shape(self.input)  # type: ignore[attr-defined]

    def get_output_shape(self) -> Any:
        """With the batch, which is None; of a layer that has been applied."""
        return _shape(self.output)  # type: ignore[attr-defined]

    def freeze(self) -> Any:
        """Keeps its weights as they are in training."""
        self.trainable = False
        return self

    def unfreeze(self) -> Any:
        """Trains its weights again."""
        self.trainable = True
        return self

    def get_weights(self) -> list[np.ndarray]:
        """In BigDL's layout: a `Dense` has (output, input), then (output,)."""
        return self.to_bigdl([np.asarray(array) for array in super().get_weights()])  # type: ignore[misc]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes what `get_weights` gives."""
        super().set_weights(self.from_bigdl([np.asarray(array) for array in weights]))  # type: ignore[misc]

    def to_bigdl(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """From Keras' layout of the weights to BigDL's; a layer whose layouts differ says how."""
        return weights

    def from_bigdl(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """The way back."""
        return weights


def _tensors(value: Any) -> Any:
    """Arrays as tensors, for Keras on torch, which calls `forward`: with arrays that is the user's word."""
    if type(value) in (list, tuple):
        return type(value)(_tensors(one) for one in value)
    return library().ops.convert_to_tensor(value) if isinstance(value, np.ndarray) else value


def _shape(tensors: Any) -> Any:
    return [tuple(one.shape) for one in tensors] if isinstance(tensors, list | tuple) else tuple(tensors.shape)
