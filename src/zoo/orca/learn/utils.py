"""Rows of DataFrames as shards of arrays, and predictions beside them: functions that older programs import from here.

Estimators of this release take DataFrames and shards as they are, and need none of this.

Owns: the words of these functions, rows -> arrays.
Leaves: shards (zoo.orca.data), what estimators make of data (zoo.engine.data.adapters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.orca.common import OrcaContext
from zoo.orca.data.shard import XShards

__all__ = ["arrays2dict", "dataframe_to_xshards", "maybe_dataframe_to_xshards", "update_predict_xshards"]


def arrays2dict(
    iter: Iterable[Any],
    feature_cols: Sequence[str],
    label_cols: Sequence[str] | None,
    shard_size: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Shards ``{"x": arrays, "y": arrays}`` of rows.

    Args:
        iter: rows ``([feature, ...], [label, ...])``; each a number or an array.
        feature_cols: the features' names. One gives an array, several a tuple of arrays.
        label_cols: likewise; none for rows whose labels are left out.
        shard_size: most rows of a shard; None for all rows in one.

    Raises:
        DataError: cells of one column with different shapes.
    """
    rows = (row for row in iter)
    while chunk := list(islice(rows, shard_size)):
        shard = {"x": _arrays([row[0] for row in chunk], feature_cols)}
        if label_cols:
            shard["y"] = _arrays([row[1] for row in chunk], label_cols)
        yield shard


def dataframe_to_xshards(
    data: Any,
    validation_data: Any,
    feature_cols: Sequence[str],
    label_cols: Sequence[str] | None,
    mode: str = "fit",
    num_workers: int | None = None,
    accept_str_col: bool = False,
    shard_size: int | None = None,
) -> tuple[XShards, XShards | None]:
    """XShards ``{"x": arrays, "y": arrays}`` of Spark DataFrames, made where the rows are; lazily kept as RDDs are.

    Args:
        data: a Spark DataFrame.
        validation_data: another one, or None.
        feature_cols: columns of numbers, arrays or ML vectors.
        label_cols: likewise; they are left out where `mode` is ``"predict"``.
        mode: ``"fit"``, ``"evaluate"`` or ``"predict"``.
        num_workers: at least so many partitions.
        accept_str_col: whether columns of text are taken too.
        shard_size: most rows of a shard; None for `OrcaContext._shard_size`.

    Returns:
        (shards of `data`, shards of `validation_data` or None).

    Raises:
        UsageError: no DataFrames, no features, an unknown mode, text that is not accepted.
        ColumnNotFound: a column that is not there.
        DataError: nulls, cells of different shapes.
    """
    if mode not in ("fit", "evaluate", "predict"):
        raise UsageError(f"mode must be 'fit', 'evaluate' or 'predict'. Received: {mode!r}")
    if not feature_cols:
        raise UsageError("feature_cols is empty. Name at least one column.")
    labels = list(label_cols or ()) if mode != "predict" else []
    size = OrcaContext._shard_size if shard_size is None else shard_size

    def converted(frame: Any) -> XShards:
        _refuse_columns(frame, list(feature_cols), labels, accept_str_col)
        rows = frame.select(*map(_quoted, [*feature_cols, *labels])).rdd
        if num_workers is not None and rows.getNumPartitions() < num_workers:
            rows = rows.repartition(num_workers)
        return XShards(rows.mapPartitions(_shards_of(list(feature_cols), labels, size)))

    return converted(data), None if validation_data is None else converted(validation_data)


def maybe_dataframe_to_xshards(
    data: Any,
    validation_data: Any,
    feature_cols: Sequence[str] | None,
    label_cols: Sequence[str] | None,
    mode: str = "fit",
    num_workers: int | None = None,
    accept_str_col: bool = False,
    shard_size: int | None = None,
) -> tuple[Any, Any]:
    """`dataframe_to_xshards` of Spark DataFrames; other data as they are. Arguments as there."""
    if not _is_spark_frame(data):
        return data, validation_data
    return dataframe_to_xshards(
        data, validation_data, feature_cols or (), label_cols, mode, num_workers, accept_str_col, shard_size
    )


def update_predict_xshards(xshard: XShards, pred_xshards: XShards) -> XShards:
    """Shards with predictions beside them: dicts get a key ``prediction``, others become ``{"prediction": ...}``.

    Args:
        xshard: the shards that were predicted.
        pred_xshards: ``{"prediction": ...}`` for each.

    Raises:
        ValueError: they have other numbers of shards.
    """
    return xshard.zip(pred_xshards).transform_shard(_beside)


def _beside(pair: tuple[Any, Any]) -> dict[str, Any]:
    shard, predicted = pair
    answer = {"prediction": predicted["prediction"]}
    return shard | answer if isinstance(shard, dict) else answer


def _arrays(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Any:
    columns = [_stacked(cells, name) for cells, name in zip(zip(*rows, strict=True), names, strict=True)]
    return columns[0] if len(columns) == 1 else tuple(columns)


def _stacked(cells: Sequence[Any], name: str) -> np.ndarray:
    if any(cell is None for cell in cells):
        raise DataError(f"column '{name}' has nulls. Fill them with df.fillna(...), or drop them with df.dropna().")
    if isinstance(cells[0], str):
        return np.array(cells, dtype=object)
    try:
        return np.stack([np.asarray(cell) for cell in cells])
    except ValueError as error:
        raise DataError(f"column '{name}' has arrays of different lengths. Pad or cut them.") from error


def _shards_of(features: list[str], labels: list[str], size: int | None) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """(executors) A partition's rows as shards."""

    def shards(rows: Iterable[Any]) -> Iterator[Any]:
        width = len(features)
        cells = ([_cell(value) for value in row] for row in rows)
        yield from arrays2dict(((row[:width], row[width:]) for row in cells), features, labels, size)

    return shards


def _cell(value: Any) -> Any:
    """A cell as numpy has it: 32-bit floats for ML vectors and lists of floats."""
    if hasattr(value, "toArray"):
        return value.toArray().astype(np.float32)
    if isinstance(value, list):
        found = np.asarray(value)
        return found.astype(np.float32) if found.dtype == np.float64 else found
    return np.float32(value) if isinstance(value, float) else value


def _refuse_columns(frame: Any, features: list[str], labels: list[str], text: bool) -> None:
    if not _is_spark_frame(frame):
        raise UsageError(f"data must be a Spark DataFrame. Received: {type(frame).__module__}.{type(frame).__name__}")
    for names, argument in ((features, "feature_cols"), (labels, "label_cols")):
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise ColumnNotFound.among(missing, frame.columns, argument)
    kinds = dict(frame.dtypes)
    refused = [name for name in [*features, *labels] if kinds[name] == "string" and not text]
    if refused:
        raise UsageError(f"columns of text are taken with accept_str_col=True only. Received: {refused}")


def _is_spark_frame(data: Any) -> bool:
    return any(
        base.__module__.startswith("pyspark.sql") and base.__name__ == "DataFrame" for base in type(data).__mro__
    )


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
