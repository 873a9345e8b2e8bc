"""Layers around layers.

Owns: TimeDistributed, Bidirectional, PyTorch modules as layers.
Leaves: the layers inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers.words import REQUIRED, Given, Renamed, keras, layers


class TimeDistributed(Renamed, layers.TimeDistributed):
    """`layer` at each step: (batch, steps, ...) -> (batch, steps, ...). Weights: the layer's."""

    arguments = {"layer": REQUIRED}

    def to_bigdl(self, weights: list) -> list:
        return _inner_to(self.layer, weights)

    def from_bigdl(self, weights: list) -> list:
        return _inner_from(self.layer, weights)


class Bidirectional(Renamed, layers.Bidirectional):
    """`layer`, a recurrent one, from the first step on and from the last: (batch, steps, features) -> as the layer's.

    `merge_mode`: 'concat' (twice as many features), 'sum', 'mul', 'ave'. Weights: the first's, then the other's.
    """

    arguments = {"layer": REQUIRED, "merge_mode": "concat"}
    axes = ("batch", "steps", "features")

    @classmethod
    def checked(cls, given: Given) -> None:
        if given.merge_mode not in ("concat", "sum", "mul", "ave"):
            raise UsageError(
                f"Bidirectional: merge_mode must be 'concat', 'sum', 'mul' or 'ave'. Received: {given.merge_mode!r}"
            )
        if not hasattr(given.layer, "go_backwards"):
            raise UsageError(
                "Bidirectional: layer must be a recurrent one (LSTM, GRU, SimpleRNN, ConvLSTM2D). "
                f"Received: a {type(given.layer).__name__}"
            )

    def takes(self) -> tuple[str, ...]:
        return self.given.layer.takes() if hasattr(self.given.layer, "takes") else super().takes()

    def to_bigdl(self, weights: list) -> list:
        half = len(weights) // 2
        return _inner_to(self.forward_layer, weights[:half]) + _inner_to(self.backward_layer, weights[half:])

    def from_bigdl(self, weights: list) -> list:
        half = len(weights) // 2
        return _inner_from(self.forward_layer, weights[:half]) + _inner_from(self.backward_layer, weights[half:])


class KerasLayerWrapper(Renamed, layers.TorchModuleWrapper):
    """A module of PyTorch, or of `zoo.bigdl.nn`, as a layer; Keras computes with the backend 'torch'.

    A saved model holds the module as a pickle, which Keras loads with ``safe_mode=False`` only.
    """

    arguments = {"torch_layer": REQUIRED}

    @classmethod
    def checked(cls, given: Given) -> None:
        if (backend := keras.backend.backend()) != "torch":
            raise UsageError(
                f"KerasLayerWrapper puts a module of PyTorch into a model, and Keras computes with {backend} here. "
                "Start the program with KERAS_BACKEND=torch."
            )
        if not hasattr(given.torch_layer, "state_dict") or isinstance(given.torch_layer, layers.Layer):
            raise UsageError(
                f"KerasLayerWrapper takes a torch.nn.Module. Received: a {type(given.torch_layer).__name__}"
            )

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        return {"module": given.torch_layer}

    def get_config(self) -> dict[str, Any]:
        """The module as a pickle, as Keras writes modules."""
        config = layers.TorchModuleWrapper.get_config(self)
        return config | ({} if self.given_input_shape is None else {"input_shape": self.given_input_shape})

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        """The way back, where the user trusts the file."""
        words = dict(config)
        plain = layers.TorchModuleWrapper.from_config(
            {"module": words.pop("module"), "name": words.pop("name", None), "output_shape": words.pop("output_shape")}
        )
        return cls(plain.module, name=plain.name, input_shape=words.get("input_shape"))


def _inner_to(layer: Any, weights: list) -> list:
    return layer.to_bigdl(weights) if hasattr(layer, "to_bigdl") else weights


def _inner_from(layer: Any, weights: list) -> list:
    return layer.from_bigdl(weights) if hasattr(layer, "from_bigdl") else weights


__all__ = ["Bidirectional", "KerasLayerWrapper", "TimeDistributed"]
