"""The parts that compute logits: a linear model, and a network of dense layers.

The names of variables are those of ``tf.estimator``: ``linear/linear_model/age/weights``, ``dnn/hiddenlayer_0/kernel``.

Owns: what is between features and logits.
Leaves: what logits mean (heads), how they are trained (optimizers).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.tensorflow import process
from zoo.tfpark.estimator import columns as feature_columns
from zoo.tfpark.estimator import optimizers

MOMENTUM = 0.999
"""Of the moving averages of batch normalization."""
EPSILON = 0.001


class Part(Protocol):
    """What computes logits from features, with variables and an optimizer of its own."""

    @property
    def columns(self) -> Any: ...

    @property
    def optimizer(self) -> Any: ...

    @property
    def learning_rate(self) -> float: ...

    def problems(self) -> list[str]:
        """What cannot work."""

    def logits(self, features: Mapping[str, Any], units: int, training: bool) -> tuple[Any, list[Any]]:
        """(batch, units), and the variables behind it."""


@dataclass(frozen=True)
class Linear:
    """A sum of one term a column.

    Attributes:
        columns: of features.
        optimizer: see `optimizers`.
        combiner: see `columns.linear_logits`.
        highest_rate: of an optimizer given by name; the more columns, the lower it is.
        argument: that the columns were given in.
    """

    columns: Any
    optimizer: Any
    combiner: str
    highest_rate: float = 0.2
    argument: str = "feature_columns"

    @property
    def learning_rate(self) -> float:
        return min(self.highest_rate, 1 / math.sqrt(len(self.columns)))

    def problems(self) -> list[str]:
        problems = UsageError.found_by(
            lambda: feature_columns.check(self.columns, self.argument, dense=False),
            lambda: optimizers.check(self.optimizer),
        )
        if self.combiner not in feature_columns.COMBINERS:
            problems.append(
                f"sparse_combiner must be one of {', '.join(feature_columns.COMBINERS)}. Received: {self.combiner!r}."
            )
        return problems

    def logits(self, features: Mapping[str, Any], units: int, training: bool) -> tuple[Any, list[Any]]:
        with process.library().compat.v1.variable_scope("linear") as scope:
            logits = feature_columns.linear_logits(features, self.columns, units, self.combiner)
            return logits, scope.trainable_variables()


@dataclass(frozen=True)
class Deep:
    """A network of dense layers.

    Attributes:
        columns: of features, all dense.
        optimizer: see `optimizers`.
        hidden_units: the layers' widths.
        activation: of the hidden layers; None: relu.
        dropout: the share of a hidden layer's outputs that a training step leaves out; None: none.
        batch_norm: whether hidden layers' outputs are normalized over the batch.
        argument: that the columns were given in.
    """

    columns: Any
    optimizer: Any
    hidden_units: Any
    activation: Callable[[Any], Any] | None = None
    dropout: float | None = None
    batch_norm: bool = False
    argument: str = "feature_columns"

    @property
    def learning_rate(self) -> float:
        return 0.05

    def problems(self) -> list[str]:
        problems = UsageError.found_by(
            lambda: feature_columns.check(self.columns, self.argument, dense=True),
            lambda: optimizers.check(self.optimizer),
        )
        units = self.hidden_units
        if not isinstance(units, (list, tuple)) or not units or not all(map(_is_width, units)):
            problems.append(f"hidden_units must be a list of whole numbers, such as [64, 32]. Received: {units!r}.")
        if self.activation is not None and not callable(self.activation):
            problems.append(f"activation_fn must be a function, such as tf.nn.relu. Received: {self.activation!r}.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            problems.append(
                f"dropout is the share that is left out, at least 0 and less than 1. Received: {self.dropout!r}."
            )
        return problems

    def logits(self, features: Mapping[str, Any], units: int, training: bool) -> tuple[Any, list[Any]]:
        v1 = process.library().compat.v1
        with v1.variable_scope("dnn") as scope:
            with v1.variable_scope("input_from_feature_columns"):
                net = feature_columns.dense_inputs(features, self.columns)
            for index, width in enumerate(self.hidden_units):
                with v1.variable_scope(f"hiddenlayer_{index}"):
                    net = self._hidden(net, index, int(width), training)
            with v1.variable_scope("logits"):
                net = _dense(net, units)
            return net, scope.trainable_variables()

    def _hidden(self, net: Any, index: int, width: int, training: bool) -> Any:
        tf = process.library()
        net = (self.activation or tf.nn.relu)(_dense(net, width))
        if self.dropout and training:
            net = tf.nn.dropout(net, rate=self.dropout)
        if self.batch_norm:
            with tf.compat.v1.variable_scope(f"batchnorm_{index}"):
                net = _normalized(net, training)
        return net


def _is_width(units: Any) -> bool:
    return isinstance(units, numbers.Integral) and int(units) > 0


def _dense(net: Any, units: int) -> Any:
    tf = process.library()
    v1 = tf.compat.v1
    kernel = v1.get_variable("kernel", [int(net.shape[1]), units], initializer=v1.glorot_uniform_initializer())
    bias = v1.get_variable("bias", [units], initializer=v1.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(net, kernel), bias)


def _normalized(net: Any, training: bool) -> Any:
    """Normalizes over the batch in training, else by the moving averages, which UPDATE_OPS keep."""
    tf = process.library()
    v1 = tf.compat.v1
    zeros, ones = v1.zeros_initializer(), v1.ones_initializer()
    shape = [int(net.shape[1])]
    scale = v1.get_variable("gamma", shape, initializer=ones)
    offset = v1.get_variable("beta", shape, initializer=zeros)
    averages = (
        v1.get_variable("moving_mean", shape, initializer=zeros, trainable=False),
        v1.get_variable("moving_variance", shape, initializer=ones, trainable=False),
    )
    moments = averages
    if training:
        moments = tf.nn.moments(net, [0])
        for average, moment in zip(averages, moments, strict=True):
            update = v1.assign_sub(average, (average - moment) * (1 - MOMENTUM))
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
    return tf.nn.batch_normalization(net, *moments, offset, scale, EPSILON)
