"""What is done to one shard that is a pandas DataFrame, where it lies.

Owns: whether a shard is a DataFrame with the columns asked for, and functions of one DataFrame.
Leaves: functions over all shards (zoo.orca.data.shard), groups (grouping), order (sorting).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.data.keys import hashes, parts_of
from zoo.engine.data.objects import Item
from zoo.engine.errors import ColumnNotFound, DataError, UsageError

FRAME, SERIES = "pandas.core.frame.DataFrame", "pandas.core.series.Series"


@dataclass(frozen=True)
class Outline:
    """What a shard is.

    Attributes:
        kind: module and name of its class.
        columns: of a DataFrame.
        dtypes: of a DataFrame's columns.
    """

    kind: str
    columns: tuple[Any, ...] = ()
    dtypes: tuple[Any, ...] = ()

    @classmethod
    def of(cls, shard: Any) -> Outline:
        """The outline of a shard."""
        if any(f"{base.__module__}.{base.__qualname__}" == FRAME for base in type(shard).__mro__):
            return cls(FRAME, tuple(shard.columns), tuple(shard.dtypes))
        return cls(class_name(shard))

    def check(self, what: str, names: Sequence[Any] = (), argument: str = "cols") -> None:
        """Refuses shards that are no DataFrames, or lack columns.

        Args:
            what: completes "Currently only support ...".
            names: the columns that are needed.
            argument: where the caller named them.

        Raises:
            UsageError: no DataFrames, or a column that is there twice.
            ColumnNotFound: a column that is not there.
        """
        if self.kind != FRAME:
            raise UsageError(
                f"Currently only support {what} for XShards of Pandas DataFrame. Received: shards of {self.kind}; "
                "make DataFrames of them with transform_shard."
            )
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ColumnNotFound.among(map(str, missing), list(map(str, self.columns)), argument)
        twice = sorted({str(name) for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise UsageError(f"the shards have several columns of one name: {twice}. Rename all but one of each.")


@dataclass(frozen=True, slots=True)
class OnFrames:
    """A function of one DataFrame, for all shards.

    Attributes:
        what: the operation, for errors.
        fn: of the DataFrame, and of the shard's (part, place) where it is `placed`.
        names: columns that it needs.
        argument: where the caller named them.
        placed: whether `fn` is told where the shard is.
    """

    what: str
    fn: Callable[..., Any]
    names: Sequence[Any] = ()
    argument: str = "cols"
    placed: bool = False

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            Outline.of(item.value).check(self.what, self.names, self.argument)
            with refused(self.what, item):
                answer = self.fn(item.value, item.part, item.place) if self.placed else self.fn(item.value)
            yield item._replace(value=answer)


@dataclass(frozen=True, slots=True)
class ByKeys:
    """The partition of each row, by its values in some columns; for `exchange.Scatter`.

    Attributes:
        what: the operation, for errors.
        names: the columns; None for all.
        parts: how many partitions there are.
        argument: where the caller named the columns.
    """

    what: str
    names: Sequence[Any] | None
    parts: int
    argument: str = "cols"

    def __call__(self, frame: Any) -> np.ndarray:
        Outline.of(frame).check(self.what, self.names or (), self.argument)
        return parts_of(frame, list(frame.columns) if self.names is None else self.names, self.parts)


@contextmanager
def refused(what: str, item: Item | None = None) -> Iterator[None]:
    """What pandas refuses to do with the values that it finds, as a `DataError`."""
    try:
        yield
    except (DataError, UsageError):
        raise
    except (TypeError, ValueError, KeyError) as error:
        where = "" if item is None else f" the shard of partition {item.part}"
        raise DataError(f"{what}: pandas cannot do that with{where or ' these values'}: {error}") from error


def class_name(value: Any) -> str:
    """Module and name of a value's class."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def listed(names: Any) -> list[Any]:
    """One name, or several."""
    return list(names) if isinstance(names, list | tuple) else [names]


