"""The formulas of losses, each once, for the tensors of Keras' backends and for those of torch.

A formula is ``f(xp, y_true, y_pred, options) -> loss of each row``: `xp` has the operations. For Keras it is
``keras.ops``; for torch `TorchOps`, which needs no import, since torch's tensors have them as methods.

Owns: formulas, shapes that fit each other.
Leaves: averaging over rows (objectives), names and arguments (objectives).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from zoo.engine.errors import UsageError

EPSILON = 1e-7
Shape: TypeAlias = "tuple[int | None, ...]"
Options: TypeAlias = Mapping[str, Any]
Formula: TypeAlias = "Callable[[Any, Any, Any, Options], Any]"


class TorchOps:
    """Operations of ``keras.ops`` on torch tensors, those that the formulas use."""

    abs = staticmethod(lambda x: x.abs())
    log = staticmethod(lambda x: x.log())
    square = staticmethod(lambda x: x.square())
    sqrt = staticmethod(lambda x: x.sqrt())
    mean = staticmethod(lambda x, axis=None, keepdims=False: x.mean(axis, keepdim=keepdims))
    sum = staticmethod(lambda x, axis=None, keepdims=False: x.sum(axis, keepdim=keepdims))
    clip = staticmethod(lambda x, low, high: x.clamp(low, high))
    logical_and = staticmethod(lambda x, y: x & y)
    zeros_like = staticmethod(lambda x: x.new_zeros(x.shape))
    ones_like = staticmethod(lambda x: x.new_ones(x.shape))
    expand_dims = staticmethod(lambda x, axis: x.unsqueeze(axis))
    squeeze = staticmethod(lambda x, axis: x.squeeze(axis))

    @staticmethod
    def maximum(x: Any, y: float) -> Any:
        """The larger of each entry and a number."""
        return x.clamp(min=y)

    @staticmethod
    def where(condition: Any, x: Any, y: Any) -> Any:
        """Entries of `x` where the condition holds, else of `y`, a tensor or a number."""
        other = y if hasattr(y, "where") else x.new_full((), y)
        return x.where(condition, other.to(x.dtype))

    @staticmethod
    def cast(x: Any, dtype: Any) -> Any:
        """As whole numbers, or as the dtype of another tensor."""
        return x.long() if dtype == "int32" else x.to(dtype)

    @staticmethod
    def take_along_axis(x: Any, index: Any, axis: int) -> Any:
        """The entry of each row whose number is in `index`."""
        return x.gather(axis, index.long())

    @staticmethod
    def take(x: np.ndarray, index: Any) -> Any:
        """Entries of a vector of numpy, as a tensor like `index`."""
        flat = index.new_tensor(x, dtype=None).float() if not hasattr(x, "gather") else x
        return flat[index.long()]

    @staticmethod
    def tensor(x: np.ndarray, like: Any) -> Any:
        """An array as a tensor beside another one."""
        return like.new_tensor(x)


def per_row(xp: Any, values: Any, averages: bool) -> Any:
    """One number for each row: the mean of its entries, or their sum."""
    axes = tuple(range(1, len(values.shape)))
    if not axes:
        return values
    return xp.mean(values, axis=axes) if averages else xp.sum(values, axis=axes)


def aligned(xp: Any, y_true: Any, y_pred: Any) -> Any:
    """Targets with the axes of the outputs, in their dtype.

    Raises:
        UsageError: they do not fit.
    """
    problem = entries_differ(tuple(y_true.shape)[1:], tuple(y_pred.shape)[1:])
    if problem:
        raise UsageError(problem)
    if len(y_true.shape) > len(y_pred.shape):
        y_true = xp.squeeze(y_true, -1)
    elif len(y_true.shape) < len(y_pred.shape):
        y_true = xp.expand_dims(y_true, -1)
    return xp.cast(y_true, y_pred.dtype)


def entries_differ(true: Shape, pred: Shape) -> str:
    """Why labels of one shape do not fit outputs of another, without the batch; empty where they do."""
    if _fits(true, pred) or _fits(true, (*pred, 1)) or _fits((*true, 1), pred):
        return ""
    return (
        f"the loss needs labels of the shape of the model's output. Without the batch, labels: {_told(true)}; output: "
        f"{_told(pred)}. For class numbers use sparse_categorical_crossentropy."
    )


def classes_differ(true: Shape, pred: Shape) -> str:
    """The same for labels that are class numbers."""
    if len(pred) and (_fits(true, pred[:-1]) or _fits(true, (*pred[:-1], 1))) and pred[-1] != 1:
        return ""
    return (
        "the loss needs class numbers as labels, one for each vector of scores. Without the batch, labels: "
        f"{_told(true)}; output: {_told(pred)}. For one-hot labels use categorical_crossentropy, for one output "
        "binary_crossentropy."
    )


def pairs_differ(true: Shape, pred: Shape) -> str:
    """The same for outputs that are pairs (positive, negative)."""
    if pred and pred[0] in (2, None):
        return ""
    return (
        "rank_hinge needs outputs of the shape (rows, 2, ...): in each row the score of the positive and that of the "
        f"negative, as TimeDistributed gives them for inputs of pairs. Received: (rows, {', '.join(map(str, pred))})"
    )


def _fits(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def _told(shape: Shape) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _elementwise(function: Callable[[Any, Any, Any, Options], Any]) -> Formula:
    """A formula of one number for each entry of the output."""

    def formula(xp: Any, y_true: Any, y_pred: Any, options: Options) -> Any:
        values = function(xp, aligned(xp, y_true, y_pred), y_pred, options)
        return per_row(xp, values, options.get("size_average", True))

    return formula


def _percentage(xp: Any, t: Any, p: Any, options: Options) -> Any:
    return 100.0 * xp.abs(t - p) / xp.maximum(xp.abs(t), EPSILON)


def _logarithmic(xp: Any, t: Any, p: Any, options: Options) -> Any:
    return xp.square(xp.log(xp.maximum(p, EPSILON) + 1.0) - xp.log(xp.maximum(t, EPSILON) + 1.0))


def _binary(xp: Any, t: Any, p: Any, options: Options) -> Any:
    p = xp.clip(p, EPSILON, 1.0 - EPSILON)
    values = -t * xp.log(p) - (1.0 - t) * xp.log(1.0 - p)
    weights = options.get("weights")
    return values if weights is None else values * tensor_of(xp, weights, values)


def _cosine(xp: Any, t: Any, p: Any, options: Options) -> Any:
    return -_unit(xp, t) * _unit(xp, p)


def _unit(xp: Any, x: Any) -> Any:
    return x / xp.sqrt(xp.maximum(xp.sum(xp.square(x), axis=-1, keepdims=True), 1e-12))


def _over_classes(function: Callable[[Any, Any, Any], Any]) -> Formula:
    """A formula whose entries are summed over the last axis, and averaged over the others."""

    def formula(xp: Any, y_true: Any, y_pred: Any, options: Options) -> Any:
        return per_row(xp, xp.sum(function(xp, aligned(xp, y_true, y_pred), y_pred), axis=-1), True)

    return formula


def _divergence(xp: Any, t: Any, p: Any) -> Any:
    t, p = xp.clip(t, EPSILON, 1.0), xp.clip(p, EPSILON, 1.0)
    return t * (xp.log(t) - xp.log(p))


def _categorical(xp: Any, t: Any, p: Any) -> Any:
    return -t * xp.log(xp.clip(p, EPSILON, 1.0))


def _sparse(xp: Any, y_true: Any, y_pred: Any, options: Options) -> Any:
    """Cross-entropy with class numbers. A label that is no class makes it NaN; one of `padding_value` counts not."""
    problem = classes_differ(tuple(y_true.shape)[1:], tuple(y_pred.shape)[1:])
    if problem:
        raise UsageError(problem)
    given = xp.squeeze(y_true, -1) if len(y_true.shape) == len(y_pred.shape) else y_true
    labels = xp.cast(given, "int32")
    classes = y_pred.shape[-1]
    index = labels - (0 if options.get("zero_based_label", True) else 1)
    inside = xp.clip(index, 0, classes - 1)
    logs = y_pred if options.get("log_prob_as_input") else xp.log(xp.clip(y_pred, EPSILON, 1.0))
    own = -xp.squeeze(xp.take_along_axis(logs, xp.expand_dims(inside, -1), -1), -1)
    whole = xp.cast(labels, y_pred.dtype) == xp.cast(given, y_pred.dtype)
    own = xp.where(xp.logical_and(index == inside, whole), own, math.nan)
    padded = labels == options.get("padding_value", -1)
    weights = options.get("weights")
    scale = xp.ones_like(own) if weights is None else weights_of(xp, weights, inside, own)
    scale = xp.where(padded, xp.zeros_like(own), scale)
    rows = per_row(xp, xp.where(padded, xp.zeros_like(own), own) * scale, False)
    if not options.get("size_average", True):
        return rows
    return rows / xp.maximum(xp.mean(per_row(xp, scale, False)), EPSILON)


def tensor_of(xp: Any, array: Any, like: Any) -> Any:
    """An array of numpy as a tensor beside another one."""
    values = np.asarray(array, np.float32)
    return xp.tensor(values, like) if hasattr(xp, "tensor") else xp.convert_to_tensor(values, dtype=like.dtype)


def weights_of(xp: Any, weights: Any, index: Any, like: Any) -> Any:
    """The weight of each label's class."""
    return xp.take(tensor_of(xp, weights, like), index)


