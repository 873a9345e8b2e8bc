"""Fields of image sets: JSON and Arrow types and back, values and cells and back."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zoo.engine.data.columns import describe, to_array
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image import DType, FeatureType, SchemaField
from zoo.orca.data.image import schema as schemas
from zoo.orca.data.image.cells import batch_of, record_of
from zoo.orca.data.image.manifest import Chunk, Manifest
from zoo.orca.data.image.utils import ndarray_dtype_to_dtype

IMAGE = SchemaField(FeatureType.IMAGE, DType.BYTES, ())
NUMBERS = [kind for kind in DType if kind not in (DType.STRING, DType.BYTES)]

sizes = st.integers(1, 3)
shapes = st.tuples(st.integers(0, 2), st.lists(sizes, max_size=2)).map(lambda of: (*([None] * of[0]), *of[1]))
ndarrays = st.builds(SchemaField, st.just(FeatureType.NDARRAY), st.sampled_from(NUMBERS), shapes)
scalars = st.builds(SchemaField, st.just(FeatureType.SCALAR), st.sampled_from(DType), st.just(()))
columns = st.dictionaries(st.text(min_size=1), st.one_of(st.just(IMAGE), ndarrays, scalars), min_size=1, max_size=4)


@given(columns)
def test_fields_survive_json_and_arrow(schema):
    assert schemas.decode(json.loads(json.dumps(schemas.encode(schema)))) == schemas.checked(schema)
    assert schemas.from_arrow(schemas.to_arrow(schema)) == schemas.checked(schema)


@given(columns, st.lists(st.tuples(st.integers(0), st.integers(0))), st.lists(st.text()), st.integers(0))
def test_metadata_survive_their_line(schema, chunks, classes, skipped):
    said = Manifest(schemas.checked(schema), tuple(Chunk(*one) for one in chunks), "voc", tuple(classes), skipped)
    assert "\n" not in said.text()
    assert Manifest.parse(said.text()) == said


def test_what_upstream_has_written_is_understood():
    fields = {
        "image": {"feature_type": {"__enum__": "FeatureType.IMAGE"}, "dtype": {"__enum__": "DType.BYTES"}, "shape": []},
        "label": {"feature_type": "ndarray", "dtype": "FLOAT32", "shape": [-1, 6]},
        "version": {"feature_type": "SCALAR", "dtype": "string", "shape": None},
    }
    said = Manifest.parse(json.dumps(fields))
    assert said.chunks is None
    assert said.schema == {
        "image": IMAGE,
        "label": SchemaField(FeatureType.NDARRAY, DType.FLOAT32, (None, 6)),
        "version": SchemaField(FeatureType.SCALAR, DType.STRING, ()),
    }


@st.composite
def values(draw: st.DrawFn, shape: tuple[int | None, ...], dtype: str) -> list[np.ndarray]:
    """Arrays for a column; those of a varying axis may be empty."""
    found = draw(st.lists(st.tuples(*(st.integers(0, 3) if size is None else st.just(size) for size in shape))))
    return [draw(arrays.arrays(dtype, one)) for one in found]


def read_back(cell: Any, shape: tuple[int | None, ...], dtype: str) -> np.ndarray:
    """A cell of a file, as Python has it, as an array of `shape`; sizes below an empty axis are lost."""
    return np.array(cell, dtype).reshape(shape) if math.prod(shape) else np.empty(shape, dtype)


@settings(max_examples=60)
@given(st.data(), ndarrays)
def test_arrays_survive_a_file(data, field):
    given_ = data.draw(values(field.shape, field.dtype.value))
    schema = schemas.checked({"a": field})
    arrow = schemas.to_arrow(schema)
    if not given_:
        return
    records = [record_of({"a": one}, schema, number) for number, one in enumerate(given_)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_batches([batch_of(records, schema, arrow)]), file)
    table = pq.read_table(pa.BufferReader(file.getvalue()))
    for cell, one in zip(table["a"].to_pylist(), given_, strict=True):
        assert np.array_equal(read_back(cell, one.shape, field.dtype.value), one, equal_nan=field.dtype.value[0] == "f")
    if None not in field.shape and field.dtype is not DType.FLOAT64:
        (spec,) = describe(table.schema, ["a"])
        found = to_array(table["a"], spec)
        assert found.dtype == field.dtype.value and found.shape == (len(given_), *field.shape)
        assert found.tobytes() == np.stack(given_).tobytes()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "schema must map"),
        ({"a": ("IMAGE",)}, "'a' must be a SchemaField"),
        ({"a": SchemaField("IMAGE", DType.BYTES)}, "'a' needs a FeatureType"),
        ({"a": SchemaField(FeatureType.IMAGE, DType.UINT8)}, "'a' is an image, which has the dtype DType.BYTES"),
        ({"a": SchemaField(FeatureType.NDARRAY, DType.STRING)}, "'a' is an array of STRING"),
        ({"a": SchemaField(FeatureType.NDARRAY, DType.INT8, (0, 3))}, "the shape of 'a' must be a tuple of sizes"),
        ({"a": SchemaField(FeatureType.SCALAR, DType.INT8, (3,))}, "'a' is SCALAR, which has the shape ()"),
        ({"a": 1, "b": 2}, "2 problems"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(schema, words):
    with pytest.raises(UsageError, match=words):
        schemas.checked(schema)


INT8, BOXES = DType.INT8, SchemaField(FeatureType.NDARRAY, DType.FLOAT32, (-1, 6))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (IMAGE, 3, "an image is the path of its file, or its bytes. Received: '3'"),
        (BOXES, np.zeros((2, 5)), r"its shape is \(2, 5\), the schema says \(None, 6\)"),
        (BOXES, np.zeros(6), r"its shape is \(6,\)"),
        (BOXES, [["a"] * 6], "it is no array of numbers"),
        (SchemaField(FeatureType.NDARRAY, INT8, (2,)), [1, 128], "it holds numbers that int8 does not"),
        (SchemaField(FeatureType.NDARRAY, INT8, (2,)), [1.5, 2.0], "it holds numbers that int8 does not"),
        (SchemaField(FeatureType.NDARRAY, DType.FLOAT32, (1,)), [1e300], "it holds numbers that float32 does not"),
        (SchemaField(FeatureType.SCALAR, INT8), 128, "it must be int8. Received: '128'"),
        (SchemaField(FeatureType.SCALAR, INT8), None, "a value of int8 is missing"),
        (SchemaField(FeatureType.SCALAR, DType.STRING), b"x", "it must be string"),
        (SchemaField(FeatureType.SCALAR, DType.STRING), 5, "it must be string"),
    ],
)
def test_a_value_that_its_field_does_not_take_is_named(field, value, words):
    schema = schemas.checked({"good": SchemaField(FeatureType.SCALAR, DType.INT32), "bad": field})
    with pytest.raises(DataError, match=f"column 'bad' of record 7: .*{words}"):
        record_of({"good": np.int64(1), "bad": value}, schema, 7)


def test_no_boxes_may_be_an_empty_list():
    schema = schemas.checked({"a": BOXES})
    assert record_of({"a": []}, schema, 0)["a"].shape == (0, 6)


def test_dtypes_of_numpy():
    assert ndarray_dtype_to_dtype(np.zeros(1, "f4").dtype) is DType.FLOAT32
    assert ndarray_dtype_to_dtype("<U3") is DType.STRING
    with pytest.raises(UsageError, match="datetime64"):
        ndarray_dtype_to_dtype("datetime64[s]")
