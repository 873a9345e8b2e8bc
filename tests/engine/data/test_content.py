"""Rows in the order of what they hold: the same for any cut, any order and any number of ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations, pairwise, product
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meeting import Meeting, Seated
from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import FeedRequest, Rank
from zoo.engine.data import content
from zoo.engine.data.arrivals import ROW_BITS
from zoo.engine.data.columns import from_array
from zoo.engine.data.content import aligned, hashed
from zoo.engine.data.feed import RowFeed
from zoo.engine.data.text import text_of
from zoo.engine.errors import DataError
from zoo.engine.events.sinks import MemorySink
from zoo.engine.scoring import stepwise

Steps: TypeAlias = "dict[tuple[int, ...], list[tuple[Any, ...]]]"
"""(seed, epoch, step, lane), without lanes (step,) -> the rows there, in order."""

LANES, BATCH = 8, 16
ROWS = st.integers(1, 90)
SEEDS = st.integers(0, 1 << 20)
SOME = settings(max_examples=40)


def table(rows: int, kinds: int = 1 << 30, seed: int = 0) -> pa.Table:
    """Rows of numbers, a whole number and a text; of `kinds` different ones, the others are their equals."""
    random = np.random.default_rng(seed)
    which = random.integers(0, kinds, rows) if kinds < 1 << 30 else np.arange(rows)
    x = np.random.default_rng(1).normal(size=(int(which.max(initial=0)) + 1, 2)).astype(np.float32)[which]
    columns = {"x": x, "n": which % 7, "y": x[:, 0] * 2}
    arrays = {name: from_array(name, array)[1] for name, array in columns.items()}
    return pa.table({**arrays, "s": pa.array([f"é{number}" * (number % 3) for number in which.tolist()])})


def request(index: int, world: int, lanes: int = LANES, **words: Any) -> FeedRequest:
    return FeedRequest(
        rank=Rank(index, world, lanes=lanes), features=("x", "n", "s"), labels=("y",), batch_size=BATCH, seed=3,
        sink=MemorySink(), **words,
    )  # fmt: skip


def feed_of(rows: pa.Table, index: int, world: int, **words: Any) -> RowFeed:
    """One rank's feed over the rows that it has read."""
    parts = enumerate(rows.to_batches(), 10 * index)
    return RowFeed.fill(parts, rows.schema, request(index, world, **words))


def placed(sizes: dict[int, int], index: int, world: int) -> RowFeed:
    """One rank's feed without lanes, over whole partitions."""
    rows = table(500)
    read = [
        (np.arange(count) + (partition << ROW_BITS), rows.slice(40 * partition, count).combine_chunks().to_batches()[0])
        for partition, count in sizes.items()
        if count
    ]
    return RowFeed.fill_placed(iter(read), rows.schema, request(index, world, lanes=0))


def shares(rows: pa.Table, world: int, seed: int) -> list[pa.Table]:
    """The rows in any order, in as many pieces of any size."""
    random = np.random.default_rng(seed)
    mixed = rows.take(random.permutation(rows.num_rows))
    borders = np.sort(random.integers(0, rows.num_rows + 1, world - 1)).tolist()
    return [mixed.slice(start, end - start) for start, end in pairwise([0, *borders, rows.num_rows])]


@contextmanager
def closing_all(feeds: list[RowFeed]) -> Iterator[list[RowFeed]]:
    try:
        yield feeds
    finally:
        for feed in feeds:
            feed.close()


def read(feeds: Sequence[RowFeed], epoch: int = 0) -> Steps:
    """What all ranks together have in each step and lane, once they have met."""

    def settled(group: Seated) -> None:
        feeds[group.index].settle(group)

    Meeting(len(feeds)).run(settled)
    found: Steps = {}
    for feed in feeds:
        for at, batch in enumerate(feed.epoch(epoch)):
            rows = list(zip(*(array.tolist() for array in (*batch.features, *batch.labels)), strict=True))
            assert batch.weight == len(rows)
            if batch.key is None:
                found[(at,)] = sorted(found.get((at,), []) + rows)
            else:
                assert batch.key not in found
                found[batch.key] = rows
    return found


def read_in_lanes(pieces: Iterable[pa.Table], epoch: int = 0, **words: Any) -> Steps:
    pieces = list(pieces)
    with closing_all([feed_of(piece, at, len(pieces), **words) for at, piece in enumerate(pieces)]) as feeds:
        return read(feeds, epoch)


