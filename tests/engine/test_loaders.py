"""torch loaders as shards: each row once an epoch, the same rows in the same step on any number of ranks."""

from __future__ import annotations

import dataclasses
import pickle
import random
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from meeting import Meeting
from zoo.engine.contracts import Batch, Extent, Feed, FeedRequest, Rank
from zoo.engine.data import columns
from zoo.engine.data.adapters import adapt
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.torch.batches import divide
from zoo.engine.frameworks.torch.loaders import ROWS
from zoo.engine.jobs import Columns


class Nowhere:
    def put(self, event: Any) -> None:
        """Events go nowhere."""


def dataset(rows: int) -> TensorDataset:
    return TensorDataset(torch.arange(rows, dtype=torch.float32).reshape(-1, 1), torch.arange(rows))


class Stream(IterableDataset[Any]):
    """Rows in order; like many, it draws a shift at random."""

    def __init__(self, rows: int, random: bool = False) -> None:
        self.rows, self.random = rows, random

    def __iter__(self) -> Iterator[Any]:
        shift = int(torch.randint(self.rows, ())) if self.random else 0
        for row in range(self.rows):
            yield torch.tensor([float((row + shift) % self.rows)]), torch.tensor((row + shift) % self.rows)


def feeds(data: Any, world: int, *, batch_size: int = 8, shuffle: bool = True) -> list[Feed]:
    """The feeds of all ranks."""
    shards = adapt(data).shards

    def feed(index: int) -> Feed:
        request = FeedRequest(
            rank=Rank(index, world), features=("x0",), labels=("y0",), batch_size=batch_size, seed=3, shuffle=shuffle,
            sink=Nowhere(),
        )  # fmt: skip
        return shards.share(index, world).feed(request)

    made = [feed(index) for index in range(world)]
    Meeting(world).run(lambda group: made[group.index].settle(group))
    return made


def steps_of(data: Any, world: int, epoch: int = 0, start: int = 0, **how: Any) -> list[list[list[int]]]:
    """The labels of each step, by rank; checks weights and totals on the way."""
    made = feeds(data, world, **how)
    steps = []
    for batches in zip(*(islice(feed.epoch(epoch, start), 100) for feed in made), strict=True):
        if sum(batch.weight for batch in batches) == 0:
            break
        for batch in batches:
            assert batch.total in (None, sum(other.weight for other in batches))
            assert batch.weight == (len(batch.labels[0]) if batch.labels else 0)
            if batch.weight:
                assert batch.features[0].reshape(-1).tolist() == batch.labels[0].tolist()
        steps.append([labels(batch) for batch in batches])
    for feed in made:
        feed.close()
    return steps


def labels(batch: Batch) -> list[int]:
    return batch.labels[0].tolist() if batch.weight else []


def flat(steps: list[list[list[int]]]) -> list[list[int]]:
    return [[row for part in step for row in part] for step in steps]


# --- map-style data sets ---