def select(frame: Any, names: Sequence[Any]) -> Any:
    """Some columns."""
    return frame[list(names)]


def without_nulls(frame: Any) -> Any:
    """Rows in which no cell is null."""
    return frame.dropna()


def distinct(frame: Any) -> Any:
    """Each row once, the first of its kind; nulls equal nulls."""
    hashes(frame, list(frame.columns))  # names a column whose cells have no equality
    return frame.drop_duplicates()


def null_counts(frame: Any) -> Any:
    """Nulls in each column."""
    return frame.isna().sum()


def largest(frame: Any, name: Any) -> Any:
    """The largest value that is not null; None where there is none."""
    found = frame[name].dropna()
    return found.max() if len(found) else None


def head(frame: Any, rows: int) -> Any:
    """The first rows."""
    return frame.head(rows)


def sampled(frame: Any, part: int, place: int, how: dict[str, Any]) -> Any:
    """Some rows by chance; `how` are the arguments of `pandas.DataFrame.sample`, each shard has its own numbers."""
    seed = how["random_state"]  # forked workers would all go on from the same state of numpy's own generator
    numbers = np.random.default_rng(None if seed is None else [seed, part, place])
    return frame.sample(**how | {"random_state": numbers}) if len(frame) else frame


def arrays(frame: Any, features: Sequence[Any], labels: Sequence[Any]) -> dict[str, np.ndarray]:
    """``{"x": array, "y": array}``, both of shape (rows, numbers of all columns)."""
    return {"x": matrix(frame, features), "y": matrix(frame, labels)}


def matrix(frame: Any, names: Sequence[Any]) -> np.ndarray:
    """Columns side by side; a column of lists or arrays takes as many places as they have numbers.

    Raises:
        DataError: nulls, text, lists of different lengths.
    """
    return np.concatenate([block(frame[name], name) for name in names], axis=1)


def block(series: Any, name: Any) -> np.ndarray:
    """One column of numbers, or of lists of numbers, of shape (rows, numbers)."""
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(series.dtype)
    if series.isna().any() and not pd.api.types.is_float_dtype(series.dtype):
        raise DataError(f"column '{name}' has nulls ({int(series.isna().sum())}). Fill them, or drop_missing_value().")
    if numeric:
        kind = getattr(series.dtype, "numpy_dtype", series.dtype)
        return series.to_numpy(kind, na_value=np.nan)[:, None] if kind.kind == "f" else series.to_numpy(kind)[:, None]
    if not len(series):
        return np.empty((0, 1))
    try:
        found = np.stack([np.asarray(value) for value in series])
    except ValueError as error:
        raise DataError(f"column '{name}' has lists of different lengths. Pad or cut them.") from error
    if found.dtype.kind not in "biuf":
        raise DataError(f"column '{name}' holds no numbers ({series.dtype}). Encode it, with StringIndexer, say.")
    return found.reshape(len(series), -1)


def stack_pairs(shard: Any) -> dict[str, Any]:
    """``{"x": features, "y": labels}`` of a list of (feature, label).

    Raises:
        UsageError: something else than such a list.
        DataError: elements of different shapes.
    """
    if not isinstance(shard, list | tuple) or not all(isinstance(one, list | tuple) and len(one) == 2 for one in shard):
        raise UsageError(
            "stack_feature_labels takes shards that are lists of (feature, label). "
            f"Received: a shard of {type(shard).__name__}"
        )
    x, y = (_stacked([pair[side] for pair in shard]) for side in (0, 1))
    return {"x": x, "y": y}


def _stacked(values: Sequence[Any]) -> Any:
    if values and isinstance(values[0], list | tuple) and all(hasattr(one, "shape") for one in values[0]):
        return tuple(_stacked(column) for column in zip(*values, strict=True))
    try:
        return np.stack([np.asarray(value) for value in values]) if values else np.empty(0)
    except ValueError as error:
        shapes = sorted({np.asarray(value).shape for value in values})
        raise DataError(f"elements of different shapes cannot be stacked: {shapes[:5]}.") from error
