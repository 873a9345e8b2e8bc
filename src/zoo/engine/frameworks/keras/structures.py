"""From columns to what a Keras model and its loss take.

A model with one input takes the one array; one with several takes a list in the order of the columns, or a dict where
its inputs are one, by the columns' names (or in their order, where the names are others). The target likewise.

Owns: that, weights of classes, a description by which a model is built elsewhere, and the mistakes that numbers and
names show.
Leaves: shapes (Keras itself says which do not fit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.contracts import Batch, Json
from zoo.engine.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class Data:
    """A batch in Keras' words.

    Attributes:
        x: an array, or a list or dict of arrays.
        y: likewise; None without labels.
        weights: one number for each row, or None.
    """

    x: Any
    y: Any = None
    weights: Any = None


@dataclass(frozen=True, slots=True)
class Structure:
    """How the columns of a batch make the arguments of a model.

    Attributes:
        features: the columns' names; empty where nobody has named them.
        inputs: the keys of the model's input where it is a dict, else empty.
        labels: the names of the targets' columns.
        outputs: the keys of the model's output where it is a dict, else empty.
        weighted: whether the last label is the weight of its row.
        class_weight: class -> weight; empty for none.
    """

    features: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    weighted: bool = False
    class_weight: Mapping[int, float] | None = None

    def data(self, batch: Batch) -> Data:
        """A batch in Keras' words."""
        labels, weights = batch.labels, batch.row_weights
        if self.weighted and labels:
            labels, weights = labels[:-1], np.asarray(labels[-1])
        y = _arranged(labels, self.labels, self.outputs)
        if self.class_weight and y is not None:
            by_class = _weights_of(y, self.class_weight)
            weights = by_class if weights is None else weights * by_class
        return Data(_arranged(batch.features, self.features, self.inputs), y, weights)


def described(x: Any) -> Json:
    """What a model was given, without rows: `zeros_like` makes one row of it."""
    if isinstance(x, Mapping):
        return {"dict": {key: described(value) for key, value in x.items()}}
    if isinstance(x, list):
        return {"list": [described(value) for value in x]}
    return {"dtype": str(x.dtype), "shape": list(x.shape[1:])}


def told(arrays: Any) -> str:
    """Element types and shapes in words: ``float32 (32, 4), int64 (32,)``."""
    if isinstance(arrays, Mapping):
        return "{" + ", ".join(f"{key}: {told(value)}" for key, value in arrays.items()) + "}"
    if isinstance(arrays, list):
        return ", ".join(map(told, arrays))
    return "nothing" if arrays is None else f"{arrays.dtype} {tuple(arrays.shape)}"


def zeros_like(description: Json) -> Any:
    """One row of zeros in the structure that `described` saw."""
    if "dict" in description:
        return {key: zeros_like(value) for key, value in description["dict"].items()}
    if "list" in description:
        return [zeros_like(value) for value in description["list"]]
    return np.zeros((1, *description["shape"]), description["dtype"])


def _arranged(arrays: Sequence[Any], names: Sequence[str], keys: Sequence[str]) -> Any:
    """None for nothing, the one array, a list, or a dict with `keys`."""
    if len(arrays) == 1 and isinstance(arrays[0], Mapping):  # a loader made it so
        return arrays[0]
    if keys and arrays:
        if len(keys) != len(arrays):
            raise UsageError(
                f"the model takes {len(keys)} named arrays ({', '.join(keys)}). Received {len(arrays)} columns: "
                f"{', '.join(names) or 'without names'}."
            )
        own = names if set(names) == set(keys) else keys
        return dict(zip(own, arrays, strict=True))
    if len(arrays) > 1:
        return list(arrays)
    return arrays[0] if arrays else None


def _weights_of(y: Any, class_weight: Mapping[int, float]) -> np.ndarray:
    if not isinstance(y, np.ndarray):
        raise UsageError("class_weight is for models with one output. Give each row its weight in a column of its own.")
    classes = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y), -1)[:, 0]
    weights = np.ones(len(classes), np.float32)
    whole = classes.astype(np.int64)
    if not np.array_equal(whole, classes):
        raise DataError(f"class_weight needs labels that are whole numbers or one-hot. Received: {y[:3]!r} ...")
    for label, weight in class_weight.items():
        weights[whole == label] = weight
    return weights
