"""Parquet files that the ranks read themselves; their row groups are the parts.

Owns: reading their footers once on the driver, reading a rank's own row groups batch by batch.
Leaves: finding files (listing), which rank owns which part (shards), columns -> arrays (columns), masked URLs
(storage).
"""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from zoo.engine import storage
from zoo.engine.contracts import Feed, FeedRequest
from zoo.engine.data import sets
from zoo.engine.data.feed import RowFeed
from zoo.engine.data.finding import find
from zoo.engine.data.footers import Contents, contents, contents_of, footer, is_local
from zoo.engine.data.listing import Listing, Mask, living, told_of, typed, where_kept
from zoo.engine.data.shards import owned
from zoo.engine.errors import UsageError
from zoo.engine.values import Source

T = TypeVar("T")

BATCH_BYTES = 8 << 20
"""At most about how much a rank decodes at once."""
COLUMN_BYTES = 1 << 20
"""The same of one column: what a processor's cache holds is decoded and copied faster."""
CHUNK_BYTES = 1 << 18
"""Columns whose share of a row group is smaller are not worth a reader of their own."""

_ROWS = 1 << 17
_SUFFIXES = (".parquet", ".parq", ".pq")
_READERS = 8  # footers read at once: remote stores answer slowly


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One part.

    Attributes:
        path: of its file, within the file system.
        number: of the group in its file.
        rows: in it.
        keys: columns that the directories' names hold (``day=3``) and their values.
        mask: which of the group's rows these are; None for all.
    """

    path: str
    number: int
    rows: int
    keys: tuple[tuple[str, Any], ...]
    mask: Mask | None = None


class FileShards:
    """The rows of Parquet files; picklable, without any row in it.

    Attributes:
        schema: of the rows, directory columns included.
        groups: the parts, in the order of the files' paths.
    """

    def __init__(self, source: str | os.PathLike[str] | ds.Dataset | Listing) -> None:
        """Reads the files' footers.

        Args:
            source: a Parquet file, a directory (``key=value`` directories become columns; names that start with
                ``_`` or ``.`` are ignored) or a glob, as a path or URL; a Parquet `pyarrow.dataset.Dataset`; or what a
                table's log lists.

        Raises:
            UsageError: no such path, no data file in it, no Parquet, files with different columns, a filtered dataset.
            StorageFailed: the files cannot be reached.
        """
        self.name, dataset, said = _named(source)
        self.schema: pa.Schema = dataset.schema
        fragments = _fragments(dataset)
        self._files = fragments[0].filesystem
        whole = not isinstance(source, ds.Dataset | Listing)

        def look(fragment: ds.ParquetFileFragment) -> Contents:
            return contents(self._files, fragment.path) if whole else contents_of(fragment)

        found = _all(lambda fragment: _reading(fragment.path, lambda: look(fragment)), fragments)
        if isinstance(source, Listing):
            source.refuse_unlike(fragments)
        else:
            _refuse_unlike(fragments, found, self.schema)
        groups = [group for fragment, there in zip(fragments, found, strict=True) for group in _groups(fragment, there)]
        self.groups = where_kept(groups, source.kept) if isinstance(source, Listing) else tuple(groups)
        if said is not None:
            sets.refuse_unlike(self.name, said, ((dict(group.keys)["chunk"], group.rows) for group in groups))

    def __repr__(self) -> str:
        return f"FileShards({self.name or 'a dataset'}: {len(self.groups)} row groups, {self.rows} rows)"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each part."""
        return tuple(group.rows for group in self.groups)

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(self.sizes)

    def sources(self) -> tuple[Source, ...]:
        """How many files and bytes there are now, and when the newest was written."""
        with storage.explained(self.name or "the dataset", "look at"):
            return (told_of(self._files, sorted({group.path for group in self.groups}), self.name),)

    def with_columns(self, names: Iterable[str]) -> FileShards:
        """The same rows with these columns only; others are not read."""
        fewer = copy.copy(self)
        fewer.schema = pa.schema([self.schema.field(name) for name in names])
        return fewer

    def share(self, index: int, world: int) -> FileShards:
        """Itself: there are no rows in it."""
        return self

    def open(self, index: int, world: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(part, rows), about `BATCH_BYTES` at a time."""
        return self.read(owned(self.sizes, index, world))

    def read(self, parts: Iterable[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The same of these parts, in the order given."""
        for part, file in self._opened(parts):
            group = self.groups[part]
            for batch in self._batches(file, group, _at_once(self.schema.names, _sizes(file, group))):
                yield part, batch

    def peek(self) -> pa.RecordBatch | None:
        """The first row; reads the beginning of one row group."""
        group = next((group for group in self.groups if group.rows), None)
        if group is None:
            return None
        with _reading(group.path, lambda: self._open(group.path)) as file:
            return next(batch for batch in self._batches(file, group, 1) if batch.num_rows)

    def feed(self, request: FeedRequest) -> Feed:
        """Rows in the order of the plan."""
        index, world = request.rank.index, request.rank.world
        if request.keep is not None:
            return RowFeed.fill(self.open(index, world), self.schema, request)
        expected = sum(self.sizes[part] for part in owned(self.sizes, index, world))
        return RowFeed.fill_columns(self._columns(index, world), self.schema, request, expected)

    def _columns(self, index: int, world: int) -> Iterator[tuple[int, Mapping[str, Iterable[pa.Array]]]]:
        """(part, the pieces of each column): one column after the other, or all of them a piece at a time.

        What it takes to decode one column fits a processor's cache, but remote stores are to be asked seldom, and many
        threads decode many columns at once.
        """
        names = self.schema.names
        for part, file in self._opened(owned(self.sizes, index, world)):
            group = self.groups[part]
            sizes = _sizes(file, group)
            large = sum(sizes.get(name, 0) for name in names) * group.rows >= CHUNK_BYTES * len(names)
            if large and self._is_local and pa.cpu_count() == 1:
                yield part, {field.name: _pieces(file, group, field, sizes) for field in self.schema}
            else:
                for batch in self._batches(file, group, _at_once(names, sizes)):
                    yield part, {name: [column] for name, column in zip(names, batch.columns, strict=True)}

    def _opened(self, parts: Iterable[int]) -> Iterator[tuple[int, pq.ParquetFile]]:
        """(part, its open file)."""
        for path, within in groupby(parts, key=lambda part: self.groups[part].path):
            with _reading(path, lambda path=path: self._open(path)) as file:  # type: ignore[misc]
                for part in within:
                    yield part, file

    @property
    def _is_local(self) -> bool:
        return is_local(self._files)

    def _open(self, path: str) -> pq.ParquetFile:
        # A local disk is read a little at a time; a remote one in few large requests, for their number costs.
        file = self._files.open_input_file(path)
        if not self._is_local:
            return pq.ParquetFile(file, pre_buffer=True)
        return pq.ParquetFile(file, metadata=footer(file), pre_buffer=False, buffer_size=1 << 20)

    def _batches(self, file: pq.ParquetFile, group: RowGroup, at_once: int) -> Iterator[pa.RecordBatch]:
        keys = dict(group.keys)
        there = set(file.schema_arrow.names)
        stored = [name for name in self.schema.names if name not in keys and name in there]
        if not stored:
            yield self._completed(pa.RecordBatch.from_pylist([{}] * group.rows, pa.schema([])), keys, group.rows)
            return
        # One thread alone is a quarter faster without Arrow's pool of threads.
        batches = file.iter_batches(at_once, [group.number], stored, use_threads=pa.cpu_count() > 1)
        for batch in living(batches, group.mask):
            yield self._completed(batch, keys, batch.num_rows)

    def _completed(self, batch: pa.RecordBatch, keys: dict[str, Any], rows: int) -> pa.RecordBatch:
        """The columns of the schema, in its order, those of the directories included."""
        if batch.schema.names == self.schema.names:
            return pa.RecordBatch.from_arrays(list(map(typed, batch.columns, self.schema)), schema=self.schema)
        there = set(batch.schema.names)
        columns = [
            typed(batch.column(field.name), field)
            if field.name in there
            else _repeated(keys.get(field.name), field, rows)
            for field in self.schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _pieces(
    file: pq.ParquetFile, group: RowGroup, field: pa.Field, sizes: Mapping[str, float]
) -> Iterator[pa.Array]:  # fmt: skip
    keys = dict(group.keys)
    if field.name in keys or field.name not in sizes:
        yield _repeated(keys.get(field.name), field, group.rows)
        return
    batches = file.iter_batches(_at_once([field.name], sizes), [group.number], [field.name], use_threads=False)
    for batch in living(batches, group.mask):
        yield typed(batch.column(0), field)


# --- on the driver: files and footers --------------------------------------------------------------------------------


def _named(source: Any) -> tuple[str, ds.Dataset, Mapping[str, Any] | None]:
    """(a name for errors, the files, what the metadata say if they are an image set)."""
    if isinstance(source, ds.Dataset):
        return "", source, None
    if isinstance(source, Listing):
        return source.name, source.dataset, None
    url = os.fspath(source)
    return storage.shown(url), *_dataset(url)


def _dataset(url: str) -> tuple[ds.Dataset, Mapping[str, Any] | None]:
    found = find(url, _SUFFIXES)
    if not found.paths:
        raise UsageError(f"no Parquet file in {storage.masked(url)}. Names starting with '_' or '.' are ignored.")
    paths, files, root = list(found.paths), found.files, found.root
    dataset = _reading(
        paths[0],
        lambda: ds.dataset(paths, filesystem=files, format="parquet", partitioning="hive", partition_base_dir=root),
    )
    if not sets.is_set(dataset.schema, paths, root):
        return dataset, None
    said = sets.metadata_of(files, root, url)
    sets.refuse_others(url, paths, root)
    return dataset, None if found.globbed else said


def _fragments(dataset: ds.Dataset) -> list[ds.ParquetFileFragment]:
    try:
        fragments = list(dataset.get_fragments())
    except ValueError as error:
        raise UsageError(
            "the dataset is filtered or projected, but ranks read whole row groups. "
            "Give the dataset without its filter, or its rows: dataset.to_table()."
        ) from error
    other = [fragment for fragment in fragments if not isinstance(fragment, ds.ParquetFileFragment)]
    if other:
        raise UsageError(
            f"ranks read Parquet datasets only. Received: {type(other[0]).__name__}. Give its rows: dataset.to_table()."
        )
    if not fragments:
        raise UsageError("the dataset has no files.")
    return sorted(fragments, key=lambda fragment: str(fragment.path))


def _groups(fragment: ds.ParquetFileFragment, there: Contents) -> Iterator[RowGroup]:
    keys = tuple(ds.get_partition_keys(fragment.partition_expression).items())
    for number, rows in there.groups:
        yield RowGroup(fragment.path, number, rows, keys)


def _refuse_unlike(fragments: Sequence[ds.ParquetFileFragment], found: Sequence[Contents], schema: pa.Schema) -> None:
    """Every column is in each file (or in its directory's name), with one type."""
    for fragment, (there, _) in zip(fragments, found, strict=True):
        keys = ds.get_partition_keys(fragment.partition_expression)
        for field in schema:
            if field.name in keys:
                continue
            if field.name not in there.names:
                raise UsageError(
                    f"file {fragment.path} has no column '{field.name}', which the dataset has. "
                    "Write all files with the same columns, or read them one by one."
                )
            if there.field(field.name).type != field.type:
                raise UsageError(
                    f"column '{field.name}' of file {fragment.path} has the type {there.field(field.name).type}, "
                    f"but {field.type} in the dataset. Write all files with the same types."
                )


def _all(read: Callable[[ds.ParquetFileFragment], T], fragments: Sequence[ds.ParquetFileFragment]) -> list[T]:
    if len(fragments) == 1:
        return [read(fragments[0])]
    with ThreadPoolExecutor(_READERS, "zoo-footers") as pool:
        return list(pool.map(read, fragments))


def _reading(path: str, read: Callable[[], T]) -> T:
    """What `read` gives; its errors name the file."""
    try:
        with storage.explained(path, "read"):
            return read()
    except pa.ArrowInvalid as error:
        raise UsageError(
            f"{path} is not a Parquet file that can be read ({error}). Only Parquet is accepted; a file that was cut "
            "off or damaged must be copied or written again."
        ) from error


def _at_once(names: Sequence[str], sizes: Mapping[str, float]) -> int:
    """How many rows of some columns to decode at once.

    Args:
        names: of the columns.
        sizes: bytes of a row of each, where they are known.
    """
    row = sum(sizes.get(name, 0) for name in names)
    return max(1, min(_ROWS, int(min(BATCH_BYTES, COLUMN_BYTES * len(names)) / max(row, 1))))


def _sizes(file: pq.ParquetFile, group: RowGroup) -> dict[str, float]:
    """Bytes of a row of each column, uncompressed."""
    names, stored = set(file.schema_arrow.names), file.metadata.row_group(group.number)
    sizes = defaultdict[str, float](float)
    for leaf in map(stored.column, range(stored.num_columns)):
        sizes[_column_of(leaf.path_in_schema, names)] += leaf.total_uncompressed_size / max(group.rows, 1)
    return sizes


def _column_of(path: str, names: set[str]) -> str:
    """The column that a leaf (``column.list.element``) belongs to; its name may have dots, too."""
    while path not in names and "." in path:
        path = path.rpartition(".")[0]
    return path


def _repeated(value: Any, field: pa.Field, rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(rows, field.type)
    if pa.types.is_dictionary(field.type):
        once = pa.repeat(pa.scalar(value, field.type.value_type), 1)
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, field.type.index_type), rows), once)
    return pa.repeat(pa.scalar(value), rows).cast(field.type)
