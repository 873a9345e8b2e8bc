"""Rows of partitions as they arrive on a rank, and the parts that they make.

A row's place says which partition it comes from and its number there: ``partition << ROW_BITS | number``, as Spark's
`monotonically_increasing_id` does. Each partition arrives whole on one rank, its rows most often in their own order.

Owns: finding a partition's rows again (`Arrivals`), cutting partitions into parts (`cut`, `split`).
Leaves: keeping the rows (spool), which rank gets which part (balance).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ROW_BITS = 33
PARTS = 64
"""A part holds no more than about this fraction of all rows: enough parts to balance, few enough to keep track of."""

Rows: TypeAlias = "range | NDArray[np.intp]"
"""Where rows lie in a spool; a range takes no memory."""


class Arrivals:
    """Where the rows of each partition lie."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[tuple[Rows, range]]] = {}

    def add(self, places: NDArray[np.int64], lying: range) -> None:
        """Notes a batch.

        Args:
            places: of its rows.
            lying: where they lie in the spool.
        """
        partitions = places >> ROW_BITS
        borders = np.flatnonzero(np.diff(partitions)) + 1
        for start, end in pairwise([0, *borders.tolist(), len(places)]):
            if start == end:
                continue
            numbers = _shortened(places[start:end] & ((1 << ROW_BITS) - 1))
            self._pieces.setdefault(int(partitions[start]), []).append((numbers, lying[start:end]))

    def partitions(self) -> dict[int, Rows]:
        """The rows of each partition, in the partition's own order."""
        return {partition: _ordered(pieces) for partition, pieces in sorted(self._pieces.items())}


def cut(sizes: Mapping[int, int], parts: int = PARTS) -> dict[int, range]:
    """The parts of each partition: a property of the data, for it depends on the partitions' sizes alone.

    Part ``j`` of a partition's ``n`` parts holds its rows ``j, j + n, j + 2 n, ...``.

    Args:
        sizes: partition -> rows.
        parts: a part holds no more than one of so many, of all rows.
    """
    total = sum(sizes.values())
    made, start = {}, 0
    for partition, rows in sorted(sizes.items()):
        count = min(-(-rows * parts // total), rows) if rows else 0
        made[partition] = range(start, start + count)
        start += count
    return made


def split(partitions: Mapping[int, Rows], cuts: Mapping[int, range]) -> dict[int, Rows]:
    """Where the rows of each part lie.

    Args:
        partitions: where the rows of some partitions, or of all, lie.
        cuts: the parts of all partitions (`cut`).
    """
    return {
        part: rows[at :: len(cuts[partition])]
        for partition, rows in partitions.items()
        for at, part in enumerate(cuts[partition])
    }


def joined(pieces: list[Rows]) -> Rows:
    """Rows that lie in several places, in this order: one range where they lie one behind the other."""
    if len(pieces) == 1:
        return pieces[0]
    if all(_is_run(piece) for piece in pieces) and all(one[-1] + 1 == other[0] for one, other in pairwise(pieces)):
        return range(int(pieces[0][0]), int(pieces[-1][-1]) + 1)
    return np.concatenate([indices(piece) for piece in pieces])


def indices(rows: Rows) -> NDArray[np.intp]:
    """The rows one by one."""
    return np.arange(rows.start, rows.stop, rows.step, dtype=np.intp) if isinstance(rows, range) else rows


def _is_run(rows: Rows) -> bool:
    return isinstance(rows, range) and rows.step == 1 and len(rows) > 0


def _shortened(numbers: NDArray[np.int64]) -> Rows:
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first == len(numbers) - 1 and bool((np.diff(numbers) == 1).all()):
        return range(first, last + 1)
    return numbers.astype(np.intp, copy=False)


def _ordered(pieces: list[tuple[Rows, range]]) -> Rows:
    """Where the rows lie, by their numbers."""
    numbers = joined([numbers for numbers, _ in pieces])
    lying = joined([lying for _, lying in pieces])
    if isinstance(numbers, range):
        return lying
    return indices(lying)[np.argsort(numbers, kind="stable")]
