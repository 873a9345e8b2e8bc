"""Random numbers that ranks draw alike, apart from those of the process.

User code that puts rows into a random order draws from generators that all code of a process shares. Ranks that take
turns with one order must draw it alike, whatever else each of them has drawn.

Owns: that, Python's and NumPy's generators.
Leaves: those of frameworks (their rooms), who draws (creators, feeds).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Generator:
    """A generator that all code of a process shares.

    Attributes:
        seed: begins it anew.
        look: its state.
        put: a state back.
    """

    seed: Callable[[int], Any]
    look: Callable[[], Any]
    put: Callable[[Any], Any]


def _seed_numpy(seed: int) -> None:
    np.random.seed(seed % (1 << 32))


GENERATORS = (
    Generator(random.seed, random.getstate, random.setstate),
    Generator(_seed_numpy, np.random.get_state, np.random.set_state),
)
"""Python's ``random`` and NumPy's ``np.random``."""


def number(*key: int) -> int:
    """A seed for this key, from 0 to 2^63 - 1."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_all(seed: int, generators: Sequence[Generator] = GENERATORS) -> None:
    """Begins the process's generators anew."""
    for generator in generators:
        generator.seed(seed)


class Draws:
    """A line of random numbers of its own, which goes on each time that it is used.

    Args:
        seed: of the line.
        generators: that code is to draw from it.
    """

    def __init__(self, seed: int, generators: Sequence[Generator] = GENERATORS) -> None:
        self._generators = generators
        before = self._look()
        seed_all(seed, generators)
        self._states = self._look()
        self._put(before)

    @contextmanager
    def used(self) -> Iterator[None]:
        """In the block the process's generators give this line; behind it, what they would have given without it."""
        before = self._look()
        self._put(self._states)
        try:
            yield
        finally:
            self._states = self._look()
            self._put(before)

    def _look(self) -> list[Any]:
        return [generator.look() for generator in self._generators]

    def _put(self, states: Sequence[Any]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.put(state)
