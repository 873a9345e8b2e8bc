"""Parts move to where there are few rows, and no more of them than it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meeting import Meeting, Seated
from zoo.engine.contracts import FeedRequest, Rank
from zoo.engine.data import balance
from zoo.engine.data.arrivals import cut, indices
from zoo.engine.data.columns import ArraySpec
from zoo.engine.data.spool import Spool
from zoo.engine.data.text import text_of
from zoo.engine.events.sinks import MemorySink

COLUMNS = (ArraySpec("x", np.dtype("float32"), (2,)), ArraySpec("s", np.dtype(object), ()))


def loads(sizes: list[int], holders: list[int], world: int) -> list[int]:
    return [sum(size for size, holder in zip(sizes, holders, strict=True) if holder == rank) for rank in range(world)]


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), max_size=80))
def test_the_fullest_rank_never_gets_more_and_what_stays_uneven_cannot_be_helped(
    world: int, parts: list[tuple[int, int]]
) -> None:
    sizes, holders = [size for size, _ in parts], [holder % world for _, holder in parts]
    to = balance.moves(sizes, holders, world)
    after = loads(sizes, [to.get(part, holder) for part, holder in enumerate(holders)], world)
    before = loads(sizes, holders, world)
    assert max(after) <= max(before)
    largest = max([size for size, _ in parts], default=0)
    assert max(after) * 20 * world <= sum(sizes) * 21 or max(after) - min(after) <= largest
    assert all(holders[part] != rank for part, rank in to.items())


def test_even_loads_stay_where_they_are() -> None:
    assert balance.moves([50, 51, 49, 50], [0, 0, 1, 1], 2) == {}


def test_one_partition_of_all_rows_is_shared_out() -> None:
    sizes = [len(range(1000)[at::64]) for at in range(64)]
    to = balance.moves(sizes, [0] * 64, 4)
    assert loads(sizes, [to.get(part, 0) for part in range(64)], 4) == pytest.approx([250] * 4, abs=16)
    assert 44 <= len(to) <= 48


def rows_of(partition: int, count: int) -> tuple[Any, Any]:
    numbers = np.arange(count, dtype=np.float32) + 1000 * partition
    texts = np.array([f"é{number:.0f}" * (1 + int(number) % 3) for number in numbers], object)
    return np.stack([numbers, -numbers], axis=1), texts


def evened(group: Seated, sizes: dict[int, int], memory: int) -> dict[int, Any]:
    """part -> its rows, on one rank that has read `sizes`."""
    request = FeedRequest(
        rank=Rank(group.index, group.world), features=("x", "s"), labels=(), batch_size=8, sink=MemorySink()
    )
    spool = Spool(memory, COLUMNS)
    partitions = {}
    for partition, count in sizes.items():
        x, texts = rows_of(partition, count)
        if count:
            partitions[partition] = range(spool.rows, spool.rows + count)
            spool.append((x, text_of(texts, "s")))
    parts = balance.evened(partitions, spool, request, group, {})
    columns = spool.seal()
    found = {part: [column.take(indices(rows)).tolist() for column in columns] for part, rows in parts.items()}
    spool.close()
    return found


@pytest.mark.parametrize("memory", [1 << 20, 64])
@pytest.mark.parametrize("message", [1 << 20, 100])
@pytest.mark.parametrize(
    "sizes", [({0: 300}, {}), ({0: 10, 3: 200}, {1: 5, 2: 5}), ({}, {5: 70}, {1: 1}), ({0: 3}, {1: 2})]
)
def test_parts_arrive_whole_and_in_order(
    sizes: tuple[dict[int, int], ...], message: int, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance, "MESSAGE_BYTES", message)
    answers = Meeting(len(sizes)).run(lambda group: evened(group, sizes[group.index], memory))
    everything = {partition: count for each in sizes for partition, count in each.items()}
    expected = {}
    for partition, parts in cut(everything).items():
        x, texts = rows_of(partition, everything[partition])
        expected |= {
            part: [x[at :: len(parts)].tolist(), texts[at :: len(parts)].tolist()] for at, part in enumerate(parts)
        }
    assert {part: rows for answer in answers for part, rows in answer.items()} == expected
    held = [sum(len(rows[0]) for rows in answer.values()) for answer in answers]
    assert sum(held) == sum(everything.values())
    assert max(held) - min(held) <= max(2, sum(held) // 8)


def test_a_rank_with_even_rows_sends_nothing() -> None:
    assert list(evened(Seated(Meeting(1), 0), {4: 5}, 100)) == [0, 1, 2, 3, 4]
