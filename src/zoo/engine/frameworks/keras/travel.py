"""Keras objects on their way to another process.

Keras writes a model as a configuration, which names classes, and arrays. Classes and functions of the user's own are
looked for by name where it is read, and those of a notebook or main program are not there: so they travel beside it, by
value, and are in Keras' scope of custom objects while it is read.

Owns: packing and unpacking, finding the user's own classes and functions, saying what cannot travel.
Leaves: what is packed (spec), pickling by value (cloudpickle).
"""

from __future__ import annotations

import pickle
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import cloudpickle

from zoo.engine.errors import NotPicklable
from zoo.engine.frameworks.keras import backends

_OWN = ("keras", "tensorflow", "jax", "torch", "numpy", "builtins")
"""Packages whose classes Keras finds by itself."""
_INSTALLED = "zoo"
"""A package whose classes travel by name; importing them makes them known to Keras."""


def pack(thing: Any, name: str = "model") -> bytes:
    """Pickles a Keras model, metric, callback or structure of them, with the user's own classes and functions.

    Args:
        thing: what to pack.
        name: of it, for the error.

    Raises:
        NotPicklable: something in it has no configuration, or does not pickle.
    """
    try:
        custom = custom_objects([thing])
        with backends.without_tensorflow():
            packed: bytes = cloudpickle.dumps((custom, cloudpickle.dumps(thing)))
        if any(not _is_installed(owner) for owner in custom.values()):
            unpack(packed)  # whether a user's own class can be made again shows here, and not first on the ranks
    except Exception as error:  # any class may refuse in its own way
        raise NotPicklable(
            f"{name} cannot travel to another process: {_first_line(error)}\n  A model, layer or metric of your own "
            "class needs get_config(), which says how to make it again. Or give a function that makes the model there: "
            "Estimator.from_keras(model_creator=lambda config: ...)."
        ) from error
    return packed


def unpack(payload: bytes) -> Any:
    """The inverse of `pack`, in a process where Keras has been imported."""
    import keras

    custom, pickled = pickle.loads(payload)  # noqa: S301  packed by this job's own driver
    with keras.saving.custom_object_scope(custom), warnings.catch_warnings():
        # an optimizer that had no memory when it was packed: Keras says that it finds none
        warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
        return pickle.loads(pickled)  # noqa: S301  likewise


def check(name: str, value: Any) -> None:
    """Refuses a value that does not pickle.

    Args:
        name: of it, for the error.
        value: part of a job.

    Raises:
        NotPicklable: it does not.
    """
    try:
        cloudpickle.dumps(value)
    except Exception as error:  # any class may refuse in its own way
        raise NotPicklable(
            f"{name} ({type(value)}) cannot travel to another process: {error}. Make what it holds inside a creator "
            "function, model_creator(config), which runs on the worker."
        ) from error


def custom_objects(things: Iterable[Any]) -> dict[str, Any]:
    """Registered name -> class or function, of everything below `things` that is not Keras' own."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for thing in things:
        _collect(thing, found, seen)
    return found


def _collect(thing: Any, found: dict[str, Any], seen: set[int]) -> None:
    import keras

    stack = [thing]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        owner = item if isinstance(item, type | types.FunctionType) else type(item)
        if _is_custom(owner):
            found[keras.saving.get_registered_name(owner)] = owner
        stack.extend(_parts(item))


def _is_custom(owner: Any) -> bool:
    """Whether Keras would look for it by name, and not among its own."""
    if not isinstance(owner, types.FunctionType) and not hasattr(owner, "get_config"):
        return False
    package = (getattr(owner, "__module__", None) or "").partition(".")[0]
    return package not in _OWN and owner.__name__ != "<lambda>"  # Keras keeps a lambda's code itself


def _is_installed(owner: Any) -> bool:
    return bool((owner.__module__ or "").partition(".")[0] == _INSTALLED)


def _parts(item: Any) -> Iterator[Any]:
    """What a layer, a model, a loss or a structure of them refers to, as far as Keras' configurations do."""
    import keras

    if isinstance(item, Mapping):
        yield from item.values()
    elif isinstance(item, list | tuple | set):
        yield from item
    elif isinstance(item, keras.Layer):
        yield from item._flatten_layers(include_self=False)
        # Keras puts a wrapper around a layer's own build() beside it
        yield from (part for name, part in vars(item).items() if _may_be_custom(part) and not hasattr(type(item), name))
        if getattr(item, "compiled", False):
            yield from vars(item).get("_compile_config", keras.Layer).config.values()
    elif hasattr(item, "get_config"):
        yield from (part for part in getattr(item, "__dict__", {}).values() if _may_be_custom(part))


def _may_be_custom(part: Any) -> bool:
    return isinstance(part, types.FunctionType | list | tuple | dict) or hasattr(part, "get_config")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
