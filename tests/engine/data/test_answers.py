"""Predictions come back in the kind that the data came in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.data.adapters import adapt
from zoo.engine.data.columns import describe, from_array, to_arrays

A = np.arange(10, dtype="i8")
V = np.arange(20, dtype="f4").reshape(10, 2)
TABLE = pa.table({"a": A, "v": list(V), "word": ["ü"] * 10})
OUTPUTS = {
    "number": lambda v: v.sum(1),
    "vector": lambda v: v * 2,
    "matrix": lambda v: v[:, :, None] + np.zeros(3, "f4"),
}


class Capsule:
    """A frame of another library; `once` has no second time."""

    def __init__(self, once: bool) -> None:
        self.reader = TABLE.to_reader() if once else None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return (self.reader or TABLE).__arrow_c_stream__(requested_schema)


def predicted(data: Any, features: list[str] | None, makers: dict[str, Any]) -> Any:
    """What the user gets for a model that computes `makers` of its last input."""
    adapted = adapt(data, features)
    last = adapted.columns.features[-1]

    def made(v: np.ndarray) -> dict[str, np.ndarray]:
        return {name: make(v) for name, make in makers.items()}

    def fn(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            (v,) = to_arrays(batch, describe(batch.schema, [last]))
            columns = [from_array(name, array) for name, array in made(v).items()]
            yield pa.RecordBatch.from_arrays([c for _, c in columns], schema=pa.schema([f for f, _ in columns]))

    schema = pa.schema([from_array(name, array)[0] for name, array in made(V).items()])
    return adapted.give_back(InlineCluster().extend(fn, adapted.shards, schema))


@pytest.mark.parametrize("make", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("data", [V, (V, A), [A, V], {"x": V, "y": A}, {"x": {"a": A, "v": V}}], ids=str)
def test_arrays_for_arrays(data: Any, make: Any) -> None:
    got = predicted(data, None, {"prediction": make})
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, make(V))


def test_several_outputs_of_arrays_are_a_list() -> None:
    got = predicted((V, A), None, OUTPUTS)
    assert isinstance(got, list)
    for array, make in zip(got, OUTPUTS.values(), strict=True):
        np.testing.assert_array_equal(array, make(V))


def test_no_rows_give_no_predictions() -> None:
    assert predicted(V[:0], None, {"prediction": OUTPUTS["vector"]}).shape == (0, 2)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("rows", [10, 1, 0])
def test_pandas_keeps_its_columns_and_index(name: str, rows: int) -> None:
    frame = pd.DataFrame({"v": list(V), "prediction": "old", "näme": A}, index=A[::-1]).iloc[:rows]
    before = frame.copy()
    if rows == 0:
        frame = frame.drop(columns="v").assign(a=1.0)
        got = predicted(frame, ["a"], {"prediction": lambda a: a})
        assert list(got.columns) == ["prediction", "näme", "a"] and len(got) == 0
        return
    got = predicted(frame, ["näme", "v"], {"prediction": OUTPUTS[name]})
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(got[["v", "näme"]], before[["v", "näme"]])
    np.testing.assert_array_equal(np.stack(list(got["prediction"])), OUTPUTS[name](V[:rows]))


def test_pandas_gets_a_column_for_each_output() -> None:
    got = predicted(pd.DataFrame({"v": list(V)}), ["v"], OUTPUTS)
    assert list(got.columns) == ["v", *OUTPUTS] and got["number"].dtype == np.float32


def parquet(path: Path) -> str:
    pq.write_table(TABLE, path / "t.parquet", row_group_size=3)
    return str(path / "t.parquet")


FRAMES = {
    "table": (lambda path: TABLE, ["a", "v", "word"]),
    "batch": (lambda path: TABLE.to_batches()[0], ["a", "v", "word"]),
    "reader": (lambda path: TABLE.to_reader(3), ["v"]),
    "capsule": (lambda path: Capsule(once=False), ["a", "v", "word"]),
    "stream": (lambda path: Capsule(once=True), ["v"]),
    "parquet": (parquet, ["a", "v", "word"]),
}


@pytest.mark.parametrize(("make", "kept"), FRAMES.values(), ids=FRAMES)
def test_frames_give_a_table_with_more_columns(make: Any, kept: list[str], tmp_path: Path) -> None:
    got = predicted(make(tmp_path), ["v"], OUTPUTS)
    assert got.column_names == [*kept, *OUTPUTS]
    assert got.select(kept).to_pydict() == TABLE.select(kept).to_pydict()
    for name, array in zip(OUTPUTS, to_arrays(got, describe(got.schema, OUTPUTS)), strict=True):
        np.testing.assert_array_equal(array, OUTPUTS[name](V))


@pytest.mark.parametrize("kind", ["table", "parquet"])
def test_an_older_column_of_the_same_name_gives_way(kind: str, tmp_path: Path) -> None:
    got = predicted(FRAMES[kind][0](tmp_path), ["a", "v"], {"a": OUTPUTS["number"]})
    assert got.column_names == ["v", "word", "a"]
    np.testing.assert_array_equal(got.column("a"), V.sum(1))
