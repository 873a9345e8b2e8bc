"""Columns of XShards of DataFrames as a model wants them: labels as numbers, numbers on one scale.

They mean what Spark ML's mean. Owns: what is learned from all shards, and what it makes of each.
Leaves: going over the shards (zoo.orca.data.shard), columns of lists (tables.block).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from zoo.engine.errors import DataError, UsageError
from zoo.orca.data import frames
from zoo.orca.data.collection import Collection
from zoo.orca.data.shard import XShards
from zoo.orca.data.tables import OnFrames, listed

__all__ = ["MinMaxScaler", "StandardScaler", "StringIndexer"]

_INVALID = ("error", "skip", "keep")


class StringIndexer:
    """Replaces labels by whole numbers from 0: the most frequent label is 0, equally frequent ones go by the alphabet.

    Attributes:
        labels: in the order of their numbers, once fitted.
    """

    def __init__(self, inputCol: str, handleInvalid: str = "error") -> None:
        """Says what is done.

        Args:
            inputCol: the column of labels; its numbers (int64) take its place. A label goes by its text.
            handleInvalid: what `transform` does with nulls and labels that `fit_transform` has not seen: ``"error"``,
                ``"skip"`` their rows, or ``"keep"`` them with the number after the last.

        Raises:
            UsageError: another `handleInvalid`.
        """
        if handleInvalid not in _INVALID:
            raise UsageError(f"handleInvalid must be one of {', '.join(_INVALID)}. Received: {handleInvalid!r}")
        self.inputCol, self.handleInvalid = inputCol, handleInvalid
        self.labels: list[str] | None = None

    def setInputCol(self, inputCol: str) -> None:
        """Another column; what was learned is forgotten."""
        self.inputCol, self.labels = inputCol, None

    def fit_transform(self, shard: XShards) -> XShards:
        """Learns the labels of all shards and replaces them.

        Raises:
            UsageError: something else than XShards of DataFrames.
            ColumnNotFound: the column is not there.
            DataError: nulls, with ``handleInvalid="error"``.
        """
        found: Counter[str] = Counter()
        for counts in _asked(shard, "StringIndexer", partial(_label_counts, name=self.inputCol), [self.inputCol]):
            found.update(counts)
        self.labels = sorted(found, key=lambda label: (-found[label], label))
        return self.transform(shard)

    def transform(self, shard: XShards) -> XShards:
        """Replaces labels by the numbers that were learned.

        Raises:
            UsageError: nothing was learned yet, something else than XShards of DataFrames.
            DataError: nulls or labels that are new, with ``handleInvalid="error"``.
        """
        if self.labels is None:
            raise UsageError("this StringIndexer has not learned any labels. Call fit_transform first.")
        numbers = {label: number for number, label in enumerate(self.labels)}
        fn = partial(_indexed, name=self.inputCol, numbers=numbers, invalid=self.handleInvalid)
        return _replaced(shard, "StringIndexer", fn, [self.inputCol])


@dataclass(frozen=True)
class _Line:
    """What a scaler makes of numbers: ``(number - shift) / scale * width + offset``; an infinite scale gives `offset`.

    The order keeps the digits of numbers that are close together and far from 0.
    """

    shift: np.ndarray
    scale: np.ndarray
    width: float
    offset: np.ndarray

    def of(self, block: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            made: np.ndarray = (block - self.shift) / self.scale * self.width + self.offset
        return made


class _Scaler:
    """What both scalers share: which columns, and learning before using."""

    def __init__(self, learn: Callable[[np.ndarray], _Line], columns: tuple[Any, Any]) -> None:
        self._learn = learn
        self.setInputOutputCol(*columns)

    def setInputOutputCol(self, inputCol: Any, outputCol: str | None) -> None:
        """Other columns; what was learned is forgotten.

        Args:
            inputCol: a column of numbers, or of lists of numbers of one length; or the names of several columns, which
                make one list.
            outputCol: the new column: numbers for one column of numbers, else an array in each row.
        """
        self.inputCol, self.outputCol = inputCol, outputCol
        self._learned: _Line | None = None

    def fit_transform(self, shard: XShards) -> XShards:
        """Learns from all shards and adds the new column; nulls are skipped, and stay.

        Raises:
            UsageError: something else than XShards of DataFrames, no columns named.
            ColumnNotFound: a column that is not there.
            DataError: text, lists of different lengths, no numbers at all.
        """
        names = self._names()
        found = _asked(shard, type(self).__name__, partial(_moments, names=names), names)
        found = [one for one in found if one is not None]
        widths = sorted({one.shape[1] for one in found})
        if len(widths) != 1:
            raise DataError(f"{names} have no numbers to learn from, or lists of different lengths. Lengths: {widths}")
        self._learned = self._learn(_together(found))
        return self.transform(shard)

    def transform(self, shard: XShards) -> XShards:
        """Adds the new column by what was learned.

        Raises:
            UsageError: nothing was learned yet, something else than XShards of DataFrames.
            DataError: lists of another length.
        """
        names = self._names()
        if self._learned is None:
            raise UsageError(f"this {type(self).__name__} has not learned anything. Call fit_transform first.")
        fn = partial(_scaled, names=names, output=self.outputCol, line=self._learned)
        return _replaced(shard, type(self).__name__, fn, names)

    def _names(self) -> list[Any]:
        if not self.inputCol or not self.outputCol:
            raise UsageError(
                f"{type(self).__name__} needs inputCol and outputCol. Received: {self.inputCol!r}, {self.outputCol!r}"
            )
        return listed(self.inputCol)


class MinMaxScaler(_Scaler):
    """Brings numbers between `min` and `max` of the scaler; a column of equal numbers goes to the middle."""

    def __init__(self, min: float = 0.0, max: float = 1.0, inputCol: Any = None, outputCol: str | None = None) -> None:
        """Says what is done.

        Args:
            min: where the smallest number goes.
            max: where the largest goes.
            inputCol: see `setInputOutputCol`.
            outputCol: likewise.

        Raises:
            UsageError: `min` is not below `max`.
        """
        if not min < max:
            raise UsageError(f"min must be below max. Received: min={min!r}, max={max!r}")
        self.min, self.max = float(min), float(max)
        super().__init__(self._line, (inputCol, outputCol))

    def _line(self, moments: np.ndarray) -> _Line:
        low, spread = moments[_LOW], moments[_HIGH] - moments[_LOW]
        offset = np.where(spread > 0, self.min, (self.min + self.max) / 2)
        return _Line(low, np.where(spread > 0, spread, np.inf), self.max - self.min, offset)


class StandardScaler(_Scaler):
    """Divides numbers by their standard deviation, of a sample (n - 1); a column of equal numbers becomes 0."""

    def __init__(
        self, withMean: bool = False, withStd: bool = True, inputCol: Any = None, outputCol: str | None = None
    ) -> None:
        """Says what is done.

        Args:
            withMean: whether to subtract the mean first.
            withStd: whether to divide.
            inputCol: see `setInputOutputCol`.
            outputCol: likewise.
        """
        self.withMean, self.withStd = bool(withMean), bool(withStd)
        super().__init__(self._line, (inputCol, outputCol))

    def _line(self, moments: np.ndarray) -> _Line:
        count, mean, spread = moments[_COUNT], moments[_MEAN], moments[_SPREAD]
        nothing = np.zeros_like(mean)
        std = np.sqrt(np.divide(spread, count - 1, out=np.zeros_like(spread), where=count > 1))
        varies = (std > 0) & (moments[_HIGH] > moments[_LOW])  # a mean of equal numbers may be off by a rounding
        scale = np.where(varies, std, np.inf) if self.withStd else np.ones_like(std)
        return _Line(mean if self.withMean else nothing, scale, 1.0, nothing)


_COUNT, _MEAN, _SPREAD, _LOW, _HIGH = range(5)


def _moments(frame: Any, names: Sequence[Any]) -> np.ndarray | None:
    """(shard) Count, mean, sum of squared distances from it, min, max of each number: shape (5, numbers)."""
    block = _block(frame, names)
    if not len(block):
        return None
    there = ~np.isnan(block)
    count = there.sum(0)
    mean = np.divide(np.where(there, block, 0.0).sum(0), count, out=np.zeros(block.shape[1]), where=count > 0)
    spread = (np.where(there, block - mean, 0.0) ** 2).sum(0)
    low, high = np.where(there, block, np.inf).min(0), np.where(there, block, -np.inf).max(0)
    return np.stack([count, mean, spread, low, high])


def _together(found: Sequence[np.ndarray]) -> np.ndarray:
    """The moments of all shards.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for sample variances", 1979.
    """
    each = np.stack(found)
    counts, means = each[:, _COUNT], each[:, _MEAN]
    count = counts.sum(0)
    if (count == 0).any():
        raise DataError("a column has no numbers to learn from: all are null.")
    mean = (means * counts).sum(0) / count
    spread = (each[:, _SPREAD] + (means - mean) ** 2 * counts).sum(0)
    return np.stack([count, mean, spread, each[:, _LOW].min(0), each[:, _HIGH].max(0)])


def _scaled(frame: Any, names: Sequence[Any], output: str, line: _Line) -> Any:
    """(shard) The DataFrame with the new column."""
    import pandas as pd

    block = _block(frame, names)
    if len(block) and block.shape[1] != len(line.scale):
        raise DataError(f"{list(names)} make lists of {block.shape[1]} numbers; {len(line.scale)} were learned.")
    scaled = line.of(block) if len(block) else block
    plain = len(names) == 1 and pd.api.types.is_numeric_dtype(frame[names[0]].dtype)
    values = pd.Series(scaled[:, 0] if plain else list(scaled), index=frame.index, dtype=float if plain else object)
    made = frame.copy(deep=False)
    made[output] = values
    return made


def _block(frame: Any, names: Sequence[Any]) -> np.ndarray:
    """Columns side by side as float64; nulls are NaN."""
    import pandas as pd

    from zoo.orca.data.tables import block

    def floats(name: Any) -> np.ndarray:
        series = frame[name]
        if pd.api.types.is_numeric_dtype(series.dtype):
            return series.to_numpy(np.float64, na_value=np.nan)[:, None]
        return block(series, name).astype(np.float64)

    return np.concatenate([floats(name) for name in names], axis=1)


def _label_counts(frame: Any, name: Any) -> dict[str, int]:
    """(shard) How often each label is there."""
    return Counter(map(str, frame[name].dropna()))


def _indexed(frame: Any, name: Any, numbers: dict[str, int], invalid: str) -> Any:
    """(shard) The DataFrame with numbers for labels."""
    column = frame[name]
    null = column.isna().to_numpy()
    found = np.array(
        [-1 if gone else numbers.get(str(label), -1) for label, gone in zip(column, null, strict=True)], np.int64
    )
    unknown = found < 0
    if unknown.any() and invalid == "error":
        first = "null" if null[unknown][0] else repr(column[unknown].iloc[0])
        raise DataError(
            f"column '{name}' has {int(unknown.sum())} labels that were not there when the indexer learned, or nulls. "
            f"The first: {first}. Use handleInvalid='keep' or 'skip'."
        )
    if invalid == "keep":
        found[unknown] = len(numbers)
    made = frame.copy(deep=False)
    made[name] = found
    return made[~unknown] if invalid == "skip" else made


def _asked(shards: Any, what: str, fn: Callable[..., Any], names: Sequence[Any]) -> list[Any]:
    """Something small about each shard."""
    return frames.asked(_objects(shards, what), OnFrames(what, fn, names, "inputCol"))


def _replaced(shards: Any, what: str, fn: Callable[..., Any], names: Sequence[Any]) -> XShards:
    return XShards._of(frames.replaced(_objects(shards, what), OnFrames(what, fn, names, "inputCol")))


def _objects(shards: Any, what: str) -> Collection:
    if not isinstance(shards, XShards):
        raise UsageError(f"{what} takes XShards. Received: {type(shards).__name__}")
    return shards._objects
