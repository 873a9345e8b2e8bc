"""A graph of TensorFlow whose weights are constants, as a layer of Keras.

Owns: the layer; gradients go through it to what lies before.
Leaves: making a graph constant, and files (engine.frameworks.graph.files).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import keras

from zoo.engine.errors import UsageError


@keras.saving.register_keras_serializable("zoo")
class FrozenGraph(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Computes tensors of a constant graph; has no weights of its own.

    Args:
        graph: a serialised ``GraphDef``, in base64.
        inputs: names of the tensors that are fed, e.g. ``"x:0"``, in the order of the layer's inputs.
        outputs: of those that are computed.
        **words: of any layer, e.g. name.

    Raises:
        UsageError: Keras computes with another backend than TensorFlow.
    """

    def __init__(self, graph: str, inputs: Sequence[str], outputs: Sequence[str], **words: Any) -> None:
        super().__init__(**words)
        if keras.backend.backend() != "tensorflow":
            raise UsageError(
                "a graph of TensorFlow is a layer on Keras' TensorFlow backend only, and Keras runs on "
                f"{keras.backend.backend()}: start the program with KERAS_BACKEND=tensorflow. Without layers on top, "
                "net.predict and NNModel(net) compute it on any backend."
            )
        self.graph, self.inputs_fed, self.outputs_computed = graph, list(inputs), list(outputs)
        self.supports_jit = False  # a graph may hold operations that XLA does not know
        self._function = _function_of(base64.b64decode(graph), self.inputs_fed, self.outputs_computed)

    def build(self, input_shape: Any) -> None:
        """Checks that there is an input for each tensor that is fed.

        Raises:
            UsageError: there are more, or fewer.
        """
        several = bool(input_shape) and isinstance(input_shape[0], list | tuple)
        if (count := len(input_shape) if several else 1) != len(self.inputs_fed):
            fed = ", ".join(self.inputs_fed)
            raise UsageError(f"layer '{self.name}' takes an input for each of {fed}. Received: {count} inputs.")

    def call(self, inputs: Any) -> Any:
        """The graph's outputs: a tensor, or a list of several."""
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        wanted = [tensor.dtype for tensor in self._function.inputs]
        found = self._function(
            *(
                keras.ops.cast(one, kind.name) if kind.is_floating or kind.is_integer else one
                for one, kind in zip(given, wanted, strict=True)
            )
        )
        return found[0] if len(found) == 1 else list(found)

    def get_config(self) -> dict[str, Any]:
        """For Keras' files, which hold the graph."""
        own = {"graph": self.graph, "inputs": self.inputs_fed, "outputs": self.outputs_computed}
        return {**super().get_config(), **own}


def _function_of(definition: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A function of the tensors fed, which other graphs may call."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(definition)
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    fed, computed = ([imported.graph.get_tensor_by_name(name) for name in names] for names in (inputs, outputs))
    return imported.prune(fed, computed)
