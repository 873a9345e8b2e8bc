"""Passes of a step that must not hear of each other, whichever of them a rank computes; and a step that is forgotten.

A lane's pass draws its own random numbers, from (seed, epoch, step, lane), and finds the variables that are never
trained as the step found them. Of what it leaves there, statistics are averaged with the gradients (passes); the rest
is what the rank's first lane has left. A rank without lanes has one pass a step, whose random numbers go on.

Owns: these variables between the passes of a step.
Leaves: how a backend keeps variables (steps), gradients and statistics (passes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.frameworks.keras.passes import Passes
from zoo.engine.frameworks.keras.steps import METRICS, OTHER, Steps


class Lanes:
    """Between the passes of a step.

    Args:
        passes: the model and how it is trained.
    """

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._before: list[Any] | None = None
        self._metrics: list[Any] = []
        self._left: list[Any] | None = None

    @property
    def begun(self) -> bool:
        """Whether a step has begun that has not ended."""
        return self._before is not None

    def enter(self, steps: Steps, key: Sequence[int] | None) -> None:
        """Begins a pass.

        Args:
            steps: the compiled passes.
            key: (seed, epoch, step, lane); None without lanes.
        """
        if self._before is None:
            self._before, self._metrics, self._left = steps.values(OTHER), steps.values(METRICS), None
        if key is not None:
            steps.assign(OTHER, self._drawn(self._before, key))
            steps.seed(_number(key))

    def leave(self, steps: Steps, key: Sequence[int] | None) -> None:
        """Ends a pass that had rows."""
        if key is not None and self._left is None:
            self._left = steps.values(OTHER)

    def end(self, steps: Steps, key: Sequence[int] | None) -> None:
        """Ends the step, on every rank alike."""
        if key is not None and self._before is not None:
            steps.assign(OTHER, self._drawn(self._left or self._before, key[:-1]))
            steps.seed(_number(key[:-1]))
        self._before = None

    def rewind(self, steps: Steps) -> None:
        """Forgets the passes of a step."""
        if self._before is not None:
            steps.assign(OTHER, self._before)
            steps.assign(METRICS, self._metrics)
        self._before = None

    def _drawn(self, values: Sequence[Any], key: Sequence[int]) -> list[Any]:
        """The same values with random numbers of their own."""
        weights = {id(v) for v in self._passes.model.weights}
        variables = self._passes.model.non_trainable_variables
        return [
            value if id(v) in weights else _seeds(key, at, v)
            for at, (v, value) in enumerate(zip(variables, values, strict=True))
        ]


def _seeds(key: Sequence[int], at: int, variable: Any) -> np.ndarray:
    """The state of the `at`-th variable, which is a layer's random number generator."""
    shape = tuple(int(size) for size in variable.shape)
    size = 4 * int(np.prod(shape, dtype=np.int64))
    words = np.frombuffer(_digest(key, at, size), np.uint32) & np.uint32(
        0x7FFFFFFF
    )  # some backends keep them as signed numbers
    return words.astype(str(variable.dtype)).reshape(shape)


def _number(key: Sequence[int]) -> int:
    return int.from_bytes(_digest(key, 0, 8), "big") >> 1


def _digest(key: Sequence[int], at: int, size: int) -> bytes:
    return hashlib.blake2b(repr((tuple(key), at)).encode(), digest_size=size).digest()
