"""Python objects as rows, so that any cluster can hold, move and map them.

A row is one object, pickled, with its part and its place among the part's objects. What `Cluster.map` makes of such
rows are again such rows, or the rows inside the objects for training.

Owns: packing and unpacking, functions over objects as mappers, the rows inside objects (`ObjectRows`).
Leaves: pickling (pickling), cutting and joining an object (nests), what an object's rows are (adapters), keeping them
(held; clusters).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from zoo.engine.contracts import Feed, FeedRequest, Mapper, Shards
from zoo.engine.data import answers
from zoo.engine.data.adapters import Names, adapt
from zoo.engine.data.columns import SHAPE
from zoo.engine.data.feed import RowFeed
from zoo.engine.data.mapped import ExtendedShards
from zoo.engine.data.pickling import dumps
from zoo.engine.data.shards import MemoryShards
from zoo.engine.data.sharing import Shared, noting
from zoo.engine.errors import DataError, NotPicklable, UsageError, WorkerFailed, ZooError
from zoo.engine.jobs import Columns

PART, PLACE, OBJECT = "__zoo_part", "__zoo_place", "__zoo_object"
OBJECTS = pa.schema([(PART, pa.int32()), (PLACE, pa.int64()), (OBJECT, pa.binary())])

_LARGEST = 2**31 - 1  # bytes of one cell, in Arrow and in Java
_ROW_BITS = 32  # the place of a row: its object's place above, its number in the object below


class Item(NamedTuple):
    """One object and where it is."""

    part: int
    place: int
    value: Any


ItemMapper: TypeAlias = Callable[[Iterator[Item]], Iterable[Item]]


def pack(item: Item) -> pa.RecordBatch:
    """The row of an object.

    Raises:
        NotPicklable: the object cannot travel.
        DataError: it takes more than 2 GB.
    """
    data = _pickled(item.value, f"shard {item.place} of partition {item.part} ({type(item.value).__name__})")
    if len(data) > _LARGEST:
        raise DataError(
            f"a shard of {len(data) / 1e9:.1f} GB is more than the 2 GB that one may take. Use more shards."
        )
    ends = pa.py_buffer(np.array([0, len(data)], np.int32))
    cell = pa.Array.from_buffers(pa.binary(), 1, [None, ends, pa.py_buffer(data)])  # `pa.array` would copy
    arrays = [pa.array([item.part], pa.int32()), pa.array([item.place], pa.int64()), cell]
    return pa.RecordBatch.from_arrays(arrays, schema=OBJECTS)


def unpack(batches: Iterable[pa.RecordBatch]) -> Iterator[Item]:
    """The objects of rows."""
    for batch in batches:
        for part, place, cell in zip(batch.column(0), batch.column(1), batch.column(2), strict=True):
            yield Item(part.as_py(), place.as_py(), pickle.loads(cell.as_buffer()))  # noqa: S301  packed by this program


def collected(shards: Shards) -> list[Item]:
    """All objects, on the driver, in the order of their parts and places."""
    return sorted(unpack(batch for _, batch in shards.open(0, 1)), key=lambda item: item[:2])


@dataclass(frozen=True, slots=True)
class Call:
    """A user's function as it travels: every piece of the data gets its own copy, on any cluster.

    Attributes:
        name: of the method that it was given to, for errors.
        pickled: the function and its further arguments.
        shared: the values that it refers to by name, which travel beside it.
    """

    name: str
    pickled: bytes
    shared: tuple[Shared, ...] = ()

    @classmethod
    def of(cls, name: str, fn: Callable[..., Any], *args: Any) -> Call:
        """Packs a function.

        Raises:
            UsageError: it is no function.
            NotPicklable: it, or one of the arguments, cannot travel.
        """
        if not callable(fn):
            raise UsageError(f"{name} takes a function. Received: {fn!r}")
        with noting() as shared:
            pickled = _pickled((fn, args), f"the function given to {name}, or one of its arguments,")
        return cls(name, pickled, tuple(shared.values()))

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        """Each object replaced by the function's answer.

        Raises:
            WorkerFailed: what the function raised, in its own words.
        """
        fn, args = pickle.loads(self.pickled)  # noqa: S301  packed by this program
        for part, place, value in items:
            try:
                answer = fn(value, *args)
            except Exception as error:
                where = f"shard {place} of partition {part}" if place else f"the shard of partition {part}"
                told = f"{type(error).__name__}: {error}\n  raised by the function given to {self.name}, for {where}."
                raise WorkerFailed(told, error=error) from error
            yield Item(part, place, answer)


@dataclass(frozen=True, slots=True)
class OnObjects:
    """A `Mapper` made of a function over objects."""

    fn: ItemMapper

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for item in self.fn(unpack(batches)):
            yield pack(item)


# --- the rows inside -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opening:
    """What is read from each object.

    Attributes:
        features: input columns; None where the objects tell.
        labels: target columns; None where the objects tell.
    """

    features: Names
    labels: Names

    def table(self, item: Item) -> tuple[pa.Table, Columns]:
        """An object's rows.

        Raises:
            UsageError: an object without rows, or without the columns.
        """
        try:
            adapted = adapt(self._rows_of(item.value), self.features, self.labels)
        except ZooError as error:
            if item.part == 0 and item.place == 0:
                raise
            raise type(error)(f"partition {item.part}: {error}") from error
        if not isinstance(adapted.shards, MemoryShards):
            raise UsageError(
                "shards must be dicts {'x': arrays, 'y': arrays}, tuples (x, y), arrays or pandas DataFrames. "
                f"Received: a shard of {type(item.value).__name__}; make them so with transform_shard."
            )
        return adapted.shards.table().combine_chunks(), adapted.columns  # whole again, for full batches

    def _rows_of(self, value: Any) -> Any:
        """Of a dict with ``x``, and without names asked for, `x` and `y` alone."""
        if self.features is None and isinstance(value, dict) and "x" in value:
            return {key: value[key] for key in ("x", "y") if key in value}
        return value

    def schemas(self, items: Iterator[Item]) -> Iterator[Item]:
        """For `OnObjects`: for each object with rows (its columns, its schema)."""
        for item in items:
            table, columns = self.table(item)
            if table.num_rows:
                yield item._replace(value=(columns, table.schema))

    def all_schemas(self, items: Iterator[Item]) -> Iterator[Item]:
        """Likewise for each object."""
        for item in items:
            table, columns = self.table(item)
            yield item._replace(value=(columns, table.schema))


@dataclass(frozen=True, slots=True)
class Reading:
    """A `Mapper` from objects to the rows inside them, all of one schema."""

    opening: Opening
    schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _, table in self.tables(batches):
            yield from table.to_batches()

    def then(self, fn: Mapper) -> Mapper:
        """`fn` of the rows, straight from the objects."""
        return lambda batches: fn(self(batches))

    def tables(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[Item, pa.Table]]:
        """(object, its rows)."""
        for item in unpack(batches):
            yield item, _like(self.opening.table(item)[0], self.schema, item)


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """The rows inside objects; those of one part of objects are one part.

    Attributes:
        source: the objects.
        reading: how their rows are read.
    """

    source: Shards
    reading: Reading

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        return self.reading.schema

    def over(self, source: Shards) -> ObjectRows:
        """The same reading of other objects."""
        return replace(self, source=source)

    def share(self, index: int, world: int) -> ObjectRows:
        """The same over the source's share."""
        return self.over(self.source.share(index, world))

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(part, rows), one object in memory at a time."""
        for item, table in self._tables(index, world):
            for batch in table.to_batches():
                yield item.part, batch

    def peek(self) -> pa.RecordBatch | None:
        """The first row of the first object that has one."""
        first = self.source.peek()
        found = first and next(self.reading(iter([first])), None)
        if not found:
            found = next((batch for _, batch in self.open(0, 1)), None)
        return found and found.slice(0, 1)

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan, whatever the order in which the objects arrive."""

        def placed() -> Iterator[tuple[Any, Any, pa.RecordBatch]]:
            for item, table in self._tables(request.rank.index, request.rank.world):
                start = item.place << _ROW_BITS
                for batch in table.to_batches():
                    places = np.arange(start, start + batch.num_rows, dtype=np.int64)
                    yield np.full(batch.num_rows, item.part, np.int64), places, batch
                    start += batch.num_rows

        return RowFeed.fill_mixed(placed(), self.schema, request)

    def _tables(self, index: int, world: int) -> Iterator[tuple[Item, pa.Table]]:
        return self.reading.tables(batch for _, batch in self.source.open(index, world))


