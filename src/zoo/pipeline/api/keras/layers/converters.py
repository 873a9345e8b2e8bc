"""Values of Keras 1 arguments as Keras 3 takes them; each refuses what it cannot take.

Owns: orderings, borders, sizes, activations.
Leaves: initial values (initializations), penalties (regularizers), which argument has which converter (words).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.words import by_name, refuse
from zoo.pipeline.api.library import library

keras = library()
ops = keras.ops
registered = keras.saving.register_keras_serializable("zoo")

ORDERINGS = {"th": "channels_first", "tf": "channels_last"}


@registered
def hard_sigmoid(x: Any) -> Any:
    """Keras 1's: 0.2 x + 0.5, within 0 ... 1; Keras 3's has the slope 1/6."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@registered
def softmin(x: Any) -> Any:
    """Softmax of -x, over the last axis."""
    return ops.softmax(-x)


_ACTIVATIONS = {"hard_sigmoid": hard_sigmoid, "softmin": softmin}


def ordering(value: Any) -> str:
    """'th' (channels first), 'tf' (channels last)."""
    if value not in ORDERINGS:
        raise refuse("'th' (channels first) or 'tf' (channels last)", value)
    return ORDERINGS[value]


def data_format(value: Any) -> str:
    """'channels_first', 'channels_last'."""
    if value not in ORDERINGS.values():
        raise refuse("'channels_first' or 'channels_last'", value)
    return str(value)


def border(value: Any) -> str:
    """'valid', 'same'."""
    if value not in ("valid", "same"):
        raise refuse("'valid' or 'same'", value)
    return str(value)


def whole(least: int, expected: str) -> Callable[[Any], int]:
    """A converter of integers from `least` on."""

    def convert(value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            raise refuse(expected, value) from None
        if number < least or isinstance(value, bool):
            raise refuse(expected, value)
        return number

    return convert


count = whole(1, "a whole number of at least 1")
index = whole(-(2**63), "a whole number")


def counts(value: Any) -> int | tuple[int, ...]:
    """A count, or one for each axis."""
    return tuple(count(one) for one in value) if isinstance(value, list | tuple) else count(value)


def sizes(value: Any) -> tuple[int, ...]:
    """As `counts`, always a tuple."""
    converted = counts(value)
    return (converted,) if isinstance(converted, int) else converted


def optional_counts(value: Any) -> int | tuple[int, ...] | None:
    """Counts, or None."""
    return None if value is None else counts(value)


def shape(value: Any) -> Any:
    """Of an input without the batch; or a list of them, of several inputs."""
    if value is None:
        return None
    if isinstance(value, list | tuple) and value and all(isinstance(one, list | tuple) for one in value):
        return [shape(one) for one in value]
    try:
        return tuple(None if size is None else count(size) for size in value)
    except (TypeError, UsageError):
        raise refuse("a tuple of sizes without the batch, where a size may be None", value) from None


def shape_with_batch(value: Any) -> Any:
    """A tuple of sizes, the batch's too or not; None: any."""
    return None if value is None else tuple(None if size is None else count(size) for size in value)


def rate(value: Any) -> float:
    """A fraction of entries that are dropped."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise refuse("at least 0 and below 1", value)
    return float(value)


def activation(value: Any) -> Any:
    """By name, where 'hard_sigmoid' is Keras 1's; or a function of a tensor."""
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        known = {name: getattr(keras.activations, name) for name in dir(keras.activations) if name[0] in _LOWER}
        for name in ("get", "serialize", "deserialize"):
            del known[name]
        return by_name(value, known | _ACTIVATIONS)
    raise refuse("the name of an activation, or a function of a tensor", value)


_LOWER = "abcdefghijklmnopqrstuvwxyz"


def inner_layer(value: Any) -> Any:
    """A layer inside another."""
    if not isinstance(value, keras.layers.Layer):
        raise refuse("a layer", value)
    return value
