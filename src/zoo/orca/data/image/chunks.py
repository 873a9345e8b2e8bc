"""One chunk of an image set: records -> one Parquet file, which is there whole or not at all.

Owns: reading the pictures' files ahead in threads, broken images, row groups, what a file says about itself.
Leaves: which records a chunk has (writing), cells (cells), files on disks and elsewhere (storage).
"""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from zoo.engine import storage
from zoo.engine.errors import DataError, StorageFailed
from zoo.orca.data.image import claims, encoded
from zoo.orca.data.image import schema as schemas
from zoo.orca.data.image.cells import Picture, Record, batch_of, size_of
from zoo.orca.data.image.manifest import chunk_file
from zoo.orca.data.image.schema import SchemaField

GROUP_BYTES = 8 << 20
"""A row group ends with the record that makes it as large: enough for a remote store, little for a reader's memory."""
_PAGE_ROWS = 16  # after as many a page of 1 MB or more ends; else it would be the row group, and a reader holds a page
_NOTE = b"zoo.chunk"
_THREADS = 8  # of one task: a file of a remote store takes long to come, and little work
_NEAR_THREADS = 2  # a file of a local disk comes at once: more threads would wait for Python's lock
_AHEAD = 64
_AHEAD_BYTES = 64 << 20
_EXAMPLES = 5
_LARGEST = (1 << 31) - 1 - GROUP_BYTES  # bytes of one cell; a column of a row group has 2 GB at most, in Arrow

_UNREADABLE = {  # of one file; any other error is one of the place
    FileNotFoundError: "it is not there. Restore it, or remove the link or the entry that names it.",
    PermissionError: "permission denied. Have its owner allow reading.",
    IsADirectoryError: "it is a directory. Remove it.",
}

Job: TypeAlias = Callable[[], Record]
"""Makes one record, whose pictures are files as yet."""


@dataclass(frozen=True)
class Order:
    """What all chunks of a set have in common; picklable.

    Attributes:
        path: the directory of the chunks.
        schema: the columns, as `schema.checked` returns them.
        facts: what each file says beside them (``format``, ``classes``).
        errors: what is done about a broken image: ``"raise"``, ``"skip"``, or ``"keep"``, which does not look.
        claim: the URL of the claim that allows to write there; empty for none.
    """

    path: str
    schema: dict[str, SchemaField]
    facts: Mapping[str, Any]
    errors: str
    claim: str = ""

    @property
    def checks(self) -> bool:
        """Whether images are looked at."""
        return self.errors != "keep"


class Written(NamedTuple):
    """A chunk that is there.

    Attributes:
        number: of the chunk.
        rows: records in it.
        size: bytes of its file.
        skipped: images that were left out.
        examples: the first few of them, with the reason.
    """

    number: int
    rows: int
    size: int
    skipped: int = 0
    examples: tuple[str, ...] = ()


class _BrokenImage(Exception):
    """An image that cannot be read; says which and why."""


@dataclass
class _Skipping:
    """Counts the broken images that are left out."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, told: str) -> None:
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(told)


def write_chunk(order: Order, number: int, digest: str, jobs: Iterable[Job]) -> Written:
    """Writes a chunk.

    Args:
        order: what it shares with the others.
        number: of the chunk.
        digest: says what is in it, so that a later call knows whether this is what it would write.
        jobs: make its records, in their order.

    Raises:
        DataError: a broken image, where these are not left out.
        StorageFailed: a file that cannot be read or written; the call's claim is gone.
    """
    claims.check(order.claim)
    arrow = schemas.to_arrow(order.schema, order.facts)
    target, skipping, rows = chunk_file(order.path, number), _Skipping(), 0
    with storage.new_file(target) as file:
        reading = closing(_read(order, jobs, skipping))  # its threads end here, whatever happens
        with pq.ParquetWriter(file, arrow, **_layout(arrow)) as writer, encoded.quietly(), reading as read:
            for records in _groups(read):
                writer.write_batch(batch_of(records, order.schema, arrow), row_group_size=len(records))
                rows += len(records)
            note = {"digest": digest, "rows": rows, "skipped": skipping.count, "examples": skipping.examples}
            writer.add_key_value_metadata({_NOTE: json.dumps(note)})
        size = file.tell()
        claims.check(order.claim)
    return Written(number, rows, size, skipping.count, tuple(skipping.examples))


def written_already(order: Order, number: int, digest: str) -> Written | None:
    """The chunk, where an earlier call has written the same; None where there is none, another, or a part of it."""
    files, path = storage.file_system(chunk_file(order.path, number))
    with storage.explained(order.path, "look for"):
        info = files.get_file_info(path)
    if info.type != pafs.FileType.File:
        return None
    try:
        with files.open_input_file(path) as file:
            footer = pq.read_metadata(file)
        note = json.loads((footer.metadata or {}).get(_NOTE, b"{}"))
    except (pa.ArrowInvalid, ValueError, OSError):
        return None
    same = note.get("digest") == digest and note["rows"] == footer.num_rows
    if not same or (note["skipped"] and order.errors != "skip"):
        return None
    return Written(number, note["rows"], info.size, note["skipped"], tuple(note["examples"]))


# --- reading the pictures --------------------------------------------------------------------------------------------


def _read(order: Order, jobs: Iterable[Job], skipping: _Skipping) -> Iterator[Record]:
    """Records with their pictures' bytes, in order; broken ones are counted or raised."""

    def run(pack: Sequence[Job]) -> list[Record | _BrokenImage]:
        return [_made(job, order) for job in pack]

    with ThreadPoolExecutor(_THREADS, "zoo-images") as pool:
        for made in _ahead(pool, run, jobs):
            if not isinstance(made, _BrokenImage):
                yield made
            elif order.errors == "skip":
                skipping.add(str(made))
            else:
                raise DataError(f"{made} errors='skip' leaves such images out and counts them.")


