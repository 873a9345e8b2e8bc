"""Delta Lake tables: the files of one version, which the ranks read themselves.

Owns: finding a table, what its log says of files and of deleted rows, which features of the protocol are read.
Leaves: reading the files (files, listing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from zoo.engine import storage
from zoo.engine.data.listing import LOG, Listing
from zoo.engine.errors import StorageFailed, UsageError
from zoo.engine.optional import require
from zoo.engine.values import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

_WILD = "*?["
# Features of tables that change nothing for who reads data files, besides deletion vectors, which are heeded.
_READ = {"deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "catalogManaged"}


def is_table(url: str) -> bool:
    """Whether a path or URL is the directory of a Delta table.

    Raises:
        UsageError: it names files or partitions within one, among which there may be some that the log has removed.
    """
    files, path = storage.file_system(url)
    path = path.rstrip("/")
    with storage.explained(url, "look into"):
        if _has_log(files, path):
            return True
        root = _above(path)
        if root == path or not _has_log(files, root):
            return False
    raise UsageError(
        f"{storage.masked(url)} names files of the Delta table {root}, whose log says which of them count. "
        "Give the table itself: its directory, or a deltalake.DeltaTable. Filter it in Spark, or write the rows that "
        "you want to a table of their own."
    )


def opened(url: str) -> Any:
    """The newest version of the table at a path or URL, as a `deltalake.DeltaTable`.

    Raises:
        MissingDependency: `deltalake` is not installed.
        UsageError, StorageFailed: the log cannot be read.
    """
    because = f"{storage.masked(url)} is a Delta table, and its log says which files count"
    deltalake = require("deltalake", extra="delta", because=because)
    with _explained(url):
        return deltalake.DeltaTable(str(storage.local_path(url).absolute()) if storage.is_local(url) else url)


def listed(table: Any) -> tuple[Listing, Source]:
    """The files of a table's version, and which version that is.

    Args:
        table: a `deltalake.DeltaTable`; later versions change nothing.

    Raises:
        UsageError: it has no rows, or uses features of the protocol that are not read here.
        StorageFailed: its log cannot be read.
    """
    uri = table.table_uri
    name = f"the Delta table {storage.shown(uri)}"
    with _explained(uri):
        _refuse_features(name, table)
        schema = pa.schema(table.schema().to_arrow())
        actions = pa.table(table.get_add_actions(flatten=False))
        vectors = _vectors(table)
    if not actions.num_rows:
        raise UsageError(f"{name} has no rows in version {table.version()}. Read another version, or write to it.")
    files, root = _files(table)
    paths = [_path(name, root, path) for path in actions.column("path").to_pylist()]
    partitioned = "partition" in actions.column_names
    keys = actions.column("partition").to_pylist() if partitioned else [{}] * len(paths)
    form = ds.ParquetFileFormat()
    fragments = [form.make_fragment(path, files, _partition(of, schema)) for path, of in zip(paths, keys, strict=True)]
    dataset = ds.FileSystemDataset(fragments, schema, form, files)
    kept = {root + unquote(path): mask for path, mask in vectors.items()}
    if kept.keys() - set(paths):
        raise UsageError(f"{name} has rows deleted from files that its log does not list in this version. {_ELSE}")
    return Listing(name, dataset, kept), Source("Delta table", storage.shown(uri), table.version())


# --- finding it ------------------------------------------------------------------------------------------------------


def _has_log(files: pafs.FileSystem, path: str) -> bool:
    return bool(files.get_file_info(f"{path}/{LOG}").type == pafs.FileType.Directory)


def _above(path: str) -> str:
    """The directory above the first wildcard, and above all directories that are named after a partition's key."""
    parts = path.split("/")
    while parts and ("=" in parts[-1] or any(mark in "/".join(parts) for mark in _WILD)):
        parts.pop()
    return "/".join(parts)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns errors of `deltalake` into ours; those of remote stores may hold credentials."""
    from deltalake.exceptions import DeltaError, DeltaProtocolError

    try:
        yield
    except DeltaProtocolError as error:
        raise UsageError(f"{_unreadable(uri, error)} {_ELSE}") from None
    except (DeltaError, OSError) as error:
        raise StorageFailed(f"{_unreadable(uri, error)} Check the path, and that no writer has cut the log.") from None


def _unreadable(uri: str, error: Exception) -> str:
    return f"the log of the Delta table {storage.shown(uri)} cannot be read: {storage.masked(str(error)).rstrip('.')}."


# --- what the log says -----------------------------------------------------------------------------------------------

_ELSE = (
    "Read it through Spark with the Delta extension (spark.read.format('delta')), or write its rows to a table without."
)


def _refuse_features(name: str, table: Any) -> None:
    found = set(table.protocol().reader_features or ())
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        found.add("columnMapping")
    elif "columnMapping" in found:
        found.remove("columnMapping")  # allowed there, and not in use
    unread = sorted(found - _READ)
    if unread:
        raise UsageError(f"{name} uses {', '.join(unread)}, which zoo does not read from its files. {_ELSE}")


def _vectors(table: Any) -> Mapping[str, np.ndarray]:
    """Path of a file, as the log writes it -> whether each of its rows is left."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    found = pa.table(table.deletion_vectors())
    masks = zip(found.column("filepath").to_pylist(), found.column("selection_vector"), strict=True)
    root = f"{table.table_uri.rstrip('/')}/"
    return {path.removeprefix(root): mask.values.to_numpy(zero_copy_only=False) for path, mask in masks}


def _files(table: Any) -> tuple[pafs.FileSystem, str]:
    """Where the table's files lie, with the credentials that the table was opened with; they travel to the ranks."""
    options = table._storage_options
    if options and not storage.is_local(table.table_uri):
        fs = require("deltalake.fs", extra="delta", because="it opens the table's files")
        return pafs.PyFileSystem(fs.DeltaStorageHandler(table.table_uri, dict(options))), ""
    files, root = storage.file_system(table.table_uri)
    return files, root.rstrip("/") + "/"


def _path(name: str, root: str, path: str) -> str:
    if "://" in path or path.startswith("/"):
        raise UsageError(f"{name} is a shallow clone: some of its files belong to another table. {_ELSE}")
    return root + unquote(path)


def _partition(values: Mapping[str, Any], schema: pa.Schema) -> ds.Expression:
    """What all rows of a file have in common."""
    terms: Sequence[ds.Expression] = [
        ds.field(key).is_null() if value is None else ds.field(key) == pa.scalar(value, schema.field(key).type)
        for key, value in values.items()
    ]
    return reduce(and_, terms) if terms else ds.scalar(True)
