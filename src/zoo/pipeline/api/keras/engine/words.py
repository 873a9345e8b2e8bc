"""Words and values that a program gives and that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zoo.engine.errors import UsageError, did_you_mean


class Unsupported(UsageError, TypeError):
    """A metric, loss or optimizer that is none; a TypeError too, as older programs expect."""

    @classmethod
    def among(cls, kind: str, given: Any, known: Iterable[str]) -> Unsupported:
        """Names what was given, the nearest name, and all names.

        Args:
            kind: ``"metric"``, ``"loss"`` or ``"optimizer"``.
            given: what the program gave.
            known: the names that there are.
        """
        names = sorted(known)
        hint = did_you_mean(given.lower(), names) if isinstance(given, str) else ""
        hint = f" It is a class: give {given.__name__}()." if isinstance(given, type) else hint
        told = given if isinstance(given, str) else repr(given)
        return cls(f"Unsupported {kind}: {told}.{hint}\n  Known names: {', '.join(names)}")


def refuse(expected: str, received: Any) -> UsageError:
    """A value of an argument that is none; the argument's name goes before it."""
    return UsageError(f"must be {expected}. Received: {received!r}")


def by_name(value: str, known: Mapping[str, Any]) -> Any:
    """What a name stands for.

    Raises:
        UsageError: it is not known; as `refuse`, with the nearest name and all names.
    """
    if value in known:
        return known[value]
    raise UsageError(f"must be one of {', '.join(sorted(known))}.{did_you_mean(value, known)} Received: {value!r}")
