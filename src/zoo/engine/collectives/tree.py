"""One order of adding up, whoever holds what: sums of floats are equal to the bit only where the order is.

The lanes (virtual ranks) of a run are the leaves of one binary tree. A rank holds neighbouring leaves: it adds up the
largest whole subtrees among them, and what then remains of the tree is the same for any number of ranks.

Owns: the tree (`additions`, `subtrees`), adding arrays along it (`Pile`).
Leaves: which lanes a rank holds (values), messages (torch_lanes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Span = tuple[int, int]
"""Leaves from the first up to, but not including, the second: a subtree."""


def subtrees(own: range, lanes: int) -> list[Span]:
    """The largest whole subtrees among neighbouring lanes, in order.

    Args:
        own: some of ``range(lanes)``.
        lanes: leaves of the whole tree.
    """
    return list(_within(own, _root(lanes), lanes))


def additions(parts: Sequence[Span], lanes: int) -> list[int]:
    """How many additions follow each of `parts`, where every one makes one of the two newest sums.

    Args:
        parts: neighbouring subtrees, in order, whose sums come one after the other.
        lanes: leaves of the whole tree.
    """
    if not parts:
        return []
    start, stop = parts[0][0], parts[-1][1]
    inner = {span for span in _spans(_root(lanes), lanes) if start <= span[0] and span[1] <= stop}
    return [sum(low < begin and high == end for low, high in inner) for begin, end in parts]


class Pile:
    """Adds arrays up in pairs, as `additions` says; at most two for each level of the tree are kept.

    Args:
        counts: how many additions follow each array.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = counts
        self._at = 0
        self.sums: list[Any] = []

    def push(self, array: Any, copy: Any) -> None:
        """One more array, which may be overwritten afterwards.

        Args:
            array: added in place to the one before it, or kept as ``copy(array)``.
            copy: makes an array of its own.
        """
        count = self._counts[self._at]
        self._at += 1
        if not count:
            self.sums.append(copy(array))
            return
        newest = array
        for _ in range(count):
            below = self.sums.pop()
            place = below[: len(newest)]  # what is kept may have room behind its end
            place += newest
            newest = below
        self.sums.append(newest)


def _root(lanes: int) -> Span:
    """A tree of a power of two leaves; those that are not there add nothing."""
    return 0, 1 << max(lanes - 1, 0).bit_length()


def _halves(span: Span) -> tuple[Span, Span]:
    middle = (span[0] + span[1]) // 2
    return (span[0], middle), (middle, span[1])


def _spans(span: Span, lanes: int) -> Iterator[Span]:
    """The subtrees of a tree, as far as their leaves are there."""
    if span[0] >= lanes:
        return
    yield span[0], min(span[1], lanes)
    if span[1] - span[0] > 1:
        for half in _halves(span):
            yield from _spans(half, lanes)


def _within(own: range, span: Span, lanes: int) -> Iterator[Span]:
    low, high = span[0], min(span[1], lanes)
    if max(low, own.start) >= min(high, own.stop):
        return
    if own.start <= low and high <= own.stop:
        yield low, high
        return
    for half in _halves(span):
        yield from _within(own, half, lanes)
