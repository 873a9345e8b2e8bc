"""Work ahead of its reader: order, bounds, errors, ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.data.ahead import Ahead, in_order


def sizes(item: int) -> int:
    return item


def done(items: object, work: object = lambda item: item, ahead: Ahead | None = None) -> Iterator[int]:
    return in_order(items, work, ahead or Ahead(threads=3), (sizes, sizes))  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 4), st.integers(1, 200))
def test_results_come_in_order(items: list[int], threads: int, limit: int) -> None:
    assert list(done(items, lambda item: item * 2, Ahead(threads, limit))) == [item * 2 for item in items]


def test_no_more_than_the_limit_is_on_its_way() -> None:
    read: list[int] = []
    fourth = threading.Event()

    def items() -> Iterator[int]:
        for number in range(20):
            read.append(number)
            if len(read) == 4:
                fourth.set()
            yield 10

    found = done(items(), ahead=Ahead(threads=2, limit=60, growth=1.0))  # an item and its result are 20 bytes
    next(found)
    assert fourth.wait(10)
    time.sleep(0.2)  # for what must not happen: the fourth waits for room, and the fifth is not read
    assert len(read) == 4
    assert len(list(found)) == 19


def test_an_item_larger_than_the_limit_is_let_in_alone() -> None:
    assert list(done([100, 100, 1], ahead=Ahead(limit=10))) == [100, 100, 1]


def test_an_error_comes_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    found = done([0, 1, 2, 3], work)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(found)


def test_an_error_of_the_items_comes_behind_them() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    found = done(items())
    assert next(found) == 1
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_nothing_runs_on_when_the_reader_stops() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    found = done(items(), ahead=Ahead(limit=100))
    assert next(found) == 1
    found.close()  # type: ignore[attr-defined]
    assert closed.is_set()  # and conftest looks for threads
