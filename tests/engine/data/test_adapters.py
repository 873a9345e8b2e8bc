"""What is this data? Every kind gives the same rows."""

from __future__ import annotations

import datetime
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from zoo.engine.data import adapters
from zoo.engine.data.adapters import Adapted, adapt, choose
from zoo.engine.data.columns import describe, to_arrays
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.engine.jobs import Columns

A, Y = np.arange(10, dtype="i8"), np.arange(10, dtype="f4") / 2
V = np.arange(20, dtype="f4").reshape(10, 2)
TABLE = pa.table({"a": A, "v": list(V), "y": Y, "words": [["no"]] * 10})


def arrays(adapted: Adapted) -> tuple[np.ndarray, ...]:
    batches = [batch for _, batch in adapted.shards.open(0, 1)]
    specs = describe(adapted.shards.schema, adapted.columns.features + adapted.columns.labels)
    return to_arrays(pa.Table.from_batches(batches, adapted.shards.schema), specs)


class Capsule:
    """Any frame of another library."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


class FrameOfMine(pd.DataFrame):
    pass


def parquet(path: Path) -> str:
    pq.write_table(TABLE, path / "t.parquet", row_group_size=3)
    return str(path / "t.parquet")


FRAMES: dict[str, Callable[[Path], Any]] = {
    "pandas": lambda path: pd.DataFrame({"a": A, "v": list(V), "y": Y, "words": "no"}, index=A[::-1]),
    "subclass of pandas": lambda path: FrameOfMine({"a": A, "v": V.tolist(), "y": Y}),
    "table": lambda path: TABLE,
    "batch": lambda path: TABLE.to_batches()[0],
    "reader": lambda path: TABLE.to_reader(3),
    "capsule": lambda path: Capsule(),
    "path": parquet,
    "pathlike": lambda path: Path(parquet(path)),
    "dataset": lambda path: ds.dataset(parquet(path)),
    "dataset in memory": lambda path: ds.dataset(TABLE),
    "dict": lambda path: {"a": A, "v": V, "y": Y},
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES.keys())
def test_frames_give_the_same_arrays(make: Callable[[Path], Any], tmp_path: Path) -> None:
    adapted = adapt(make(tmp_path), ["v", "a"], "y")
    assert adapted.columns == Columns(("v", "a"), ("y",)) and adapted.shards.schema.names == ["v", "a", "y"]
    assert adapted.shards.rows == 10
    for got, wanted in zip(arrays(adapted), (V, A, Y), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES.keys())
def test_frames_need_names_that_they_have(make: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"feature columns is None; it should not be None in training/prediction"):
        adapt(make(tmp_path))
    with pytest.raises(ColumnNotFound, match="(?s)no column 'b'.*no column 'yy'.*Did you mean 'y'.*label_cols="):
        adapt(make(tmp_path), ["a", "b"], ["yy"])


@pytest.mark.parametrize("make", [FRAMES[kind] for kind in ("table", "reader", "capsule", "path", "dataset")])
def test_columns_without_an_array_are_refused_at_once(make: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="column 'words' has the type list"):
        adapt(make(tmp_path), ["words"])


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (V, Columns(("x",))),
        ((V,), Columns(("x",))),
        ((V, Y), Columns(("x",), ("y",))),
        ((V, None), Columns(("x",))),
        (((V, A), Y), Columns(("x0", "x1"), ("y",))),
        ([V, A], Columns(("x0", "x1"))),
        ({"x": V}, Columns(("x",))),
        ({"x": [V, A], "y": Y}, Columns(("x0", "x1"), ("y",))),
        ({"x": {"v": V, "a": A}, "y": {"t": Y}}, Columns(("v", "a"), ("t",))),
    ],
)
def test_arrays_in_all_their_forms(data: Any, columns: Columns) -> None:
    adapted = adapt(data)
    assert adapted.columns == columns
    np.testing.assert_array_equal(arrays(adapted)[0], V)


def test_names_choose_among_named_arrays() -> None:
    assert adapt({"x": {"v": V, "a": A}, "y": Y}, ["a"], ["y"]).columns == Columns(("a",), ("y",))
    with pytest.raises(ColumnNotFound, match="no column 'user'.*\n.*Columns: x, y"):
        adapt((V, Y), ["user"])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (3, "Received: builtins.int"),
        (None, "Received: builtins.NoneType"),
        ({"a": A}, "feature columns is None"),
        ((V, A, Y), "tuple of 3 arrays could mean many things"),
        ([[1, 2]], "'x' must be a numpy array. Received: list"),
        (pd.Series(A), r"data.to_frame\(\)"),
        (pa.chunked_array([[1]]), "rows of named columns"),
    ],
)
def test_other_data_is_refused(data: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        adapt(data)


def test_an_empty_list_of_features_is_refused() -> None:
    with pytest.raises(UsageError, match="feature_cols is empty. Name at least one of: a, b"):
        choose(["a", "b"], (), None)


def test_data_may_bring_themselves() -> None:
    class Mine(dict):
        def __zoo_shards__(self, columns: Columns) -> Adapted:
            assert columns == Columns((), ("y",))
            return adapt((V, Y))

    assert adapt(Mine(), labels="y").columns == Columns(("x",), ("y",))


def in_module(name: str) -> type:
    return type("Thing", (), {"__module__": name})


@pytest.mark.parametrize(
    ("kind", "home"),
    [
        (in_module("pyspark.sql.classic.dataframe"), "spark.frames:adapt_frame"),
        (in_module("pyspark.sql.connect.dataframe"), "spark.frames:adapt_frame"),
        (type("Sub", (in_module("torch.utils.data.dataloader"),), {}), "torch.loaders:adapt_loader"),
        (type(in_module), "data.creators:adapt_creator"),
        (functools.partial, "data.creators:adapt_creator"),
        (np.memmap, "adapters:adapt_arrays"),
    ],
)
def test_types_are_recognised_by_name(kind: type, home: str) -> None:
    assert str(adapters._target(kind)).endswith(home)


@pytest.mark.parametrize("module", ["pyspark.sqlite", "pandas_of_mine", "torch.utils", "numpy"])
def test_like_sounding_types_are_not_recognised(module: str) -> None:
    assert adapters._target(in_module(module)) is None


def test_nothing_heavy_is_imported() -> None:
    told = "import sys, numpy, zoo.engine.data.adapters as a; a.adapt(numpy.zeros(3)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=True)
    assert not {"pandas", "torch", "pyspark", "ray"} & set(done.stdout.split())


DAY = datetime.date(1970, 1, 2)
SERIES = [
    (pd.Series([1, 2], dtype="int16"), "int64", [1, 2]),
    (pd.Series([True, False]), "float32", [1, 0]),
    (pd.Series([1, 2], dtype="Int64"), "int64", [1, 2]),
    (pd.Series([1.5, 2], dtype="Float64"), "float32", [1.5, 2]),
    (pd.Series([True, False], dtype="boolean"), "float32", [1, 0]),
    (pd.Series([1.5, 2.5], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), "float32", [1.5, 2.5]),
    (pd.Series(["a", "b"], dtype="category"), "object", ["a", "b"]),
    (pd.Series(["a", "b"]), "object", ["a", "b"]),
    (pd.Series(["a", "b"], dtype="string"), "object", ["a", "b"]),
    (pd.Series([b"a", b"b"]), "object", [b"a", b"b"]),
    (pd.Series([DAY, DAY]), "int64", [1, 1]),
    (pd.Series(pd.to_datetime([1000, 2000], unit="us")), "int64", [1000, 2000]),
    (pd.Series(pd.to_datetime([1000, 2000], unit="us", utc=True)).dt.tz_convert("Asia/Tokyo"), "int64", [1000, 2000]),
    (pd.Series([[1, 2], [3, 4]]), "int64", [[1, 2], [3, 4]]),
    (pd.Series([np.eye(2, dtype="u1"), np.eye(2, dtype="u1")]), "uint8", [[[1, 0], [0, 1]]] * 2),
    (pd.Series([np.eye(1), [[2.0]]]), "float32", [[[1]], [[2]]]),
]


@pytest.mark.parametrize(("series", "dtype", "values"), SERIES, ids=lambda case: str(getattr(case, "dtype", "")))
def test_pandas_columns(series: pd.Series, dtype: str, values: list) -> None:
    frame = pd.DataFrame({"é 1": series, 7: series})
    for array in arrays(adapt(frame, ["é 1", "7"])):
        assert array.dtype == dtype and array.tolist() == values
    empty = adapt(frame[:0], "é 1")
    assert empty.shards.rows == 0 and len(arrays(empty)[0]) == 0


def test_nan_is_data_in_floats_and_null_elsewhere() -> None:
    frame = pd.DataFrame({"f": [1.0, np.nan], "s": ["a", None], "i": pd.array([1, None], "Int64")})
    np.testing.assert_array_equal(arrays(adapt(frame, "f"))[0], np.array([1, np.nan], "f4"))
    for name in ("s", "i"):
        with pytest.raises(DataError, match=f"'{name}' has 1 null"):
            arrays(adapt(frame, name))


def test_pandas_columns_that_make_no_array() -> None:
    frame = pd.DataFrame({"m": [1, "a"], "r": [[1], [1, 2]]})
    with pytest.raises(UsageError, match="column 'm' mixes objects"):
        adapt(frame, "m")
    with pytest.raises(DataError, match="'r' is ragged"):
        arrays(adapt(frame, "r"))
    with pytest.raises(UsageError, match="2 columns named 'r'"):
        adapt(frame[["r", "r"]], "r")
