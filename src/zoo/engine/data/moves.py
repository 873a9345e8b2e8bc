"""What is done with objects as a whole: picking, measuring, pairing, cutting them into other partitions.

Owns: functions over objects (`objects.ItemMapper`), and which rows go where when objects are repartitioned.
Leaves: cutting and joining one object (nests), moving rows between processes (clusters' stores).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Any, NamedTuple

from zoo.engine.data import nests
from zoo.engine.data.objects import Item
from zoo.engine.errors import UsageError


class Move(NamedTuple):
    """Some rows of an object and where they go.

    Attributes:
        part: the partition.
        order: among the pieces that go there.
        start: their first row; None for the whole object.
        stop: the row after their last.
    """

    part: int
    order: int
    start: int | None = None
    stop: int | None = None


def even_moves(sizes: Sequence[int | None], parts: int) -> list[list[Move]]:
    """How objects become `parts` partitions with equally many rows, in their order.

    Args:
        sizes: rows of each object; None for one that cannot be cut, then all of them stay whole.
        parts: how many there will be.

    Returns:
        the moves of each object.

    Raises:
        UsageError: fewer parts than objects that stay whole.
    """
    rows = [size for size in sizes if size is not None]
    if len(rows) == len(sizes) and any(rows):
        return _cuts(rows, parts)
    if len(rows) == len(sizes):
        return [[Move(0, 0)] if number == 0 else [] for number in range(len(sizes))]
    if len(sizes) > parts:
        raise UsageError(
            f"{len(sizes)} shards cannot become {parts} partitions: some hold no rows to merge. Shards of DataFrames, "
            f"arrays and lists (and dicts and tuples of them) can; for others give at least {len(sizes)} partitions."
        )
    return [[Move(number, 0)] for number in range(len(sizes))]


def _cuts(sizes: Sequence[int], parts: int) -> list[list[Move]]:
    borders = nests.borders(sum(sizes), parts)
    moves = []
    for order, (end, size) in enumerate(zip(accumulate(sizes), sizes, strict=True)):
        start, found = end - size, []
        for part in range(bisect_right(borders, start) - 1, bisect_left(borders, end)) if size else ():
            low, high = max(borders[part], start), min(borders[part + 1], end)
            found.append(Move(part, order, low - start, high - start))
        moves.append(found)
    return moves


@dataclass(frozen=True, slots=True)
class Cutting:
    """Cuts objects into pieces and sends these elsewhere.

    Attributes:
        moves: by (part, place) of the object.
    """

    moves: Mapping[tuple[int, int], Sequence[Move]]

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for part, place, value in items:
            for move in self.moves[part, place]:
                piece = value if move.start is None else nests.cut(value, move.start, move.stop or 0)
                yield Item(move.part, move.order, piece)


def join(items: Iterator[Item]) -> Iterator[Item]:
    """One object out of all those of a part."""
    for part, pieces in groupby(items, key=attrgetter("part")):
        yield Item(part, 0, nests.joined([piece.value for piece in pieces]))


@dataclass(frozen=True, slots=True)
class Side:
    """Makes room beside each object for its partner: the left side is 0, the right one 1."""

    number: int

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            yield item._replace(place=2 * item.place + self.number)


def pair(items: Iterator[Item]) -> Iterator[Item]:
    """Objects and their partners as tuples."""
    for left in items:
        yield Item(left.part, left.place // 2, (left.value, next(items).value))


@dataclass(frozen=True, slots=True)
class Facts:
    """Each object replaced by something small about it."""

    fn: Callable[[Any], Any]

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            yield item._replace(value=self.fn(item.value))


@dataclass(frozen=True, slots=True)
class Only:
    """The objects at some (part, place)."""

    wanted: frozenset[tuple[int, int]]

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        return (item for item in items if item[:2] in self.wanted)


@dataclass(frozen=True, slots=True)
class Select:
    """``object[key]`` of each object."""

    key: Any

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            yield item._replace(value=self._of(item.value))

    def _of(self, value: Any) -> Any:
        if not hasattr(value, "__getitem__"):
            raise UsageError(f"No selection operation available for this XShards. Received: a {type(value).__name__}")
        try:
            return value[self.key]
        except (LookupError, TypeError, ValueError) as error:
            has = f"; it has {list(value)}" if isinstance(value, dict) else ""
            raise UsageError(
                f"Invalid key for this XShards. Received: {self.key!r} for a {type(value).__name__}{has}"
            ) from error


def length(value: Any) -> int:
    """``len(value)``; 1 for an object without a length."""
    return len(value) if hasattr(value, "__len__") else 1


def items_in(value: Any) -> int | None:
    """Items of a list or tuple; None for other objects."""
    return len(value) if isinstance(value, list | tuple) else None
