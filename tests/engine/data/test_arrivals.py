"""Rows are found again in the order of their partitions, and partitions become parts of even size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.data.arrivals import PARTS, ROW_BITS, Arrivals, cut, indices

SIZES = st.dictionaries(st.integers(0, 2**30), st.integers(0, 500), max_size=8)


@given(st.dictionaries(st.integers(0, 2**29), st.integers(1, 50), max_size=5), st.data())
def test_rows_that_come_in_any_order_are_found_in_their_own(sizes: dict[int, int], data: st.DataObject) -> None:
    places = [(partition << ROW_BITS) + number for partition, rows in sizes.items() for number in range(rows)]
    arriving = np.array(data.draw(st.one_of(st.just(places), st.permutations(places))), np.int64)
    arrivals, start = Arrivals(), 0
    while start < len(arriving):
        end = min(len(arriving), start + data.draw(st.integers(1, 60)))
        arrivals.add(arriving[start:end], range(start, end))
        start = end
    found = {partition: arriving[indices(rows)].tolist() for partition, rows in arrivals.partitions().items()}
    assert found == {p: [(p << ROW_BITS) + number for number in range(rows)] for p, rows in sizes.items()}


def test_rows_in_order_take_no_memory() -> None:
    arrivals, start = Arrivals(), 0
    for partition in (2, 0):
        for number in range(0, 3000, 1000):
            places = np.arange(number, number + 1000) + (partition << ROW_BITS)
            arrivals.add(places, range(start, start + 1000))
            start += 1000
    arrivals.add(np.empty(0, np.int64), range(start, start))
    assert arrivals.partitions() == {0: range(3000, 6000), 2: range(3000)}


@given(SIZES)
def test_each_row_is_in_one_part_and_no_part_is_large(sizes: dict[int, int]) -> None:
    made = cut(sizes)
    numbers = [number for partition in sorted(made) for number in made[partition]]
    assert numbers == list(range(len(numbers)))
    total = sum(sizes.values())
    for partition, parts in made.items():
        rows = [range(sizes[partition])[at :: len(parts)] for at in range(len(parts))]
        assert sorted(row for part in rows for row in part) == list(range(sizes[partition]))
        assert all(0 < len(part) <= -(-total // PARTS) for part in rows)
    assert len(numbers) <= PARTS + len(sizes)
