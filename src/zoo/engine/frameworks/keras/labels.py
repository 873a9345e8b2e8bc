"""Labels that a loss does not take, by their values.

A loss may say why: by a method `check_values(y_true, shape of the output without the batch)`, whose text is empty
where nothing is wrong. Those of `zoo.pipeline.api.keras.objectives` have it, and make NaN of such labels. Of Keras' own
the one that takes class numbers is known here: on JAX it learns nothing from a class that is not there, and says
nothing either.

Owns: which labels are for which loss of a model, Keras' class numbers.
Leaves: what is wrong with other labels (the losses), when to ask (the front end: of arrays before a run; replicas).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

Shape = tuple[int | None, ...]
_CLASSES = ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy")


def explains(model: Any) -> bool:
    """Whether something can be said of labels that one of the model's losses does not take."""
    return any(_check_of(loss) is not None for loss in losses_of(model))


def silent(model: Any) -> bool:
    """Whether one of the model's losses may be a number although labels are none for it."""
    return any(_takes_classes(loss) for loss in losses_of(model))


def losses_of(model: Any) -> list[Any]:
    """The losses of a compiled model, in the order of its outputs; where it has one for all, only this one."""
    loss, names = getattr(model, "loss", None), getattr(model, "output_names", None) or ()
    if isinstance(loss, Mapping):
        return [loss[name] for name in (names if set(names) == set(loss) else sorted(loss))]
    return list(loss) if isinstance(loss, list | tuple) else [loss]


def mistakes(model: Any, labels: Sequence[np.ndarray], shapes: Sequence[Shape]) -> list[str]:
    """Why labels are none for the losses of a compiled model; nothing where their numbers differ.

    Args:
        model: the model.
        labels: of each output; where outputs have names of their own, in the order of these.
        shapes: of the outputs, without the batch.
    """
    losses = losses_of(model)
    if not len(losses) == len(labels) == len(shapes):
        return []
    found = []
    for number, (loss, array, shape) in enumerate(zip(losses, labels, shapes, strict=True)):
        check = _check_of(loss)
        if check is not None and (text := check(array, tuple(shape))):
            found.append(f"label {number}: {text}" if len(losses) > 1 else text)
    return found


def not_whole(labels: np.ndarray) -> str:
    """Why labels are no class numbers, wherever those begin; empty where they are."""
    if labels.dtype.kind not in "biuf":
        return f"labels must be class numbers. Received an array of {labels.dtype}: {labels.reshape(-1)[:3]} ..."
    if labels.dtype.kind == "f" and (broken := labels[labels != np.floor(labels)]).size:  # NaN among them
        return f"labels must be class numbers, which are whole. Received: {', '.join(map(str, broken[:3]))}"
    return ""


def not_among(labels: np.ndarray, classes: int | None, first: int) -> str:
    """Why class numbers are not those of an output; empty where they are, or its classes are not known."""
    if not labels.size or classes is None or first <= labels.min() <= labels.max() < first + classes:
        return ""
    return (
        f"the output has {classes} classes, so labels count from {first} to {first + classes - 1}. Received labels "
        f"from {labels.min()} to {labels.max()}."
    )


def _check_of(loss: Any) -> Callable[[np.ndarray, Shape], str] | None:
    if hasattr(loss, "check_values"):
        return loss.check_values  # type: ignore[no-any-return]
    return partial(_no_classes, getattr(loss, "ignore_class", None)) if _takes_classes(loss) else None


def _takes_classes(loss: Any) -> bool:
    """Whether it is Keras' own loss of class numbers: by name, so that Keras need not be there yet."""
    if isinstance(loss, str):
        return loss in _CLASSES
    kind = loss if hasattr(loss, "__name__") else type(loss)
    return kind.__name__ in _CLASSES and kind.__module__.partition(".")[0] == "keras"


def _no_classes(ignored: int | None, y_true: np.ndarray, y_pred: Shape) -> str:
    """Why labels are no classes of the output's last axis; empty too where its classes lie along another one."""
    expected, found = y_pred[:-1], y_true.shape[1:]
    if len(found) == len(y_pred):
        expected = (*expected, 1)
    if len(found) != len(expected) or any(want not in (None, size) for size, want in zip(found, expected, strict=True)):
        return ""
    if text := not_whole(y_true):
        return text
    text = not_among(y_true if ignored is None else y_true[y_true != ignored], y_pred[-1], 0)
    return f"{text} Number them from 0, or give the model as many outputs as there are classes." if text else ""
