"""Small answers about all shards, put together in the driver from what each of them gave.

Owns: distinct values, nulls, descriptions, the arguments of samples.
Leaves: what a shard gives (tables, grouping), asking the shards (frames).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from zoo.engine.data.exchange import stacked
from zoo.engine.errors import UsageError
from zoo.orca.data.collection import Collection
from zoo.orca.data.frames import asked
from zoo.orca.data.grouping import Aggregate, Grouping
from zoo.orca.data.tables import SERIES, OnFrames, Outline, class_name, largest, listed, null_counts

_STATISTICS = {"count": "count", "mean": "avg", "std": "stddev", "min": "min", "max": "max"}  # pandas' names, ours


def unique(objects: Collection) -> np.ndarray:
    """Each value of all Series once; Python's and numpy's own types.

    Raises:
        UsageError: other objects.
    """
    kinds = set(objects.facts(class_name))
    if kinds != {SERIES}:
        raise UsageError(
            f"Currently only support unique() on XShards of Pandas Series. Received: shards of {sorted(kinds)}; "
            "take one column first: shards['name'].unique()"
        )
    return np.asarray(stacked(objects.facts(_distinct)).drop_duplicates())


def _distinct(series: Any) -> Any:
    return series.drop_duplicates()


def maximum(objects: Collection, name: Any) -> Any:
    """The largest value of a column; None where there is none."""
    found = asked(objects, OnFrames("max_values", partial(largest, name=name), [name], "col_name"))
    return max((one for one in found if one is not None), default=None)


def null_sums(objects: Collection) -> Any:
    """The nulls in each column, as a DataFrame (col, total)."""
    import pandas as pd

    found = asked(objects, OnFrames("get_null_sum", null_counts))
    total = sum(found[1:], found[0])
    return pd.DataFrame({"col": total.index, "total": total.to_numpy().astype(np.int64)})


def schema(outline: Outline) -> dict[str, Any]:
    """Names and dtypes of a DataFrame's columns, as pandas has them."""
    import pandas as pd

    outline.check("get_schema")
    columns = pd.Index(outline.columns)
    return {"columns": columns, "dtypes": pd.Series(outline.dtypes, index=columns, dtype=object)}


def describe(objects: Collection, cols: Any) -> Any:
    """Statistics of columns of numbers, as a DataFrame.

    Raises:
        UsageError: no DataFrames, columns that hold no numbers.
        ColumnNotFound: a column that is not there.
    """
    names = _numeric(objects.outline, None if cols is None else listed(cols))
    groups = Grouping(
        (), tuple(Aggregate(name, one, f"{one}({name})") for name in names for one in _STATISTICS.values())
    )
    found = asked(objects, OnFrames("describe", groups.start, names))
    return _description(groups.end(stacked(found)), names)


def _numeric(outline: Outline, names: Sequence[Any] | None) -> list[Any]:
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


def _description(row: Any, names: Sequence[Any]) -> Any:
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
