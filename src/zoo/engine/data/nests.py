"""Rows inside one Python object: how many there are, some of them, several objects as one.

    DataFrame, Series     its rows
    ndarray               its first axis
    list                  its elements; within a dict or a tuple, a list of arrays is a nest
    dict, tuple           a nest: every leaf has as many rows
    anything else         one whole, which cannot be cut

Owns: that table.
Leaves: where the objects lie (objects, orca.data), what a model sees of them (adapters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from zoo.engine.errors import DataError, UsageError


def rows_in(value: Any) -> int | None:
    """The number of rows of an object; None for one that cannot be cut."""
    counts = {_rows(leaf) for leaf in _leaves(value)}
    return counts.pop() if len(counts) == 1 else None


def cut(value: Any, start: int, stop: int) -> Any:
    """Rows `start` to `stop` of an object, as an object of the same kind."""
    return _each(lambda leaves: _slice(leaves[0], start, stop), [value])


def joined(values: Sequence[Any]) -> Any:
    """One object with the rows of all.

    Raises:
        DataError: they are of different kinds, or have different keys.
    """
    return values[0] if len(values) == 1 else _each(_join, values)


def borders(rows: int, parts: int) -> list[int]:
    """Where blocks begin and end: `parts` + 1 numbers from 0 to `rows`; the first blocks are the larger (by one)."""
    each, more = divmod(rows, parts)
    return [part * each + min(part, more) for part in range(parts + 1)]


def split_arrays(data: Any, parts: int) -> list[Any]:
    """Cuts an array, or a dict, tuple or list of arrays (nested as you like), along the first axis.

    Raises:
        TypeError: something in it is no numpy array.
        UsageError: arrays of different lengths, or fewer rows than parts.
    """
    found = list(_leaves(data, inner=True))
    for leaf in found:
        if not isinstance(leaf, np.ndarray) or leaf.ndim == 0:
            raise TypeError(
                "data must be a numpy array, or a dict, tuple or list of numpy arrays with rows. "
                f"Received: {type(leaf).__name__}; convert it with numpy.asarray."
            )
    lengths = sorted({len(leaf) for leaf in found})
    if len(lengths) != 1:
        raise UsageError(f"all arrays must have the same number of rows (their first axis). Received: {lengths}")
    if lengths[0] < parts:
        raise UsageError(
            f"the number of shards must not be larger than the number of rows. Received: {parts} shards for "
            f"{lengths[0]} rows; give a smaller num_shards."
        )
    at = borders(lengths[0], parts)
    return [_block(data, start, stop) for start, stop in pairwise(at)]


def _block(data: Any, start: int, stop: int) -> Any:
    return _each(lambda leaves: leaves[0][start:stop], [data], inner=True)


def _rows(leaf: Any) -> int | None:
    if isinstance(leaf, np.ndarray):
        return len(leaf) if leaf.ndim else None
    return len(leaf) if _is_frame(leaf) or isinstance(leaf, list) else None


def _slice(leaf: Any, start: int, stop: int) -> Any:
    return leaf.iloc[start:stop] if _is_frame(leaf) else leaf[start:stop]


def _join(leaves: Sequence[Any]) -> Any:
    first = leaves[0]
    if _is_frame(first):
        import pandas as pd

        return pd.concat(leaves)
    if isinstance(first, np.ndarray):
        try:
            return np.concatenate(leaves)
        except ValueError as error:
            raise DataError(f"the arrays of these shards cannot be merged: {error}.") from error
    if isinstance(first, list):
        return [row for leaf in leaves for row in leaf]
    raise DataError(
        f"shards of {type(first).__name__} cannot be merged. Ask for as many partitions as there are shards, or more."
    )


def _is_frame(leaf: Any) -> bool:
    """Whether it is a DataFrame or Series, without importing pandas."""
    return hasattr(leaf, "iloc")


def _is_nest(value: Any, inner: bool) -> bool:
    """Whether to look inside; lists are nests only where they are `inner` and hold arrays."""
    if isinstance(value, dict | tuple):
        return len(value) > 0
    return inner and isinstance(value, list) and bool(value) and all(map(_is_array, value))


def _is_array(item: Any) -> bool:
    return item.ndim > 0 if isinstance(item, np.ndarray) else isinstance(item, list) and _is_nest(item, True)


def _leaves(value: Any, inner: bool = False) -> Iterator[Any]:
    if not _is_nest(value, inner):
        yield value
        return
    for item in value.values() if isinstance(value, dict) else value:
        yield from _leaves(item, inner=True)


def _each(fn: Callable[[Sequence[Any]], Any], values: Sequence[Any], inner: bool = False) -> Any:
    """`fn` of the leaves at the same place in all `values`, in a nest like the first."""
    first = values[0]
    if any(type(value) is not type(first) for value in values):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise DataError(f"shards of different kinds cannot be merged: {kinds}. Make them alike with transform_shard.")
    if not _is_nest(first, inner):
        return fn(values)
    if isinstance(first, dict):
        _refuse_unlike([list(value) for value in values])
        return {key: _each(fn, [value[key] for value in values], True) for key in first}
    _refuse_unlike([list(range(len(value))) for value in values])
    items = [_each(fn, [value[at] for value in values], True) for at in range(len(first))]
    return items if isinstance(first, list) else first._make(items) if hasattr(first, "_make") else tuple(items)


def _refuse_unlike(keys: Sequence[list[Any]]) -> None:
    for other in keys[1:]:
        if set(other) != set(keys[0]):
            raise DataError(f"shards with different keys cannot be merged: {keys[0]} and {other}.")
