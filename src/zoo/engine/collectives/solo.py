"""A gang of one agrees with itself.

Owns: the identity of every collective call, at no cost; leaving where the gang is to have more ranks.
Leaves: everything between processes (torch_group).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from zoo.engine.contracts import Array, Ready, State
from zoo.engine.errors import PeerLost


def _keep(bucket: Array, cut: bool = False) -> None:
    """The share is 1: the sum over one rank is the bucket itself."""


class Solo:
    """The `Collective` of one rank."""

    moved = 0
    _whole: AbstractContextManager[Sequence[Ready]] = nullcontext((_keep,))
    _aborted = False

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The values."""
        self._check()
        return values

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        """A list of the value alone."""
        self._check()
        return [value]

    def exchange(self, outgoing: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What it sends to itself."""
        return list(outgoing)

    def broadcast(self, state: State | None, source: int = 0) -> State:
        """The state."""
        assert state is not None
        return state

    def average(self, shares: Sequence[float]) -> AbstractContextManager[Sequence[Ready]]:
        """Scales by the one share, which for one rank is 1."""
        self._check()
        (share,) = shares
        if share == 1:
            return self._whole

        def scale(bucket: Array, cut: bool = False) -> None:
            bucket *= share

        return nullcontext((scale,))

    def complete(self, buffers: Sequence[Array]) -> None:
        """The one slice is the whole."""

    def abort(self) -> None:
        """From another thread: the next call raises `PeerLost`."""
        self._aborted = True

    def close(self) -> None:
        """Nothing to leave."""

    def _check(self) -> None:
        if self._aborted:
            raise PeerLost("the driver broke the group up.")
