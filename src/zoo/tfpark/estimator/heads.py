"""What logits mean: predictions, loss and metrics of classes and of numbers.

Owns: labels, weights, the loss and its mean over a batch, the words of predictions and metrics.
Leaves: where logits come from (networks), how the loss is made smaller (optimizers).
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.engine.frameworks.tensorflow import process
from zoo.tfpark.estimator import columns as feature_columns
from zoo.tfpark.estimator.specs import EstimatorSpec, ModeKeys

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "sum_by_nonzero_weights")
"""Those of tf.compat.v1.losses.Reduction, which begin with "weighted_", are the same."""


@dataclass(frozen=True)
class Head(ABC):
    """What is done with logits.

    Attributes:
        weight_column: the feature, or its numeric column, that says how much an example counts; None: all the same.
        loss_reduction: how the examples' losses become one number: one of `REDUCTIONS`.
    """

    weight_column: Any = None
    loss_reduction: str = "sum_over_batch_size"

    def problems(self) -> list[str]:
        """What cannot work."""
        problems = []
        if str(self.loss_reduction).removeprefix("weighted_") not in REDUCTIONS:
            problems.append(
                f"loss_reduction must be one of {', '.join(REDUCTIONS)}. Received: {self.loss_reduction!r}."
            )
        if self.weight_column is not None and not isinstance(self.weight_column, str):
            problems += UsageError.found_by(
                lambda: feature_columns.check((self.weight_column,), "weight_column", dense=True)
            )
        return problems

    def spec(
        self, mode: str, features: Mapping[str, Any], labels: Any, logits: Any, train: Callable[[Any], Any]
    ) -> EstimatorSpec:
        """The whole graph.

        Args:
            mode: one of `ModeKeys`.
            features: that hold the weights.
            labels: None to predict.
            logits: (batch, units).
            train: loss -> the operation of one step.
        """
        predictions = self.predictions(logits)
        if mode == ModeKeys.PREDICT:
            return EstimatorSpec(mode, predictions=predictions)
        targets = self.targets(labels)
        losses = self.losses(targets, logits)
        weights = self._weights(features, losses)
        loss = _reduced(losses, weights, self.loss_reduction.removeprefix("weighted_"))
        if mode == ModeKeys.TRAIN:
            return EstimatorSpec(mode, predictions=predictions, loss=loss, train_op=train(loss))
        metrics = {"average_loss": _mean(losses, weights), **self.metrics(targets, predictions, weights)}
        return EstimatorSpec(mode, predictions=predictions, loss=loss, eval_metric_ops=metrics)

    @property
    @abstractmethod
    def units(self) -> int:
        """Numbers for each example."""

    @abstractmethod
    def targets(self, labels: Any) -> Any:
        """Labels as numbers, (batch, width)."""

    @abstractmethod
    def losses(self, targets: Any, logits: Any) -> Any:
        """(batch, width)."""

    @abstractmethod
    def predictions(self, logits: Any) -> dict[str, Any]:
        """Name -> tensor, one row an example."""

    @abstractmethod
    def metrics(self, targets: Any, predictions: Mapping[str, Any], weights: Any) -> dict[str, Any]:
        """Name -> mean over the batch."""

    def _weights(self, features: Mapping[str, Any], losses: Any) -> Any:
        tf = process.library()
        if self.weight_column is None:
            return tf.ones_like(losses)
        if not isinstance(self.weight_column, str):
            feature_columns.check_features(features, [self.weight_column])
            return feature_columns.dense_inputs(features, [self.weight_column]) * tf.ones_like(losses)
        if self.weight_column not in features:
            raise ColumnNotFound(
                f"weight_column='{self.weight_column}' is none of the features: {', '.join(map(str, features))}. "
                "Give it in the dict that input_fn returns."
            )
        weights = _columns_of(features[self.weight_column], 1, f"the weights in '{self.weight_column}'")
        return tf.cast(weights, losses.dtype) * tf.ones_like(losses)


@dataclass(frozen=True)
class Classes(Head):
    """One of several classes.

    Attributes:
        n_classes: how many.
        vocabulary: the classes' names, where labels are strings.
    """

    n_classes: int = 2
    vocabulary: Sequence[str] | None = None

    @property
    def units(self) -> int:
        return 1 if self.n_classes == 2 else self.n_classes

    def targets(self, labels: Any) -> Any:
        tf = process.library()
        ids = _columns_of(labels, 1, "labels", "Class ids are one number an example: tf.argmax(one_hot, axis=1).")
        if self.vocabulary:
            ids = self._looked_up(ids)
        elif ids.dtype == tf.string:
            raise UsageError("labels are strings. Give the classes' names: label_vocabulary=['no', 'yes'].")
        elif self.n_classes > 2 and not (ids.dtype.is_integer or ids.dtype.is_bool):
            raise UsageError(
                f"labels of {self.n_classes} classes must be whole numbers. Received: {ids.dtype.name}. "
                "Give tf.cast(labels, tf.int64)."
            )
        ids = tf.cast(ids, tf.float32 if self.n_classes == 2 else tf.int64)
        within = tf.reduce_all((ids >= 0) & (ids <= self.n_classes - 1))
        what = "words of label_vocabulary" if self.vocabulary else f"class ids, 0 to {self.n_classes - 1}"
        with tf.control_dependencies([tf.debugging.Assert(within, [f"labels must be {what}. Received ids:", ids])]):
            return tf.identity(ids)

    def losses(self, targets: Any, logits: Any) -> Any:
        nn = process.library().nn
        if self.n_classes == 2:
            return nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        return nn.sparse_softmax_cross_entropy_with_logits(labels=targets[:, 0], logits=logits)[:, None]

    def predictions(self, logits: Any) -> dict[str, Any]:
        tf = process.library()
        both = tf.concat([tf.zeros_like(logits), logits], axis=1) if self.n_classes == 2 else logits
        ids = tf.argmax(both, axis=1)[:, None]
        names = tf.gather(tf.constant(list(self.vocabulary)), ids) if self.vocabulary else tf.strings.as_string(ids)
        found = {"logits": logits, "probabilities": tf.nn.softmax(both), "class_ids": ids, "classes": names}
        return {**found, "logistic": tf.sigmoid(logits)} if self.n_classes == 2 else found

    def metrics(self, targets: Any, predictions: Mapping[str, Any], weights: Any) -> dict[str, Any]:
        tf = process.library()
        right = tf.equal(tf.cast(predictions["class_ids"], targets.dtype), targets)
        means = {"accuracy": _mean(tf.cast(right, tf.float32), weights)}
        if self.n_classes == 2:
            means["label/mean"] = _mean(targets, weights)
            means["prediction/mean"] = _mean(predictions["logistic"], weights)
        return means

    def problems(self) -> list[str]:
        problems = super().problems()
        if not isinstance(self.n_classes, numbers.Integral) or self.n_classes < 2:
            problems.append(f"n_classes must be a whole number, 2 or more. Received: {self.n_classes!r}.")
        if self.vocabulary is not None and not _are_words(self.vocabulary):
            problems.append(
                f"label_vocabulary must be a list of strings, each once, such as ['no', 'yes']. Received: "
                f"{self.vocabulary!r}. Leave it out for labels that are numbers."
            )
        elif self.vocabulary is not None and len(self.vocabulary) != self.n_classes:
            problems.append(
                f"label_vocabulary must name every class. Received: {len(self.vocabulary)} names and "
                f"n_classes={self.n_classes!r}. Set n_classes={len(self.vocabulary)}."
            )
        return problems

    def _looked_up(self, labels: Any) -> Any:
        tf = process.library()
        if labels.dtype != tf.string:
            raise UsageError(
                f"with label_vocabulary, labels must be strings. Received: {labels.dtype.name}. "
                "Leave label_vocabulary out for labels that are class ids."
            )
        ids = tf.range(self.n_classes, dtype=tf.int64)
        words = tf.lookup.KeyValueTensorInitializer(tf.constant(list(self.vocabulary or ())), ids)
        return tf.lookup.StaticHashTable(words, default_value=-1).lookup(labels)


@dataclass(frozen=True)
class Numbers(Head):
    """Numbers, with the squared error.

    Attributes:
        width: numbers for each example.
    """

    width: int = 1

    @property
    def units(self) -> int:
        return self.width

    def targets(self, labels: Any) -> Any:
        tf = process.library()
        values = _columns_of(labels, self.width, "labels", f"label_dimension={self.width} is their width.")
        if values.dtype == tf.string:
            raise UsageError("labels of a regressor must be numbers. Received: strings. Use a classifier for them.")
        return tf.cast(values, tf.float32)

    def losses(self, targets: Any, logits: Any) -> Any:
        return process.library().math.squared_difference(logits, targets)

    def predictions(self, logits: Any) -> dict[str, Any]:
        return {"predictions": logits}

    def metrics(self, targets: Any, predictions: Mapping[str, Any], weights: Any) -> dict[str, Any]:
        return {"label/mean": _mean(targets, weights), "prediction/mean": _mean(predictions["predictions"], weights)}

    def problems(self) -> list[str]:
        problems = super().problems()
        if not isinstance(self.width, numbers.Integral) or self.width < 1:
            problems.append(f"label_dimension must be a whole number, 1 or more. Received: {self.width!r}.")
        return problems


def _columns_of(given: Any, width: int, what: str, hint: str = "") -> Any:
    """A tensor (batch, width) of what may be (batch,)."""
    tf = process.library()
    if given is None or isinstance(given, (Mapping, list, tuple)):
        raise UsageError(
            f"{what} must be one tensor, to train and to evaluate. Received: {given!r}. "
            "Let input_fn return (features, labels)."
        )
    tensor = tf.convert_to_tensor(given)
    shape = tensor.shape
    if shape.rank is None:
        return tf.reshape(tensor, [-1, width])
    if shape.rank == 1 and width == 1:
        return tensor[:, None]
    if shape.rank != 2 or shape[1] not in (width, None):
        also = "(batch,) or " if width == 1 else ""
        raise UsageError(f"{what} must have the shape {also}(batch, {width}). Received: {shape}. {hint}".rstrip())
    return tf.ensure_shape(tensor, [None, width])


def _reduced(losses: Any, weights: Any, how: str) -> Any:
    tf = process.library()
    total = tf.reduce_sum(losses * weights)
    if how == "sum":
        return total
    counts = {
        "sum_over_batch_size": lambda: tf.size(losses),
        "mean": lambda: tf.reduce_sum(weights),
        "sum_by_nonzero_weights": lambda: tf.math.count_nonzero(weights),
    }
    return tf.math.divide_no_nan(total, tf.cast(counts[how](), losses.dtype))


def _mean(values: Any, weights: Any) -> Any:
    tf = process.library()
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def _are_words(vocabulary: Any) -> bool:
    if not isinstance(vocabulary, (list, tuple)) or not all(isinstance(word, (str, bytes)) for word in vocabulary):
        return False
    return len(set(vocabulary)) == len(vocabulary)
