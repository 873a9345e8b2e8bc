"""What the columns of an image set are: `SchemaField`, as JSON, as Arrow types, and back.

    feature         Arrow column
    IMAGE           struct<bytes: binary, path: string>: an encoded file as it is, and where it came from
    NDARRAY         shape ():       a plain column
                    shape (2, 3):   fixed_size_list[6], the shape in the field's metadata (`columns.SHAPE`)
                    shape (None, 6): list<fixed_size_list[6]>; each axis that varies is one list
    SCALAR          a plain column

The schema of each file carries two more keys: `ZOO`, the fields as JSON, so that a file alone says what it is, and
``huggingface``, by which the library `datasets` shows images.

Owns: the fields, their JSON (ours and upstream's), their Arrow types.
Leaves: values -> columns (cells), the set's files (manifest).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from zoo.engine.data.columns import DTYPE, SHAPE
from zoo.engine.errors import UsageError

ZOO = b"zoo"
"""Key of the Parquet schema's metadata: JSON of an object with the fields at ``schema``."""
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class FeatureType(Enum):
    """What a column holds: encoded image files, arrays, or single values."""

    IMAGE = "image"
    NDARRAY = "ndarray"
    SCALAR = "scalar"


class DType(Enum):
    """The type of the values; those of numbers are named as in numpy."""

    STRING = "string"
    BYTES = "bytes"
    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


class SchemaField(NamedTuple):
    """One column.

    Attributes:
        feature_type: what it holds.
        dtype: of the values; of images `DType.BYTES`.
        shape: of one row's array; an axis of None (or -1) varies; ``()`` for images and scalars.
    """

    feature_type: FeatureType
    dtype: DType
    shape: Any = ()


Schema = Mapping[str, SchemaField]
E = TypeVar("E", FeatureType, DType)


def ndarray_dtype_to_dtype(dtype: Any) -> DType:
    """The `DType` of a numpy dtype.

    Raises:
        UsageError: there is none, as for dates and objects.
    """
    found = np.dtype(dtype)
    if found.kind in "SU":
        return DType.STRING if found.kind == "U" else DType.BYTES
    names = {kind.value: kind for kind in _numbers()}
    if found.name not in names:
        raise UsageError(f"no column of an image set holds {found}. Convert it to one of {', '.join(names)}.")
    return names[found.name]


def checked(schema: Schema) -> dict[str, SchemaField]:
    """The schema with each shape as a tuple of sizes, None where an axis varies.

    Raises:
        UsageError: no columns; something that is no field; a dtype or shape that the feature cannot have. All are
            listed.
    """
    if not isinstance(schema, Mapping) or not schema:
        raise UsageError(
            "schema must map each column's name to its SchemaField, as in "
            f"{{'image': SchemaField(FeatureType.IMAGE, DType.BYTES, ())}}. Received: {schema!r}"
        )
    problems = [problem for name, field in schema.items() if (problem := _problem(name, field))]
    if problems:
        raise UsageError.listing(problems)
    return {name: field._replace(shape=_sizes(field.shape)) for name, field in schema.items()}


# --- JSON ------------------------------------------------------------------------------------------------------------


def encode(schema: Schema) -> dict[str, Any]:
    """The fields as JSON: ``{"feature_type": "IMAGE", "dtype": "BYTES", "shape": []}`` by name."""
    return {
        name: {"feature_type": kind.name, "dtype": dtype.name, "shape": list(shape)}
        for name, (kind, dtype, shape) in checked(schema).items()
    }


def decode(fields: Any) -> dict[str, SchemaField]:
    """The inverse of `encode`; also of what upstream has written: names or values, bare or as ``{"__enum__": ...}``.

    Raises:
        UsageError: it is no such JSON.
    """
    try:
        found = {
            name: SchemaField(
                _member(FeatureType, field["feature_type"]), _member(DType, field["dtype"]), field.get("shape") or ()
            )
            for name, field in fields.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"this is no schema of an image set ({error!r}): {str(fields)[:200]}") from error
    return checked(found)


def _member(kind: type[E], said: Any) -> E:
    if isinstance(said, Mapping):
        said = said["__enum__"]
    name = str(said).rpartition(".")[2].upper()
    if name not in kind.__members__:
        raise UsageError(f"{kind.__name__} must be one of {', '.join(kind.__members__)}. Received: {said!r}")
    return kind[name]


# --- Arrow -----------------------------------------------------------------------------------------------------------


