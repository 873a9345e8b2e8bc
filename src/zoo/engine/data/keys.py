"""Which rows of DataFrames have equal keys: a number for each row, the same in every process.

Owns: hashing key columns so that equal values have equal numbers, whatever dtype a shard gave them.
Leaves: moving rows (exchange).

    numbers, bool       as float64: 1, 1.0, True and a nullable 1 are equal
    dates and times     as microseconds since 1970-01-01 UTC
    categories          as their values
    text, bytes         as they are
    nulls of any kind   one number
"""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from zoo.engine.errors import DataError

_NULL = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0x100000001B3)  # FNV's prime: mixes columns, so that (1, 2) and (2, 1) differ


def hashes(frame: Any, columns: Sequence[Any]) -> np.ndarray:
    """A number for each row of a DataFrame, uint64; rows with equal values in `columns` have equal ones.

    Raises:
        DataError: cells that have no equality (lists, dicts, arrays).
    """
    total = np.full(len(frame), np.uint64(0xCBF29CE484222325))
    for name in columns:
        with np.errstate(over="ignore"):
            total = (total ^ _column(frame[name], name)) * _STEP
    return total ^ (total >> np.uint64(32))


def parts_of(frame: Any, columns: Sequence[Any], parts: int) -> np.ndarray:
    """The partition of each row by its key columns, from 0 to `parts` - 1."""
    return (hashes(frame, columns) % np.uint64(parts)).astype(np.int64)


def _column(series: Any, name: Any) -> np.ndarray:
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    null = series.isna().to_numpy()
    found: np.ndarray = np.full(len(series), _NULL)
    found[~null] = _values(series[~null], name)
    return found


def _values(series: Any, name: Any) -> np.ndarray:
    """Of a column without nulls."""
    import pandas as pd

    if pd.api.types.is_complex_dtype(series.dtype):
        return _each(series, name)
    if pd.api.types.is_numeric_dtype(series.dtype):
        return _numbers(series.to_numpy(np.float64))
    kind = pd.api.types.infer_dtype(series, skipna=False)
    if kind in ("datetime64", "datetime", "timedelta64", "timedelta"):
        return _times(series, kind)
    if kind in ("integer", "floating", "boolean", "mixed-integer-float", "decimal"):
        return _numbers(series.to_numpy(np.float64))
    if kind == "string":
        return np.asarray(pd.util.hash_array(series.to_numpy(object), categorize=False))
    return _each(series, name)


def _numbers(values: np.ndarray) -> np.ndarray:
    import pandas as pd

    return np.asarray(pd.util.hash_array(values + 0.0))  # -0.0 becomes 0.0


def _times(series: Any, kind: str) -> np.ndarray:
    import pandas as pd

    if kind.startswith("timedelta"):
        return _numbers(pd.to_timedelta(series).to_numpy("timedelta64[us]").astype(np.int64).astype(np.float64))
    zoned = pd.to_datetime(series, utc=True)
    return _numbers(zoned.to_numpy("datetime64[us]").astype(np.int64).astype(np.float64))


def _each(series: Any, name: Any) -> np.ndarray:
    """Of mixed objects, one by one."""
    return np.fromiter((_object(value, name) for value in series), np.uint64, len(series))


def _object(value: Any, name: Any) -> int:
    try:
        hash(value)
    except TypeError as error:
        raise DataError(
            f"column '{name}' holds a {type(value).__name__}, which has no equality to go by. "
            "Use columns of numbers, text, dates or tuples of them."
        ) from error
    if isinstance(value, numbers.Real | Decimal | np.bool_):
        return int(_numbers(np.array([float(value)]))[0])
    if isinstance(value, str):
        import pandas as pd

        return int(pd.util.hash_array(np.array([value], object), categorize=False)[0])
    return int.from_bytes(hashlib.blake2b(_content(value, name), digest_size=8).digest(), "little")


def _content(value: Any, name: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    told = [None if item is None else _object(item, name) for item in value] if isinstance(value, tuple) else value
    return f"{type(value).__name__}:{told!r}".encode()
