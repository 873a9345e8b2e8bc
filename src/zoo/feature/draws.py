"""The random numbers of one row.

A row's draws follow from (seed, epoch, the row's content) alone, so that they are the same on whichever rank or thread
the row is prepared, in whatever order, and whatever other rows there are. Equal rows have equal draws.

Owns: that rule.
Leaves: what is drawn (the steps).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError


@dataclass(slots=True)
class Draws:
    """What the steps of a chain draw from for one row, one after the other.

    Attributes:
        seed: of the run; at least 0.
        epoch: whose draws they are; at least 0.
    """

    seed: int = 0
    epoch: int = 0
    _generator: np.random.Generator | None = field(default=None, repr=False, compare=False)

    def over(self, content: Any) -> np.random.Generator:
        """The generator of the row that begins with `content`; later calls give the same one.

        Args:
            content: an array or bytes, as they are where the first random step meets them.
        """
        if self._generator is None:
            whole: Any = np.ascontiguousarray(content) if isinstance(content, np.ndarray) else content
            self._generator = np.random.default_rng((self.seed, self.epoch, zlib.crc32(whole)))
        return self._generator


def checked(seed: Any, name: str) -> int:
    """A number that a generator can begin with.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"{name} must be a whole number, at least 0. Received: {seed!r}")
    return int(seed)
