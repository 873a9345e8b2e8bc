"""Records -> columns: what a program gives for a field, as the cell of a file.

Owns: which values a field takes, the errors of those that it does not.
Leaves: files of images (encoded), row groups (chunks).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from zoo.engine.data.columns import SHAPE
from zoo.engine.errors import DataError
from zoo.orca.data.image.schema import IMAGE_TYPE, DType, FeatureType, Schema, SchemaField, value_type


class Picture(NamedTuple):
    """An image in a record.

    Attributes:
        url: of its file; empty where the bytes are here.
        path: its name in the set.
        data: the encoded file; None until it has been read.
        name: what errors call it where it has neither.
    """

    url: str
    path: str
    data: bytes | None = None
    name: str = "an image given as bytes"


Record = dict[str, Any]
"""For each column: a `Picture`, an array of the field's dtype, or a value."""


def record_of(given: Any, schema: Schema, number: int) -> Record:
    """A program's record, checked.

    Args:
        given: a mapping with a value for each column; images as paths, bytes or ``{"bytes": ..., "path": ...}``.
        schema: the columns, as `schema.checked` returns them.
        number: of the record, for errors.

    Raises:
        DataError: other columns, or a value that its column does not take.
    """
    if not isinstance(given, Mapping) or set(given) != set(schema):
        found = list(given) if isinstance(given, Mapping) else type(given).__name__
        raise DataError(f"record {number} must be a dict with the keys {list(schema)}. Received: {found}")
    try:
        return {name: _called(cell(given[name], field), number) for name, field in schema.items()}
    except ValueError as error:
        wrong = next(name for name, field in schema.items() if not _fits(given[name], field))
        raise DataError(f"column '{wrong}' of record {number}: {error}") from error


def _called(value: Any, number: int) -> Any:
    return value._replace(name=f"the image of record {number}") if isinstance(value, Picture) else value


def cell(value: Any, field: SchemaField) -> Any:
    """One value as its field has it.

    Raises:
        ValueError: it is none of the field's.
    """
    if field.feature_type is FeatureType.IMAGE:
        return _picture(value)
    if field.feature_type is FeatureType.NDARRAY:
        return _array(value, field)
    return _scalar(value, field.dtype)


def size_of(record: Record) -> int:
    """About how many bytes a record takes."""
    return sum(_bytes(value) for value in record.values())


def batch_of(records: Sequence[Record], schema: Schema, arrow: pa.Schema) -> pa.RecordBatch:
    """The rows of a file.

    Args:
        records: whose pictures have been read.
        schema: the columns.
        arrow: the same, as `schema.to_arrow` made it.
    """
    columns = [
        _column([record[name] for record in records], field, arrow.field(name)) for name, field in schema.items()
    ]
    return pa.RecordBatch.from_arrays(columns, schema=arrow)


def _fits(value: Any, field: SchemaField) -> bool:
    try:
        cell(value, field)
    except ValueError:
        return False
    return True


def _picture(value: Any) -> Picture:
    if isinstance(value, Picture):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return Picture("", "", bytes(value))
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return Picture("", str(value.get("path") or ""), value["bytes"])
    path = str(value.__fspath__()) if hasattr(value, "__fspath__") else value
    if not isinstance(path, str) or not path:
        raise ValueError(f"an image is the path of its file, or its bytes. Received: {str(value)[:80]!r}")
    return Picture(path, path)


def _array(value: Any, field: SchemaField) -> np.ndarray:
    """The value as an array of the field's dtype and shape; numbers are never changed but for rounding of floats."""
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"it is no array of numbers, but of {found.dtype}.")
    shape = field.shape
    if found.size == 0 and shape and shape[0] is None:
        found = found.reshape(0, *(size or 0 for size in shape[1:]))  # no boxes may be written []
    alike = len(found.shape) == len(shape) and all(
        size in (None, has) for size, has in zip(shape, found.shape, strict=True)
    )
    if not alike:
        raise ValueError(f"its shape is {found.shape}, the schema says {shape}.")
    with np.errstate(invalid="ignore", over="ignore"):
        made = found.astype(field.dtype.value)
    if made.dtype.kind == "f":
        same = bool(np.array_equal(np.isfinite(made), np.isfinite(found)))
    else:
        same = bool(np.array_equal(made, found))
    if not same:
        raise ValueError(f"it holds numbers that {field.dtype.value} does not ({found.dtype}).")
    return made


def _scalar(value: Any, dtype: DType) -> Any:
    plain = value.item() if isinstance(value, np.generic | np.ndarray) and np.size(value) == 1 else value
    if plain is None or (isinstance(plain, bool) and dtype is not DType.BOOL):
        raise ValueError(f"a value of {dtype.value} is missing. Received: {value!r}")
    if dtype is DType.STRING and not isinstance(plain, str):  # Arrow would decode bytes
        raise ValueError(f"it must be string. Received: {str(value)[:80]!r} ({type(plain).__name__})")
    try:
        return pa.scalar(plain, value_type(dtype)).as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"it must be {dtype.value}. Received: {str(value)[:80]!r} ({error})") from error


def _bytes(value: Any) -> int:
    if isinstance(value, Picture):
        return len(value.data or b"") + len(value.path)
    return value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, str | bytes) else 8


def _column(values: list[Any], field: SchemaField, arrow: pa.Field) -> pa.Array:
    if field.feature_type is FeatureType.IMAGE:
        parts = pa.array([one.data for one in values], pa.binary()), pa.array([one.path for one in values], pa.string())
        return pa.StructArray.from_arrays(list(parts), fields=list(IMAGE_TYPE))
    if field.feature_type is FeatureType.SCALAR:
        return pa.array(values, arrow.type)
    flat = np.concatenate([value.reshape(-1) for value in values])
    made = pa.array(flat, value_type(field.dtype), from_pandas=False)
    shape = field.shape
    if SHAPE in (arrow.metadata or {}) and shape and None not in shape:
        return pa.FixedSizeListArray.from_arrays(made, math.prod(json.loads(arrow.metadata[SHAPE])))
    return _nested(made, [value.shape for value in values], shape)


def _nested(made: pa.Array, found: list[tuple[int, ...]], shape: tuple[int | None, ...]) -> pa.Array:
    """Values as lists of lists, from the innermost axis outwards."""
    for axis in reversed(range(len(shape))):
        size = shape[axis]
        if size is not None:
            made = pa.FixedSizeListArray.from_arrays(made, size)
            continue
        lengths = np.concatenate([np.repeat(sizes[axis], math.prod(sizes[:axis])) for sizes in found])
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        made = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), made)
    return made
