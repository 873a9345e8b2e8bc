"""Objects as plain text in a saved stage, as far as they are values; the rest is code.

Owns: values of zoo's own frozen dataclasses and of Keras <-> JSON; setting aside what is neither.
Leaves: files, and whether code may be read (files).
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.nnframes.criteria import is_of

Json = dict[str, Any]


def describe(value: Any, aside: dict[str, Any]) -> Json:
    """A value as JSON.

    Args:
        value: anything.
        aside: gets the objects that only code can make again, by a name that the JSON mentions.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [describe(one, aside) for one in value]}
    if _is_value(type(value)):
        fields = {field.name: describe(getattr(value, field.name), aside) for field in dataclasses.fields(value)}
        return {"class": _name(value), "fields": fields}
    if (arguments := _arguments(value)) is not None:
        return {"made": _name(value), "arguments": {name: describe(one, aside) for name, one in arguments.items()}}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": value.tolist(), "dtype": value.dtype.name}
    if (
        is_of(value, "keras.")
        and hasattr(value, "get_config")
        and type(value).__module__.startswith(("keras.", "zoo."))
    ):
        from zoo.pipeline.api.library import library

        return {"keras": library().saving.serialize_keras_object(value)}
    name = f"object-{len(aside)}"
    aside[name] = value
    return {"code": name}


def restore(told: Json, aside: Mapping[str, Any]) -> Any:
    """The inverse.

    Raises:
        UsageError: it names a class that is no value of zoo's, or is nothing that `describe` writes.
    """
    if "value" in told:
        return told["value"]
    if "list" in told:
        return [restore(one, aside) for one in told["list"]]
    if "tuple" in told:
        return tuple(restore(one, aside) for one in told["tuple"])
    if "code" in told:
        return aside[told["code"]]
    if "array" in told:
        return np.asarray(told["array"], told["dtype"])
    if "keras" in told:
        from zoo.pipeline.api.library import library

        return library().saving.deserialize_keras_object(told["keras"], safe_mode=True)
    if "made" in told:
        kind = _class(told["made"], lambda kind: hasattr(kind, "apply") or hasattr(kind, "loss"))
        return kind(**{name: restore(one, aside) for name, one in told["arguments"].items()})
    return _made(told, aside)


def _name(value: Any) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


def _arguments(value: Any) -> Mapping[str, Any] | None:
    """What a criterion of BigDL's, or a chain of preprocessings, is made with; None of other things."""
    if not type(value).__module__.startswith("zoo.") or "<" in type(value).__qualname__:
        return None
    if hasattr(value, "transformers") and hasattr(value, "apply"):
        return {"transformers": list(value.transformers)}
    found = getattr(value, "arguments", None)
    return found if hasattr(value, "loss") and isinstance(found, dict) else None


def _class(told: Any, fits: Callable[[type], bool]) -> type:
    """The class of zoo's that a file names.

    Raises:
        UsageError: another package's, or one that is not to be made by a file.
    """
    module, _, name = str(told).partition(":")
    kind = getattr(importlib.import_module(module), name, None) if module.startswith("zoo.") else None
    if not isinstance(kind, type) or not fits(kind):
        raise UsageError(f"a saved stage names {told!r}, which is no value of zoo's. It was altered.")
    return kind


def _made(told: Json, aside: Mapping[str, Any]) -> Any:
    kind = _class(told.get("class"), _is_value)
    fields = {name: restore(one, aside) for name, one in told["fields"].items()}
    taken = {field.name for field in dataclasses.fields(kind) if field.init}
    if kind.__dataclass_params__.init:  # type: ignore[attr-defined]
        return kind(**{name: value for name, value in fields.items() if name in taken})
    made = object.__new__(kind)  # a class with a constructor of its own
    for field, value in fields.items():
        object.__setattr__(made, field, value)
    return made


def _is_value(kind: type) -> bool:
    return kind.__module__.startswith("zoo.") and "<" not in kind.__qualname__ and dataclasses.is_dataclass(kind)
