"""The footers of Parquet files: what is in them, without the rows.

Arrow reads the last 64 KB of a file for its footer, which is good where each request to a store takes long. On a local
disk it would be a part of the data, read again by each process that opens the file.

Owns: reading a footer and no more. Leaves: which files there are (finding), their rows (files).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

_MAGIC = b"PAR1"
_END = struct.Struct("<I4s")  # at the end of a file: the footer's bytes, the format


class Contents(NamedTuple):
    """What a file has.

    Attributes:
        schema: of its rows.
        groups: (number, rows) of each row group.
    """

    schema: pa.Schema
    groups: tuple[tuple[int, int], ...]


def contents(files: pafs.FileSystem, path: str) -> Contents:
    """Of a whole file.

    Args:
        files: the file system.
        path: within it.

    Raises:
        OSError: it cannot be read.
        pyarrow.ArrowInvalid: it is no Parquet.
    """
    with files.open_input_file(path) as file:
        found = footer(file) if is_local(files) else pq.read_metadata(file)
    groups = ((number, found.row_group(number).num_rows) for number in range(found.num_row_groups))
    return Contents(found.schema.to_arrow_schema(), tuple(groups))


def contents_of(fragment: Any) -> Contents:
    """Of a data set's fragment, which may have some of a file's row groups only."""
    found = fragment.metadata
    groups = ((chosen.id, found.row_group(chosen.id).num_rows) for chosen in fragment.row_groups)
    return Contents(fragment.physical_schema, tuple(groups))


def footer(file: pa.NativeFile) -> pq.FileMetaData:
    """Of an open local file.

    Raises:
        pyarrow.ArrowInvalid: it is no Parquet.
    """
    size = file.size()
    if size >= len(_MAGIC) + _END.size:
        length, magic = _END.unpack(file.read_at(_END.size, size - _END.size))
        start = size - _END.size - length
        if magic == _MAGIC and start >= len(_MAGIC):
            tail = file.read_at(size - start, start)
            return pq.read_metadata(pa.BufferReader(_MAGIC + tail))  # a file without rows
    return pq.read_metadata(file)  # whatever is wrong, or encrypted, Arrow says


def is_local(files: pafs.FileSystem) -> bool:
    """Whether its files are on this machine's disks."""
    return isinstance(files, pafs.LocalFileSystem)
