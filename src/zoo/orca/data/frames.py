"""A collection whose objects are pandas DataFrames of equal columns: one distributed table.

Owns: replacing each DataFrame, asking each, and bringing rows that belong together into one partition.
Leaves: one DataFrame (tables), the operations that are more than that (grouping, joining, sorting, summaries).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from zoo.engine.data.exchange import Assemble, Scatter, stacked
from zoo.engine.errors import UsageError
from zoo.orca.data import tables
from zoo.orca.data.collection import Collection
from zoo.orca.data.tables import ByKeys, OnFrames


def look(objects: Collection, what: str, names: Sequence[Any] = (), argument: str = "cols") -> None:
    """Refuses objects that are no DataFrames with these columns, as `tables.Outline.check` does.

    The first object is looked at now, where operations compute at once; all are when they are computed.
    """
    if objects.eager:
        objects.outline.check(what, names, argument)


def replaced(objects: Collection, mapper: OnFrames) -> Collection:
    """Each DataFrame replaced."""
    look(objects, mapper.what, mapper.names, mapper.argument)
    return objects.mapped(mapper).settled(objects)


def asked(objects: Collection, mapper: OnFrames) -> list[Any]:
    """Something small of each DataFrame, at least of one."""
    objects.outline.check(mapper.what, mapper.names, mapper.argument)
    return objects.values(mapper)


def scatter(objects: Collection, parts_of: Callable[[Any], np.ndarray], parts: int, side: int = 0) -> Scatter:
    """What cuts the DataFrames of a collection into pieces for other partitions.

    Args:
        objects: the DataFrames.
        parts_of: from a DataFrame to the partition of each row.
        parts: how many partitions there will be.
        side: 0, or 1 for the right side of a join.

    Raises:
        UsageError: there are no DataFrames.
    """
    places = objects.places()
    if not places:
        raise UsageError("this XShards has no shards.")
    return Scatter(parts, parts_of, places[0], side)


def exchanged(
    objects: Collection,
    parts_of: Callable[[Any], np.ndarray],
    parts: int,
    finish: Callable[[Any], Any],
    within: OnFrames | None = None,
) -> Collection:
    """Rows in other partitions, one DataFrame in each.

    Args:
        objects: the DataFrames.
        parts_of: from a DataFrame to the partition of each row.
        parts: how many partitions there will be.
        finish: of all rows that have come into one partition.
        within: is done to each DataFrame before.
    """
    source = objects if within is None else objects.mapped(within)
    moved = source.regrouped([(source, scatter(objects, parts_of, parts))], Assemble(finish), [1] * parts)
    return moved.settled(objects)


def partitioned(objects: Collection, names: Sequence[Any], parts: int) -> Collection:
    """Rows with equal values in these columns in one partition."""
    if not names:
        raise UsageError("cols is empty. Name at least one column to partition by.")
    look(objects, "partition by", names)
    return exchanged(objects, ByKeys("partition by", names, parts), parts, _whole)


def deduplicated(objects: Collection) -> Collection:
    """Each row once."""
    look(objects, "deduplicates")
    parts, once = objects.partitions, OnFrames("deduplicates", tables.distinct)
    return exchanged(objects, ByKeys("deduplicates", None, parts), parts, tables.distinct, once)


def head(objects: Collection, rows: int) -> Any:
    """The first rows, as one DataFrame; of the first shard alone, if it has enough."""
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        raise UsageError(f"n must be a whole number, at least 0. Received: {rows!r}")
    mapper = OnFrames("head", partial(tables.head, rows=rows))
    first = objects.peek(mapper)
    found = [first.value] if first is not None and len(first.value) >= rows else asked(objects, mapper)
    return stacked(found).head(rows)


def together(objects: Collection, axis: int) -> Any:
    """All DataFrames as one, below each other (0) or side by side (1)."""
    import pandas as pd

    if axis not in (0, 1):
        raise UsageError(f"axis must be 0 (rows) or 1 (columns). Received: {axis!r}")
    found = asked(objects, OnFrames("concat_to_pdf", _whole))
    return stacked(found) if axis == 0 else pd.concat(found, axis=1)


def _whole(frame: Any) -> Any:
    return frame