@given(
    rows=st.integers(1, 60), batch=st.integers(1, 20), world=st.integers(1, 5), shuffle=st.booleans(),
    drop=st.booleans(), epoch=st.integers(0, 3),
)  # fmt: skip
def test_ranks_change_nothing_but_the_split(
    rows: int, batch: int, world: int, shuffle: bool, drop: bool, epoch: int
) -> None:
    loader = DataLoader(dataset(rows), batch_size=batch, shuffle=shuffle, drop_last=drop)
    alone = flat(steps_of(loader, 1, epoch, batch_size=batch))
    together = steps_of(loader, world, epoch, batch_size=batch)
    assert flat(together) == alone
    assert all(max(map(len, step)) - min(map(len, step)) <= 1 for step in together)
    kept = rows - rows % batch if drop else rows
    seen = sorted(row for step in alone for row in step)
    assert len(seen) == kept
    assert len(set(seen)) == kept
    assert [len(step) for step in alone] == [batch] * (kept // batch) + ([kept % batch] if kept % batch else [])


@given(start=st.integers(0, 8), world=st.integers(1, 3))
def test_an_epoch_goes_on_at_any_step(start: int, world: int) -> None:
    for loader in (
        DataLoader(dataset(50), 8, shuffle=True),
        DataLoader(Stream(50), 8),
        lambda: DataLoader(Stream(50), 8),
    ):
        assert steps_of(loader, world, 1, start) == steps_of(loader, world, 1)[start:]


def test_shuffling_is_the_loaders_choice_and_new_in_each_epoch() -> None:
    shuffled = DataLoader(dataset(40), 8, shuffle=True)
    first, again, second = (flat(steps_of(shuffled, 2, epoch)) for epoch in (0, 0, 1))
    assert first == again != second
    in_order = [list(range(i, i + 8)) for i in range(0, 40, 8)]
    assert flat(steps_of(DataLoader(dataset(40), 8), 2)) == in_order
    assert flat(steps_of(shuffled, 2, shuffle=False)) == in_order


@pytest.mark.parametrize(
    "sampler",
    [
        SubsetRandomSampler(range(5, 25)),
        WeightedRandomSampler([1.0] * 40, 20),
        RandomSampler(range(40), replacement=True, num_samples=20),
        RandomSampler(range(40), num_samples=20, generator=torch.Generator().manual_seed(1)),
    ],
)
def test_other_samplers_draw_the_same_on_every_rank(sampler: Any) -> None:
    loader = DataLoader(dataset(40), 8, sampler=sampler)
    alone, together, later = (flat(steps_of(loader, world, epoch)) for world, epoch in ((1, 0), (3, 0), (1, 1)))
    assert alone == together != later
    assert sum(map(len, alone)) == 20


def test_a_batch_sampler_keeps_its_batches() -> None:
    buckets = [[0, 1, 2, 3, 4], [9], [5, 6, 7]]
    assert steps_of(DataLoader(dataset(10), batch_sampler=buckets), 2) == [
        [[0, 1, 2], [3, 4]], [[9], []], [[5, 6], [7]],
    ]  # fmt: skip
    # of a creator, each rank takes whole batches
    assert steps_of(lambda: DataLoader(dataset(10), batch_sampler=buckets), 2) == [
        [buckets[0], buckets[1]],
        [buckets[2], []],
    ]
    random = DataLoader(dataset(10), batch_sampler=BatchSampler(RandomSampler(range(10)), 4, drop_last=False))
    assert flat(steps_of(random, 1)) == flat(steps_of(random, 3))


def test_workers_and_collate_functions_are_the_users() -> None:
    def collate(rows: list[Any]) -> Any:
        return torch.stack([x for x, _ in rows]), torch.tensor([int(y) for _, y in rows])

    loader = DataLoader(dataset(20), 8, num_workers=1, collate_fn=collate, persistent_workers=True)
    assert steps_of(loader, 2) == [
        [[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [12, 13, 14, 15]], [[16, 17], [18, 19]],
    ]  # fmt: skip


def test_a_data_set_alone_is_cut_as_fit_asks() -> None:
    sizes = [len(step) for step in flat(steps_of(dataset(20), 1, batch_size=8))]
    assert sizes == [8, 8, 4]


def test_no_rows_are_named() -> None:
    with pytest.raises(DataError, match="no rows"):
        feeds(DataLoader(dataset(0), 8), 1)


# --- creators ---


def create(config: Mapping[str, Any], batch_size: int) -> DataLoader[Any]:
    return DataLoader(dataset(config.get("rows", 20)), batch_size, shuffle=False)


def of_own_size(batch_size: int) -> DataLoader[Any]:
    return DataLoader(dataset(20), 3)


def test_a_creator_is_asked_for_this_ranks_rows() -> None:
    in_order = [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    for creator in (create, partial(create, {}), partial(create, {"rows": 20}), lambda size: create({}, size)):
        assert flat(steps_of(creator, 2)) == in_order
        assert flat(steps_of(creator, 3)) == in_order
    assert [len(step) for step in flat(steps_of(of_own_size, 2))] == [6, 6, 6, 2]
    assert flat(steps_of(lambda config, size: dataset(20), 2)) == in_order


def test_a_creator_must_return_the_same_data_everywhere() -> None:
    lengths = iter([20, 21, 20, 21])
    with pytest.raises(UsageError, match=r"different lengths on different ranks: \[20, 21\]"):
        feeds(lambda size: DataLoader(dataset(next(lengths)), size), 2)
    with pytest.raises(
        UsageError, match="must return a torch DataLoader or a tf.data.Dataset. It returned: <class 'int'>"
    ):
        feeds(lambda size: 3, 1)


# --- streams ---


def test_a_stream_is_shared_row_by_row() -> None:
    loader = DataLoader(Stream(20), 8)
    assert steps_of(loader, 3) == [
        [[0, 1, 2], [3, 4, 5], [6, 7]], [[8, 9, 10], [11, 12, 13], [14, 15]], [[16, 17], [18], [19]],
    ]  # fmt: skip
    assert flat(steps_of(loader, 1)) == flat(steps_of(loader, 3))


def test_a_stream_that_shuffles_does_so_alike_on_every_rank() -> None:
    loader = DataLoader(Stream(20, random=True), 8)
    alone, together, later = (flat(steps_of(loader, world, epoch)) for world, epoch in ((1, 0), (3, 0), (1, 1)))
    assert alone == together != later


class Pool(IterableDataset[Any]):
    """Rows drawn one by one from what is left, with Python's and NumPy's random numbers."""

    def __iter__(self) -> Iterator[Any]:
        left = np.random.permutation(20).tolist()
        while left:
            row = left.pop(random.randrange(len(left)))
            yield torch.tensor([float(row)]), torch.tensor(row)


class Buckets:
    """A batch sampler of one's own, in an order of Python's."""

    def __iter__(self) -> Iterator[list[int]]:
        batches = [list(range(start, start + 4)) for start in range(0, 20, 4)]
        random.shuffle(batches)
        return iter(batches)


def split(size: int) -> DataLoader[Any]:
    train, _ = random_split(dataset(25), [20, 5])
    return DataLoader(train, size, shuffle=True)


@pytest.mark.parametrize(
    "creator",
    [
        lambda size: DataLoader(Pool(), size),
        lambda size: DataLoader(dataset(20), batch_sampler=Buckets()),
        lambda size: DataLoader(dataset(20), size, shuffle=True),
        split,
    ],
)
def test_ranks_that_have_drawn_before_draw_alike(creator: Any) -> None:
    def unlike(size: int) -> Any:  # called on each rank: drawing is the same whatever each has drawn before
        return creator(size)

    def read(epoch: int, start: int = 0) -> list[int]:
        return [row for step in flat(steps_of(unlike, 2, epoch, start)) for row in step]

    before = torch.get_rng_state(), random.getstate()
    first, second = read(0), read(1)
    np.random.seed(5)
    random.seed(7)
    torch.manual_seed(9)
    assert read(1) == second != first
    assert len(set(first)) == len(first) == 20 and (set(first) == set(second) or creator is split)
    assert read(1, start=2) == second[16:]
    torch.set_rng_state(before[0])
    random.setstate(before[1])


def test_a_program_draws_what_it_would_draw_without() -> None:
    torch.manual_seed(1)
    random.seed(1)
    expected = torch.rand(2).tolist(), random.random()
    torch.manual_seed(1)
    random.seed(1)
    (feed,) = feeds(lambda size: DataLoader(Pool(), size), 1)
    batches = feed.epoch(0)
    next(iter(batches))
    found = torch.rand(1).tolist()
    next(iter(batches))
    assert (found + torch.rand(1).tolist(), random.random()) == expected


def test_a_creators_stream_is_taken_in_turns() -> None:
    steps = steps_of(lambda size: DataLoader(Stream(20), size), 2)
    assert steps == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [12, 13, 14, 15]], [[16, 17, 18, 19], []]]


def test_what_splits_itself_is_left_alone() -> None:
    def split(size: int) -> DataLoader[Any]:
        stream = Stream(8)
        stream.splits_itself = True  # type: ignore[attr-defined]
        return DataLoader(stream, size)

    assert steps_of(split, 2) == [[[0, 1, 2, 3]] * 2, [[4, 5, 6, 7]] * 2]

    class Sampled:
        calls = 0

        def __call__(self, size: int) -> DataLoader[Any]:
            self.calls += 1
            sampler = DistributedSampler(dataset(20), num_replicas=2, rank=(self.calls - 1) % 2)
            return DataLoader(dataset(20), size, sampler=sampler)

    sampled = Sampled()
    steps = [steps_of(lambda size: sampled(size), 2, epoch) for epoch in (0, 1)]
    assert all(sorted(chain(*flat(found))) == list(range(20)) for found in steps)
    assert steps[0] != steps[1]


def test_any_iterable_of_batches_will_do() -> None:
    assert flat(steps_of(lambda: [(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 2]))] * 2, 1)) == [[1, 2], [1, 2]]


