"""Rows of many DataFrames, cut apart and put together elsewhere: the two halves of a shuffle.

Owns: functions over objects (`objects.ItemMapper`) that scatter rows over partitions and assemble what arrives.
Leaves: which partition a row belongs to (its callers; keys), carrying pieces there (clusters' stores).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from zoo.engine.data.objects import Item
from zoo.engine.errors import DataError

_PLACE_BITS = 31  # of a piece's place: side, then part, then place of the object that it was cut from
_SIDE = 1 << 62


@dataclass(frozen=True, slots=True)
class Scatter:
    """Cuts DataFrames into pieces and sends each to the partition that its rows belong to.

    Every partition gets a piece at least: of the first object, if need be without rows, so that its columns are known.

    Attributes:
        parts: how many partitions there are.
        parts_of: from a DataFrame to the partition of each row, int64.
        first: (part, place) of the first object.
        side: 0, or 1 for objects that are to be assembled after those of side 0.
    """

    parts: int
    parts_of: Callable[[Any], np.ndarray]
    first: tuple[int, int]
    side: int = 0

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for part, place, frame in items:
            order = self.side * _SIDE + (part << _PLACE_BITS) + place
            targets = self.parts_of(frame)
            rows = np.argsort(targets, kind="stable")
            borders = np.searchsorted(targets[rows], np.arange(self.parts + 1))
            for target in range(self.parts):
                mine = rows[borders[target] : borders[target + 1]]
                if len(mine) or (part, place) == self.first:
                    yield Item(target, order, frame.iloc[mine])


@dataclass(frozen=True, slots=True)
class Assemble:
    """One object for each partition, made of the DataFrames that have arrived there.

    Attributes:
        finish: from one DataFrame, or from one for each side, to the object.
    """

    finish: Callable[..., Any]

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for part, pieces in groupby(items, key=attrgetter("part")):
            sides = [
                stacked([piece.value for piece in side]) for _, side in groupby(pieces, lambda p: p.place // _SIDE)
            ]
            yield Item(part, 0, self.finish(*sides))


def stacked(frames: Sequence[Any]) -> Any:
    """The rows of DataFrames (or Series) of equal columns, as `pandas.concat` has them; at least one.

    DataFrames without rows have no say in the dtypes, unless none has rows.

    Raises:
        DataError: their columns differ.
    """
    import pandas as pd

    for other in frames[1:]:
        if hasattr(other, "columns") and list(other.columns) != list(frames[0].columns):
            if set(other.columns) == set(frames[0].columns) and other.columns.is_unique:
                continue  # another order
            raise DataError(
                f"the shards have different columns: {list(frames[0].columns)} and {list(other.columns)}. "
                "Give all shards the same columns with transform_shard."
            )
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # columns of nulls alone will have a say in dtypes: they may
        return pd.concat(filled) if len(filled) > 1 else filled[0]
