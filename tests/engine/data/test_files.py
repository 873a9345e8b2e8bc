"""Parquet files, read row group by row group where the ranks are."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import FeedRequest, Rank
from zoo.engine.data import files
from zoo.engine.data.columns import describe, to_array
from zoo.engine.data.files import FileShards
from zoo.engine.data.shards import table_of
from zoo.engine.errors import StorageFailed, UsageError
from zoo.engine.events.sinks import MemorySink


def write(path: Path, start: int, stop: int, group: int = 4, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"a": range(start, stop), "b": [str(n) for n in range(start, stop)]} | more), path, group)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """20 rows in 3 files of 2 + 1 + 3 row groups, and files that are no data."""
    root = tmp_path / "tree"
    write(root / "k=1" / "part-0.parquet", 0, 8)
    write(root / "k=1" / "part-1.parquet", 8, 9)
    write(root / "k=2" / "part-0.parquet", 9, 20)
    write(root / "_temporary" / "x.parquet", 90, 99)
    for name in ("_SUCCESS", ".part-0.parquet.crc", "k=1/_metadata", "notes.txt"):
        (root / name).write_text("no data")
    return root


def rows(shards: FileShards, index: int = 0, world: int = 1) -> list[tuple[int, list[dict]]]:
    return [(part, batch.to_pylist()) for part, batch in shards.open(index, world)]


def values(shards: FileShards, name: str = "a") -> list:
    return [row[name] for _, block in rows(shards) for row in block]


def test_a_directory_with_hive_columns(tree: Path) -> None:
    shards = FileShards(tree)
    assert shards.sizes == (4, 4, 1, 4, 4, 3) and shards.rows == 20 and shards.schema.names == ["a", "b", "k"]
    assert values(shards) == list(range(20)) and values(shards, "k") == [1] * 9 + [2] * 11
    assert [part for part, _ in rows(shards)] == list(range(6))
    assert shards.peek().to_pylist() == [{"a": 0, "b": "0", "k": 1}]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("k=1/part-0.parquet", range(8)),
        ("k=*/part-0.parquet", [*range(8), *range(9, 20)]),
        ("k=2", range(9, 20)),
        ("*", range(20)),
        ("**/*-1.parquet", [8]),
        ("k=[2]/*", range(9, 20)),
        ("k=?/part-1*", [8]),
    ],
)
def test_files_directories_and_globs(tree: Path, glob: str, expected: list) -> None:
    assert values(FileShards(f"{tree}/{glob}")) == list(expected)
    assert values(FileShards(f"file://{tree}/{glob}")) == list(expected)


def test_ranks_read_their_own_groups_after_a_journey(tree: Path) -> None:
    shards = pickle.loads(pickle.dumps(FileShards(tree)))
    found = [pair for index in range(3) for pair in rows(shards.share(index, 3), index, 3)]
    assert sorted(found, key=lambda pair: pair[0]) == rows(shards)
    assert [sum(len(block) for _, block in rows(shards, index, 3)) for index in range(3)] == [8, 7, 5]
    assert rows(shards, 6, 7) == []


def test_only_the_columns_asked_for(tree: Path) -> None:
    shards = FileShards(tree).with_columns(["k", "b"])
    assert rows(shards)[2] == (2, [{"k": 1, "b": "8"}])
    assert values(FileShards(tree).with_columns(["k"]), "k") == [1] * 9 + [2] * 11


def test_batches_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES", 100)
    write(tmp_path / "x.parquet", 0, 200, group=200)
    shards = FileShards(tmp_path / "x.parquet").with_columns(["a"])
    blocks = rows(shards)
    assert len(blocks) > 10 and {part for part, _ in blocks} == {0} and values(shards) == list(range(200))


@pytest.mark.parametrize(("names", "blocks"), [(["a"], 1), (["l.x"], 16), (["a", "l.x"], 9), (["wide"], 200)])
def test_batches_are_as_large_as_their_columns_let_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], blocks: int
) -> None:
    monkeypatch.setattr(files, "COLUMN_BYTES", 2000)
    numbers = np.arange(200.0)
    lists = pa.array(np.stack([numbers] * 20, 1).tolist(), pa.list_(pa.float64()))
    content = {"a": numbers, "l.x": lists, "wide": [bytes(5000)] * 200}
    plain = {"use_dictionary": False, "compression": "none", "row_group_size": 200}
    pq.write_table(pa.table(content), tmp_path / "x.parquet", **plain)
    found = rows(FileShards(tmp_path / "x.parquet").with_columns(names))
    assert sum(len(block) for _, block in found) == 200
    assert blocks <= len(found) <= blocks * 1.2


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("chunk_bytes", [0, 1 << 30])
def test_a_feed_reads_column_by_column_or_all_at_once(
    tree: Path, monkeypatch: pytest.MonkeyPatch, threads: int, chunk_bytes: int
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(files, "COLUMN_BYTES", 30)  # pieces of a few rows
    monkeypatch.setattr(pa, "cpu_count", lambda: threads)
    request = FeedRequest(
        rank=Rank(), features=("k", "b"), labels=("a",), batch_size=20, sink=MemorySink(), shuffle=False
    )
    feed = FileShards(tree).feed(request)
    feed.settle(Solo())
    (batch,) = feed.epoch(0)
    feed.close()
    (k, b), (a,) = batch.features, batch.labels
    assert sorted(a.tolist()) == list(range(20))
    assert b.tolist() == [str(n) for n in a] and k.tolist() == [1 if n < 9 else 2 for n in a]


def test_arrays_keep_shape_and_dtype(tmp_path: Path) -> None:
    images = np.arange(5 * 6, dtype="u1").reshape(5, 2, 3)
    pq.write_table(table_of({"image": images}), tmp_path / "x.parquet", row_group_size=2)
    shards = FileShards(tmp_path)
    spec = describe(shards.schema, ["image"])[0]
    read = np.concatenate([to_array(batch.column(0), spec) for _, batch in shards.open(0, 1)])
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images)


def test_a_dataset(tree: Path) -> None:
    dataset = ds.dataset(str(tree / "k=1"), format="parquet", exclude_invalid_files=True)
    assert values(FileShards(dataset)) == list(range(9))
    with pytest.raises(UsageError, match="filtered.*to_table"):
        FileShards(dataset.filter(ds.field("a") > 3))
    (tree / "x.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match="Parquet datasets only"):
        FileShards(ds.dataset(str(tree / "x.csv"), format="csv"))


def test_a_dictionary_column_of_directories(tree: Path) -> None:
    hive = ds.HivePartitioning.discover(infer_dictionary=True)
    paths = [str(tree / "k=1" / "part-0.parquet"), str(tree / "k=2" / "part-0.parquet")]
    shards = FileShards(ds.dataset(paths, format="parquet", partitioning=hive, partition_base_dir=str(tree)))
    assert pa.types.is_dictionary(shards.schema.field("k").type)
    assert values(shards, "k") == [1] * 8 + [2] * 11


def test_fsspec_urls(tree: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(tree), "/zoo-test-files", recursive=True)
    try:
        shards = pickle.loads(pickle.dumps(FileShards("memory://zoo-test-files/k=*/part-0.parquet")))
        assert values(shards) == [*range(8), *range(9, 20)]
    finally:
        memory.rm("/zoo-test-files", recursive=True)


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"No such file or directory: {tmp_path}/none. Check"):
        FileShards(f"{tmp_path}/none")
    with pytest.raises(UsageError, match=f"no Parquet file in {tmp_path}/no.*. Names"):
        FileShards(f"{tmp_path}/no*")
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(UsageError, match=f"no Parquet file in {tmp_path}"):
        FileShards(tmp_path)
    (tmp_path / "x.txt").write_text("a,b")
    with pytest.raises(UsageError, match="x.txt is not a Parquet file"):
        FileShards(tmp_path)


def test_an_empty_file_has_no_parts(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", 0, 0)
    shards = FileShards(tmp_path)
    assert shards.rows == 0 and rows(shards) == [] and shards.peek() is None


def test_files_that_differ(tree: Path) -> None:
    pq.write_table(pa.table({"a": ["1"], "b": ["1"]}), tree / "k=2" / "part-1.parquet")
    with pytest.raises(UsageError, match=r"column 'a' of file .*k=2/part-1.parquet has the type string, but int64"):
        FileShards(tree)
    pq.write_table(pa.table({"a": [1]}), tree / "k=2" / "part-1.parquet")
    with pytest.raises(UsageError, match=r"file .*k=2/part-1.parquet has no column 'b'"):
        FileShards(tree)


def test_a_file_that_is_gone_when_read(tree: Path) -> None:
    shards = FileShards(tree)
    (tree / "k=1" / "part-0.parquet").unlink()
    with pytest.raises(StorageFailed, match=r"could not read .*k=1/part-0.parquet: it does not exist"):
        rows(shards)


def test_credentials_are_not_shown() -> None:
    with pytest.raises((UsageError, StorageFailed)) as caught:
        FileShards("s3://KEY:SECRET@bucket/x?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:1&access=TOKEN")
    seen = str(caught.value) + str(caught.value.__cause__)
    assert "SECRET" not in seen and "TOKEN" not in seen and "bucket" in seen


GROWTH = """
import resource, sys
import pyarrow as pa
from zoo.engine.data.files import FileShards
shards = FileShards(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(batch.num_rows for _, batch in shards.open(0, 1))
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_large_row_group_is_not_loaded_at_once(tmp_path: Path) -> None:
    blob = np.random.default_rng(0).integers(0, 256, (4_000, 10_000), np.uint8)
    table = pa.table({"blob": pa.array([row.tobytes() for row in blob])})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=4_000, compression="none", use_dictionary=False)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    count, grown = map(int, done.stdout.split())
    assert count == 4_000 and grown < 30  # of 40 MB


def test_what_files_tell_of_their_version(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = tree / "k=1/part-1.parquet"
    for path in tree.rglob("*.parquet"):
        os.utime(path, (0, 86400 if path == newest else 3600))
    size = sum(path.stat().st_size for path in tree.glob("k=*/*.parquet"))
    monkeypatch.chdir(tree.parent)
    told = f"3 files, {size:,} bytes, newest of 1970-01-02 00:00:00 UTC"
    for source in (tree, "tree", ds.dataset(str(tree), format="parquet", exclude_invalid_files=True)):
        (found,) = FileShards(source).sources()
        assert (found.kind, found.name, found.version) == ("Parquet files", str(tree), told)
    (one,) = FileShards(newest).sources()
    assert str(one).startswith(f"Parquet files {newest} (1 file, ")
