"""A footer read by itself is what Arrow reads, and no more bytes are read for it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.data.files import FileShards
from zoo.engine.data.footers import contents, footer
from zoo.engine.errors import UsageError

WITH_DATA = 200_000  # bytes


class Counting(io.BytesIO):
    """Counts what is read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.count += len(found)
        return found


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


@given(
    st.lists(st.integers(-5, 5), max_size=50),
    st.integers(1, 20),
    st.lists(st.sampled_from("abc"), unique=True, min_size=1),
)
def test_it_is_what_arrow_reads(values: list[int], group: int, names: list[str]) -> None:
    data = parquet(pa.table({name: pa.array(values, pa.int64()) for name in names}), row_group_size=group)
    found = footer(pa.BufferReader(data))
    expected = pq.read_metadata(pa.BufferReader(data))
    assert found.equals(expected) and found.schema.to_arrow_schema().equals(expected.schema.to_arrow_schema())
    read = pq.ParquetFile(pa.BufferReader(data), metadata=found).read()
    assert read.equals(pq.read_table(pa.BufferReader(data)))


def test_no_row_is_read_for_it() -> None:
    data = parquet(pa.table({"x": [bytes(WITH_DATA), b"1" * WITH_DATA]}), compression="none", use_dictionary=False)
    file = Counting(data)
    found = footer(pa.PythonFile(file, mode="r"))
    assert found.num_rows == 2 and found.serialized_size <= file.count <= found.serialized_size + 16


@pytest.mark.parametrize("keep", [0, 3, 8, 11, 500, -1, -9])
def test_a_file_that_was_cut_off_is_no_parquet(tmp_path: Path, keep: int) -> None:
    (tmp_path / "whole.parquet").write_bytes(parquet(pa.table({"x": list(range(300))})))
    cut = tmp_path / "cut.parquet"
    cut.write_bytes((tmp_path / "whole.parquet").read_bytes()[:keep])
    with pytest.raises(pa.ArrowInvalid), cut.open("rb") as file:
        footer(pa.PythonFile(file, mode="r"))
    with pytest.raises(UsageError, match="cut.parquet is not a Parquet file"):
        FileShards(str(tmp_path / "*.parquet"))


def test_a_length_beyond_the_file_is_no_parquet() -> None:
    with pytest.raises(pa.ArrowInvalid):
        footer(pa.BufferReader(b"PAR1" + bytes(20) + b"\xff\xff\xff\x7fPAR1"))


def test_types_that_arrow_remembers_are_kept(tmp_path: Path) -> None:
    table = pa.table({
        "day": pa.array([1, 2], pa.timestamp("us", "UTC")), "kind": pa.array(["a", "b"]).dictionary_encode(),
        "image": pa.array([{"bytes": b"1", "path": "a"}] * 2), "large": pa.array(["a", "b"], pa.large_string()),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    found = contents(pafs.LocalFileSystem(), str(tmp_path / "a.parquet"))
    assert found.schema.remove_metadata().equals(table.schema) and found.groups == ((0, 1), (1, 1))
    assert FileShards(str(tmp_path)).schema.remove_metadata().equals(table.schema)
