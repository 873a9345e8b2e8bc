"""Objects on their way to another process.

Owns: pickling by value (cloudpickle), and naming the one attribute that cannot be pickled.
Leaves: what travels (spec).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import cloudpickle
from torch import nn

from zoo.engine.errors import NotPicklable

_DEEPEST = 20


def pack(things: Mapping[str, Any]) -> bytes:
    """Pickles named objects together, so that what they share stays shared.

    Raises:
        NotPicklable: naming the smallest attribute that does not pickle.
    """
    try:
        payload: bytes = cloudpickle.dumps(dict(things))
    except Exception as error:  # any class may refuse in its own way
        path, culprit = find_culprit(things)
        raise NotPicklable(
            f"{path} ({type(culprit)}) cannot travel to another process: {error}. Make it inside a creator function, "
            f"model=lambda config: MyModel(...), which runs on the worker, or keep it out of {path.partition('.')[0]}."
        ) from error
    return payload


def find_culprit(things: Mapping[str, Any]) -> tuple[str, Any]:
    """(path, object) of the smallest part that does not pickle, e.g. ``("model.encoder.lock", <lock>)``."""
    alone = ((name, thing) for name, thing in things.items() if not _pickles(thing))
    path, found = next(alone, next(iter(things.items())))
    seen = {id(found)}
    for _ in range(_DEEPEST):
        fresh = ((name, part) for name, part in _parts(found) if id(part) not in seen)
        deeper = next(((name, part) for name, part in fresh if not _pickles(part)), None)
        if deeper is None:
            break
        path, found = path + deeper[0], deeper[1]
        seen.add(id(found))
    return path, found


def _pickles(thing: Any) -> bool:
    try:
        cloudpickle.dumps(thing)
    except Exception:  # noqa: BLE001  any class may refuse in its own way, and that is the question here
        return False
    return True


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """(how it is reached, part)."""
    if isinstance(thing, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in thing.items())
    elif isinstance(thing, list | tuple | set):
        yield from ((f"[{index}]", part) for index, part in enumerate(thing))
    elif isinstance(thing, FunctionType):
        yield from _variables(thing)
    elif isinstance(thing, nn.Module):
        yield from ((f".{name}", child) for name, child in thing.named_children())
        yield from ((f".{name}", part) for name, part in vars(thing).items() if name != "_modules")
    else:
        yield from ((f".{name}", part) for name, part in getattr(thing, "__dict__", {}).items())


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function takes along: the variables around it, and the globals that it names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"'s variable {name}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f"'s global {name}", function.__globals__[name]
