"""Image sets as XShards: each chunk is read where its shard lies.

Owns: a chunk's records as one dict of arrays.
Leaves: which chunks there are (reading), shards (zoo.orca.data.shard).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from zoo.engine.data.ahead import Ahead
from zoo.engine.data.records import RecordFiles, RecordMaker
from zoo.orca.data.image.reading import ImageSet
from zoo.orca.data.shard import XShards


def read_as_xshards(path: str, columns: Sequence[str] | None = None) -> XShards:
    """One shard a chunk: a dict of arrays, rows first.

    Images are bytes (dtype object), and so are strings str; arrays of different shapes stay apart, as objects.

    Args:
        path: of the set.
        columns: that are read; None for all.

    Raises:
        UsageError: no set, or one that is not whole.
    """
    found = ImageSet.open(path, columns)
    numbers = XShards.partition(np.arange(len(found.chunks)), len(found.chunks))
    return numbers.transform_shard(_read, found.records, found.chunks)


def _read(numbers: np.ndarray, records: RecordFiles, chunks: Sequence[Sequence[int]]) -> dict[str, Any]:
    parts = [part for number in numbers for part in chunks[number]]
    made = RecordMaker(records.fields).steps(records.blocks(parts), Ahead(threads=1))
    rows = list(chain.from_iterable(made))
    return {field.name: _stacked([row[field.name] for row in rows]) for field in records.fields}


def _stacked(values: list[Any]) -> np.ndarray:
    alike = len({getattr(value, "shape", None) for value in values}) == 1
    if alike and hasattr(values[0], "dtype"):
        return np.stack(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array
