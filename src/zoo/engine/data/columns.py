"""Column type <-> array: one table.

    Arrow column                              array (rows first)
    bool                                      float32, 0 or 1
    int8 .. int64, uint8 .. uint64            int64
    float16, float32, float64, decimal        float32
    date, timestamp                           int64, days or microseconds since 1970-01-01 UTC
    string, binary                            object: str, bytes
    struct of an image (see `pictures`)       object: bytes, which are decoded when a batch is taken
    list, nested lists of the above numbers   the element's dtype, one axis more for each level; all rows alike
    struct(type, size, indices, values)       float32 matrix: Spark ML's vectors, dense and sparse
    dictionary, extension                     as the values, as the storage

Two keys in a field's metadata overrule it: `SHAPE` (a JSON list) gives the inner shape that a list column is reshaped
to, `DTYPE` the numpy dtype that the values keep. Arrays that came from numpy carry both.

Owns: which array a column becomes, and back; the errors of nulls, ragged lists and types without an array.
Leaves: which columns are asked for (adapters), where arrays are kept (spool), tensors (frameworks).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from zoo.engine.data.pictures import encoded, is_picture
from zoo.engine.errors import ColumnNotFound, DataError, UsageError

SHAPE, DTYPE = b"zoo.shape", b"zoo.dtype"

Shape: TypeAlias = "tuple[int | None, ...]"

_FLOAT, _INT, _OBJECT = np.dtype("float32"), np.dtype("int64"), np.dtype("object")
_NUMBERS = "bool, integers, floats, decimal, date, timestamp, (nested) lists of them, string, binary and ML vectors"


@dataclass(frozen=True, slots=True, repr=False)
class ArraySpec:
    """What a column becomes.

    Attributes:
        name: the column.
        dtype: of the array; ``object`` for str and bytes.
        shape: of one row; None where only the data tell.
        known: whether the model gets this; else a user's transform makes something of it that only the data tell.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    known: bool = True

    def __str__(self) -> str:
        inner = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype}" + (f" ({inner})" if self.shape else "")

    __repr__ = __str__  # a schema is shown to users as a tuple of these


def describe(schema: pa.Schema, names: Iterable[str]) -> tuple[ArraySpec, ...]:
    """What the columns `names` of `schema` become, in that order.

    Raises:
        ColumnNotFound: a name that the schema does not have.
        UsageError: a column whose type has no array; all such columns are listed.
    """
    names, there = list(names), set(schema.names)
    missing = [name for name in names if name not in there]
    if missing:
        raise ColumnNotFound.among(missing, schema.names)
    found = problems(schema, names)
    if found:
        raise UsageError.listing(found)
    specs = (_spec(schema.field(name)) for name in names)
    return tuple(spec for spec in specs if spec is not None)


def problems(schema: pa.Schema, names: Iterable[str], argument: str = "feature_cols") -> list[str]:
    """Everything that keeps the columns `names` from becoming arrays, one text each; empty when all is well.

    Args:
        schema: of the data.
        names: the columns asked for.
        argument: the argument that held the names.
    """
    names, there = list(dict.fromkeys(names)), set(schema.names)
    missing = [name for name in names if name not in there]
    found = [str(ColumnNotFound.among(missing, schema.names, argument))] if missing else []
    for name in names:
        count = len(schema.get_all_field_indices(name))
        if count > 1:
            found.append(f"the data have {count} columns named '{name}'. Rename all but one of them.")
        elif count == 1 and _spec(schema.field(name)) is None:
            found.append(
                f"column '{name}' has the type {schema.field(name).type}, which has no array. "
                f"Cast it to one of {_NUMBERS}, or leave it out of {argument}."
            )
    return found


def to_array(column: pa.Array | pa.ChunkedArray, spec: ArraySpec) -> np.ndarray:
    """The array of a column: shape (rows, *inner), dtype `spec.dtype`; read-only where it shares Arrow's memory.

    Raises:
        DataError: nulls, lists of different lengths, numbers beyond the dtype.
    """
    if isinstance(column, pa.ChunkedArray):
        pieces = [to_array(chunk, spec) for chunk in column.chunks if len(chunk)]
        return _joined(pieces, spec) if pieces else empty(spec)
    if len(column) == 0:
        return empty(spec)
    flat, inner = _read(column, _Place(spec, len(column)))
    return flat.reshape(len(column), *_settled(spec, inner))


