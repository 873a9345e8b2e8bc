"""The processes behind the seats of a gang, as the board sees them.

Owns: the contract that a cluster fulfils (`Crew`), how long ranks are waited for at the beginning.
Leaves: the processes themselves (local, spark).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

JOIN_SECONDS = 180.0
_SIGN_SECONDS = 1.0
_NOBODY: Mapping[int, str] = {}


class Crew(Protocol):
    """The processes behind the seats of a gang, as its cluster sees them."""

    def gone(self) -> Mapping[int, str]:
        """Ranks whose processes are known to have ended, with how; asked some times a second."""

    def coming(self) -> bool:
        """Whether what must end before any rank can come is still at work; asked until the first comes."""

    def replace(self, index: int) -> bool:
        """Has another process come for a rank that was lost; False where none can."""

    def room(self) -> int:
        """How many ranks the gang could have now, where it may grow; else 0."""

    def kill(self, index: int, reference: int) -> None:
        """Ends a rank's process that does not answer; `reference` is what it was introduced with (`seat.sit`)."""


class NoCrew:
    """Of a gang whose processes nobody watches: its connections tell."""

    def gone(self) -> Mapping[int, str]:
        """None."""
        return _NOBODY

    def coming(self) -> bool:
        """Nothing is known."""
        return False

    def replace(self, index: int) -> bool:
        """None can come."""
        return False

    def room(self) -> int:
        """It does not grow."""
        return 0

    def kill(self, index: int, reference: int) -> None:
        """Nothing to end."""


class Patience:
    """How long ranks are waited for: some minutes without a sign, and as long again from the first one's arrival."""

    def __init__(self, coming: Callable[[], bool]) -> None:
        self._coming = coming
        self._deserted = True
        self._until = time.monotonic() + JOIN_SECONDS
        self._looked_at = time.monotonic()

    def is_over(self, deserted: bool) -> bool:
        """Whether they are late.

        Args:
            deserted: whether none has come yet.
        """
        now = time.monotonic()
        if self._deserted and (not deserted or self._sees_signs(now)):
            self._deserted, self._until = deserted, now + JOIN_SECONDS
        return now > self._until

    def _sees_signs(self, now: float) -> bool:
        if now < self._looked_at + _SIGN_SECONDS:
            return False
        self._looked_at = now
        return self._coming()
