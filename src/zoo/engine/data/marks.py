"""Whether ranks that take turns with one stream of batches read the same stream.

Each rank marks what it has read of it; the marks of a step are compared with its rows, in the same message.

Owns: marks, and what unequal ones mean.
Leaves: who reads (feeds), the message (loop).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from zoo.engine.errors import DataError
from zoo.engine.values import Batch

_BITS = 22  # so that the squares of marks of 500 ranks add up exactly in a float64
_LOOKED_AT = 4096  # numbers of an array
_CHARACTERS = 64  # of a text


def in_turns(batches: Iterable[Any], index: int, world: int, made: Callable[[Any], Batch]) -> Iterator[Batch]:
    """Every `world`-th batch, marked with all that was read before its round; then empty ones without end.

    Args:
        batches: that all ranks read alike.
        index: of this rank.
        world: ranks that take turns.
        made: the batch as it is trained on.
    """
    read, before, count = 0, 0, 0
    for count, batch in enumerate(batches, 1):
        turn = (count - 1) % world
        before = read if turn == 0 else before
        read = _after(read, batch)
        if turn == index:
            yield replace(made(batch), mark=_folded(before))
    if count % world and index >= count % world:  # the last round ended before this rank's turn
        yield Batch((), (), 0, mark=_folded(before))
    while True:
        yield Batch((), (), 0, mark=_folded(_after(read, count)))


def terms_of(batch: Batch) -> np.ndarray:
    """What a rank adds to the sum over all ranks: float64 of (rows,) or, with a mark, (rows, mark, its square)."""
    marks = [] if batch.mark is None else [batch.mark, batch.mark**2]
    return np.array([batch.weight, *marks], dtype=np.float64)


def rows_of_step(sums: np.ndarray, world: int) -> int:
    """The rows of a step.

    Args:
        sums: of `terms_of`, over all ranks.
        world: how many ranks there are.

    Raises:
        DataError: the ranks' marks are not all the same.
    """
    if len(sums) > 1 and int(sums[2]) * world != int(sums[1]) ** 2:
        raise DataError(
            "the ranks read different data: what a data creator makes must be the same on every rank, in the same "
            "order, for the ranks take its batches in turns; else rows would be read twice, and others never. Random "
            "orders are the same where they come from tf.data, torch, Python's random or np.random, drawn by one "
            "thread. Give a generator of your own a seed, sort what comes from a directory or a set, or read one "
            "part on each rank: config['num_shards'], config['rank']."
        )
    return int(sums[0])


def _after(read: int, batch: Any) -> int:
    for leaf in _leaves(batch):
        read = zlib.crc32(_looked_at(leaf), read)
    return read


def _folded(read: int) -> int:
    return read >> (32 - _BITS) ^ read & ((1 << _BITS) - 1)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _looked_at(leaf: Any) -> bytes:
    """Some of its content; only its type where that is not known to be equal on all ranks."""
    if isinstance(leaf, bytes | str):
        return str(leaf[:_CHARACTERS]).encode() + b"%d" % len(leaf)
    if leaf is None or isinstance(leaf, int | float):
        return repr(leaf).encode()
    if not hasattr(leaf, "__array__"):
        return type(leaf).__name__.encode()
    array = np.asarray(leaf).reshape(-1)
    some = array[:: max(1, array.size // _LOOKED_AT)]
    shape = repr(np.shape(leaf)).encode()
    return shape + (b"".join(map(_looked_at, some)) if some.dtype.kind == "O" else some.tobytes())