def test_streams_end_in_empty_batches_without_end() -> None:
    (feed,) = feeds(lambda size: DataLoader(Stream(4), size), 1)
    sizes = [(batch.weight, batch.total) for batch in islice(feed.epoch(0), 5)]
    assert sizes == [(4, None), (0, None), (0, None), (0, None), (0, None)]


# --- forms of a batch ---


X, Y, Z = torch.ones(2, 3), torch.zeros(2), torch.ones(2)


@pytest.mark.parametrize(
    ("batch", "names", "expected"),
    [
        ((X, Y), None, ((X,), (Y,))),
        ([X, Z, Y], None, ((X, Z), (Y,))),
        (X, None, ((X,), ())),
        ([X], None, ((X,), ())),
        (([X, Z], Y), None, ((X, Z), (Y,))),
        ((X, (Y, Z)), None, ((X,), (Y, Z))),
        ({"x": X, "y": Y}, None, ((X,), (Y,))),
        ({"x": (X, Z), "y": [Y, Z]}, None, ((X, Z), (Y, Z))),
        ({"x": X}, None, ((X,), ())),
        ((X, Z), Columns(("a", "b")), ((X, Z), ())),
        ((X, Y), Columns(("a",)), ((X,), ())),
        ((X, Y, Z), Columns(("a",), ("b", "c")), ((X,), (Y, Z))),
        (([X, Z], Y), Columns(("a", "b"), ("c",)), ((X, Z), (Y,))),
        ({"a": X, "b": Y, "c": Z}, Columns(("a", "c"), ("b",)), ((X, Z), (Y,))),
    ],
)
def test_forms_of_a_batch(batch: Any, names: Any, expected: Any) -> None:
    found = divide(batch, names)
    assert [[id(part) for part in parts] for parts in found] == [[id(part) for part in parts] for parts in expected]


