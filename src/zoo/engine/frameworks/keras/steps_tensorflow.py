"""Steps on TensorFlow: each pass is one tf.function, variables are TensorFlow's own.

A rank that is alone does forward pass, gradients and update in one call. Of several ranks each gets its gradients as
one flat tensor, whose memory the collective sums in place (DLPack), and a second call applies the sums. That a tensor
is changed in place is safe for two reasons: it is the output of a concatenation whose end depends on the data, so that
neither a constant nor a variable shares its memory; and nothing reads it before the sums are there.

The gradient of an embedding names rows, one as often as the batch does. Keras 3.15 gives each of them to the optimizer
by itself, so that Adam adds up the squares of a row's parts; on JAX and torch it squares their sum. Here the parts are
added up first, which gives the numbers of the other backends, on any number of ranks.

XLA is used only where the program asks for it (``compile(jit_compile=True)``): on a CPU it made a small CNN 2.6 times
slower (shared/FACTS.md), and each new number of rows would compile anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.engine.contracts import Array
from zoo.engine.frameworks.keras.passes import Passes, arrays_of
from zoo.engine.frameworks.keras.steps import ALL, shared, variables_of
from zoo.engine.frameworks.keras.structures import Data


class CompiledSteps:
    """See `steps.Steps`."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._model = passes.model
        self._train = self._compiled(self._train_pass)
        self._gradients = self._compiled(self._gradient_pass)
        self._apply = self._compiled(self._apply_pass)
        self._score = self._compiled(self._score_pass)
        self._predict = self._compiled(self._predict_pass)
        self._flat: Any = None
        self._any_rows: dict[Any, Any] = {}

    def train(self, data: Data) -> tuple[float, float]:
        loss, rate = self._train(data.x, data.y, data.weights).numpy()
        return float(loss), float(rate)

    def gradients(self, data: Data | None) -> Array:
        layout = self._passes.layout
        if data is None:
            self._flat = tf.zeros([layout.size], layout.dtype)
        else:
            self._flat = self._called(self._gradients, data.x, data.y, data.weights)
        return shared(tf.experimental.dlpack.to_dlpack(self._flat))

    def apply(self, flat: Array) -> float:
        return float(self._apply(self._flat))  # the very memory of `flat`

    def score(self, data: Data) -> tuple[float, tuple[np.ndarray, ...]]:
        if data.y is None or not self._passes.has_loss:
            return math.nan, self.predict(data.x)
        loss, outputs = self._called(self._score, data.x, data.y, data.weights)
        return float(loss), arrays_of(outputs)

    def predict(self, x: Any) -> tuple[np.ndarray, ...]:
        return arrays_of(self._called(self._predict, x))

    def values(self, group: str) -> list[Any]:
        return [tf.identity(variable.value) for variable in variables_of(self._passes, group)]

    def assign(self, group: str, values: Sequence[Any]) -> None:
        for variable, value in zip(variables_of(self._passes, group), values, strict=True):
            variable.assign(value)

    def seed(self, number: int) -> None:
        """All are in variables."""

    def pull(self, group: str = ALL) -> None:
        """The variables are Keras' own."""

    def push(self, group: str = ALL) -> None:
        """The variables are Keras' own."""

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self._model.compiled and self._model.run_eagerly:
            return function
        jit = bool(self._model.compiled and self._model.jit_compile)
        # TensorFlow counts how often a method is traced, over all objects, and warns. A partial is counted by itself.
        compiled: Callable[..., Any] = tf.function(
            partial(function), reduce_retracing=True, jit_compile=jit, autograph=False
        )
        return compiled

    def _called(self, function: Any, *given: Any) -> Any:
        """Calls a pass. What TensorFlow traced for one number of rows rounds otherwise than what it traced for any."""
        if not self._passes.laned or not hasattr(function, "get_concrete_function"):
            return function(*given)
        if function not in self._any_rows:
            self._any_rows[function] = function.get_concrete_function(*keras.tree.map_structure(_with_any_rows, given))
        return self._any_rows[function](*given)

    def _differentiated(self, x: Any, y: Any, weights: Any) -> tuple[Any, list[Any]]:
        """(loss, gradients of the loss as the optimizer scales it)."""
        data, passes = Data(x, y, weights), self._passes
        with tf.GradientTape() as tape:
            outputs = passes.outputs(x, training=True)
            loss = passes.loss(data, outputs, training=True)
            scaled = passes.optimizer.scale_loss(loss)
        # TensorFlow's own variables: of Keras' it cannot make the zeros of a weight that the loss does not depend on
        variables = [variable.value for variable in self._model.trainable_variables]
        gradients = tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        passes.measure(data, outputs)
        return loss, gradients

    def _train_pass(self, x: Any, y: Any, weights: Any) -> Any:
        loss, gradients = self._differentiated(x, y, weights)
        return tf.stack([tf.cast(loss, tf.float32), self._update(gradients)])

    def _gradient_pass(self, x: Any, y: Any, weights: Any) -> Any:
        dtype = self._passes.layout.dtype
        loss, gradients = self._differentiated(x, y, weights)
        padding = [tf.zeros([], dtype)] * self._passes.layout.padding
        notes = tf.stack([*padding, tf.cast(loss, dtype), tf.zeros([], dtype)])
        pieces = [*map(tf.convert_to_tensor, gradients), notes, *(v.value for v in self._passes.statistics)]
        return tf.concat([tf.reshape(tf.cast(piece, dtype), [-1]) for piece in pieces], 0)

    def _apply_pass(self, flat: Any) -> Any:
        gradients, statistics = self._passes.layout.pieces(flat)
        for variable, value in zip(self._passes.statistics, statistics, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        variables = self._model.trainable_variables
        return self._update([tf.cast(g, v.dtype) for g, v in zip(gradients, variables, strict=True)])

    def _update(self, gradients: list[Any]) -> Any:
        """The rate of the step, behind which the weights have changed."""
        variables, optimizer = self._model.trainable_variables, self._passes.optimizer
        if self._passes.shapes:
            dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
            gradients = self._passes.shaped(dense, [v.value for v in variables])
        gradients = [_added_up(gradient) for gradient in gradients]
        rate = tf.cast(tf.identity(optimizer.learning_rate), tf.float32)
        optimizer.apply(gradients, variables)
        return rate

    def _score_pass(self, x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
        outputs = self._passes.outputs(x, training=False)
        return self._passes.loss(Data(x, y, weights), outputs, training=False), outputs

    def _predict_pass(self, x: Any) -> Any:
        return self._passes.outputs(x, training=False)


def _with_any_rows(array: Any) -> Any:
    return None if array is None else tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def _added_up(gradient: Any) -> Any:
    """A gradient of rows that names each row once; others as they are."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(tf.reshape(gradient.indices, [-1]))
    return tf.IndexedSlices(
        tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows)), rows, gradient.dense_shape
    )