def _ranked(xp: Any, y_true: Any, y_pred: Any, options: Options) -> Any:
    problem = pairs_differ((), tuple(y_pred.shape)[1:])
    if problem:
        raise UsageError(problem)
    return per_row(xp, xp.maximum(options["margin"] - y_pred[:, 0] + y_pred[:, 1], 0.0), True)


FORMULAS: Mapping[str, Formula] = {
    "mean_squared_error": _elementwise(lambda xp, t, p, o: xp.square(t - p)),
    "mean_absolute_error": _elementwise(lambda xp, t, p, o: xp.abs(t - p)),
    "mean_absolute_percentage_error": _elementwise(_percentage),
    "mean_squared_logarithmic_error": _elementwise(_logarithmic),
    "binary_crossentropy": _elementwise(_binary),
    "cosine_proximity": _elementwise(_cosine),
    "hinge": _elementwise(lambda xp, t, p, o: xp.maximum(o["margin"] - t * p, 0.0)),
    "squared_hinge": _elementwise(lambda xp, t, p, o: xp.square(xp.maximum(o["margin"] - t * p, 0.0))),
    "poisson": _elementwise(lambda xp, t, p, o: p - t * xp.log(p + EPSILON)),
    "kullback_leibler_divergence": _over_classes(_divergence),
    "categorical_crossentropy": _over_classes(_categorical),
    "sparse_categorical_crossentropy": _sparse,
    "rank_hinge": _ranked,
}

CHECKS: Mapping[str, Callable[[Shape, Shape], str]] = {
    "sparse_categorical_crossentropy": classes_differ,
    "rank_hinge": pairs_differ,
}
"""Of those whose labels are not of the output's shape."""
