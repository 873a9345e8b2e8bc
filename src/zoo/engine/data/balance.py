"""Parts that are whole on a rank each, moved until all ranks hold about the same number of rows.

Owns: which parts move (`moves`), carrying their rows from spool to spool (`carry`).
Leaves: what the parts are (arrivals, shards), the message itself (collectives).
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from zoo.engine.contracts import Collective, FeedRequest
from zoo.engine.data.arrivals import Rows, cut, indices, joined, split
from zoo.engine.data.spool import Spool
from zoo.engine.data.text import Stored, Text
from zoo.engine.events.events import Tick

MESSAGE_BYTES = 16 << 20
"""About how many bytes a rank sends at once, to all others together."""
_NUMBERS, _BYTES, _STR = range(3)
_ALIGNED = 64
_SLACK = 20  # a rank may hold a twentieth more than its even share before rows travel for it


def moves(sizes: Sequence[int], holders: Sequence[int], world: int) -> dict[int, int]:
    """Which parts move, and to which rank; empty where no rank holds much more than its even share.

    The rank with most rows gives to the one with fewest the largest part that makes neither overshoot its share, or
    else the smallest one that still helps, again and again.

    Args:
        sizes: rows of each part.
        holders: the rank that holds each part now.
        world: how many ranks there are.
    """
    loads = np.bincount(holders, np.asarray(sizes, np.float64), world).astype(np.int64).tolist()
    held = [sorted((sizes[part], part) for part in range(len(sizes)) if holders[part] == rank) for rank in range(world)]
    total = sum(loads)
    to: dict[int, int] = {}
    while True:
        heavy, light = int(np.argmax(loads)), int(np.argmin(loads))
        if loads[heavy] * world * _SLACK <= total * (_SLACK + 1) or not held[heavy]:
            return to
        room = min(loads[heavy] * world - total, total - loads[light] * world)
        at = _largest(held[heavy], room / world)
        size, part = held[heavy][at]
        if loads[light] + size >= loads[heavy]:
            return to
        del held[heavy][at]
        loads[heavy] -= size
        loads[light] += size
        to[part] = light


def evened(
    partitions: Mapping[int, Rows], spool: Spool, request: FeedRequest, group: Collective, held: Mapping[int, Rows]
) -> dict[int, Rows]:
    """The parts of all partitions (`arrivals.cut`) on ranks that hold about the same number of rows each.

    Args:
        partitions: those that have arrived here, whole, and where their rows lie.
        spool: the rank's rows.
        request: who this is.
        group: the ranks.
        held: the parts that this rank has from an earlier call.

    Returns:
        the parts held here, and where their rows lie. Every rank of the gang must come here.
    """
    gathered = group.gather([[partition, len(rows)] for partition, rows in partitions.items()])
    sizes = {partition: rows for held in gathered for partition, rows in held}
    cuts = cut(sizes)
    parts = split(partitions, cuts)
    if request.rank.world == 1:
        return parts
    holders = {partition: rank for rank, held in enumerate(gathered) for partition, _ in held}
    all_parts = split({partition: range(sizes[partition]) for partition in cuts}, cuts)
    to = moves(
        [len(rows) for rows in all_parts.values()],
        [holders[partition] for partition, numbers in cuts.items() for _ in numbers],
        request.rank.world,
    )
    return carry(spool, parts, to, request, group, held) if to else parts


def carry(
    spool: Spool, parts: Mapping[int, Rows], to: Mapping[int, int], request: FeedRequest, group: Collective,
    held: Mapping[int, Rows],
) -> dict[int, Rows]:  # fmt: skip
    """Sends this rank's rows of parts that move and takes those that come; every rank of the gang must come here.

    Args:
        spool: the rank's rows; what comes is added to them.
        parts: those of which this rank has read rows, and where these lie. Nothing of them is forgotten.
        to: the rank to which a part moves, for all parts that move, on any rank.
        request: who this is.
        group: the ranks.
        held: the parts that this rank has whole, from an earlier call. They are not sent again.

    Returns:
        the parts held here afterwards, and where their rows lie.
    """
    own, world = request.rank.index, request.rank.world
    rest = MESSAGE_BYTES // max(world - 1, 1)
    settled = group.gather(sorted(held))
    wanted = [{part for part, rank in to.items() if rank == other != own} - {*settled[other]} for other in range(world)]
    going = [_Going.of({part: parts[part] for part in sorted(each) if part in parts}, spool, rest) for each in wanted]
    rounds = max(group.gather(max(len(one) for one in going)))
    staying = {part: rows for part, rows in parts.items() if to.get(part, own) == own and part not in held}
    coming = {part: [rows] for part, rows in staying.items()}
    for number in range(rounds):
        for message in group.exchange([one.message(number) for one in going]):
            for part, rows in _taken(spool, message):
                coming.setdefault(part, []).append(rows)
        request.sink.put(Tick())
    return {**held, **{part: joined(pieces) for part, pieces in coming.items()}}


@dataclass(frozen=True)
class _Going:
    """Rows on their way to one rank.

    Attributes:
        spool: where they lie.
        rows: which they are.
        parts: the part of each.
        at_once: rows of one message.
    """

    spool: Spool
    rows: NDArray[np.intp]
    parts: NDArray[np.int64]
    at_once: int

    @classmethod
    def of(cls, parts: Mapping[int, Rows], spool: Spool, message_bytes: int) -> _Going:
        rows = [indices(rows) for rows in parts.values()]
        numbers = np.repeat(np.array(list(parts), np.int64), [len(each) for each in rows])
        at_once = max(1, message_bytes // spool.row_bytes)
        return cls(spool, np.concatenate([np.empty(0, np.intp), *rows]), numbers, at_once)

    def __len__(self) -> int:
        """Messages."""
        return -(-len(self.rows) // self.at_once)

    def message(self, number: int) -> NDArray[np.uint8]:
        """The bytes of one; none once all rows have gone."""
        chosen = slice(number * self.at_once, (number + 1) * self.at_once)
        rows = self.rows[chosen]
        if not len(rows):
            return np.empty(0, np.uint8)
        columns = self.spool.so_far()
        try:
            return _packed(self.parts[chosen], [column.stored(rows) for column in columns])
        finally:
            for column in columns:
                column.close()


def _taken(spool: Spool, message: NDArray[np.uint8]) -> Iterator[tuple[int, Rows]]:
    """(part, where its rows lie now) of what a message brought."""
    if not message.size:
        return
    parts, arrays = _unpacked(message)
    start = spool.rows
    spool.append(arrays)
    borders = np.flatnonzero(np.diff(parts)) + 1
    for first, last in pairwise([0, *borders.tolist(), len(parts)]):
        yield int(parts[first]), range(start + first, start + last)


def _packed(parts: NDArray[np.int64], columns: Sequence[Stored]) -> NDArray[np.uint8]:
    """What each array is, in JSON, and then the arrays one behind the other."""
    arrays = [parts]
    kinds = []
    for column in columns:
        own = [column.ends, column.data] if isinstance(column, Text) else [np.ascontiguousarray(column)]
        kinds.append((_STR if column.is_str else _BYTES) if isinstance(column, Text) else _NUMBERS)
        arrays += own
    words = json.dumps([kinds, [[array.dtype.str, array.shape] for array in arrays]]).encode()
    sizes = [_padded(size) for size in (8 + len(words), *(array.nbytes for array in arrays))]
    message = np.empty(sum(sizes), np.uint8)
    message[:8].view(np.int64)[0] = len(words)
    message[8 : 8 + len(words)] = np.frombuffer(words, np.uint8)
    for array, start in zip(arrays, accumulate(sizes), strict=False):
        message[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
    return message


def _unpacked(message: NDArray[np.uint8]) -> tuple[NDArray[np.int64], list[Stored]]:
    """(the part of each row, the columns), over the memory of the message."""
    head = 8 + int(message[:8].view(np.int64)[0])
    kinds, layouts = json.loads(message[8:head].tobytes())
    start, arrays = _padded(head), []
    for dtype, shape in layouts:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        arrays.append(message[start : start + size].view(dtype).reshape(shape))
        start += _padded(size)
    rest = iter(arrays[1:])
    return arrays[0], [next(rest) if k == _NUMBERS else _text(next(rest), next(rest), k) for k in kinds]


def _text(ends: np.ndarray, data: np.ndarray, kind: int) -> Text:
    return Text(data, ends, kind == _STR)


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _largest(held: Sequence[tuple[int, int]], room: float) -> int:
    """Which of (size, part), in ascending order, is the largest within `room`; the first if none is."""
    return max(bisect_right(held, room, key=lambda one: one[0]) - 1, 0)
