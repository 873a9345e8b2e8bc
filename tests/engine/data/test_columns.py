"""Column -> array -> column, and what is refused."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.engine.data import columns
from zoo.engine.data.columns import DTYPE, SHAPE, ArraySpec, describe, from_array, to_array
from zoo.engine.errors import ColumnNotFound, DataError, UsageError

NUMERIC = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4"]


def read(column: pa.Array | pa.ChunkedArray, field: pa.Field | None = None) -> np.ndarray:
    schema = pa.schema([field or pa.field("x", column.type)])
    return to_array(column, describe(schema, schema.names)[0])


@given(st.data())
def test_any_array_comes_back(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(NUMERIC))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    array = data.draw(hnp.arrays(dtype, shape))
    field, column = from_array("é x", array)
    whole = read(column, field)
    np.testing.assert_array_equal(whole, array)
    assert whole.dtype == array.dtype
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(array))] * 2)))
    np.testing.assert_array_equal(read(column.slice(start, stop - start), field), array[start:stop])
    chunks = pa.chunked_array([column.slice(start), column.slice(0, start)], column.type)
    np.testing.assert_array_equal(read(chunks, field), np.concatenate([array[start:], array[:start]]))


@given(st.lists(st.text()) | st.lists(st.binary()))
def test_text_comes_back(values: list[str] | list[bytes]) -> None:
    field, column = from_array("t", np.array(values, object))
    back = read(column, field)
    assert back.tolist() == values
    if values:
        assert back.dtype == object and from_array("t", back)[1].equals(column)


def test_float64_becomes_float32_and_nan_stays_data() -> None:
    field, column = from_array("x", np.array([[0.5, np.nan], [np.inf, -1]]))
    back = read(column, field)
    assert back.dtype == np.float32 and column.null_count == 0
    np.testing.assert_array_equal(back, np.array([[0.5, np.nan], [np.inf, -1]], np.float32))


def test_other_memory_layouts_come_back() -> None:
    array = np.arange(24, dtype=">i4").reshape(4, 6)[::2, ::-1]
    field, column = from_array("x", array)
    np.testing.assert_array_equal(read(column, field), array)


UTC = datetime.UTC
DAY = datetime.date(1970, 1, 3)
TABLE = [
    (pa.array([True, False]), np.float32, [1, 0]),
    *[(pa.array([1, 2], kind), np.int64, [1, 2]) for kind in (pa.int8(), pa.uint16(), pa.int32(), pa.uint64())],
    *[(pa.array([1, 2], kind), np.float32, [1, 2]) for kind in (pa.float16(), pa.float32(), pa.float64())],
    (pa.array([decimal.Decimal("1.50"), decimal.Decimal("-2.25")]), np.float32, [1.5, -2.25]),
    (pa.array([DAY, DAY]), np.int64, [2, 2]),
    (pa.array([DAY, DAY], pa.date64()), np.int64, [2, 2]),
    (pa.array([1_000_500, -1], pa.timestamp("ns")), np.int64, [1000, 0]),
    (pa.array([3, 4], pa.timestamp("s", "Europe/Berlin")), np.int64, [3_000_000, 4_000_000]),
    (pa.array(["a", "b"]), object, ["a", "b"]),
    (pa.array(["a", "b"], pa.string_view()), object, ["a", "b"]),
    (pa.array([b"a", b"b"], pa.binary(1)), object, [b"a", b"b"]),
    (pa.array([b"a", b"b"], pa.large_binary()), object, [b"a", b"b"]),
    (pa.array(["a", "b"]).dictionary_encode(), object, ["a", "b"]),
    (pa.array([7, 9]).dictionary_encode(), np.int64, [7, 9]),
    *[
        (pa.array([[1, 2], [3, 4]], kind(pa.uint8())), np.int64, [[1, 2], [3, 4]])
        for kind in (pa.list_, pa.large_list, pa.list_view, lambda inner: pa.list_(inner, 2))
    ],
    (pa.array([[[1.0], [2.0]], [[3.0], [4.0]]]), np.float32, [[[1], [2]], [[3], [4]]]),
    (pa.array([[True], [False]]), np.float32, [[1], [0]]),
    (pa.array([[], []], pa.list_(pa.float32())), np.float32, [[], []]),
]


@pytest.mark.parametrize(("column", "dtype", "values"), TABLE, ids=lambda case: str(getattr(case, "type", "")))
def test_the_table(column: pa.Array, dtype: type, values: list) -> None:
    for laid_out in (column, pa.concat_arrays([column[:1], column])[1:], pa.chunked_array([column[:1], column[1:]])):
        array = read(laid_out)
        assert array.dtype == dtype and array.tolist() == values
    nothing = read(column[:0])
    assert len(nothing) == 0 and nothing.dtype == dtype


def test_fixed_layouts_share_arrows_memory() -> None:
    column = pa.array(np.arange(12, dtype="f4"))
    lists = pa.FixedSizeListArray.from_arrays(column, 3)[1:]
    assert np.shares_memory(read(lists), column.to_numpy())


VECTOR = pa.struct(
    [("type", pa.int8()), ("size", pa.int32()), ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float64()))]
)
DENSE = {"type": 1, "size": None, "indices": None, "values": [1.0, 0.0, 2.0]}
SPARSE = {"type": 0, "size": 3, "indices": [2], "values": [5.0]}
NONE = {"type": 0, "size": 3, "indices": [], "values": []}


@pytest.mark.parametrize("rows", [[DENSE], [SPARSE, NONE], [SPARSE, DENSE, NONE, DENSE, SPARSE]])
def test_vectors_dense_and_sparse(rows: list) -> None:
    expected = [{1: [1, 0, 2], 0: [0, 0, 5]}[row["type"]] if row["values"] else [0, 0, 0] for row in rows]
    assert read(pa.array([DENSE, *rows], VECTOR)[1:]).tolist() == expected


def test_vectors_of_different_sizes_are_ragged() -> None:
    with pytest.raises(DataError, match="between 3 and 4 values"):
        read(pa.array([DENSE, SPARSE | {"size": 4}], VECTOR))


def test_metadata_overrules_the_table() -> None:
    field = pa.field("x", pa.list_(pa.uint8()), metadata={SHAPE: b"[2, 2]", DTYPE: b"uint8"})
    spec = describe(pa.schema([field]), ["x"])[0]
    assert spec == ArraySpec("x", np.dtype("uint8"), (2, 2)) and str(spec) == "x: uint8 (2, 2)"
    assert to_array(pa.array([[1, 2, 3, 4]], field.type), spec).tolist() == [[[1, 2], [3, 4]]]
    with pytest.raises(DataError, match=r"shape \(2, 2\) \(4 values\). Received: rows of 3 values"):
        to_array(pa.array([[1, 2, 3]], field.type), spec)


def test_tensors_keep_their_shape() -> None:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12, dtype="f4").reshape(2, 3, 2))
    np.testing.assert_array_equal(read(column), np.arange(12).reshape(2, 3, 2))


def test_only_the_data_tell_the_length_of_a_list() -> None:
    assert describe(pa.schema([("x", pa.list_(pa.list_(pa.int8(), 2)))]), ["x"])[0].shape == (None, 2)


def test_nulls_are_counted() -> None:
    with pytest.raises(DataError, match=r"column 'x' has 2 null values in 3 rows.*df.na.drop.*df.na.fill"):
        read(pa.array([1, None, None]))
    with pytest.raises(DataError, match="1 null values in 2 rows"):
        read(pa.array([[1, 2], None]))
    with pytest.raises(DataError, match="1 null values inside its lists in 2 rows"):
        read(pa.array([[1, 2], [3, None]]))
    with pytest.raises(DataError, match="2 null values"):
        read(pa.nulls(2))
    assert read(pa.nulls(0)).shape == (0,)


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, pa.list_view])
def test_ragged_lists_name_an_odd_row(kind: type) -> None:
    column = pa.array([[9, 9, 9], [1, 2], [3, 4], [5, 6, 7]], kind(pa.int64()))
    with pytest.raises(DataError, match=r"'x' is ragged.*between 2 and 3 values \(row 2 of 3 read has 3\).*pad"):
        read(column.slice(1))
    with pytest.raises(DataError, match=r"row 1 of 2 read has 1"):
        read(pa.array([[[1, 2], [3, 4]], [[5, 6], [7]]], pa.list_(kind(pa.int64()))))
    with pytest.raises(DataError, match="ragged"):
        read(pa.chunked_array([column[:1], column[1:2]]))


def test_numbers_beyond_the_dtype_are_refused() -> None:
    with pytest.raises(DataError, match=r"'x' holds 1e\+300, which is beyond float32"):
        read(pa.array([1.0, 1e300]))
    with pytest.raises(DataError, match="beyond int64"):
        read(pa.array([2**63], pa.uint64()))


UNSUPPORTED = pa.schema(
    [("ok", pa.int8()), ("words", pa.list_(pa.string())), ("s", pa.struct([("a", pa.int8())])), ("t", pa.time32("s"))]
)


def test_all_types_without_an_array_are_listed_at_once() -> None:
    with pytest.raises(
        UsageError, match=r"3 problems:\n.*'words'.*list<[^\n]*\n.*'s'[^\n]*\n.*'t' has the type time32"
    ):
        describe(UNSUPPORTED, UNSUPPORTED.names)
    assert len(columns.problems(UNSUPPORTED, [*UNSUPPORTED.names, "wrds"], "label_cols")) == 4


def test_missing_and_doubled_columns() -> None:
    with pytest.raises(ColumnNotFound, match="Did you mean 'words'"):
        describe(UNSUPPORTED, ["word"])
    with pytest.raises(UsageError, match="2 columns named 'a'"):
        describe(pa.schema([("a", pa.int8()), ("a", pa.int8())]), ["a"])


@pytest.mark.parametrize(
    ("array", "error", "text"),
    [
        (np.float32(3), UsageError, "single value"),
        (np.zeros(2, complex), UsageError, "complex128"),
        (np.zeros(2, "m8[s]"), UsageError, "timedelta64"),
        (np.zeros((2, 2), "U1"), UsageError, "only numbers may have several axes"),
        (np.array([1, "a"], object), DataError, "mixes objects"),
        (np.ma.array([1, 2], mask=[0, 1]), DataError, "1 masked"),
        (np.array([1e300]), DataError, "beyond float32"),
    ],
)
def test_arrays_that_make_no_column(array: np.ndarray, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        from_array("x", array)


def test_times_from_numpy() -> None:
    field, column = from_array("t", np.array(["1970-01-01T00:00:01"], "M8[s]"))
    assert read(column, field).tolist() == [1_000_000]
