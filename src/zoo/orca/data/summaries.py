"""Small answers about all shards, put together in the driver from what each of them gave.

Owns: distinct values, nulls, descriptions, the arguments of samples.
Leaves: what a shard gives (tables, grouping).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.data.exchange import stacked
from zoo.engine.errors import UsageError
from zoo.orca.data.grouping import Aggregate
from zoo.orca.data.tables import Outline

_STATISTICS = {"count": "count", "mean": "avg", "std": "stddev", "min": "min", "max": "max"}  # pandas' names, ours


def distinct_values(series: Any) -> Any:
    """(shard) Each value of a Series once."""
    return series.drop_duplicates()


def distinct_of(found: Sequence[Any]) -> np.ndarray:
    """Each value of several Series once; Python's and numpy's own types."""
    return np.asarray(stacked(found).drop_duplicates())


def null_sums(found: Sequence[Any]) -> Any:
    """A DataFrame (col, total) of the shards' Series of counts."""
    import pandas as pd

    total = sum(found[1:], found[0])
    return pd.DataFrame({"col": total.index, "total": total.to_numpy().astype(np.int64)})


def numeric(outline: Outline, names: Sequence[Any] | None) -> list[Any]:
    """The columns of numbers that are to be described.

    Raises:
        UsageError: a column of something else, or none.
        ColumnNotFound: a column that is not there.
    """
    import pandas as pd

    outline.check("describe", names or ())
    kinds = dict(zip(outline.columns, outline.dtypes, strict=True))
    fits = {
        name: pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        for name, kind in kinds.items()
    }
    others = [name for name in names or () if not fits[name]]
    if others:
        told = ", ".join(f"{name} ({kinds[name]})" for name in others)
        raise UsageError(f"describe is for columns of numbers. Received: {told}")
    found = [name for name in names or outline.columns if fits[name]]
    if not found:
        raise UsageError(f"there is no column of numbers to describe. Columns: {list(outline.columns)}")
    return found


def aggregates(names: Sequence[Any]) -> tuple[Aggregate, ...]:
    """What a description needs, column by column."""
    return tuple(Aggregate(name, one, f"{one}({name})") for name in names for one in _STATISTICS.values())


def description(row: Any, names: Sequence[Any]) -> Any:
    """The one row of aggregates as a DataFrame with a row for each statistic."""
    import pandas as pd

    nothing = [0, *[math.nan] * (len(_STATISTICS) - 1)] * len(names)
    values = [math.nan if pd.isna(value) else float(value) for value in (row.iloc[0] if len(row) else nothing)]
    table = np.array(values).reshape(len(names), len(_STATISTICS)).T
    return pd.DataFrame(table, index=list(_STATISTICS), columns=list(names))


def sampling(frac: Any, replace: Any, weights: Any, random_state: Any) -> dict[str, Any]:
    """The arguments of `pandas.DataFrame.sample`, checked.

    Raises:
        UsageError: one of them is out of range.
    """
    if isinstance(frac, bool) or not isinstance(frac, int | float) or not math.isfinite(frac) or frac < 0:
        raise UsageError(f"frac must be a number, at least 0. Received: {frac!r}")
    if frac > 1 and not replace:
        raise UsageError(f"frac above 1 needs replace=True. Received: {frac!r}")
    if weights is not None and not isinstance(weights, str):
        raise UsageError(f"weights must be the name of a column. Received: {type(weights).__name__}")
    if random_state is not None and (not isinstance(random_state, int | np.integer) or random_state < 0):
        raise UsageError(f"random_state must be None or a whole number, at least 0. Received: {random_state!r}")
    return {"frac": frac, "replace": bool(replace), "weights": weights, "random_state": random_state}
