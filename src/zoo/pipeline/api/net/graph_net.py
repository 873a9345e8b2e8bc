"""`GraphNet`: a model of named layers, from a file: a `Model` of the Keras-style API that is lenient about rows.

Owns: rows in another shape, an error that names the layer which cannot take them.
Leaves: reading files (loading), cutting, freezing, training, keeping (zoo.pipeline.api.keras.models).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine import session
from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.faults import reason
from zoo.pipeline.api.keras.models import Model
from zoo.pipeline.api.library import library

keras = library()


@keras.saving.register_keras_serializable("zoo")
class GraphNet(Model):
    """A functional model of the layers of a file; also a layer of further models."""

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

    def flattened_layers(self, include_container: bool = False) -> list[Any]:
        """All layers, those within layers among them (of recurrence, over time).

        Args:
            include_container: whether the model and layers that hold layers are among them.
        """
        found = list(self._flatten_layers())
        return found if include_container else [layer for layer in found if not layer._layers]

    def predict(self, x: Any, batch_per_thread: int | None = None, distributed: bool = True, **words: Any) -> Any:
        """As `Model.predict`; without a current cluster in this process.

        Raises:
            UsageError: arrays of a shape that a layer does not take; names it.
        """
        self._check(x)
        return super().predict(x, batch_per_thread, distributed and session.running() is not None, **words)

    def fits(self, found: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
        return super().fits(found, wanted) or (_as_many(found, wanted) and self._begins_with_reshape())

    def _rows(self, inputs: Any) -> Any:
        """Rows in the shape of a model that begins with a Reshape: that takes any shape of as many numbers."""
        if isinstance(inputs, list | tuple | dict) or len(self.inputs) != 1:
            return inputs
        wanted = tuple(self.inputs[0].shape[1:])
        if getattr(inputs.shape, "rank", 0) is not None:  # TensorFlow may leave even that open
            given = tuple(inputs.shape[1:])
            if wanted == given or not _as_many(given, wanted):
                return inputs
        return keras.ops.reshape(inputs, (-1, *wanted)) if self._begins_with_reshape() else inputs

    def _begins_with_reshape(self) -> bool:
        first = self.inputs[0]._keras_history.operation._outbound_nodes
        return len(self.inputs) == 1 and all(getattr(node.operation, "function", "") == "reshape" for node in first)

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


def _as_many(found: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether two shapes, known in full, hold as many numbers."""
    return None not in (*wanted, *found) and math.prod(wanted) == math.prod(found)  # type: ignore[type-var]
