"""Functions of variables as graphs: `Lambda`, a layer, and `CustomLoss`.

The function is called once, with variables, and leaves a graph. So it is that graph which computes, here and on every
rank, and which files hold: no code of the user's is saved, and none is run where a file is read.

Owns: tracing, the layer, the loss.
Leaves: what functions can do with variables (variable, autograd).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.keras.objectives import LossFunction
from zoo.pipeline.api.library import library
from zoo.pipeline.api.variable import Variable, is_symbolic, unwrapped

keras = library()
Shape = tuple[int | None, ...]


def traced(function: Callable[..., Any], shapes: Sequence[Shape], what: str) -> Any:
    """The graph of a function of variables, as a functional model.

    Args:
        function: takes a `Variable` for each shape, and gives one, or several.
        shapes: with the batch.
        what: whose function it is, for the error.

    Raises:
        UsageError: it gives something else.
    """
    inputs = [keras.Input(batch_shape=shape) for shape in shapes]
    try:
        found = function(*(Variable(node=tensor) for tensor in inputs))
    except UsageError:
        raise
    except Exception as error:  # numpy, Keras and Python each refuse a variable in their own way
        raise UsageError(
            f"the function of {what} cannot compute with variables ({type(error).__name__}: {error}). It is called "
            "once, without numbers: use + - * / ** and the functions of zoo.pipeline.api.autograd, and neither numpy, "
            "keras.ops nor an `if` on values."
        ) from error
    if not is_symbolic(found):
        raise UsageError(
            f"the function of {what} must give a Variable: compute with + - * / and the functions of "
            f"zoo.pipeline.api.autograd. It gave: {found!r}"
        )
    outputs = unwrapped(found, inputs[0])
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


@keras.saving.register_keras_serializable("zoo")
class Lambda(ZooKerasLayer, keras.layers.Layer):
    """A function of variables as a layer: of one variable, or of several.

    Args:
        function: takes and gives a `Variable`.
        input_shape: without the batch, for the first layer of a `Sequential`.
        graph: what the function left, where a file is read.
    """

    def __init__(
        self, function: Callable[..., Any] | None = None, input_shape: Any = None, graph: Any = None, **words: Any
    ) -> None:
        super().__init__(**words)
        if function is None and graph is None:
            raise UsageError("Lambda needs a function of variables, e.g. Lambda(lambda x: x * 2).")
        self.given_input_shape = None if input_shape is None else tuple(input_shape)
        self._function = None if function is None else partial(function)  # no part of the layer to Keras
        self._graph = keras.saving.deserialize_keras_object(graph) if isinstance(graph, dict) else graph

    def build(self, input_shape: Any) -> None:
        """Calls the function."""
        if self._graph is None:
            several = bool(input_shape) and isinstance(input_shape[0], list | tuple)
            shapes = [tuple(one) for one in input_shape] if several else [tuple(input_shape)]
            assert self._function is not None
            self._graph = traced(self._function, shapes, f"the Lambda '{self.name}'")
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The graph's outputs."""
        return self._graph(list(inputs) if isinstance(inputs, tuple) else inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The graph's."""
        self.build(input_shape)
        return self._graph.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """For Keras' files.

        Raises:
            UsageError: nothing is known of its input yet, so that there is no graph.
        """
        if self._graph is None:
            raise UsageError(
                f"the Lambda '{self.name}' has not met an input yet, so there is no graph of it to save. Give it an "
                "input_shape, or apply it."
            )
        return {**super().get_config(), "graph": keras.saving.serialize_keras_object(self._graph)}


@keras.saving.register_keras_serializable("zoo")
class CustomLoss(LossFunction):
    """A loss of one's own, ``loss_func(y_true, y_pred)`` of variables; what it gives is averaged over the batch.

    Args:
        loss_func: takes two variables, with the batch, and gives one.
        y_pred_shape: of the model's output, without the batch; None: taken from the first batch.
        y_true_shape: of the labels; None: as `y_pred_shape`.
        graph: what the function left, where a file is read.
    """

    def __init__(
        self, loss_func: Callable[[Variable, Variable], Any] | None = None, y_pred_shape: Any = None,
        y_true_shape: Any = None, graph: Any = None, **words: Any,
    ) -> None:  # fmt: skip
        super().__init__(name=words.get("name") or "custom_loss")
        self._function = None if loss_func is None else partial(loss_func)  # no part of the loss to Keras
        self._graph = keras.saving.deserialize_keras_object(graph) if isinstance(graph, dict) else graph
        if self._graph is None and loss_func is None:
            raise UsageError("CustomLoss needs a function of (y_true, y_pred).")
        if self._graph is None and y_pred_shape is not None:
            pred = _sized(y_pred_shape)
            self._trace(pred if y_true_shape is None else _sized(y_true_shape), pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The function's values, before they are averaged."""
        if self._graph is None:
            pred = tuple(y_pred.shape)[1:]
            self._trace(pred, pred)
        expected = tuple(self._graph.inputs[0].shape)[1:]
        if tuple(y_true.shape)[1:] not in (expected, expected[:-1] if expected[-1:] == (1,) else (*expected, 1)):
            raise UsageError(
                f"the loss was made for labels of shape {expected}, without the batch, and they have "
                f"{tuple(y_true.shape)[1:]}. Say so: CustomLoss(function, y_pred_shape, y_true_shape)."
            )
        return self._graph([y_true, y_pred])

    def check(self, y_true: Shape, y_pred: Shape) -> str:
        """Nothing is known of the function."""
        return ""

    def forward(self, y_true: Any, y_pred: Any) -> float:  # type: ignore[override]  # upstream's order
        """The mean loss."""
        return super().forward(y_pred, y_true)

    def backward(self, y_true: Any, y_pred: Any) -> np.ndarray:  # type: ignore[override]
        """The gradient of `forward` by `y_pred`, in its shape."""
        return super().backward(y_pred, y_true)

    def to_torch(self) -> Callable[[Any, Any], Any]:
        """``loss(output, target)`` for a torch model.

        Raises:
            UsageError: Keras computes with another backend than torch.
        """
        if keras.backend.backend() != "torch":
            raise UsageError(
                "a CustomLoss is a graph of Keras, which can be the loss of a torch model with KERAS_BACKEND=torch "
                f"only; here it is {keras.backend.backend()}. Or give a function of torch tensors."
            )
        return _Swapped(self)

    def get_config(self) -> dict[str, Any]:
        """For Keras' files, and for other processes.

        Raises:
            UsageError: no shape is known yet, so that there is no graph.
        """
        if self._graph is None:
            raise UsageError(
                "a loss of one's own travels and is saved as a graph, which needs the shape of the model's output: "
                "give the first layer an input_shape, or CustomLoss(function, y_pred_shape)."
            )
        return {"name": self.name, "graph": keras.saving.serialize_keras_object(self._graph)}

    def _trace(self, true: Shape, pred: Shape) -> None:
        assert self._function is not None
        self._graph = traced(self._function, [(None, *true), (None, *pred)], "the CustomLoss")


class _Swapped:
    """``loss(output, target)`` of one that takes (target, output)."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss

    def __call__(self, output: Any, target: Any) -> Any:
        return self._loss(target, output)


def _sized(shape: Any) -> Shape:
    return (shape,) if isinstance(shape, int) else tuple(shape)
