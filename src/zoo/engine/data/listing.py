"""Parquet files that a table's log lists: more may lie beside them, and not all of their rows need count.

Owns: which rows of a file are left, columns in the type that the table gives them.
Leaves: reading (files), what the log of which table says (delta).
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zoo.engine.errors import DataError, UsageError
from zoo.engine.values import Source

if TYPE_CHECKING:
    from zoo.engine.data.files import RowGroup

LOG = "_delta_log"
"""The directory of a Delta table's log."""
Mask: TypeAlias = bytes
"""One bit for each row, packed as numpy does: 1 where it is left."""


@dataclass(frozen=True)
class Listing:
    """The files of a table.

    Attributes:
        name: of the table, without credentials.
        dataset: the files, with the table's schema.
        kept: path of a file -> bool array, whether each of its rows is left; rows beyond the array are. Files of which
            all rows are left need not be here.
    """

    name: str
    dataset: Any
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)

    def refuse_unlike(self, fragments: Sequence[Any]) -> None:
        """Refuses files whose columns cannot be what the table says; columns that came later may be missing.

        Raises:
            UsageError: it names the file and the column.
        """
        for fragment in fragments:
            there = fragment.physical_schema
            for wanted in self.dataset.schema:
                if wanted.name in there.names and not _castable(there.field(wanted.name).type, wanted.type):
                    raise UsageError(
                        f"column '{wanted.name}' of file {fragment.path} has the type {there.field(wanted.name).type}, "
                        f"but {wanted.type} in {self.name}. Rewrite the table, or read it through Spark."
                    )


def where_kept(groups: Iterable[RowGroup], kept: Mapping[str, np.ndarray]) -> tuple[RowGroup, ...]:
    """The row groups of whole files, in order, with the masks of those that lost rows."""
    if not kept:
        return tuple(groups)
    starts, found = defaultdict[str, int](int), []
    for group in groups:
        start = starts[group.path]
        starts[group.path] += group.rows
        known = kept.get(group.path, np.empty(0, bool))[start : start + group.rows]
        lost = int(len(known) - np.count_nonzero(known))
        if lost:
            mask = np.packbits(np.concatenate([known, np.ones(group.rows - len(known), bool)])).tobytes()
            group = dataclasses.replace(group, rows=group.rows - lost, mask=mask)
        found.append(group)
    return tuple(found)


def living(batches: Iterable[pa.RecordBatch], mask: Mask | None) -> Iterator[pa.RecordBatch]:
    """The rows of a row group that are left; some batches may have none."""
    if mask is None:
        yield from batches
        return
    left, start = np.unpackbits(np.frombuffer(mask, np.uint8)).astype(bool), 0
    for batch in batches:
        yield batch.filter(pa.array(left[start : start + batch.num_rows]))
        start += batch.num_rows


def typed(column: pa.Array, wanted: pa.Field) -> pa.Array:
    """A file's column in the table's type, e.g. Spark's 96-bit times as microseconds.

    Raises:
        DataError: a value that the type does not hold.
    """
    if column.type == wanted.type:
        return column
    try:
        return pc.cast(column, wanted.type, safe=not pa.types.is_timestamp(wanted.type))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column '{wanted.name}' cannot be read as {wanted.type}: {error}. Cast it in the table."
        ) from error


def told_of(files: Any, paths: list[str], name: str) -> Source:
    """What can be told of files without a log.

    Args:
        files: their file system.
        paths: theirs, in it.
        name: a URL or path without credentials; empty for the directory that they share.
    """
    found = files.get_file_info(paths)
    count, size = len(found), sum(info.size or 0 for info in found)
    times = [info.mtime for info in found if info.mtime is not None]
    newest = f", newest of {max(times).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if times else ""
    return Source(
        "Parquet files",
        name or os.path.commonpath(paths),
        f"{count:,} file{'s' * (count != 1)}, {size:,} bytes{newest}",
    )


def refuse_logs(root: str, found: Iterable[Any]) -> None:
    """Refuses a directory with Delta tables somewhere below it, whose files do not all count.

    Args:
        root: the directory.
        found: `pyarrow.fs.FileInfo` of everything below it.
    """
    log = next((info.path for info in found if info.path.endswith(f"/{LOG}")), None)
    if log is not None:
        raise UsageError(
            f"{root} holds the Delta table {log.removesuffix(LOG).rstrip('/')}, whose log says which of its files "
            "count. Give the table's own directory, or a deltalake.DeltaTable."
        )


def _castable(found: pa.DataType, wanted: pa.DataType) -> bool:
    if found == wanted:
        return True
    try:
        pc.cast(pa.nulls(0, found), wanted)
    except pa.ArrowNotImplementedError:
        return False
    return True
