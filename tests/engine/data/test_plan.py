"""The laws of the plan: each row once an epoch, and the same rows in a step whatever the number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.engine.data.plan import Plan

sizes = st.lists(st.integers(0, 40), min_size=1, max_size=8)
batches = st.integers(1, 50)


def rows_by_step(plan: Plan, parts: list[int], start: int = 0) -> list[list[tuple[int, int]]]:
    return [[(parts[i], int(k)) for i, k in zip(part, ks, strict=True)] for part, ks in plan.steps_of(parts, start)]


@given(sizes, batches)
def test_every_row_exactly_once_in_full_steps(sizes: list[int], batch: int) -> None:
    plan = Plan(tuple(sizes), batch)
    steps = rows_by_step(plan, list(range(len(sizes))))
    assert sorted(row for step in steps for row in step) == [(p, k) for p, n in enumerate(sizes) for k in range(n)]
    assert [len(step) for step in steps] == [plan.total(s) for s in range(plan.steps)]


@given(sizes, batches, st.integers(1, 5))
def test_ranks_share_the_steps_of_one(sizes: list[int], batch: int, world: int) -> None:
    plan = Plan(tuple(sizes), batch)
    alone = rows_by_step(plan, list(range(len(sizes))))
    shared = [rows_by_step(plan, list(range(index, len(sizes), world))) for index in range(world)]
    together = [sorted(row for rank in shared for row in rank[s]) for s in range(plan.steps)]
    assert together == [sorted(step) for step in alone]


@given(sizes, batches, st.data())
def test_seeking_gives_what_reading_on_would_have_given(sizes: list[int], batch: int, data: st.DataObject) -> None:
    plan = Plan(tuple(sizes), batch)
    start = data.draw(st.integers(0, plan.steps))
    parts = list(range(len(sizes)))
    assert rows_by_step(plan, parts, start) == rows_by_step(plan, parts)[start:]


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=70), st.integers(1, 10**5))
@settings(max_examples=30, deadline=None)
def test_borders_of_large_data_add_up_and_never_go_back(sizes: list[int], batch: int) -> None:
    plan = Plan(tuple(sizes), batch)
    first = max(plan.steps // 2 - 3, 0)
    borders = plan.borders(first, min(first + 6, plan.steps))
    expected = [min(s * batch, plan.rows) for s in range(first, first + len(borders))]
    assert borders.sum(axis=1).tolist() == expected
    assert np.all(np.diff(borders, axis=0) >= 0)
    # Spread evenly: no part runs ahead of its share by more than the number of parts.
    share = np.outer(expected, np.asarray(sizes) / plan.rows)
    assert np.all(np.abs(borders - share) <= len(sizes))


def test_blocks_of_steps_join_without_a_seam() -> None:
    plan = Plan((1000, 701, 3), 1)
    steps = rows_by_step(plan, [0, 1, 2])
    assert len(steps) == 1704
    assert len({row for step in steps for row in step}) == 1704


def test_permutations_differ_by_epoch_and_part_and_repeat_by_seed() -> None:
    plan = Plan((50, 50), 10, seed=3)
    first, again = plan.permutation(0, 0), Plan((50, 50), 10, seed=3).permutation(0, 0)
    assert first is not None and again is not None
    assert first.tolist() == again.tolist() and sorted(first) == list(range(50))
    others = [plan.permutation(1, 0), plan.permutation(0, 1), Plan((50, 50), 10, seed=4).permutation(0, 0)]
    assert all(other is not None and other.tolist() != first.tolist() for other in others)


def test_without_shuffle_parts_are_read_in_order() -> None:
    assert Plan((5,), 2, shuffle=False).permutation(0, 0) is None
    assert rows_by_step(Plan((5,), 2, shuffle=False), [0]) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]


@pytest.mark.parametrize("sizes", [(), (0, 0)])
def test_no_rows_make_no_steps(sizes: tuple[int, ...]) -> None:
    plan = Plan(sizes, 4)
    assert plan.steps == 0 and list(plan.steps_of(range(len(sizes)))) == []
