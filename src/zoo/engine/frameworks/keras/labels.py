"""Labels that a loss does not take, by their values.

A loss may say why: by a method `check_values(y_true, shape of the output without the batch)`, whose text is empty where
nothing is wrong. Those of `zoo.pipeline.api.keras.objectives` have it; Keras' own have not.

Owns: which labels are for which loss of a model.
Leaves: what is wrong with them (the losses), when to ask (the front end: of arrays before a run; replicas: where a loss
is no number).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def explains(model: Any) -> bool:
    """Whether one of the model's losses can say what is wrong with labels."""
    return any(hasattr(loss, "check_values") for loss in losses_of(model))


def losses_of(model: Any) -> list[Any]:
    """The losses of a compiled model, in the order of its outputs; where it has one for all, only this one."""
    loss, names = getattr(model, "loss", None), getattr(model, "output_names", None) or ()
    if isinstance(loss, Mapping):
        return [loss[name] for name in (names if set(names) == set(loss) else sorted(loss))]
    return list(loss) if isinstance(loss, list | tuple) else [loss]


def mistakes(model: Any, labels: Sequence[np.ndarray], shapes: Sequence[tuple[int | None, ...]]) -> list[str]:
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
        text = loss.check_values(array, tuple(shape)) if hasattr(loss, "check_values") else ""
        if text:
            found.append(f"label {number}: {text}" if len(losses) > 1 else text)
    return found
