"""Marks: ranks in turns find out whether they read the same stream, in every step and behind the last."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.contracts import Batch
from zoo.engine.data.marks import in_turns, rows_of_step, terms_of
from zoo.engine.errors import DataError


def made(batch: Any) -> Batch:
    return Batch((batch,), (), len(batch))


def steps(streams: list[list[np.ndarray]], many: int) -> list[list[Batch]]:
    """The batches of each step, by rank."""
    world = len(streams)
    ranks = [list(islice(in_turns(stream, index, world, made), many)) for index, stream in enumerate(streams)]
    return [list(step) for step in zip(*ranks, strict=True)]


def rows(step: list[Batch]) -> int:
    return rows_of_step(np.sum([terms_of(batch) for batch in step], axis=0), len(step))


def stream(batches: int) -> list[np.ndarray]:
    return [np.array([2 * number, 2 * number + 1]) for number in range(batches)]


@given(batches=st.integers(0, 20), world=st.integers(1, 6))
def test_equal_streams_are_read_whole(batches: int, world: int) -> None:
    found = steps([stream(batches)] * world, batches + 2)
    assert [rows(step) for step in found] == [
        2 * min(world, max(0, batches - number * world)) for number in range(batches + 2)
    ]
    read = [batch.features[0].tolist() for step in found for batch in step if batch.weight]
    assert read == [batch.tolist() for batch in stream(batches)]


@given(batches=st.integers(1, 20), world=st.integers(2, 6), data=st.data())
def test_one_other_batch_is_noticed_and_not_before_its_step(batches: int, world: int, data: Any) -> None:
    rank, place = data.draw(st.integers(0, world - 1)), data.draw(st.integers(0, batches - 1))
    streams = [stream(batches) for _ in range(world)]
    if data.draw(st.booleans()):
        streams[rank][place] = streams[rank][place][::-1]
    else:
        del streams[rank][place:]
    found = steps(streams, batches + 2)
    for step in found[: place // world]:
        rows(step)
    with pytest.raises(DataError, match="the ranks read different data"):
        list(map(rows, found))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": np.zeros(3)}, {"a": np.ones(3)}),
        ([np.array([b"x", b"yz"], object)], [np.array([b"xy", b"z"], object)]),
        ((["text"], None), (["tex"], None)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(10**6), np.concatenate([np.zeros(10**6 - 5000), np.ones(5000)])),
        (1, 2),
    ],
)
def test_what_a_batch_holds(one: Any, other: Any) -> None:
    def mark(batch: Any) -> int | None:
        return list(islice(in_turns([batch], 0, 2, lambda _: Batch((), (), 1)), 2))[1].mark

    assert mark(one) == mark(one) != mark(other)


def test_without_marks_rows_are_added() -> None:
    assert rows([Batch((), (), 3), Batch((), (), 4)]) == 7
