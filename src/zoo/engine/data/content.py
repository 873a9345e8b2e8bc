"""The order of rows by what they hold, not by where they lie: the same for any partitioning of the same rows.

Each row has a hash of all its columns. Its first bits say which lane (virtual rank) it belongs to, and rows of a lane
are ordered by the whole of it. Equal rows are interchangeable. That two others among a billion rows get one hash of
128 bits happens about once in 10^20 data sets.

Owns: hashing rows, dealing them out to lanes.
Leaves: carrying rows between ranks (balance), the order within an epoch (plan).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing

import numpy as np
from numpy.typing import NDArray

from zoo.engine.contracts import Collective, FeedRequest
from zoo.engine.data.arrivals import Rows, indices
from zoo.engine.data.balance import carry
from zoo.engine.data.spool import Spool
from zoo.engine.data.text import Stored, Text
from zoo.engine.events.events import Tick
from zoo.engine.values import part_of

Words = NDArray[np.uint64]

_BLOCK_BYTES = 1 << 20  # rows that are hashed at once stay in a core's cache
_ALIGNED = 64
_STEP, _FIRST, _SECOND, _THIRD = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)
)
_HALF = np.uint64(32)


def hashed(columns: Sequence[Stored]) -> tuple[Words, Words]:
    """Two hashes of 64 bits for each row: sums of well mixed words, each mixed with its place in the row.

    Args:
        columns: the rows, as a spool keeps them.
    Source: the mixing steps are those of splitmix64; Steele et al., "Fast splittable pseudorandom number generators",
    OOPSLA 2014.
    """
    first = second = np.zeros(1, np.uint64)
    start = 1
    for column in columns:
        words = _text_words(column) if isinstance(column, Text) else _words(column)
        places = np.arange(start, start + words.shape[1], dtype=np.uint64) * _STEP
        mixed = _mixed(words + places)
        first = first + mixed.sum(axis=1, dtype=np.uint64)
        second = second + _mixed(mixed * _THIRD).sum(axis=1, dtype=np.uint64)
        start += words.shape[1]
    return _mixed(first), _mixed(second)


def lanes_of(spool: Spool, request: FeedRequest) -> dict[int, Rows]:
    """Where the rows of each lane lie, of those that this rank has read; every lane is named."""
    lanes = request.rank.lanes
    found = [np.empty(0, np.int64)]
    for first, _ in _hashes(spool, range(spool.rows), request):
        found.append(((first >> _HALF) * np.uint64(lanes) >> _HALF).astype(np.int64))
    lane = np.concatenate(found)
    order = np.argsort(lane, kind="stable").astype(np.intp, copy=False)
    return dict(enumerate(np.split(order, np.searchsorted(lane[order], np.arange(1, lanes)))))


def dealt(
    lanes: Mapping[int, Rows], spool: Spool, request: FeedRequest, group: Collective, held: Mapping[int, Rows]
) -> dict[int, Rows]:
    """This rank's lanes with the rows of all ranks, in order; every rank of the gang must come here.

    Args:
        lanes: the rows that this rank has read, by lane (`lanes_of`).
        spool: where they lie; those that come are added.
        request: who this is.
        group: the ranks.
        held: the lanes that this rank has from an earlier call; its own are the same in every call.
    """
    every, world = range(request.rank.lanes), request.rank.world
    owners = {lane: rank for rank in range(world) for lane in part_of(every, rank, world)}
    mine = carry(spool, lanes, owners, request, group, held)
    return {lane: held[lane] if lane in held else _ordered(spool, rows, request) for lane, rows in mine.items()}


def aligned(array: np.ndarray) -> np.ndarray:
    """The same numbers at an address that vector units like: some libraries compute others elsewhere.

    Source: Intel oneMKL's developer guide, "Obtaining numerically reproducible results".
    """
    if array.ctypes.data % _ALIGNED == 0 or array.dtype.hasobject:
        return array
    room = np.empty(array.nbytes + _ALIGNED, np.uint8)
    start = -room.ctypes.data % _ALIGNED
    moved = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def _ordered(spool: Spool, rows: Rows, request: FeedRequest) -> NDArray[np.intp]:
    """Rows by their hashes."""
    pairs = list(_hashes(spool, rows, request))
    if not pairs:
        return indices(rows)
    first, second = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return indices(rows)[np.lexsort((second, first))]


def _hashes(spool: Spool, rows: Rows, request: FeedRequest) -> Iterator[tuple[Words, Words]]:
    """The hashes of rows, block by block."""
    at_once = max(1, _BLOCK_BYTES // spool.row_bytes)
    with ExitStack() as stack:
        columns = [stack.enter_context(closing(column)) for column in spool.so_far()]
        for start in range(0, len(rows), at_once):
            block = indices(rows[start : start + at_once])
            yield hashed([column.stored(block) for column in columns])
            request.sink.put(Tick())


def _mixed(words: Words) -> Words:
    """A bijection of 64 bits after which each bit depends on all."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def _words(rows: np.ndarray) -> Words:
    """The bytes of each row as words of 64 bits, zeros behind the last byte."""
    rows = np.ascontiguousarray(rows)
    size = rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
    room = np.zeros((len(rows), -(-size // 8) * 8), np.uint8)
    room[:, :size] = rows.reshape(-1).view(np.uint8).reshape(len(rows), size)
    return room.view(np.uint64)


def _text_words(rows: Text) -> Words:
    """A digest of each row's bytes: texts differ in length."""
    starts = [0, *rows.ends[:-1].tolist()]
    data = rows.data.tobytes()
    digests = [
        hashlib.blake2b(data[start:end], digest_size=16).digest()
        for start, end in zip(starts, rows.ends.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(len(rows), 2)