def _ahead(
    pool: Executor, run: Callable[[Sequence[Job]], list[Record | _BrokenImage]], jobs: Iterable[Job]
) -> Iterator[Record | _BrokenImage]:
    """The records in the order of the jobs; as many are under way as fit the memory, going by the last one's size.

    A thread takes some at once: where files are small and near, handing them over takes longer than reading them.
    """
    coming, under_way = iter(jobs), deque[tuple[Future[list[Record | _BrokenImage]], int]]()
    count, (most, at_once) = 0, (1, 1)
    try:
        while True:
            while count < most and (pack := list(islice(coming, min(most - count, at_once)))):
                under_way.append((pool.submit(run, pack), len(pack)))
                count += len(pack)
            if not under_way:
                return
            first, done = under_way.popleft()
            made = first.result()
            most, at_once = next((_reach(one) for one in made if not isinstance(one, _BrokenImage)), (most, at_once))
            count -= done
            yield from made
    finally:
        for one, _ in under_way:
            one.cancel()


def _reach(last: Record) -> tuple[int, int]:
    """(records under way, records that a thread takes at once), going by the last one."""
    most = max(1, min(_AHEAD, _AHEAD_BYTES // max(1, size_of(last))))
    is_near = all(storage.is_local(value.url) for value in last.values() if isinstance(value, Picture))
    return most, max(1, most // (_NEAR_THREADS if is_near else _THREADS))


def _made(job: Job, order: Order) -> Record | _BrokenImage:
    try:
        return {name: _picked(value, order) for name, value in job().items()}
    except _BrokenImage as broken:
        return broken


def _picked(value: Any, order: Order) -> Any:
    """A picture with its bytes; another value as it is."""
    if not isinstance(value, Picture):
        return value
    name = storage.masked(value.url or value.path) or value.name
    data = _bytes_of(value, name) if value.data is None else value.data
    if len(data) > _LARGEST:
        raise _BrokenImage(f"{name} has {len(data) / 1e9:.1f} GB, more than the 2 GB that a cell may take.")
    told = encoded.flaw(data, name) if order.checks else ""
    if told:
        raise _BrokenImage(told)
    return value._replace(data=data)


def _bytes_of(picture: Picture, name: str) -> bytes:
    try:
        return storage.read_bytes(picture.url)
    except StorageFailed as error:
        cause = next((told for kind, told in _UNREADABLE.items() if isinstance(error.__cause__, kind)), None)
        if cause is None:
            raise
        raise _BrokenImage(f"{name} cannot be read: {cause}") from None


# --- the file --------------------------------------------------------------------------------------------------------


def _groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records by row group."""
    group: list[Record] = []
    size = 0
    for record in records:
        group.append(record)
        size += size_of(record)
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _layout(arrow: pa.Schema) -> dict[str, Any]:
    """How columns are stored: encoded images as they are, all else compressed."""
    leaves = _leaves(arrow)
    images = {f"{one.name}.bytes" for one in arrow if one.type == schemas.IMAGE_TYPE}
    other = [leaf for leaf in leaves if leaf not in images]
    return {
        "compression": {leaf: "none" if leaf in images else "zstd" for leaf in leaves},
        "use_dictionary": other,
        "write_statistics": other,
        "write_batch_size": _PAGE_ROWS,
    }


def _leaves(arrow: pa.Schema) -> list[str]:
    """The columns as Parquet names them, ``image.bytes``, ``label.list.element``, ..."""
    with io.BytesIO() as file:
        with pq.ParquetWriter(file, arrow):
            pass
        stored = pq.read_metadata(pa.BufferReader(file.getvalue())).schema
    return [stored.column(number).path for number in range(len(stored))]
