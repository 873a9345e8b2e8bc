"""Writing an image set: from a program's generator, or on the cluster from a listing.

The driver lists what there is; each chunk is a task of its own, which reads its files where it runs. A chunk's file
says by a digest what is in it: the same call after an interruption keeps the chunks that it would write the same.

Owns: the order of events, digests, the chunks as the cluster's tasks.
Leaves: one chunk (chunks), the directory (target), what the formats are (folders, voc, coco, mnist).
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.contracts import Cluster
from zoo.engine.data import images
from zoo.engine.data.held import gather
from zoo.engine.data.objects import OBJECTS, Item, OnObjects, collected, pack
from zoo.engine.errors import DataError, NoContext, UsageError
from zoo.orca.data.image import encoded
from zoo.orca.data.image import schema as schemas
from zoo.orca.data.image.cells import Record, record_of
from zoo.orca.data.image.chunks import Job, Order, Written, write_chunk, written_already
from zoo.orca.data.image.manifest import Manifest
from zoo.orca.data.image.places import Place
from zoo.orca.data.image.schema import FeatureType, Schema
from zoo.orca.data.image.target import Options, Target, writing_to

Row = Mapping[str, Any]
T = TypeVar("T")


class Source(Protocol):
    """What a format gives: a listing made on the driver, and records made of its rows where they are written."""

    @property
    def manifest(self) -> Manifest:
        """Columns, format and classes."""

    def reader(self, rows: pa.Table) -> Callable[[Row], Record]:
        """In a task: makes a record of each row of `rows`; called in several threads."""


def write_generated(path: str, generator: Iterable[Any], schema: Schema, options: Options) -> None:
    """Writes the records of a generator, a chunk at a time, in this process.

    Raises:
        UsageError: a schema or a place that cannot be.
        DataError: no records, a record that does not fit the schema, a broken image.
    """
    if not isinstance(generator, Iterable):
        told = " It is a function: call it." if callable(generator) else ""
        raise UsageError(f"generator must give records, dicts, one after the other. Received: {generator!r}.{told}")
    fields = schemas.checked(schema)
    manifest = Manifest(fields)
    Target.look(path, manifest, options.write_mode)
    order = _order(path, manifest, options)
    records = (record_of(given, fields, number) for number, given in enumerate(generator))
    first = next(records, None)
    if first is None:
        raise DataError("the generator gave no records. Nothing was written.")
    with writing_to(path, manifest, options.write_mode) as target:
        order = replace(order, path=target.root, claim=target.claim)
        target.clear(0)
        try:
            written = _written(order, chain([first], records), target.first, options.block_size)
        except BaseException:
            target.discard()
            raise
        target.commit(written)


def _written(order: Order, records: Iterator[Record], number: int, block_size: int) -> list[Written]:
    """Writes the records as chunks from `number` on."""
    call = secrets.token_hex(16)  # nobody can tell what a generator will give: each call writes all anew
    written: list[Written] = []
    while (head := next(records, None)) is not None:
        rows = chain([head], islice(records, block_size - 1))
        written.append(write_chunk(order, number + len(written), call, (partial(_same, row) for row in rows)))
    return written


def write_listed(path: str, source: Source, listing: pa.Table, options: Options) -> None:
    """Writes the records of a listing, on the cluster; where an equal call was interrupted, what it has not written.

    Raises:
        UsageError: a place that cannot be.
        DataError: a broken image.
        StorageFailed: a file that cannot be read or written.
    """
    order = _order(path, source.manifest, options)
    pieces = [listing.slice(start, options.block_size) for start in range(0, len(listing), options.block_size)]
    head = json.dumps([schemas.encode(order.schema), dict(order.facts), order.checks], sort_keys=True)
    with writing_to(path, source.manifest, options.write_mode) as target:
        order = replace(order, path=target.root, claim=target.claim)
        tasks = [_Task.of(target.first + place, piece, f"{head}{source}") for place, piece in enumerate(pieces)]
        target.clear(len(tasks))
        target.commit(spread(_Writing(order, source), tasks))


@dataclass(frozen=True, slots=True)
class _Task:
    """One chunk to write; picklable.

    Attributes:
        number: of the chunk.
        digest: of all that decides what is in it.
        rows: of the listing, as an Arrow stream.
    """

    number: int
    digest: str
    rows: bytes

    @classmethod
    def of(cls, number: int, rows: pa.Table, head: str) -> _Task:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows.combine_chunks())
        data = sink.getvalue().to_pybytes()
        return cls(number, hashlib.sha256(f"{number} {head} ".encode() + data).hexdigest(), data)

    def table(self) -> pa.Table:
        return pa.ipc.open_stream(self.rows).read_all()


@dataclass(frozen=True, slots=True)
class _Writing:
    """Where a chunk is written: its task gives what was written."""

    order: Order
    source: Source

    def __call__(self, task: _Task) -> Written:
        found = written_already(self.order, task.number, task.digest)
        if found is not None:
            return found
        rows = task.table()
        read = self.source.reader(rows)
        jobs: Iterator[Job] = (partial(read, row) for batch in rows.to_batches(1000) for row in batch.to_pylist())
        return write_chunk(self.order, task.number, task.digest, jobs)


@dataclass(frozen=True, slots=True)
class _Each:
    """A function of one task, for `OnObjects`."""

    fn: Callable[[Any], Any]

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            yield item._replace(value=self.fn(item.value))


def spread(fn: Callable[[Any], T], tasks: Sequence[Any]) -> list[T]:
    """The function's answers, each computed as a task of the current cluster; in this process where there is none.

    Args:
        fn: picklable; a task may be computed again where one was lost.
        tasks: picklable, at least one.
    """
    cluster = _cluster()
    rows = gather(((place, pack(Item(place, 0, task))) for place, task in enumerate(tasks)), OBJECTS)
    moved = cluster.store.regroup([rows], len(tasks))
    return [item.value for item in collected(cluster.map(OnObjects(_Each(fn)), moved, OBJECTS))]


def _cluster() -> Cluster:
    try:
        return session.current()
    except NoContext:
        return InlineCluster()


def _order(path: str, manifest: Manifest, options: Options) -> Order:
    if options.errors != "keep" and any(one.feature_type is FeatureType.IMAGE for one in manifest.schema.values()):
        encoded.pillow()
        images.decoder()  # told here if it is missing, and not by a task
    facts = {"format": manifest.format, "classes": list(manifest.classes)}
    return Order(Place(path), manifest.schema, facts, options.errors)


def _same(record: Record) -> Record:
    return record
