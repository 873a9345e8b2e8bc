"""Work done ahead of whoever needs its results: read by one thread, done by several, given in order.

Owns: the threads, the order, how many bytes are on their way.
Leaves: what is read and done (records).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 60.0  # seconds for a read that is under way when nobody wants its rows any more


@dataclass(frozen=True, slots=True)
class Ahead:
    """How much is done ahead.

    Attributes:
        threads: that do the work.
        limit: bytes of items and results that nobody has taken yet, about; one item is always let in.
        growth: bytes of a result for each byte of its item, until the first results tell.
    """

    threads: int = 2
    limit: int = 64 << 20
    growth: float = 1.0


@dataclass(frozen=True, slots=True)
class _Turn(Generic[R]):
    future: Future[R]
    size: int
    room: float


def in_order(
    items: Iterable[T], work: Callable[[T], R], ahead: Ahead, sizes: tuple[Callable[[T], int], Callable[[R], int]]
) -> Generator[R, None, None]:
    """``work(item)`` of each item, in order.

    Args:
        items: iterated in a thread of its own.
        work: called in other threads.
        ahead: how much is done ahead.
        sizes: bytes of an item, and of a result.
    """
    line = _Line[T, R](ahead, sizes)
    with ThreadPoolExecutor(ahead.threads, "zoo-ahead") as pool:
        reader = threading.Thread(target=line.fill, args=(items, work, pool), name="zoo-ahead-reader", daemon=True)
        reader.start()
        try:
            while (turn := line.next()) is not None:
                yield line.result(turn)
        finally:
            line.stop()
            reader.join(_PATIENCE)
            pool.shutdown(wait=False, cancel_futures=True)


class _Line(Generic[T, R]):
    """What waits for its turn."""

    def __init__(self, ahead: Ahead, sizes: tuple[Callable[[T], int], Callable[[R], int]]) -> None:
        self._limit, self._growth, self._sizes = ahead.limit, ahead.growth, sizes
        self._changed = threading.Condition()
        self._waiting: deque[_Turn[R]] = deque()
        self._held = self._taken = 0.0  # bytes: on their way; of the result that was taken last
        self._ended = self._stopped = False

    def fill(self, items: Iterable[T], work: Callable[[T], R], pool: ThreadPoolExecutor) -> None:
        """In the reader's thread: has the work done as far ahead as there is room."""
        try:
            for item in items:
                size = self._sizes[0](item)
                room = self._enter(size)
                if self._stopped:
                    return
                self._append(_Turn(pool.submit(work, item), size, room))
        except BaseException as error:  # noqa: BLE001  it is raised where the results are taken
            failed: Future[R] = Future()
            failed.set_exception(error)
            self._append(_Turn(failed, 0, 0.0))
        finally:
            close = getattr(items, "close", None)
            if close is not None:  # a generator: it closes its files in the thread that has read them
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def next(self) -> _Turn[R] | None:
        """The next result; None after the last. Room for what was taken before is free again."""
        with self._changed:
            self._held -= self._taken
            self._taken = 0.0
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting.popleft() if self._waiting else None

    def result(self, turn: _Turn[R]) -> R:
        """Waits for it, and learns how large results are."""
        found = turn.future.result()
        self._taken = turn.room
        if turn.size:  # falls slowly: a few small results say little
            self._growth = max(self._sizes[1](found) / turn.size, 0.9 * self._growth)
        return found

    def stop(self) -> None:
        """Lets nothing more in."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _enter(self, size: int) -> float:
        """Waits for room, and takes it."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or self._held <= 0 or self._held + size * (1 + self._growth) <= self._limit
            )
            room = size * (1 + self._growth)
            self._held += room
            return room

    def _append(self, turn: _Turn[R]) -> None:
        with self._changed:
            self._waiting.append(turn)
            self._changed.notify_all()