def to_arrays(rows: pa.RecordBatch | pa.Table, specs: Sequence[ArraySpec]) -> tuple[np.ndarray, ...]:
    """`to_array` of each column in `specs`."""
    return tuple(to_array(rows.column(spec.name), spec) for spec in specs)


def empty(spec: ArraySpec) -> np.ndarray:
    """The array of no rows: shape (0, *inner), 0 where only data could tell."""
    return np.empty((0, *(size or 0 for size in spec.shape)), spec.dtype)


def from_array(name: str, array: Any) -> tuple[pa.Field, pa.Array | pa.ChunkedArray]:
    """The column of an array of shape (rows, ...): the inverse of `to_array`.

    Numbers keep their dtype (float64 becomes float32) and inner shape in the field's metadata, without a copy where
    that can be; datetime64 becomes a timestamp; str and bytes become string and binary.

    Raises:
        UsageError: an array without rows' axis, or of a dtype that no column has.
        DataError: masked values, float64 numbers beyond float32, mixed objects.
    """
    values = np.asanyarray(array)
    if values.ndim == 0:
        raise UsageError(f"'{name}' is a single value, not an array of rows. Received: {values!r}")
    if np.ma.is_masked(values):
        raise DataError(
            f"'{name}' has {int(np.ma.getmaskarray(values).sum())} masked values. Fill them first: array.filled(...)."
        )
    if values.dtype.kind in "USOM":
        return _from_objects(name, values)
    if values.dtype.kind not in "biuf":
        raise UsageError(f"'{name}' is an array of {values.dtype}, which no column holds. Convert it to numbers first.")
    dtype = _FLOAT if values.dtype.kind == "f" and values.itemsize > 4 else values.dtype.newbyteorder("=")
    flat = _wrapped(_cast(np.ascontiguousarray(values).reshape(-1), ArraySpec(name, dtype, ())))
    keys = {DTYPE: dtype.name.encode()}
    if values.ndim == 1:
        return pa.field(name, flat.type, metadata=keys), flat
    inner = values.shape[1:]
    kind = pa.list_(flat.type, math.prod(inner))
    rows = pa.Array.from_buffers(kind, len(values), [None], children=[flat])
    return pa.field(name, kind, metadata=keys | {SHAPE: json.dumps(inner).encode()}), rows


# --- the table -------------------------------------------------------------------------------------------------------


def _direct(array: pa.Array) -> np.ndarray:
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values


def _floats(array: pa.Array) -> np.ndarray:
    return _direct(pc.cast(array, pa.float64()))


def _days(array: pa.Array) -> np.ndarray:
    return _direct(pc.cast(pc.cast(array, pa.date32()), pa.int32()))


def _micros(array: pa.Array) -> np.ndarray:
    micros = pc.cast(array, pa.timestamp("us", array.type.tz), safe=False)  # nanoseconds are cut off
    return _direct(micros.view(pa.int64()))


