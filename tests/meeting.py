"""Ranks in threads that talk to each other: a `Collective` without processes, for the data side of a gang."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from zoo.engine.collectives.solo import Solo

T = TypeVar("T")


class Meeting:
    """What ranks in threads say to each other."""

    def __init__(self, world: int) -> None:
        self.world = world
        self._said: list[Any] = [None] * world
        self._all = threading.Barrier(world, timeout=20)

    def gathered(self, index: int, value: Any) -> list[Any]:
        """Every rank's value; each of them must come here."""
        self._said[index] = value
        self._all.wait()
        said = list(self._said)
        self._all.wait()
        return said

    def run(self, task: Callable[[Seated], T]) -> list[T]:
        """The answers of all ranks, in rank order."""
        with ThreadPoolExecutor(self.world) as pool:
            return list(pool.map(lambda index: task(Seated(self, index)), range(self.world)))


class Seated(Solo):
    """One rank of a meeting."""

    def __init__(self, meeting: Meeting, index: int) -> None:
        self.index, self.world = index, meeting.world
        self._meeting = meeting

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        """Every rank's value."""
        return self._meeting.gathered(self.index, value)

    def exchange(self, outgoing: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What each rank has sent here."""
        return [said[self.index] for said in self.gather(list(outgoing))]
