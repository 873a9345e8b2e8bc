"""tf.data: a program's own data set, and data sets that a creator function makes on each rank.

======================  ==============================================================================================
a program's Dataset     travels as TensorFlow's graph of it. Every rank reads it and trains on its share of each step's
                        rows, so the same rows make the same step on any number of ranks. Elements are rows, or batches,
                        which are cut anew into steps of `batch_size` rows. A shuffle without a seed is given one, or
                        ranks would see different orders: rows would be read twice and others never.
a creator's Dataset     each rank makes it and takes its own part: of the files where it reads as many as there are
                        ranks, else of the batches, in turns. All shuffles are given new seeds. Python code draws alike
                        on all ranks from ``random`` and ``np.random``; whether it gave the same is seen in each step.
======================  ==============================================================================================

Elements are ``(x, y)``, ``(x, y, weights)`` or x alone; x and y may be tuples or dicts.

Owns: that, infinite data sets.
Leaves: which columns of other data are what (structures), rows in steps (loop).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import cloudpickle
import pyarrow as pa

from zoo.engine.contracts import Batch, Collective, Extent, Feed, FeedRequest, Shards
from zoo.engine.data import draws
from zoo.engine.data.adapters import Adapted
from zoo.engine.data.columns import from_array
from zoo.engine.data.marks import in_turns
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.tensorflow.orders import Orders
from zoo.engine.frameworks.tensorflow.pipelines import (
    dataset_of,
    elements,
    files_of_rank,
    graph_here,
    graph_of,
    holds_code,
    is_batched,
    is_infinite,
    refuse_infinite,
    size_of_batches,
)
from zoo.engine.frameworks.tensorflow.process import clear_generated_files, eagerly, library
from zoo.engine.jobs import Columns
from zoo.engine.values import part_of

_NO_GRAPH = (
    "several ranks cannot give the same seeds to what the data creator has made: {}\n  Have it read one part on each "
    "rank (config['num_shards'], config['rank']), or train on one rank."
)
Epochs: TypeAlias = Callable[[int], Any]  # the ``tf.data.Dataset`` of an epoch


def adapt_dataset(data: Any, features: tuple[str, ...] | None, labels: tuple[str, ...] | None) -> Adapted:
    """A ``tf.data.Dataset``.

    Args:
        data: the data set.
        features: names for the parts of x; None: ``x0``, ``x1``, ...
        labels: names for the parts of y.

    Raises:
        UsageError: it holds a Python function or generator, or another element than (x, y) and its kin.
    """
    spec = _pickled(data.element_spec)
    shards = DatasetShards(graph_of(data), spec, is_batched(data), features, labels, size_of_batches(data))
    return Adapted(shards, shards.columns)


def created(loader: Any, columns: Columns, named: bool, rows: int, own: bool) -> Shards:
    """What a creator function has made on this rank; see `zoo.engine.data.creators`."""
    clear_generated_files()
    return CreatedDataset(loader if is_batched(loader) else loader.batch(rows), columns, own)


@dataclass(frozen=True)
class DatasetShards:
    """A program's own data set, as `Shards`.

    Attributes:
        graph: TensorFlow's graph of it.
        spec: of its elements, pickled.
        batched: whether its elements are batches.
        features: names for the parts of x; None where nobody has named them.
        labels: names for the parts of y.
        batch_size: rows of its batches; None where they are none, or only reading tells.
    """

    graph: bytes = field(repr=False)
    spec: bytes = field(repr=False)
    batched: bool
    features: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    batch_size: int | None = None
    own_order: ClassVar[bool] = True

    @cached_property
    def columns(self) -> Columns:
        """Names of the parts of an element."""
        x, y, _ = _parts(_unpickled(self.spec))
        names = (_named(self.features, "x", x), _named(self.labels, "y", y))
        return Columns(*names)

    @cached_property
    def endless(self) -> bool:
        """Whether it never ends."""
        with eagerly():
            return is_infinite(dataset_of(self.graph, _unpickled(self.spec)))

    @cached_property
    def schema(self) -> pa.Schema:
        """Empty: what the rows are, the elements say."""
        return pa.schema([])

    def share(self, index: int, world: int) -> DatasetShards:
        """The whole: a rank takes its rows of each step."""
        return self

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of the batch, its rows): every `world`-th batch."""
        with eagerly():
            batches = self._cut(self._orders(0, world).epoch(0), 32)
            refuse_infinite(batches, None, "given")
            mine = batches.shard(world, index)
        return _records(mine, self.columns)

    def peek(self) -> pa.RecordBatch | None:
        """One or two of the first rows; None where there are none."""
        with eagerly():
            first = self._cut(self._orders(0, 1).epoch(0), 2).take(1)
        found = next(_records(first, self.columns), None)
        return None if found is None else found[1]

    def feed(self, request: FeedRequest) -> Feed:
        """This rank's rows of each step."""
        orders = self._orders(request.seed, request.rank.world)
        return SharedFeed(lambda epoch: self._cut(orders.epoch(epoch), request.batch_size), request)

    def _orders(self, seed: int, world: int) -> Orders:
        return Orders(self.graph, _unpickled(self.spec), seed, alike=world > 1)

    def _cut(self, dataset: Any, rows: int) -> Any:
        """The data set in batches of so many rows."""
        return dataset.rebatch(rows) if self.batched else dataset.batch(rows)