def _is_text(kind: pa.DataType) -> bool:
    tests = (pt.is_string, pt.is_large_string, pt.is_string_view, pt.is_binary, pt.is_large_binary, pt.is_binary_view)
    return any(test(kind) for test in tests) or bool(pt.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    tests = (pt.is_list, pt.is_large_list, pt.is_fixed_size_list, pt.is_list_view, pt.is_large_list_view)
    return bool(pt.is_nested(kind)) and any(test(kind) for test in tests)


def _is_vector(kind: pa.DataType) -> bool:
    """Whether this is how Spark stores its ML vectors."""
    return bool(pt.is_struct(kind)) and [field.name for field in kind] == ["type", "size", "indices", "values"]


@dataclass(frozen=True, slots=True)
class _Rule:
    matches: Callable[[pa.DataType], bool]
    dtype: np.dtype[Any]
    read: Callable[[pa.Array], np.ndarray]


_RULES = (
    _Rule(pt.is_boolean, _FLOAT, _direct),
    _Rule(pt.is_integer, _INT, _direct),
    _Rule(pt.is_floating, _FLOAT, _direct),
    _Rule(pt.is_decimal, _FLOAT, _floats),
    _Rule(pt.is_date, _INT, _days),
    _Rule(pt.is_timestamp, _INT, _micros),
    _Rule(_is_text, _OBJECT, _direct),
    _Rule(is_picture, _OBJECT, lambda array: _direct(encoded(array))),
    _Rule(pt.is_null, _FLOAT, _floats),  # a column of nothing but nulls: fine with no rows, else an error when read
)


def _rule(kind: pa.DataType) -> _Rule | None:
    return next((rule for rule in _RULES if rule.matches(kind)), None)


# --- from types ------------------------------------------------------------------------------------------------------


def _spec(field: pa.Field) -> ArraySpec | None:
    layout = _layout(field.type)
    if layout is None:
        return None
    dtype, shape = layout
    keys = field.metadata or {}
    if DTYPE in keys:
        dtype = np.dtype(keys[DTYPE].decode())
    if SHAPE in keys:
        shape = tuple(json.loads(keys[SHAPE]))
    return ArraySpec(field.name, dtype, shape)


def _layout(kind: pa.DataType) -> tuple[np.dtype[Any], Shape] | None:
    if isinstance(kind, pa.FixedShapeTensorType):
        inner = _layout(kind.value_type)
        in_order = kind.permutation in (None, [*range(len(kind.shape))])
        return (inner[0], tuple(kind.shape)) if inner is not None and in_order else None
    if isinstance(kind, pa.BaseExtensionType):
        return _layout(kind.storage_type)
    if pt.is_dictionary(kind):
        return _layout(kind.value_type)
    if _is_vector(kind):
        return _FLOAT, (None,)
    if _is_list(kind):
        inner = _layout(kind.value_type)
        size = kind.list_size if pt.is_fixed_size_list(kind) else None
        return None if inner is None or inner[0] == _OBJECT else (inner[0], (size, *inner[1]))
    rule = _rule(kind)
    return None if rule is None else (rule.dtype, ())


# --- from columns ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a column we are: `each` values of this level belong to one of its `rows`."""

    spec: ArraySpec
    rows: int
    each: int = 1


def _read(array: pa.Array, place: _Place) -> tuple[np.ndarray, tuple[int, ...]]:
    """(all values, 1-d; the inner shape of one value of this level)."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pt.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count:
        _refuse_nulls(array.null_count, place)
    if _is_vector(array.type):
        return _read_vectors(array, place)
    if _is_list(array.type):
        size = _size(array, place)
        flat, inner = _read(array.flatten(), _Place(place.spec, place.rows, place.each * size))
        return flat, (size, *inner)
    rule = _rule(array.type)
    assert rule is not None, f"describe() let {array.type} pass"
    return _cast(rule.read(array), place.spec), ()


def _size(array: pa.Array, place: _Place) -> int:
    """How long each list is."""
    if pt.is_fixed_size_list(array.type):
        return int(array.type.list_size)
    if len(array) == 0:
        return 0
    return _uniform(pc.list_value_length(array).to_numpy(), place)


def _uniform(sizes: np.ndarray, place: _Place) -> int:
    low, high = int(sizes.min()), int(sizes.max())
    if low != high:
        odd = int(np.argmax(sizes != sizes[0]))
        _refuse_ragged(place.spec, low, high, f"row {odd // max(place.each, 1)} of {place.rows} read has {sizes[odd]}")
    return low


def _read_vectors(array: pa.Array, place: _Place) -> tuple[np.ndarray, tuple[int, ...]]:
    """Spark's vectors: type 1 is dense (values), type 0 sparse (size, indices, values)."""
    dense = array.field("type").to_numpy() == 1
    counts = pc.list_value_length(array.field("values")).to_numpy()
    widths = np.where(dense, counts, pc.fill_null(array.field("size"), 0).to_numpy())
    width = _uniform(widths, place) if len(widths) else 0
    values = _cast(_direct(array.field("values").flatten()), place.spec)
    if dense.all():
        return values, (width,)
    rows = np.repeat(np.arange(len(array)), counts)
    at = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    at[~dense[rows]] = array.filter(pa.array(~dense)).field("indices").flatten().to_numpy()
    full = np.zeros((len(array), width), place.spec.dtype)
    full[rows, at] = values
    return full.reshape(-1), (width,)


def _cast(values: np.ndarray, spec: ArraySpec) -> np.ndarray:
    if values.dtype == np.uint64 and spec.dtype == _INT and values.size and values.max() > np.iinfo(_INT).max:
        raise DataError(
            f"column '{spec.name}' holds {values.max()}, which is beyond int64. Cast it to float or string."
        )
    try:
        with np.errstate(over="raise"):
            return values.astype(spec.dtype, copy=False)
    except FloatingPointError:
        raise DataError(
            f"column '{spec.name}' holds {np.nanmax(np.abs(values))}, which is beyond {spec.dtype}. Scale it first."
        ) from None


def _settled(spec: ArraySpec, inner: tuple[int, ...]) -> tuple[int, ...]:
    """The inner shape to give an array whose lists say `inner`."""
    shape = tuple(size for size in spec.shape if size is not None)
    if len(shape) < len(spec.shape):
        return inner
    if math.prod(shape) != math.prod(inner):
        raise DataError(
            f"column '{spec.name}' should hold rows of shape {shape} ({math.prod(shape)} values). "
            f"Received: rows of {math.prod(inner)} values. Correct the shape or the rows."
        )
    return shape


def _joined(pieces: list[np.ndarray], spec: ArraySpec) -> np.ndarray:
    if len(pieces) == 1:
        return pieces[0]
    refuse_unlike(spec, pieces[0].shape[1:], *(piece.shape[1:] for piece in pieces[1:]))
    return np.concatenate(pieces)


def refuse_unlike(spec: ArraySpec, first: tuple[int, ...], *others: tuple[int, ...]) -> None:
    """Raises DataError where one piece of a column has rows of another shape than the first."""
    for other in others:
        if other != first:
            low, high = sorted((math.prod(first), math.prod(other)))
            _refuse_ragged(spec, low, high, f"first rows of shape {first}, later ones of {other}")


def _refuse_ragged(spec: ArraySpec, low: int, high: int, example: str) -> NoReturn:
    raise DataError(
        f"column '{spec.name}' is ragged: its lists have between {low} and {high} values ({example}). "
        "All rows must have the same length: pad or cut them, or filter the odd rows out."
    )


def _refuse_nulls(count: int, place: _Place) -> NoReturn:
    where = "" if place.each == 1 and not (place.spec.shape and count > place.rows) else " inside its lists"
    raise DataError(
        f"column '{place.spec.name}' has {count} null values{where} in {place.rows} rows read. "
        f"Drop such rows with df.na.drop(subset=['{place.spec.name}']), or fill them: df.na.fill / df.fillna."
    )


def _wrapped(flat: np.ndarray) -> pa.Array:
    """A 1-d array's memory as a column; `pyarrow.array` would import pandas first."""
    bits = np.packbits(flat, bitorder="little") if flat.dtype == np.bool_ else flat
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(bits)])


def _from_objects(name: str, values: np.ndarray) -> tuple[pa.Field, pa.Array | pa.ChunkedArray]:
    """str, bytes, datetime64, and what else Arrow recognises in Python objects."""
    if values.ndim > 1:
        raise UsageError(f"'{name}' is an array of {values.dtype}, {values.shape}; only numbers may have several axes.")
    source = values.astype("datetime64[us]") if values.dtype.kind == "M" else values.astype(object)
    try:
        column = pa.array(source)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"'{name}' mixes objects that make no column ({error}). Give numbers, str or bytes, one kind in all rows."
        ) from error
    return pa.field(name, column.type), column
