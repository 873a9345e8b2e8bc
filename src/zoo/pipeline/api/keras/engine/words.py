"""Words that a program gives and that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from zoo.engine.errors import UsageError


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
        near = difflib.get_close_matches(given.lower(), names, n=1) if isinstance(given, str) else []
        hint = f" Did you mean '{near[0]}'?" if near else ""
        hint = f" It is a class: give {given.__name__}()." if isinstance(given, type) else hint
        told = given if isinstance(given, str) else repr(given)
        return cls(f"Unsupported {kind}: {told}.{hint}\n  Known names: {', '.join(names)}")