@dataclass(frozen=True, slots=True)
class Answering:
    """A `Mapper` from objects to objects with a model's outputs.

    Attributes:
        reading: how the rows inside them are read.
        fn: from batches of rows to batches of outputs, one for one.
        added: schema of the outputs.
    """

    reading: Reading
    fn: Mapper
    added: pa.Schema

    @classmethod
    def of(cls, extended: Shards) -> Answering:
        """The same outputs for the objects as for their rows.

        Args:
            extended: what `Cluster.extend` made of `ObjectRows`.
        """
        assert isinstance(extended, ExtendedShards) and isinstance(extended.source, ObjectRows)
        return cls(extended.source.reading, extended.fn, extended.added)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[tuple[Item, int]] = []  # objects whose outputs have not all come, and their batches of rows

        def rows() -> Iterator[pa.RecordBatch]:
            for item, table in self.reading.tables(batches):
                pieces = table.to_batches() or [pa.RecordBatch.from_pylist([], self.reading.schema)]
                waiting.append((item, len(pieces)))
                yield from pieces

        made: list[pa.RecordBatch] = []
        for new in self.fn(rows()):
            made.append(new)
            item, expected = waiting[0]
            if len(made) == expected:
                yield pack(item._replace(value=self._answer(item.value, answers.outputs(self.added, made))))
                made, waiting = [], waiting[1:]

    def _answer(self, value: Any, arrays: list[np.ndarray]) -> dict[Any, Any]:
        """The object's own keys, where it has keys, and the outputs."""
        names = self.added.names
        if answers.unnamed(names):
            answer: dict[Any, Any] = {"prediction": arrays}
        else:
            answer = dict(zip(names, arrays, strict=True))
        return value | answer if isinstance(value, dict) else answer


def _like(table: pa.Table, schema: pa.Schema, item: Item) -> pa.Table:
    """An object's rows in the schema of the first object that has any."""
    if table.num_rows == 0:
        return schema.empty_table()
    if table.schema.equals(schema, check_metadata=True):
        return table
    problem = _difference(table.schema, schema)
    if not problem:
        try:
            return table.cast(schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            problem = str(error)
    raise DataError(
        f"the shard of partition {item.part} does not fit the first one: {problem}. "
        "Give all shards the same columns, dtypes and row shapes with transform_shard."
    )


def _difference(found: pa.Schema, wanted: pa.Schema) -> str:
    if found.names != wanted.names:
        return f"it has {found.names}, the first has {wanted.names}"
    for one, other in zip(found, wanted, strict=True):
        shapes = [(field.metadata or {}).get(SHAPE, b"[]").decode() for field in (one, other)]
        if shapes[0] != shapes[1]:
            return f"'{one.name}' has rows of shape {shapes[0]}, the first has {shapes[1]}"
    return ""


def _pickled(value: Any, what: str) -> bytes:
    try:
        return dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise NotPicklable(
            f"{what} cannot travel to another process ({error}). "
            "Create such things (files, locks, connections, sessions) inside the function that uses them."
        ) from error
