"""The order of a tf.data pipeline's epochs: alike on every rank, another in each epoch, begun at any time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from zoo.engine.contracts import FeedRequest
from zoo.engine.data.adapters import adapt
from zoo.engine.errors import UsageError
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.tensorflow import pipelines
from zoo.engine.frameworks.tensorflow.orders import Orders
from zoo.engine.frameworks.tensorflow.pipelines import graph_here, graph_of
from zoo.engine.values import Rank

pytestmark = pytest.mark.one_backend

data = tf.data
ROWS = 24
SPEC = tf.TensorSpec((), tf.int64)


def rows() -> Iterator[int]:
    yield from range(ROWS)


def permuted() -> Iterator[int]:
    yield from np.random.permutation(ROWS).tolist()


def drawn_one_by_one() -> Iterator[int]:
    left = list(range(ROWS))
    while left:
        yield left.pop(random.randrange(len(left)))


def generated(function: Callable[[], Iterator[int]]) -> Any:
    return data.Dataset.from_generator(function, output_signature=SPEC)


def by_python(value: Any) -> Any:
    return tf.ensure_shape(tf.py_function(lambda x: x, [value], tf.int64), ())


def looked_up() -> Any:
    keys = tf.range(ROWS, dtype=tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, keys), -1)
    return data.Dataset.range(ROWS).map(table.lookup).shuffle(ROWS)


PIPELINES: dict[str, Callable[[], Any]] = {
    "shuffle": lambda: data.Dataset.range(ROWS).shuffle(ROWS),
    "behind a generator": lambda: generated(rows).shuffle(ROWS),
    "before Python code": lambda: data.Dataset.range(ROWS).shuffle(5).map(by_python),
    "NumPy's order": lambda: generated(permuted),
    "Python's order": lambda: generated(drawn_one_by_one),
    "behind a cache": lambda: generated(rows).cache().shuffle(ROWS),
    "a table": looked_up,
    "within a function": lambda: data.Dataset.range(4).interleave(
        lambda i: data.Dataset.range(6).map(lambda j: 6 * i + j).shuffle(6)
    ),
    "two sets": lambda: data.Dataset.sample_from_datasets(
        [data.Dataset.range(12).map(by_python), data.Dataset.range(12, ROWS)]
    ),
    "as threads come": lambda: (
        data.Dataset.range(ROWS).shuffle(ROWS).map(lambda x: x, num_parallel_calls=4, deterministic=False)
    ),
}


def request_of(index: int, world: int, **words: Any) -> FeedRequest:
    return FeedRequest(rank=Rank(index, world), features=(), labels=(), sink=MemorySink(), **words)


def steps_of(
    make: Callable[[], Any], world: int, epoch: int, start: int = 0, batch_size: int = 8
) -> list[list[list[int]]]:
    """The rows of each step by rank; each rank has drawn before, and makes its own set."""
    ranks = []
    for index in range(world):
        random.seed(index)
        np.random.seed(index)
        tf.random.set_seed(index)
        feed = adapt(lambda config, size: make().batch(size)).shards.feed(
            request_of(index, world, batch_size=batch_size)
        )
        read = feed.epoch(epoch, start)
        ranks.append([batch for batch, _ in zip(read, range(5), strict=False)])
    steps = list(zip(*ranks, strict=True))
    assert all(len({batch.mark for batch in step}) == 1 for step in steps)
    return [[batch.features[0].tolist() if batch.weight else [] for batch in step] for step in steps]


def flat(steps: list[list[list[int]]]) -> list[int]:
    return [row for step in steps for part in step for row in part]


@pytest.mark.parametrize("make", PIPELINES.values(), ids=PIPELINES)
def test_each_epoch_has_all_rows_once_in_an_order_of_its_own(make: Callable[[], Any]) -> None:
    epochs = [steps_of(make, world=2 + epoch, epoch=epoch) for epoch in (0, 1, 1)]
    assert all(sorted(flat(steps)) == list(range(ROWS)) for steps in epochs)
    assert epochs[0] != epochs[1] == epochs[2]  # a rank that has just come begins with any epoch


@pytest.mark.parametrize("make", [PIPELINES["behind a generator"], PIPELINES["NumPy's order"], PIPELINES["shuffle"]])
def test_an_epoch_goes_on_at_any_step(make: Callable[[], Any]) -> None:
    whole = steps_of(make, 2, 3)
    assert steps_of(make, 2, 3, start=2)[:3] == whole[2:]


def test_orders_do_not_depend_on_what_was_read_before() -> None:
    endless = data.Dataset.range(ROWS).shuffle(ROWS).repeat().prefetch(50)  # reads ahead as far as it comes

    def some(orders: Orders, epoch: int) -> list[int]:
        return [int(row) for row in orders.epoch(epoch).take(30).as_numpy_iterator()]

    def made() -> Orders:
        return Orders(graph_of(endless), SPEC, 3)

    orders = made()
    first, second = some(orders, 0), some(orders, 1)
    assert first != second == some(orders, 1) == some(made(), 1)
    assert first[:ROWS] != first[ROWS:] and sorted(first[:ROWS]) == list(range(ROWS))


def test_a_programs_own_seeds_stay_its_own() -> None:
    def epochs(dataset: Any, seed: int = 0) -> list[list[int]]:
        orders = Orders(graph_of(dataset), SPEC, seed)
        return [[int(row) for row in orders.epoch(epoch).as_numpy_iterator()] for epoch in range(3)]

    dataset = data.Dataset.range(ROWS).shuffle(ROWS, seed=7)
    found = epochs(dataset)
    assert found[0] == [int(row) for row in dataset.as_numpy_iterator()]
    assert found == epochs(dataset, seed=1) and found[0] != found[1] != found[2]
    constant = epochs(data.Dataset.range(ROWS).shuffle(ROWS, seed=7, reshuffle_each_iteration=False))
    assert constant == [constant[0]] * 3


@pytest.mark.parametrize("make", [
    lambda ds: ds.cache().shuffle(5), lambda ds: ds.shuffle(5).cache(), lambda ds: ds.shuffle(5).cache().shuffle(5),
])  # fmt: skip
def test_what_is_cached_is_read_once(make: Callable[[Any], Any]) -> None:
    read = []

    def counted() -> Iterator[int]:
        read.append(1)
        yield from range(ROWS)

    dataset = make(generated(counted))
    orders = Orders(graph_here(dataset), SPEC, 0, keep=dataset)
    for epoch in range(3):
        assert sorted(int(row) for row in orders.epoch(epoch).as_numpy_iterator()) == list(range(ROWS))
    assert read == [1]


def test_graphs_of_other_processes_may_use_the_same_names_for_other_functions() -> None:
    def orders(factor: int) -> Orders:
        dataset = data.Dataset.range(4).shuffle(4).map(tf.autograph.experimental.do_not_convert(lambda x: x * factor))
        definition = tf.compat.v1.GraphDef.FromString(graph_of(dataset))
        text = definition.SerializeToString()
        (name,) = (one.signature.name for one in definition.library.function)
        same = "x" * len(name)  # graphs of two programs, which a worker sees one after the other
        return Orders(text.replace(name.encode(), same.encode()), SPEC, 0)

    made = [orders(1), orders(10)]
    read = [sorted(int(row) for row in one.epoch(0).as_numpy_iterator()) for one in made]
    assert read == [[0, 1, 2, 3], [0, 10, 20, 30]]


def test_pieces_of_an_evaluation_divide_the_rows() -> None:
    for make in (PIPELINES["behind a generator"], PIPELINES["NumPy's order"], PIPELINES["shuffle"]):
        shards = adapt(lambda config, size, make=make: make().batch(5)).shards
        read = []
        for index in range(3):
            np.random.seed(index)
            tf.random.set_seed(index)
            read += [row for _, batch in shards.open(index, 3) for row in batch.column(0).to_pylist()]
        assert sorted(read) == list(range(ROWS))


def test_what_has_no_graph_is_read_by_one_rank_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(policy: int) -> Any:
        raise tf.errors.UnimplementedError(None, None, "no graph of this")

    monkeypatch.setattr(pipelines, "_definition", lambda dataset, policy: refuse(policy))
    shards = adapt(lambda config, size: data.Dataset.range(4).batch(size)).shards
    batches = shards.feed(request_of(0, 1, batch_size=2)).epoch(0)
    assert [next(iter(batches)).features[0].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(UsageError, match=r"several ranks cannot give the same seeds(.|\n)*config\['num_shards'\]"):
        shards.feed(request_of(0, 2, batch_size=2))


def test_a_refusal_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    tf.constant(1)
    capfd.readouterr()
    for dataset in (generated(rows), data.Dataset.range(3).map(by_python)):
        with pytest.raises(UsageError, match="PyFunc works in this process only"):
            graph_of(dataset)
        feed = adapt(lambda config, size, dataset=dataset: dataset.batch(size)).shards.feed(
            request_of(0, 2, batch_size=4)
        )
        next(iter(feed.epoch(0)))
    assert capfd.readouterr().err == ""
