"""Optimizers by name, as objects or as functions that make them, and the step that they take.

Owns: which ones are taken, and the operation of one step.
Leaves: what an optimizer does with gradients (it itself).
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.tensorflow import process

NAMES = {  # name: the class in tf.compat.v1.train
    "Adagrad": "AdagradOptimizer",
    "Adam": "AdamOptimizer",
    "Ftrl": "FtrlOptimizer",
    "RMSProp": "RMSPropOptimizer",
    "SGD": "GradientDescentOptimizer",
}
_ADVICE = (
    f"Give a name ({', '.join(NAMES)}), an object such as tf.compat.v1.train.AdamOptimizer(0.001), "
    "or a function without arguments that makes one."
)


def check(optimizer: Any) -> None:
    """Refuses what is no optimizer, as far as that can be told before there is a graph.

    Raises:
        UsageError: an unknown name, or an object that neither has ``minimize`` nor can be called.
    """
    if isinstance(optimizer, str):
        if optimizer not in NAMES:
            near = difflib.get_close_matches(optimizer.lower(), [name.lower() for name in NAMES], n=1, cutoff=0.5)
            hint = [f" Did you mean '{name}'?" for name in NAMES if name.lower() in near]
            raise UsageError(f"there is no optimizer named {optimizer!r}.{''.join(hint)} {_ADVICE}")
    elif not _minimizes(optimizer) and not callable(optimizer):
        raise UsageError(
            f"an optimizer must have minimize(loss, global_step=...); those of Keras 3 have not. "
            f"Received: {optimizer!r}. {_ADVICE}"
        )


def made(optimizer: Any, learning_rate: float) -> Any:
    """An optimizer for the current graph.

    One that was given as an object is copied, as optimizers keep what they have made in a graph: the user's own stays
    picklable. One that has been used already cannot be copied, and is taken as it is.

    Args:
        optimizer: a name, an object, or a function that makes one.
        learning_rate: where it is a name.

    Raises:
        UsageError: the function made something else.
    """
    if isinstance(optimizer, str):
        return _averaging(getattr(process.library().compat.v1.train, NAMES[optimizer])(learning_rate))
    if _minimizes(optimizer):
        try:
            return _averaging(copy.deepcopy(optimizer))
        except TypeError:
            return _averaging(optimizer)
    result = optimizer()
    if not _minimizes(result):
        raise UsageError(
            f"the function given as optimizer must return an object with minimize(loss, global_step=...). "
            f"Received from {optimizer!r}: {result!r}. {_ADVICE}"
        )
    return _averaging(result)


def train_op(loss: Any, steps: Sequence[tuple[Any, Sequence[Any]]]) -> Any:
    """One step; moving averages are updated before it.

    Args:
        loss: one number.
        steps: (optimizer, its variables). A single optimizer has all variables of the graph.
    """
    tf = process.library()
    v1 = tf.compat.v1
    global_step = v1.train.get_or_create_global_step()
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        if len(steps) == 1:
            return steps[0][0].minimize(loss, global_step=global_step)
        parts = [optimizer.minimize(loss, var_list=list(variables)) for optimizer, variables in steps]
    with tf.control_dependencies(parts):
        return v1.assign_add(global_step, 1).op


def _averaging(optimizer: Any) -> Any:
    """The optimizer, with gradients that ranks average."""
    from zoo.engine.frameworks.graph.marks import ZooOptimizer

    plain = isinstance(optimizer, process.library().compat.v1.train.Optimizer) and not isinstance(
        optimizer, ZooOptimizer
    )
    return ZooOptimizer(optimizer) if plain else optimizer


def _minimizes(candidate: Any) -> bool:
    return not isinstance(candidate, type) and callable(getattr(candidate, "minimize", None))