def test_forms_that_are_no_batch() -> None:
    with pytest.raises(UsageError, match=r"keys \['a'\]. Name its parts"):
        divide({"a": X}, None)
    with pytest.raises(UsageError, match=r"not there: \['b'\]"):
        divide({"a": X}, Columns(("a", "b")))
    with pytest.raises(UsageError, match=r"has 2 parts, and 2 features \['a', 'b'\] and 1 labels"):
        divide((X, Y), Columns(("a", "b"), ("c",)))


# --- rows as columns ---


class Rows(Dataset[Any]):
    """Two inputs and a target, as dicts."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return {"x": (torch.full((2, 3), float(index)), index), "y": float(index)}


@pytest.mark.parametrize("world", [1, 3])
def test_open_gives_whole_batches_in_order(world: int) -> None:
    adapted = adapt(DataLoader(Rows(), 4, shuffle=True))
    assert adapted.columns == Columns(("x0", "x1"), ("y0",))
    opened = [pair for index in range(world) for pair in adapted.shards.open(index, world)]
    opened.sort(key=lambda pair: pair[0])
    assert [number for number, _ in opened] == [0, 1, 2]
    table = pa.Table.from_batches([batch for _, batch in opened])
    specs = columns.describe(adapted.shards.schema, ("x0", "x1", "y0"))
    x0, x1, y0 = columns.to_arrays(table, specs)
    assert x0.shape == (10, 2, 3)
    assert x0.dtype == np.float32
    assert x1.tolist() == y0.tolist() == x0[:, 0, 0].tolist() == list(range(10))


def test_a_loader_of_a_stream_opens_too() -> None:
    adapted = adapt(DataLoader(Stream(10), 4))
    rows = [batch["y0"].to_pylist() for _, batch in adapted.shards.open(0, 1)]
    assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert adapted.shards.schema.names == ["x0", "y0"]


def test_a_creator_is_not_called_before_its_rows_are_wanted() -> None:
    calls: list[int] = []

    def creator(config: Any, batch_size: int) -> DataLoader[Any]:
        calls.append(batch_size)
        return create(config, batch_size)

    adapted = adapt(creator)
    assert adapted.columns == Columns(("x0",), ("y0",))
    assert adapted.shards.schema.names == []
    assert calls == []
    first = adapted.shards.peek()
    assert first is not None
    assert first.schema.names == ["x0", "y0"]
    assert first.num_rows == 2
    assert sum(batch.num_rows for _, batch in adapted.shards.open(0, 1)) == 20
    assert calls == [ROWS, ROWS]


def test_names_say_what_is_a_feature() -> None:
    adapted = adapt(DataLoader(TensorDataset(X, Z), 2), ["a", "b"])
    assert adapted.columns == Columns(("a", "b"))
    assert adapted.shards.schema.names == ["a", "b"]
    with pytest.raises(UsageError, match="1 features and 1 targets, not 2 and 1"):
        list(_two_inputs().open(0, 1))


def _two_inputs() -> Any:
    shards = adapt(lambda size: DataLoader(dataset(3), size)).shards
    return dataclasses.replace(shards, columns=Columns(("x0", "x1"), ("y0",)))  # type: ignore[type-var]


def test_shards_travel_and_tell_their_size() -> None:
    shards = adapt(DataLoader(dataset(20), 8, shuffle=True)).shards
    assert shards.batch_size == 8  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(shards))
    assert again.schema == shards.schema
    assert getattr(adapt(create).shards, "batch_size", None) is None
    (feed,) = feeds(DataLoader(dataset(20), 8, drop_last=True), 1)
    assert feed.extent == Extent(16, 2)


def test_an_empty_loader_has_no_schema() -> None:
    adapted = adapt(DataLoader(dataset(0), 4))
    assert adapted.shards.schema.names == []
    assert adapted.shards.peek() is None


def test_other_things_of_torch_are_no_data() -> None:
    with pytest.raises(UsageError, match="DataLoader or a map-style Dataset"):
        adapt(SubsetRandomSampler(range(3)))