def to_arrow(schema: Schema, facts: Mapping[str, Any] | None = None) -> pa.Schema:
    """The schema of the set's files.

    Args:
        schema: the fields.
        facts: further JSON values for the key `ZOO` (``classes``, ``format``, ...).
    """
    fields = checked(schema)
    shown = {"info": {"features": {name: _feature(field) for name, field in fields.items()}}}
    said = {"version": 1, "schema": encode(fields), **(facts or {})}
    return pa.schema(
        [arrow_field(name, field) for name, field in fields.items()],
        {ZOO: json.dumps(said, ensure_ascii=False), b"huggingface": json.dumps(shown, ensure_ascii=False)},
    )


def from_arrow(schema: pa.Schema) -> dict[str, SchemaField] | None:
    """The fields that a file of ours says it has; None where it is not ours."""
    facts = facts_of(schema)
    return decode(facts["schema"]) if "schema" in facts else None


def facts_of(schema: pa.Schema) -> dict[str, Any]:
    """The JSON at the key `ZOO`; empty where there is none."""
    said = (schema.metadata or {}).get(ZOO)
    facts = json.loads(said) if said else {}
    return facts if isinstance(facts, dict) else {}


def arrow_field(name: str, field: SchemaField) -> pa.Field:
    """One column as Arrow has it; `field` as `checked` returns it."""
    if field.feature_type is FeatureType.IMAGE:
        return pa.field(name, IMAGE_TYPE)
    kind = value_type(field.dtype)
    if field.feature_type is FeatureType.SCALAR:
        return pa.field(name, kind)
    shape = field.shape
    keys = {DTYPE: field.dtype.value, SHAPE: json.dumps(shape)}
    if shape and None not in shape:
        return pa.field(name, pa.list_(kind, math.prod(shape)), metadata=keys)
    for size in reversed(shape):
        kind = pa.list_(kind) if size is None else pa.list_(kind, size)
    return pa.field(name, kind, metadata=keys)


def value_type(dtype: DType) -> pa.DataType:
    """The Arrow type of one value."""
    if dtype is DType.STRING:
        return pa.string()
    return pa.binary() if dtype is DType.BYTES else pa.from_numpy_dtype(np.dtype(dtype.value))


def _feature(field: SchemaField) -> dict[str, Any]:
    """As the library `datasets` describes a column."""
    if field.feature_type is FeatureType.IMAGE:
        return {"_type": "Image"}
    name = "binary" if field.dtype is DType.BYTES else field.dtype.value
    made: dict[str, Any] = {"dtype": name, "_type": "Value"}
    shape = field.shape
    if field.feature_type is FeatureType.SCALAR or not shape:
        return made
    for size in (math.prod(shape),) if None not in shape else reversed(shape):
        made = {"feature": made, "_type": "Sequence"} | ({} if size is None else {"length": size})
    return made


def _problem(name: Any, field: Any) -> str:
    """What is wrong with a field; empty when all is well."""
    if not isinstance(name, str) or not name:
        return f"a column's name must be a text. Received: {name!r}"
    if not isinstance(field, SchemaField):
        return f"'{name}' must be a SchemaField(feature_type, dtype, shape). Received: {field!r}"
    kind, dtype, shape = field
    if not isinstance(kind, FeatureType) or not isinstance(dtype, DType):
        return f"'{name}' needs a FeatureType and a DType, as FeatureType.SCALAR and DType.INT32. Received: {field!r}"
    sizes = _sizes(shape)
    if sizes is None:
        return f"the shape of '{name}' must be a tuple of sizes, None where an axis varies. Received: {shape!r}"
    if kind is FeatureType.NDARRAY:
        return "" if dtype in _numbers() else f"'{name}' is an array of {dtype.name}; arrays hold numbers or bool."
    if sizes:
        return f"'{name}' is {kind.name}, which has the shape (). Received: {shape!r}. Arrays are FeatureType.NDARRAY."
    if kind is FeatureType.IMAGE and dtype is not DType.BYTES:
        return f"'{name}' is an image, which has the dtype DType.BYTES. Received: {dtype}"
    return ""


def _sizes(shape: Any) -> tuple[int | None, ...] | None:
    """A shape as we write it; None where it is none."""
    axes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(axes, tuple | list):
        return None
    sizes = tuple(None if size is None or size == -1 else size for size in axes)
    whole = all(size is None or (isinstance(size, int | np.integer) and size > 0) for size in sizes)
    return tuple(None if size is None else int(size) for size in sizes) if whole else None


def _numbers() -> list[DType]:
    return [kind for kind in DType if kind not in (DType.STRING, DType.BYTES)]
