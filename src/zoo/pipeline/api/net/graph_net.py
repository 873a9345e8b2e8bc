"""`GraphNet`: a loaded model whose layers have names, to cut, freeze, compose and train.

Owns: that. Leaves: reading files (loading), training (zoo.orca.learn, models that it is composed into).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from zoo.engine import session
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import files
from zoo.orca.learn.keras_estimator import make_estimator
from zoo.pipeline.api.keras.engine import graphs
from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net.assembly import keras_name
from zoo.pipeline.api.net.faults import reason

keras = library()


@keras.saving.register_keras_serializable("zoo")
class GraphNet(ZooKerasLayer, keras.Model):
    """A functional model of Keras, of the layers of a file; also a layer of further models.

    Args:
        inputs: symbolic tensors.
        outputs: likewise.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Applies the model to tensors, or to a `Variable`."""
        if args and not kwargs.get("inputs") and not hasattr(args[0], "node"):
            args = (self._rows(args[0]), *args[1:])
        return super().__call__(*args, **kwargs)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().call(self._rows(inputs), training=training, mask=mask)

    def to_keras(self) -> GraphNet:
        """The model as a layer: call it on an `Input`, a `Variable`, or put it into a `Sequential`."""
        return self

    def new_graph(self, outputs: str | Sequence[Any] | Any) -> GraphNet:
        """A model with the same layers that ends earlier.

        Args:
            outputs: names of layers, or layers.

        Raises:
            UsageError: there is no layer of a name; the nearest ones are listed.
        """
        tensors = [tensor for name in _names(outputs) for tensor in self._node(name).outputs]
        needed = {id(node.operation) for node in _above(tensors)}
        inputs = [tensor for tensor in self.inputs if id(tensor._keras_history.operation) in needed]
        return GraphNet(*(found[0] if len(found) == 1 else found for found in (inputs, tensors)))

    def freeze_up_to(self, names: str | Sequence[Any]) -> GraphNet:
        """Keeps the weights of the named layers and of all before them as they are in training.

        Raises:
            UsageError: as `new_graph`.
        """
        for node in _above([tensor for name in _names(names) for tensor in self._node(name).outputs]):
            node.operation.trainable = False
        return self

    def freeze(self, names: str | Sequence[Any] | None = None) -> GraphNet:
        """Keeps the weights of the named layers, or of all, as they are in training."""
        return self._set_trainable(names, False)

    def unfreeze(self, names: str | Sequence[Any] | None = None) -> GraphNet:
        """Trains the named layers again, or all."""
        return self._set_trainable(names, True)

    def flattened_layers(self, include_container: bool = False) -> list[Any]:
        """All layers, also those within layers.

        Args:
            include_container: whether layers that hold layers are among them.
        """
        found = list(self._flatten_layers(include_self=False))
        return found if include_container else [layer for layer in found if not layer._layers]

    def predict(self, x: Any, batch_per_thread: int = 4, distributed: bool = True) -> Any:
        """The outputs for many rows.

        Args:
            x: an array, a list of arrays for several inputs, or anything that an estimator takes.
            batch_per_thread: rows computed at once.
            distributed: whether the current cluster computes, if there is one, or this process.

        Returns:
            an array, or a list of them for several outputs; on Spark, if `distributed`, an RDD of each row's.

        Raises:
            UsageError: rows of a shape that a layer does not take; names it.
        """
        self._check(x)
        if not distributed or session.running() is None:
            return keras.Model.predict(self, x, batch_size=batch_per_thread, verbose=0)
        return _as_rdd(make_estimator(self).predict(x, batch_size=batch_per_thread))

    def save_model(self, path: str, weight_path: str | None = None, over_write: bool = False) -> str:
        """Writes model and weights to one ``.keras`` file, which `Net.load` reads; returns the path.

        Args:
            path: or URL.
            weight_path: of a further file with the weights alone (HDF5).
            over_write: whether files there may be replaced.

        Raises:
            UsageError: there is a file already and `over_write` is False.
        """
        if weight_path is not None:
            files.save_weights(self, weight_path, overwrite=over_write)
        return files.save_model(self, path, overwrite=over_write)

    saveModel = save_model  # noqa: N815  the old name

    def _node(self, name: Any) -> Any:
        """The last place of a layer in this graph."""
        wanted = keras_name(name) if isinstance(name, str) else name.name
        nodes = {node.operation.name: node for node in _above(self.outputs, from_inputs=True)}
        if wanted not in nodes:
            raise graphs.unknown(str(name), nodes)
        return nodes[wanted]

    def _set_trainable(self, names: Any, value: bool) -> GraphNet:
        chosen = self.layers if names is None else [self._node(name).operation for name in _names(names)]
        for layer in chosen:
            layer.trainable = value
        return self

    def _rows(self, inputs: Any) -> Any:
        """Rows in the shape of a model that begins with a Reshape: that takes any shape of as many numbers."""
        if isinstance(inputs, list | tuple | dict) or len(self.inputs) != 1:
            return inputs
        wanted = tuple(self.inputs[0].shape[1:])
        if getattr(inputs.shape, "rank", 0) is not None:  # TensorFlow may leave even that open
            given = tuple(inputs.shape[1:])
            if wanted == given or None in (*wanted, *given) or math.prod(wanted) != math.prod(given):
                return inputs
        first = self.inputs[0]._keras_history.operation._outbound_nodes
        reshapes = all(getattr(node.operation, "function", "") == "reshape" for node in first)
        return keras.ops.reshape(inputs, (-1, *wanted)) if reshapes else inputs

    def _check(self, x: Any) -> None:
        arrays = list(x) if isinstance(x, list | tuple) else [x]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            return  # the engine looks at other data
        if len(arrays) != len(self.inputs):
            raise UsageError(f"the model has {len(self.inputs)} inputs. Received {len(arrays)} arrays.")
        symbols = [keras.KerasTensor((None, *a.shape[1:]), str(a.dtype)) for a in arrays]
        if len(symbols) == 1:
            symbols = [self._rows_of(symbols[0])]
        for tensor, symbol in zip(self.inputs, symbols, strict=True):
            _check_shape(tensor, symbol)
        self._run_through_graph(symbols, operation_fn=_Named)

    def _rows_of(self, symbol: Any) -> Any:
        rows = self._rows(symbol)
        return rows if rows is symbol else keras.KerasTensor(rows.shape, symbol.dtype)


class _Named:
    """The shape that one layer gives, or an error that names it."""

    def __init__(self, operation: Any) -> None:
        self.operation = operation

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.operation.compute_output_spec(*args, **kwargs)
        except Exception as error:  # each backend raises its own
            shapes = [tuple(tensor.shape) for tensor in _flat(args)]
            given = shapes[0] if len(shapes) == 1 else shapes
            raise UsageError(
                f"layer '{self.operation.name}' cannot take an input of shape {given}: {reason(error)}"
            ) from error


def _flat(value: Any) -> list[Any]:
    return [one for part in value for one in _flat(part)] if isinstance(value, list | tuple) else [value]


def _check_shape(tensor: Any, given: Any) -> None:
    wanted, shape = tuple(tensor.shape), tuple(given.shape)
    fits = len(wanted) == len(shape) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))
    if not fits:
        nodes = tensor._keras_history.operation._outbound_nodes
        names = ", ".join(dict.fromkeys(f"'{node.operation.name}'" for node in nodes))
        raise UsageError(f"layer {names} takes an input of shape {wanted} (None: any size). Received: {shape}")


def _names(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) or not isinstance(given, list | tuple) else list(given)


def _above(tensors: Sequence[Any], from_inputs: bool = False) -> Iterator[Any]:
    """All nodes of the graph that tensors are computed from; those nearest to the inputs first, if asked for."""
    seen: dict[int, Any] = {}
    stack = list(tensors)
    while stack:
        history = stack.pop()._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) not in seen:
            seen[id(node)] = node
            stack += node.input_tensors
    return reversed(seen.values()) if from_inputs else iter(seen.values())


def _as_rdd(predicted: Any) -> Any:
    """Arrays as an RDD of rows, where Spark runs; anything else as it is."""
    running = session.running()
    spark = None if running is None else running.spark
    if spark is None or not hasattr(spark, "sparkContext") or not isinstance(predicted, np.ndarray | list | tuple):
        return predicted
    rows = list(predicted) if isinstance(predicted, np.ndarray) else [list(row) for row in zip(*predicted, strict=True)]
    return spark.sparkContext.parallelize(rows)
