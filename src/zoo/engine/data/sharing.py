"""A value that many functions use, sent to each process once instead of with each function.

Owns: which shared values a function refers to while it is packed, and finding them again where it is unpacked.
Leaves: how a value gets there (`carrier`: Spark's broadcast, or the value itself).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

_noted = threading.local()


class Shared:
    """A handle on a value; picklable.

    While a function is packed (`noting`) its handles travel as names, and `objects.Call` takes them along beside it.
    """

    def __init__(self, carrier: Any, key: str = "") -> None:
        """Takes the value.

        Args:
            carrier: has the value as its attribute `value`; picklable, also again and again.
            key: the handle's name in all processes; by default a new one.
        """
        self.carrier = carrier
        self.key = key or uuid.uuid4().hex
        _here[self.key] = self

    @property
    def value(self) -> Any:
        """The value; in another process than its maker's, that process's only copy."""
        return self.carrier.value

    def __reduce__(self) -> tuple[Any, ...]:
        noted = getattr(_noted, "handles", None)
        if noted is None:
            return _arrived, (self.key, self.carrier)
        noted[self.key] = self
        return _found, (self.key,)


_here: WeakValueDictionary[str, Shared] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Held:
    """A carrier that holds the value: it travels beside each function that refers to it."""

    value: Any


@contextmanager
def noting() -> Iterator[dict[str, Shared]]:
    """The handles that are pickled in the block, which are pickled as names."""
    before = getattr(_noted, "handles", None)
    _noted.handles = {}
    try:
        yield _noted.handles
    finally:
        _noted.handles = before


def _arrived(key: str, carrier: Any) -> Shared:
    return _here.get(key) or Shared(carrier, key)


def _found(key: str) -> Shared:
    return _here[key]