def all_rows(steps: Steps) -> list[tuple[Any, ...]]:
    return sorted(row for rows in steps.values() for row in rows)


def rows_in(rows: pa.Table) -> list[tuple[Any, ...]]:
    columns = (rows.column(name).to_pylist() for name in ("x", "n", "s", "y"))
    return sorted(zip(*columns, strict=True))


# --- the order of rows -----------------------------------------------------------------------------------------------


@SOME
@given(ROWS, st.sampled_from([1, 5, 1 << 30]), st.integers(1, 4), SEEDS, st.integers(0, 3))
def test_any_cut_and_any_order_give_each_lane_the_same_rows(
    rows: int, kinds: int, world: int, seed: int, epoch: int
) -> None:
    whole = table(rows, kinds)
    alone = read_in_lanes([whole], epoch)
    assert read_in_lanes(shares(whole, world, seed), epoch) == alone
    assert all_rows(alone) == rows_in(whole)
    assert {key[:2] for key in alone} == {(3, epoch)}
    assert [key[2:] for key in sorted(alone)] == list(product(range(-(-rows // BATCH)), range(LANES)))


@SOME
@given(ROWS, st.integers(1, 12), st.integers(1, 4), SEEDS)
def test_so_they_do_for_any_number_of_lanes_and_without_shuffling(rows: int, lanes: int, world: int, seed: int) -> None:
    whole, words = table(rows, 20), {"lanes": lanes, "shuffle": False}
    pieces = shares(whole, min(world, lanes), seed)
    assert read_in_lanes(pieces, **words) == read_in_lanes([whole], **words)


@pytest.mark.parametrize("words", [{"memory": 256}, {"epoch": 1, "memory": 256}])
def test_rows_on_disk_are_the_same(words: dict[str, Any]) -> None:
    whole = table(200)
    epoch = words.pop("epoch", 0)
    assert read_in_lanes(shares(whole, 3, 0), epoch, **words) == read_in_lanes([whole], epoch)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    whole = table(100)
    with closing_all([feed_of(whole, 0, 1)]) as feeds:
        first, second = ([row for _, rows in sorted(read(feeds, epoch).items()) for row in rows] for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_every_rank_has_its_lanes_in_every_step() -> None:
    pieces = shares(table(50), 3, 0)
    with closing_all([feed_of(piece, at, 3) for at, piece in enumerate(pieces)]) as feeds:
        read(feeds)
        for index, feed in enumerate(feeds):
            rank = Rank(index, 3, lanes=LANES)
            steps = list(stepwise(feed.epoch(0), rank))
            assert [[batch.key[3] for batch in step if batch.key] for step in steps] == [list(rank.own_lanes)] * 4
            assert [batch.total for step in steps for batch in step[:1]] == [16, 16, 16, 2]


def test_an_epoch_can_be_entered_in_its_middle() -> None:
    with closing_all([feed_of(table(100), 0, 1)]) as feeds:
        feeds[0].settle(Solo())
        whole, rest = list(feeds[0].epoch(1)), list(feeds[0].epoch(1, 4))
    assert [batch.key for batch in rest] == [batch.key for batch in whole[4 * LANES :]]
    for one, other in zip(rest, whole[4 * LANES :], strict=True):
        np.testing.assert_array_equal(one.labels[0], other.labels[0])


def test_a_rank_may_have_read_nothing() -> None:
    whole = table(60)
    alone = read_in_lanes([whole])
    assert read_in_lanes([whole.slice(0, 0), whole, whole.slice(0, 0)]) == alone
    assert read_in_lanes([whole, whole.slice(0, 0)]) == alone


@pytest.mark.parametrize("world", [1, 3])
def test_no_rows_anywhere_are_an_error(world: int) -> None:
    with pytest.raises(DataError, match="the training data has no rows"):
        read_in_lanes([table(0)] * world)


def test_lanes_are_about_equally_large() -> None:
    sizes = [0] * LANES
    for key, rows in read_in_lanes([table(4000)]).items():
        sizes[key[3]] += len(rows)
    assert sum(sizes) == 4000
    assert max(sizes) <= 600 and min(sizes) >= 400


@pytest.mark.parametrize("world", [1, 3])
def test_every_array_lies_where_vector_units_like_it(world: int) -> None:
    with closing_all([feed_of(piece, at, world) for at, piece in enumerate(shares(table(99), world, 0))]) as feeds:
        read(feeds)
        batches = [batch for feed in feeds for batch in feed.epoch(0)]
    arrays = [array for batch in batches if batch.weight for array in (*batch.features[:2], *batch.labels)]
    addresses = [array.ctypes.data for array in arrays]
    assert sum(map(len, arrays)) == 3 * 99
    assert [address % 64 for address in addresses] == [0] * len(addresses)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_an_array_that_lies_elsewhere_is_moved(shape: tuple[int, ...], dtype: str) -> None:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + 128, np.uint8)
    start = -room.ctypes.data % 64 + 8
    array = room[start : start + size].view(dtype).reshape(shape)
    array[...] = np.arange(np.prod(shape)).reshape(shape)
    moved = aligned(array)
    assert (moved.ctypes.data % 64, moved.dtype, moved.shape) == (0, array.dtype, shape)
    np.testing.assert_array_equal(moved, array)
    assert aligned(moved) is moved


def test_texts_stay_where_they_are() -> None:
    texts = np.array(["a", "b"], object)[1:]
    assert aligned(texts) is texts


# --- hashes ----------------------------------------------------------------------------------------------------------


def arrays_of(x: Any = (1.5, 2.5), n: int = 3, s: str = "ab", t: str = "c") -> list[Any]:
    numbers = np.array([x], np.float32), np.array([n], np.int64)
    return [*numbers, *(text_of(np.array([text], object), "s") for text in (s, t))]


def flipped(value: float, bit: int) -> float:
    return float((np.array([value], np.float32).view(np.uint32) ^ np.uint32(1 << bit)).view(np.float32)[0])


ROWS_THAT_DIFFER = {
    "itself": arrays_of(),
    "a bit": arrays_of(x=(flipped(1.5, 0), 2.5)),
    "the sign": arrays_of(x=(-1.5, 2.5)),
    "the other number": arrays_of(x=(1.5, flipped(2.5, 22))),
    "its numbers swapped": arrays_of(x=(2.5, 1.5)),
    "zero": arrays_of(x=(0.0, 2.5)),
    "zero below": arrays_of(x=(-0.0, 2.5)),
    "the whole number": arrays_of(n=2),
    "a text": arrays_of(s="aB"),
    "a text longer by a zero": arrays_of(s="ab\0"),
    "no text": arrays_of(s=""),
    "its texts swapped": arrays_of(s="c", t="ab"),
    "texts cut elsewhere": arrays_of(s="a", t="bc"),
    "columns swapped": [arrays_of()[at] for at in (1, 0, 2, 3)],
    "columns elsewhere": [arrays_of()[at] for at in (0, 2, 1, 3)],
    "without a column": arrays_of()[:3],
}


def test_rows_that_differ_have_other_hashes() -> None:
    found = {name: hashed(columns) for name, columns in ROWS_THAT_DIFFER.items()}
    for one, other in combinations(found, 2):
        for ours, theirs in zip(found[one], found[other], strict=True):
            assert ours[0] != theirs[0], f"{one} and {other}"
    assert all(first[0] != second[0] for first, second in found.values())


@given(st.lists(st.integers(0, 255), min_size=1, max_size=24), st.data())
def test_one_bit_makes_another_hash(row: list[int], data: st.DataObject) -> None:
    array = np.array([row, row], np.uint8)
    array[1, data.draw(st.integers(0, len(row) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    first, second = hashed([array])
    assert first[0] != first[1] and second[0] != second[1]


def test_about_half_of_a_hash_changes_with_one_bit() -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (500, 12)).astype(np.uint8)
    changed = rows.copy()
    changed[np.arange(500), random.integers(0, 12, 500)] ^= (1 << random.integers(0, 8, 500)).astype(np.uint8)
    for ours, theirs in zip(hashed([rows]), hashed([changed]), strict=True):
        bits = np.unpackbits((ours ^ theirs).view(np.uint8)).mean()
        assert bits == pytest.approx(0.5, abs=0.02)


@given(ROWS, SEEDS)
def test_a_row_has_the_same_hash_in_any_company(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, 3)).astype(np.float32)
    texts = np.array(["é" * int(length) for length in random.integers(0, 9, rows)], object)
    chosen = random.permutation(rows)[: 1 + rows // 2]
    together = hashed([numbers, text_of(texts, "s")])
    apart = hashed([numbers[chosen], text_of(texts[chosen], "s")])
    for ours, theirs in zip(together, apart, strict=True):
        np.testing.assert_array_equal(ours[chosen], theirs)


def test_hashes_do_not_depend_on_how_an_array_lies_in_memory() -> None:
    numbers = np.arange(60, dtype=np.float32).reshape(10, 6)
    for other in (np.asfortranarray(numbers), np.repeat(numbers, 2, axis=0)[::2], numbers.reshape(10, 2, 3)):
        for ours, theirs in zip(hashed([numbers]), hashed([other]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_hashes_are_the_same_for_ever() -> None:
    """Other hashes are another order of rows, and so other weights than those of runs that have ended."""
    columns = [np.array([[1.5, -2.0]], np.float32), np.array([7], np.int64), text_of(np.array(["é1"], object), "s")]
    assert [int(each[0]) for each in hashed(columns)] == [0x997C7D95FED93F75, 0x616B696BAA8820C]


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_rows_are_hashed_alike_in_blocks_of_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table(150, 40)
    alone = read_in_lanes([whole])
    monkeypatch.setattr(content, "_BLOCK_BYTES", size)
    assert read_in_lanes([whole]) == alone
    assert read_in_lanes(shares(whole, 2, 0)) == alone


# --- a group that is formed anew -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_who_takes_a_lost_ranks_place_gets_its_lanes(lost: int) -> None:
    whole = table(120, 50)
    pieces = shares(whole, 3, 0)
    with closing_all([feed_of(piece, at, 3) for at, piece in enumerate(pieces)]) as feeds:
        before = read(feeds)
        feeds[lost].close()
        again = pieces[lost].take(np.random.default_rng(1).permutation(pieces[lost].num_rows))
        feeds[lost] = feed_of(again, lost, 3)
        after = read(feeds)
        assert after == before and all_rows(after) == rows_in(whole)
        assert read(feeds, epoch=1) == read_in_lanes([whole], 1)


def test_two_may_be_lost_and_two_may_come() -> None:
    whole = table(120)
    pieces = shares(whole, 3, 5)
    with closing_all([feed_of(piece, at, 3) for at, piece in enumerate(pieces)]) as feeds:
        before = read(feeds)
        for lost in (0, 2):
            feeds[lost].close()
            feeds[lost] = feed_of(pieces[lost], lost, 3)
        assert read(feeds) == before
        assert read(feeds) == before


@pytest.mark.parametrize("others", [(40, 20), (120, 40), (0, 0)], ids=["fewer", "others", "none"])
def test_who_reads_other_rows_in_a_lost_ranks_place_is_refused(others: tuple[int, int]) -> None:
    whole = table(160)
    with closing_all([feed_of(whole.slice(40 * at, 40), at, 3) for at in range(3)]) as feeds:
        read(feeds)
        feeds[1].close()
        feeds[1] = feed_of(whole.slice(*others), 1, 3)
        with pytest.raises(DataError, match=r"changed when a lost rank's share was read again: 120 rows .*persist\(\)"):
            read(feeds)


EVEN = [{0: 40, 1: 40}, {2: 40, 3: 40}, {4: 40, 5: 40}]
SKEWED = [{0: 300, 5: 20}, {1: 10}, {}]


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("sizes", [EVEN, SKEWED], ids=["even", "skewed"])
def test_who_takes_a_lost_ranks_place_gets_its_parts(sizes: list[dict[int, int]], lost: int) -> None:
    with closing_all([placed(each, at, 3) for at, each in enumerate(sizes)]) as feeds:
        before = read(feeds)
        assert len(all_rows(before)) == sum(count for each in sizes for count in each.values())
        held = [[batch.weight for batch in feed.epoch(0)] for feed in feeds]
        feeds[lost].close()
        feeds[lost] = placed(sizes[lost], lost, 3)
        assert read(feeds) == before
        assert [[batch.weight for batch in feed.epoch(0)] for feed in feeds] == held


@pytest.mark.parametrize("others", [{2: 40, 3: 39}, {2: 41, 3: 39}, {2: 40}, {}])
def test_other_rows_are_refused_of_frames_too(others: dict[int, int]) -> None:
    with closing_all([placed(each, at, 3) for at, each in enumerate(EVEN)]) as feeds:
        read(feeds)
        feeds[1].close()
        feeds[1] = placed(others, 1, 3)
        with pytest.raises(DataError, match=r"changed when a lost rank's share was read again: 240 rows .*persist\(\)"):
            read(feeds)
