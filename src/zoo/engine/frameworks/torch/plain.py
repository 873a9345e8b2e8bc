"""State of torch schedulers as plain JSON values, and back.

JSON has no infinities, no tuples, no counters and no keys but text; schedulers use all of them. Each becomes a dict
with one key that starts with ``$``. Functions are left out: whoever makes the scheduler anew makes them anew.

Owns: the round trip. Leaves: where the values are kept (checkpoint).
"""

from __future__ import annotations

import math
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from zoo.engine.contracts import Json
from zoo.engine.errors import UsageError

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)


def to_plain(value: object, name: str = "scheduler") -> Json:
    """`value` in plain JSON values.

    Args:
        value: None, bool, numbers, text, and lists, tuples, dicts and Counters of them.
        name: where the value was found, for the error.

    Raises:
        UsageError: something else is in it; the message says where.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.ndim == 0):
        return to_plain(value.item(), name)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, list):
        return [to_plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": to_plain(list(value), name)}
    if isinstance(value, dict):
        return _dict_to_plain(value, name)
    raise UsageError(
        f"{name} holds a {type(value).__name__}, which a checkpoint without pickle cannot. Keep numbers and text in "
        f"the scheduler, or leave this out of its state_dict(). Received: {value!r}"
    )


def _dict_to_plain(value: dict[Any, Any], name: str) -> Json:
    kept = {k: to_plain(v, f"{name}.{k}") for k, v in value.items() if not isinstance(v, FUNCTIONS)}
    if isinstance(value, Counter):
        return {"$counter": [[to_plain(k, name), v] for k, v in kept.items()]}
    if all(isinstance(k, str) and not k.startswith("$") for k in kept):
        return kept
    return {"$dict": [[to_plain(k, name), v] for k, v in kept.items()]}


def from_plain(value: Json) -> Any:
    """The inverse of `to_plain`."""
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, content), *_ = value.items()
        if key in _READERS:
            return _READERS[key](content)
    return {k: from_plain(v) for k, v in value.items()}


def _pairs(content: Json) -> dict[Any, Any]:
    return {from_plain(k): from_plain(v) for k, v in content}


_READERS: dict[str, Callable[[Json], Any]] = {
    "$float": float,
    "$tuple": lambda content: tuple(from_plain(content)),
    "$counter": lambda content: Counter(_pairs(content)),
    "$dict": _pairs,
}
