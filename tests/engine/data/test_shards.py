"""Parts, who owns them, and how they travel."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import FeedRequest, Rank, Shards
from zoo.engine.data.columns import describe, to_array
from zoo.engine.data.shards import MemoryShards, StreamShards, from_arrays, owned, table_of
from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns


class Deaf:
    def put(self, event: object, /) -> None:
        pass


def read(shards: Shards, index: int = 0, world: int = 1) -> list[tuple[int, list]]:
    return [(part, batch.column(0).to_pylist()) for part, batch in shards.open(index, world)]


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 9))
def test_every_part_has_one_owner_and_rows_are_balanced(sizes: list[int], world: int) -> None:
    shares = [owned(sizes, index, world) for index in range(world)]
    assert sorted(part for share in shares for part in share) == list(range(len(sizes)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(sizes[part] for part in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_the_largest_part_goes_first() -> None:
    assert [owned([1, 9, 5, 4, 0], index, 2) for index in range(2)] == [[0, 1], [2, 3, 4]]
    assert owned([3, 3, 3, 3], 0, 2) == [0, 2]


@given(st.integers(0, 300), st.integers(1, 70), st.integers(1, 5))
def test_parts_are_equal_blocks_in_order(rows: int, parts: int, world: int) -> None:
    shards = MemoryShards(pa.table({"a": range(rows)}), parts)
    assert len(shards.sizes) == min(rows, parts) and shards.rows == rows
    assert max(shards.sizes, default=0) - min(shards.sizes, default=0) <= 1
    read_all = sorted(pair for index in range(world) for pair in read(shards.share(index, world), index, world))
    assert read_all == read(shards)
    assert [row for _, block in read_all for row in block] == list(range(rows))


def test_a_share_travels_without_the_rest() -> None:
    table = pa.table([np.arange(100_000)], pa.schema([pa.field("a", pa.int64(), metadata={b"k": b"v"})]))
    shards = MemoryShards(table.slice(10, 4000), parts=4)
    whole = pickle.loads(pickle.dumps(shards))
    assert len(pickle.dumps(shards)) < 40_000
    assert read(whole) == read(shards) and whole.schema.equals(shards.schema, check_metadata=True)
    mine = shards.share(1, 2)
    assert len(pickle.dumps(mine)) < 20_000
    assert read(pickle.loads(pickle.dumps(mine)), 1, 2) == read(shards, 1, 2)
    assert mine.rows == 4000 and mine.table().num_rows == 2000


def test_a_rank_may_own_nothing() -> None:
    shards = MemoryShards(pa.table({"a": [1]}))
    assert read(pickle.loads(pickle.dumps(shards.share(1, 2))), 1, 2) == []
    assert MemoryShards(pa.table({"a": pa.array([], pa.int8())})).peek() is None
    assert shards.peek().to_pydict() == {"a": [1]}


def test_a_stream_is_read_once() -> None:
    batch = pa.record_batch({"a": [1, 2]})
    stream = StreamShards(batch.schema, iter([(7, batch)]))
    assert stream.peek() is None and stream.share(0, 2) is stream
    assert read(stream, 1, 2) == [(7, [1, 2])] and read(stream) == []


@pytest.mark.parametrize("stream", [False, True])
def test_rows_reach_the_feed(stream: bool) -> None:
    shards, columns = from_arrays(np.arange(20).reshape(10, 2), np.arange(10))
    source = StreamShards(shards.schema, shards.open(0, 1)) if stream else shards
    request = FeedRequest(rank=Rank(), features=columns.features, labels=columns.labels, batch_size=4, sink=Deaf())
    feed = source.feed(request)
    feed.settle(Solo())
    batches = list(feed.epoch(0))
    feed.close()
    assert [batch.weight for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate([batch.labels[0] for batch in batches])) == list(range(10))
    assert all((batch.features[0][:, 0] == 2 * batch.labels[0]).all() for batch in batches)


A, B = np.arange(6, dtype="i4").reshape(3, 2), np.array([0.5, 1.5, 2.5])


@pytest.mark.parametrize(
    ("features", "labels", "columns"),
    [
        (A, None, Columns(("x",))),
        (A, B, Columns(("x",), ("y",))),
        ((A, B), (B,), Columns(("x0", "x1"), ("y",))),
        ([A, B], [A, B], Columns(("x0", "x1"), ("y0", "y1"))),
        ({"user": A, "é": B}, {"r": B}, Columns(("user", "é"), ("r",))),
    ],
)
def test_arrays_get_names(features: object, labels: object, columns: Columns) -> None:
    shards, found = from_arrays(features, labels)
    assert found == columns
    spec = describe(shards.schema, [columns.features[0]])[0]
    np.testing.assert_array_equal(to_array(shards.table().column(0), spec), A)
    assert spec.dtype == np.int32


@pytest.mark.parametrize(
    ("features", "labels", "text"),
    [
        ([1, 2], None, "'x0' must be a numpy array. Received: int"),
        ({"a": A}, {"a": B}, r"both have arrays named \['a'\]"),
        ((A, np.zeros(4)), B, "x0 has 3, x1 has 4, y has 3"),
        ([], None, "no arrays for 'x'"),
    ],
)
def test_what_is_no_set_of_arrays(features: object, labels: object, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        from_arrays(features, labels)


def test_a_table_of_arrays_keeps_large_ones_without_a_copy() -> None:
    array = np.arange(1000, dtype="f4").reshape(10, 100)
    column = table_of({"x": array}).column(0)
    back = to_array(column, describe(table_of({"x": array}).schema, ["x"])[0])
    assert np.shares_memory(back, array)
