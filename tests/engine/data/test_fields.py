"""Columns of records: what is kept of them gives the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.engine.data.columns import describe, to_arrays
from zoo.engine.data.fields import RecordField, is_image, kept_batch, kept_schema
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image.schema import DType, FeatureType, SchemaField, arrow_field

DTYPES = ("bool", "int8", "uint8", "int32", "int64", "uint32", "float16", "float32", "float64")


def values(column: pa.Array, arrow: pa.Field, field: RecordField) -> list[Any]:
    """Through what a feed keeps, and back."""
    batch = pa.RecordBatch.from_arrays([column], schema=pa.schema([arrow]))
    schema = kept_schema([field], batch.schema)
    kept = kept_batch([field], batch)
    assert kept.schema.equals(schema, check_metadata=True)
    (array, *_) = to_arrays(kept, describe(schema, schema.names))
    return [field.value(row) for row in array]


@given(st.data())
def test_any_array_comes_back(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = tuple(data.draw(st.lists(st.one_of(st.none(), st.integers(1, 3)), min_size=1, max_size=3)))
    rows = [
        data.draw(
            hnp.arrays(
                dtype,
                tuple(data.draw(st.integers(1, 4)) if size is None else size for size in shape),
                elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False),
            )
        )
        for _ in range(data.draw(st.integers(1, 5)))
    ]
    arrow = arrow_field("x", SchemaField(FeatureType.NDARRAY, DType(dtype), shape))
    listed = [row.reshape(-1).tolist() if None not in shape else row.tolist() for row in rows]
    column = pa.array([*listed, listed[0], listed[0]], arrow.type).slice(data.draw(st.integers(0, 2)))
    found = values(column, arrow, RecordField.of(arrow, "array", dtype))
    rows = [*rows, rows[0], rows[0]][len(rows) + 2 - len(column) :]
    for one, row in zip(found, rows, strict=True):
        np.testing.assert_array_equal(one, row)
        assert one.dtype == row.dtype


def test_a_row_without_boxes_keeps_their_width() -> None:
    arrow = arrow_field("x", SchemaField(FeatureType.NDARRAY, DType.FLOAT32, (None, 6)))
    column = pa.array([[], [[1, 2, 3, 4, 5, 6]]], arrow.type)
    assert [row.shape for row in values(column, arrow, RecordField.of(arrow, "array", "float32"))] == [(0, 6), (1, 6)]


def test_images_keep_bytes_and_path() -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    field = RecordField.of(pa.field("image", kind), "image", "bytes")
    column = pa.array([{"bytes": b"1", "path": "a"}, {"bytes": b"2", "path": None}], kind)
    kept = kept_batch([field], pa.RecordBatch.from_arrays([column], ["image"]))
    assert kept.to_pydict() == {"image": [b"1", b"2"], "image.path": ["a", ""]}
    with pytest.raises(DataError, match=r"'image' has 2 rows without an image's bytes; the first has the path 'b'"):
        field.kept(pa.field("image", kind), pa.array([{"bytes": None, "path": "b"}, None], kind))


def test_is_image_knows_the_open_layout() -> None:
    assert is_image(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    assert is_image(pa.struct([("bytes", pa.binary())]))
    assert not is_image(pa.struct([("bytes", pa.binary()), ("size", pa.int64())]))
    assert not is_image(pa.struct([("path", pa.string())])) and not is_image(pa.binary())


def test_nulls_are_an_error() -> None:
    field = pa.field("x", pa.int32())
    with pytest.raises(DataError, match="column 'x' has 1 nulls in the 2 rows read"):
        RecordField.of(field, "scalar", "int32").kept(field, pa.array([1, None], pa.int32()))
    nested = pa.field("x", pa.list_(pa.float32()))
    with pytest.raises(DataError, match="'x' has 1 nulls within its arrays"):
        RecordField.of(nested, "array", "float32").kept(nested, pa.array([[1.0, None]], nested.type))


@pytest.mark.parametrize(
    "kind, holds", [(pa.string(), "image"), (pa.list_(pa.int32()), "scalar"), (pa.struct([("a", pa.int32())]), "array")]
)
def test_types_that_cannot_hold_it_are_refused(kind: pa.DataType, holds: str) -> None:
    with pytest.raises(UsageError, match="column 'x' has the type .*, which holds no"):
        RecordField.of(pa.field("x", kind), holds, "int32")
