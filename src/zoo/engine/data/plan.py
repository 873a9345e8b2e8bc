"""Which rows make step *s* of epoch *e*: a pure function of (seed, epoch, rows per part, batch size).

Owns: the order of rows within an epoch, for any number of ranks, and O(1) seeking in it.
Leaves: which parts a rank holds (shards), where its rows lie (feed).

Every part is permuted on its own. Row k of a part of n rows has the key (k + 1/2) / n; the epoch's global order is by
key, ties by part, so that each part is spread evenly over the epoch and step s takes exactly `batch_size` rows, the
last one what is left. No rank needs another's rows, or a message, to know this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512  # steps whose borders are computed together
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """The order of the rows of one data set.

    Attributes:
        sizes: rows of each part.
        batch_size: rows per step over all ranks.
        seed: of the permutations.
        shuffle: whether a part's rows are permuted; without it each part is read in its own order.
    """

    sizes: tuple[int, ...]
    batch_size: int
    seed: int = 0
    shuffle: bool = True

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return sum(self.sizes)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.rows // self.batch_size)

    def total(self, step: int) -> int:
        """Rows of a step over all ranks."""
        return min(self.batch_size, self.rows - step * self.batch_size)

    def permutation(self, epoch: int, part: int) -> NDArray[np.intp] | None:
        """The k-th row read of a part is row `permutation[k]` of it; None means in order."""
        if not self.shuffle:
            return None
        return np.random.default_rng([self.seed, epoch, part]).permutation(self.sizes[part])

    def steps_of(self, parts: Sequence[int], start: int = 0) -> Iterator[tuple[NDArray[np.intp], NDArray[np.int64]]]:
        """For each step from `start`: the rows that `parts` give to it.

        Yields:
            (part, k): which of `parts` (as an index into it) and how manieth of that part's reading order; equally
            long, ordered by part. Both are empty where these parts give nothing to a step.
        """
        for first in range(start, self.steps, _BLOCK):
            last = min(first + _BLOCK, self.steps)
            yield from _by_step(self.borders(first, last)[:, list(parts)])

    def borders(self, first: int, last: int) -> Counts:
        """Rows of each part that were read before steps first .. last: (last - first + 1, parts)."""
        return _borders(self.sizes, self.batch_size, first, last)


@lru_cache(maxsize=4)  # the same in each epoch of a plan; a third of what a short epoch begins with
def _borders(sizes: tuple[int, ...], batch_size: int, first: int, last: int) -> Counts:
    of = np.asarray(sizes, dtype=np.int64)
    ends = np.minimum(np.arange(first, last + 1, dtype=np.int64) * batch_size, of.sum())
    below, above = _thresholds(ends, of)
    counts = _counts(below[:, None], of)
    # Rows whose keys are equal to the last bit jump together: the first parts among them go first.
    jumps = _counts(above[:, None], of) > counts
    missing = (ends - counts.sum(axis=1))[:, None]
    borders = np.asarray(counts + (jumps & (np.cumsum(jumps, axis=1) <= missing)), dtype=np.int64)
    borders.flags.writeable = False
    return borders


def _counts(threshold: NDArray[np.float64], sizes: Counts) -> Counts:
    """Rows of a part of each size whose key is below the threshold."""
    counts = np.ceil(threshold * sizes - 0.5)
    return np.clip(counts, 0, sizes).astype(np.int64)


def _thresholds(ends: Counts, sizes: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each number of rows t: the largest key threshold that lets at most t rows pass, and the next float."""
    distinct, times = np.unique(sizes[sizes > 0], return_counts=True)
    rows = max(int(sizes.sum()), 1)
    low = (ends - len(sizes) - 1.0) / rows
    high = (ends + len(sizes) + 1.0) / rows
    while True:
        middle = (low + high) / 2
        if np.all((middle <= low) | (middle >= high)):
            return low, high
        passed = _counts(middle[:, None], distinct) @ times
        low = np.where(passed <= ends, middle, low)
        high = np.where(passed > ends, middle, high)


def _by_step(borders: Counts) -> Iterator[tuple[NDArray[np.intp], NDArray[np.int64]]]:
    """Cuts the parts' reading orders at `borders` (steps + 1, parts)."""
    lengths = np.diff(borders, axis=0)
    steps, parts = lengths.shape
    runs = lengths.ravel()  # step by step, part by part
    part = np.repeat(np.tile(np.arange(parts), steps), runs)
    k = np.arange(len(part)) + np.repeat(borders[:-1].ravel() - np.cumsum(runs) + runs, runs)
    start = 0
    for end in np.cumsum(lengths.sum(axis=1)).tolist():
        yield part[start:end], k[start:end]
        start = end
