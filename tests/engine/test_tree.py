"""Sums of lanes are equal to the bit, however ranks share the lanes out."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.collectives.tree import Pile, additions, subtrees
from zoo.engine.values import part_of

LANES = st.integers(1, 40)
SEEDS = st.integers(0, 1 << 30)


@st.composite
def shared_out(draw: Any) -> tuple[int, list[range]]:
    """(lanes, the lanes of each rank)."""
    lanes = draw(LANES)
    borders = sorted(draw(st.sets(st.integers(1, lanes - 1)))) if lanes > 1 else []
    return lanes, [range(*pair) for pair in pairwise([0, *borders, lanes])]


def numbers(lanes: int, seed: int) -> np.ndarray:
    """An array for each lane, of numbers so different in size that each order of adding rounds in its own way."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(lanes, 30)) * 10.0 ** random.integers(-6, 7, (lanes, 30))).astype(np.float32)


def with_room(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, np.zeros(3, array.dtype)])


def piled(arrays: Any, own: range, lanes: int, copy: Any = np.copy) -> list[np.ndarray]:
    """What a rank is left with when it has added up its own lanes; its one buffer is used for each of them."""
    pile = Pile(additions([(lane, lane + 1) for lane in own], lanes))
    buffer = np.empty_like(arrays[0])
    for lane in own:
        buffer[:] = arrays[lane]
        pile.push(buffer, copy)
    return pile.sums


def summed(arrays: Any, ranks: list[range], copy: Any = np.copy) -> bytes:
    """The sum of all lanes as ranks make it."""
    lanes = len(arrays)
    sums = [each for own in ranks for each in piled(arrays, own, lanes, copy)]
    whole = Pile(additions([span for own in ranks for span in subtrees(own, lanes)], lanes))
    for each in sums:
        whole.push(each.copy(), copy)
    (total,) = whole.sums
    return bytes(total[: len(arrays[0])].tobytes())


@given(LANES, st.integers(1, 40), SEEDS)
def test_every_number_of_ranks_gives_the_bits_of_one(lanes: int, world: int, seed: int) -> None:
    arrays = numbers(lanes, seed)
    world = min(world, lanes)
    ranks = [part_of(range(lanes), index, world) for index in range(world)]
    assert summed(arrays, ranks) == summed(arrays, [range(lanes)])


@given(shared_out(), SEEDS)
def test_so_does_every_way_to_share_the_lanes_out(shared: tuple[int, list[range]], seed: int) -> None:
    lanes, ranks = shared
    arrays = numbers(lanes, seed)
    assert summed(arrays, ranks) == summed(arrays, [range(lanes)])


@given(shared_out(), SEEDS)
def test_room_behind_a_sum_changes_nothing(shared: tuple[int, list[range]], seed: int) -> None:
    lanes, ranks = shared
    arrays = numbers(lanes, seed)
    assert summed(arrays, ranks, with_room) == summed(arrays, [range(lanes)])


@pytest.mark.parametrize("lanes", [4, 8, 13])
def test_another_order_would_give_other_bits(lanes: int) -> None:
    arrays = numbers(lanes, 0)
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    tree = np.frombuffer(summed(arrays, [range(lanes)]), np.float32)
    np.testing.assert_allclose(tree, arrays.astype(np.float64).sum(0), rtol=1e-3)
    np.testing.assert_allclose(total, tree, rtol=1e-3)
    assert total.tobytes() != tree.tobytes()


@pytest.mark.parametrize(("lanes", "order"), [(2, "01+"), (3, "01+2+"), (4, "01+23++"), (6, "01+23++45++"), (1, "0")])
def test_the_tree_is_the_same_for_ever(lanes: int, order: str) -> None:
    """Another tree gives other weights than those of runs that have ended."""
    counts = additions([(lane, lane + 1) for lane in range(lanes)], lanes)
    assert "".join(f"{lane}{'+' * count}" for lane, count in enumerate(counts)) == order


@given(shared_out())
def test_subtrees_lie_side_by_side_and_are_whole(shared: tuple[int, list[range]]) -> None:
    lanes, ranks = shared
    for own in ranks:
        found = subtrees(own, lanes)
        assert [lane for span in found for lane in range(*span)] == list(own)
        for start, stop in found:
            size = 1 << (stop - start - 1).bit_length()
            assert start % size == 0 and (stop - start == size or stop == lanes)
    assert subtrees(range(lanes), lanes) == [(0, lanes)]


@given(shared_out(), SEEDS)
def test_a_rank_is_left_with_one_sum_for_each_subtree(shared: tuple[int, list[range]], seed: int) -> None:
    lanes, ranks = shared
    arrays = numbers(lanes, seed)
    for own in ranks:
        found = subtrees(own, lanes)
        for (start, stop), each in zip(found, piled(arrays, own, lanes), strict=True):
            np.testing.assert_allclose(each, arrays[start:stop].astype(np.float64).sum(0), rtol=1e-3, atol=1)


@given(shared_out())
def test_few_sums_are_kept_at_a_time(shared: tuple[int, list[range]]) -> None:
    """One for each level of the tree, on a rank in the middle of it one on either side."""
    lanes, ranks = shared
    levels = math.ceil(math.log2(lanes))
    for own in ranks:
        pile = Pile(additions([(lane, lane + 1) for lane in own], lanes))
        sides = 1 if own.start == 0 else 2
        for _ in own:
            pile.push(np.zeros(1, np.float32), np.copy)
            assert len(pile.sums) <= max(sides * levels, 1)


def test_no_lanes_are_no_additions() -> None:
    assert additions([], 8) == []
    assert subtrees(range(3, 3), 8) == []