class SharedFeed:
    """A rank's rows of batches that every rank reads alike.

    Args:
        batches: of an epoch, of a step's rows each.
        request: who asks.

    Raises:
        DataError: there are no rows.
    """

    def __init__(self, batches: Epochs, request: FeedRequest) -> None:
        self._batches, self._rank = batches, request.rank
        with eagerly():
            first = batches(0)
            refuse_infinite(first, request.steps, request.purpose)
            steps = int(first.cardinality())
        if steps == 0:
            raise DataError(f"the {request.purpose} data set has no rows.")
        self.extent: Extent | None = None

    def settle(self, group: Collective) -> None:
        """Nothing: a rank's rows of a batch follow from its number."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        with eagerly():
            rest = self._batches(epoch).skip(start)
        for element in elements(rest):
            batch = _batch(element)
            mine = part_of(range(batch.weight), self._rank.index, self._rank.world)
            yield replace(_cut_batch(batch, mine.start, mine.stop), total=batch.weight)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class CreatedDataset:
    """A data set that this rank has made, as `Shards`.

    Attributes:
        dataset: in batches.
        columns: names that its parts may have.
        own: whether it gives this rank's part of the data alone.
    """

    dataset: Any
    columns: Columns
    own: bool = False

    @property
    def schema(self) -> pa.Schema:
        """Empty."""
        return pa.schema([])

    def share(self, index: int, world: int) -> CreatedDataset:
        """Itself: it is on its rank already."""
        return self

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of the batch, its rows): every `world`-th batch."""
        with eagerly():
            refuse_infinite(self.dataset, None, "given")
            mine = self._part(index, world) if world > 1 else self.dataset
        return _records(mine, self._columns())

    def peek(self) -> pa.RecordBatch | None:
        """The first rows; None where there are none."""
        with eagerly():
            first = self.dataset.take(1)
        found = next(_records(first, self._columns()), None)
        return None if found is None else found[1].slice(0, 2)

    def feed(self, request: FeedRequest) -> Feed:
        """This rank's own batches.

        Raises:
            UsageError: there are several ranks, and the data set has no graph that could be given seeds.
        """
        rank = request.rank
        with eagerly():
            refuse_infinite(self.dataset, request.steps, request.purpose)
            try:
                orders, code = self._orders(request.seed, rank.world)
            except UsageError as error:
                if rank.world > 1:
                    raise UsageError(_NO_GRAPH.format(error)) from error
                return OwnFeed(lambda epoch: self.dataset)
            if self.own or rank.world == 1:
                return OwnFeed(orders.epoch)
            even = request.batch_size % rank.world == 0
            rows = (
                None if even else -(-request.batch_size // rank.world)
            )  # asked for different numbers, ranks take turns
            whole = _Rebatched(orders.epoch, rows)
            files = None if code else files_of_rank(whole(0), rank.index, rank.world)
            if files is not None:
                return OwnFeed(Orders(graph_here(files), files.element_spec, request.seed, anew=True).epoch)
        return TurnsFeed(whole, request) if code else OwnFeed(lambda epoch: whole(epoch).shard(rank.world, rank.index))

    def _part(self, index: int, world: int) -> Any:
        orders, code = self._orders(0, world)
        if code:
            draws.seed_all(0)
        return orders.epoch(0).shard(world, index)

    def _orders(self, seed: int, world: int) -> tuple[Orders, bool]:
        """Its orders; whether Python code takes part."""
        graph = graph_here(self.dataset)
        orders = Orders(graph, self.dataset.element_spec, seed, anew=True, alike=world > 1, keep=self.dataset)
        return orders, holds_code(graph)

    def _columns(self) -> Columns:
        x, y, _ = _parts(self.dataset.element_spec)
        named = [_named(None, kind, part) for kind, part in (("x", x), ("y", y))]
        pairs = zip((self.columns.features, self.columns.labels), named, strict=True)
        return Columns(*(own if len(own) == len(found) else found for own, found in pairs))


@dataclass(frozen=True)
class _Rebatched:
    """Epochs in batches of `rows`; None for the batches that there are."""

    epochs: Epochs
    rows: int | None

    def __call__(self, epoch: int) -> Any:
        dataset = self.epochs(epoch)
        return dataset if self.rows is None else dataset.rebatch(self.rows)


class OwnFeed:
    """A rank's own batches; empty ones follow without end, for the ranks may have different numbers of them."""

    extent: Extent | None = None

    def __init__(self, batches: Epochs) -> None:
        self._batches = batches

    def settle(self, group: Collective) -> None:
        """Nothing: all batches are the rank's own."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on."""
        with eagerly():
            rest = self._batches(epoch).skip(start)
        yield from map(_batch, elements(rest))
        while True:
            yield Batch((), (), 0)

    def close(self) -> None:
        """Nothing is held."""


class TurnsFeed:
    """Every `world`-th batch of what Python code gives on each rank; marks tell whether it gives the same on all.

    Args:
        batches: of an epoch, all of them.
        request: who asks.
    """

    extent: Extent | None = None

    def __init__(self, batches: Epochs, request: FeedRequest) -> None:
        self._batches, self._rank, self._seed = batches, request.rank, request.seed

    def settle(self, group: Collective) -> None:
        """Nothing: which batches are a rank's own follows from its number."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on; the process's Python and NumPy draw anew."""
        draws.seed_all(draws.number(self._seed, epoch))
        with eagerly():
            rest = self._batches(epoch).skip(start * self._rank.world)
        yield from in_turns(elements(rest), self._rank.index, self._rank.world, _batch)

    def close(self) -> None:
        """Nothing is held."""


def _parts(element: Any) -> tuple[Any, Any, Any]:
    """(x, y, weights) of an element; None for what it lacks."""
    if not isinstance(element, tuple):
        return element, None, None
    if not 1 <= len(element) <= 3:
        raise UsageError(f"elements of a tf.data.Dataset are (x, y), (x, y, weights) or x. Received: {element!r}")
    return (*element, None, None, None)[:3]


def _batch(element: Any) -> Batch:
    x, y, weights = _parts(element)
    features = tuple(x) if isinstance(x, tuple | list) else (x,)
    rows = len(next(iter(x.values())) if isinstance(x, Mapping) else features[0])
    labels = () if y is None else tuple(y) if isinstance(y, tuple | list) else (y,)
    return Batch(features, labels, rows, None, weights)


def _cut_batch(batch: Batch, start: int, stop: int) -> Batch:
    def cut(value: Any) -> Any:
        return {key: cut(part) for key, part in value.items()} if isinstance(value, Mapping) else value[start:stop]

    weights = None if batch.row_weights is None else batch.row_weights[start:stop]
    return Batch(tuple(map(cut, batch.features)), tuple(map(cut, batch.labels)), stop - start, None, weights)


def _records(batches: Any, columns: Columns) -> Iterator[tuple[int, pa.RecordBatch]]:
    for number, element in enumerate(elements(batches)):
        batch = _batch(element)
        arrays = [*_flat(batch.features), *_flat(batch.labels)[: len(columns.labels)]]
        made = [
            from_array(name, array) for name, array in zip((*columns.features, *columns.labels), arrays, strict=True)
        ]
        plain = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for _, c in made]
        yield number, pa.RecordBatch.from_arrays(plain, schema=pa.schema([one for one, _ in made]))


def _flat(parts: tuple[Any, ...]) -> list[Any]:
    return [array for part in parts for array in (part.values() if isinstance(part, Mapping) else (part,))]


def _named(names: tuple[str, ...] | None, kind: str, part: Any) -> tuple[str, ...]:
    if part is None:
        return ()
    if isinstance(part, Mapping):
        return tuple(part)
    return names or tuple(f"{kind}{i}" for i in range(len(part) if isinstance(part, tuple | list) else 1))


def _pickled(spec: Any) -> bytes:
    packed: bytes = cloudpickle.dumps(spec)
    return packed


def _unpickled(payload: bytes) -> Any:
    library("the data is a tf.data.Dataset")
    return pickle.loads(payload)  # noqa: S301  packed by this job's own driver
