"""The rows of all shards in one order: borders from a sample, then each range of rows to its partition.

Owns: samples, borders, the partition of each row, the order within.
Leaves: moving rows (frames, zoo.engine.data.exchange).

Rows that are equal keep their order: all of them are in one partition, and every sort is stable.
Source: sample sort; Frazer and McKellar, "Samplesort", JACM 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.data.exchange import stacked
from zoo.engine.errors import UsageError
from zoo.orca.data.collection import Collection
from zoo.orca.data.frames import exchanged, look
from zoo.orca.data.tables import Outline, listed, refused

_SAMPLES = 64
"""Rows of each shard that are looked at."""


@dataclass(frozen=True)
class Order:
    """What rows are ordered by; nulls come last.

    Attributes:
        names: the columns; None for all of a DataFrame's.
        ascending: of all columns, or of each.
    """

    names: tuple[Any, ...] | None
    ascending: bool | tuple[bool, ...] = True

    def of(self, frame: Any) -> list[Any]:
        """The columns of a DataFrame.

        Raises:
            ColumnNotFound: they are not there.
        """
        Outline.of(frame).check("sort_values", self.names or (), "col_names")
        return list(frame.columns if self.names is None else self.names)

    def sort(self, frame: Any) -> Any:
        """The rows in order."""
        names = self.of(frame)
        if not names:
            return frame
        ascending = self.ascending if isinstance(self.ascending, bool) else list(self.ascending)
        with refused(f"sort_values by {names}"):
            return frame.sort_values(names, ascending=ascending, kind="stable")

    def sample(self, frame: Any) -> tuple[int, Any]:
        """(rows, the keys of some of them, evenly chosen from all in order)."""
        keys = self.sort(frame[self.of(frame)])
        chosen = np.unique(np.linspace(0, len(keys) - 1, min(_SAMPLES, len(keys))).astype(int))
        return len(keys), keys.iloc[chosen]


def borders(samples: Sequence[tuple[int, Any]], order: Order, parts: int) -> Any:
    """The keys at which partitions begin, except the first: at most `parts` - 1 of them."""
    weighed = [(rows / max(1, len(keys)), keys) for rows, keys in samples]
    keys = stacked([keys for _, keys in weighed]).reset_index(drop=True)
    weights = np.concatenate([np.full(len(one), weight) for weight, one in weighed if len(one)] or [np.empty(0)])
    if not len(keys):
        return keys
    ordered = order.sort(keys)
    below = np.cumsum(weights[ordered.index.to_numpy()])
    wanted = below[-1] * np.arange(1, parts) / parts
    return ordered.iloc[np.unique(np.searchsorted(below, wanted))]


@dataclass(frozen=True)
class Ranges:
    """The partition of each row.

    Attributes:
        order: of the rows.
        borders: the keys at which the second, third, ... partition begin.
    """

    order: Order
    borders: Any

    def __call__(self, frame: Any) -> np.ndarray:
        keys, count = frame[self.order.of(frame)], len(self.borders)
        if not count or not len(keys):
            return np.zeros(len(keys), np.int64)
        both = stacked([self.borders, keys]).reset_index(drop=True)
        places = self.order.sort(both).index.to_numpy()  # a border stands before the rows that equal it
        part, found = np.cumsum(places < count), np.empty(len(both), np.int64)
        found[places] = part
        return found[count:]


def in_order(objects: Collection, col_names: Any, ascending: Any) -> Collection:
    """All rows in one order, over the partitions too.

    Raises:
        UsageError: no DataFrames, another number of `ascending` than of names.
        ColumnNotFound: a column that is not there.
    """
    names = None if col_names is None or col_names == [] else tuple(listed(col_names))
    order = Order(names, _directions(ascending, names))
    look(objects, "sort_values", names or (), "col_names")
    ranges = Ranges(order, borders(objects.facts(order.sample), order, objects.partitions))
    return exchanged(objects, ranges, objects.partitions, order.sort)


def _directions(ascending: Any, names: tuple[Any, ...] | None) -> bool | tuple[bool, ...]:
    if isinstance(ascending, bool):
        return ascending
    if isinstance(ascending, list | tuple) and names and len(ascending) == len(names):
        return tuple(map(bool, ascending))
    raise UsageError(f"ascending must be True, False, or one of them for each of col_names. Received: {ascending!r}")
