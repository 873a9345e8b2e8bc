"""Arrays, and lists, tuples and dicts of them, as an Arrow file; DataFrames as a Parquet file. No code is in either.

An Arrow file has one row for each array or table, and the form that holds them, as JSON, in its schema's metadata:

    dtype: string    numpy's name of the dtype; "frame" for the bytes of a Parquet file
    shape: list<int64>
    data: large_binary, in C order

Owns: that file.
Leaves: where it lies (saved).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.engine.errors import DataError, UsageError

_SCHEMA = pa.schema([("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("data", pa.large_binary())])
_FORM = b"zoo.form"
_PLAIN = (str, bool, int, float, type(None))
_HINT = "use save_pickle, which keeps any object, or make arrays or DataFrames with transform_shard"

Row = tuple[str, list[int], bytes]


def encode(value: Any) -> tuple[bytes, str]:
    """An object's file: (bytes, suffix).

    Raises:
        UsageError: an object of another kind.
        DataError: a DataFrame that is no table.
    """
    if _is_frame(value):
        return _parquet(value), "parquet"
    rows: list[Row] = []
    form = _form(value, rows)
    schema = _SCHEMA.with_metadata({_FORM: json.dumps(form).encode()})
    table = pa.Table.from_pylist([dict(zip(_SCHEMA.names, row, strict=True)) for row in rows], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes(), "arrow"


def decode(data: bytes, suffix: str) -> Any:
    """The object of a file.

    Raises:
        DataError: it is no such file.
    """
    try:
        if suffix == "parquet":
            return _frame(data)
        table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
        form = json.loads(table.schema.metadata[_FORM])
        return _value(form, [tuple(row.values()) for row in table.to_pylist()])
    except (pa.ArrowInvalid, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"this is no file of shards: {error}") from error


def _form(value: Any, rows: list[Row]) -> Any:
    """The form of a value: a list whose first item names its kind. Arrays go into `rows`."""
    if type(value) in _PLAIN:
        return ["plain", value]
    if _is_frame(value) or _is_series(value):
        frame = value if _is_frame(value) else value.to_frame(name="values")
        rows.append(("frame", [], _parquet(frame)))
        return ["frame", len(rows) - 1] if _is_frame(value) else ["series", len(rows) - 1, _series_name(value)]
    if isinstance(value, np.ndarray | np.generic):
        return _array_form(value, rows)
    if type(value) is dict:
        return ["dict", [[_key(key), _form(item, rows)] for key, item in value.items()]]
    if type(value) in (list, tuple):
        kind = type(value).__name__
        if all(type(item) in _PLAIN for item in value):
            return [f"plain {kind}", list(value)]
        return [kind, [_form(item, rows) for item in value]]
    raise UsageError(f"a {type(value).__module__}.{type(value).__qualname__} has no safe format: {_HINT}.")


def _array_form(value: Any, rows: list[Row]) -> Any:
    array = np.asarray(value)
    if array.dtype == object and all(type(item) in _PLAIN for item in array.flat):
        return ["objects", list(array.shape), list(array.flat)]
    if array.dtype.hasobject or array.dtype.names:
        raise UsageError(f"an array of {array.dtype} with such items has no safe format: {_HINT}.")
    rows.append((array.dtype.str, list(array.shape), array.tobytes()))
    return ["array" if isinstance(value, np.ndarray) else "scalar", len(rows) - 1]


def _value(form: Any, rows: list[Any]) -> Any:
    kind, content = form[0], form[1]
    if kind == "plain":
        return content
    if kind in ("plain list", "plain tuple"):
        return content if kind == "plain list" else tuple(content)
    if kind in ("list", "tuple"):
        items = [_value(item, rows) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {key: _value(item, rows) for key, item in content}
    if kind == "objects":
        made = np.empty(len(form[2]), object)
        made[:] = form[2]
        return made.reshape(content)
    if kind == "frame":
        return _frame(rows[content][2])
    if kind == "series":
        return _frame(rows[content][2])["values"].rename(form[2])
    array = _array(*rows[content])
    return array if kind == "array" else array[()]


def _array(dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"an array of {dtype}")
    return np.frombuffer(bytearray(data), kind).reshape(shape) if kind.itemsize else np.empty(shape, kind)


def _key(key: Any) -> Any:
    if type(key) not in (str, int):
        raise UsageError(f"a dict with keys other than str and int has no safe format: {_HINT}. Received: {key!r}")
    return key


def _series_name(series: Any) -> Any:
    if type(series.name) not in _PLAIN:
        raise UsageError(f"a Series named by a {type(series.name).__name__} has no safe format: {_HINT}.")
    return series.name


def _parquet(frame: Any) -> bytes:
    import pyarrow.parquet as pq

    if not frame.columns.is_unique:
        raise UsageError(f"a DataFrame has several columns of one name: {list(frame.columns)}. Rename all but one.")
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f"a DataFrame has a column of mixed objects ({error}): {_HINT}.") from error
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _frame(data: bytes) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(data)).to_pandas()


def _is_frame(value: Any) -> bool:
    """Whether it is a DataFrame, without importing pandas."""
    return hasattr(value, "iloc") and hasattr(value, "columns")


def _is_series(value: Any) -> bool:
    return hasattr(value, "iloc") and not hasattr(value, "columns")
