"""Delta tables are read by their log: what it has removed is not there, whichever files lie in the directory."""

from __future__ import annotations

import datetime
import itertools
import json
import pickle
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.engine import checkpoint
from zoo.engine.data import delta
from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.data.files import FileShards
from zoo.engine.data.listing import living, where_kept
from zoo.engine.errors import DataError, MissingDependency, StorageFailed, UsageError
from zoo.orca.learn.pytorch import Estimator

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def write(path: Path, values: Sequence[float], **more: Any) -> str:
    table = pa.table({"x": pa.array(values, pa.float32()), **more.pop("columns", {})})
    deltalake.write_deltalake(str(path), table, mode="append", **more)
    return str(path)


def read(data: Any, names: Sequence[str] = ("x",), index: int = 0, world: int = 1) -> list[Any]:
    shards = adapt(data, tuple(names)).shards
    rows = [row for _, batch in shards.open(index, world) for row in batch.to_pylist()]
    return [row[names[0]] if len(names) == 1 else tuple(row.values()) for row in rows]


def log(path: str, version: int) -> Path:
    return Path(path, "_delta_log", f"{version:020}.json")


def appended(path: str, *actions: Mapping[str, Any]) -> None:
    """Writes the next version by hand, as other writers than delta-rs would."""
    version = deltalake.DeltaTable(path).version() + 1
    log(path, version).write_text("".join(f"{json.dumps(action)}\n" for action in actions))


def added(path: str) -> dict[str, Any]:
    (found,) = [json.loads(line)["add"] for line in log(path, 0).read_text().splitlines() if '"add"' in line]
    return dict(found)


def protocol(*features: str) -> dict[str, Any]:
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
                         "readerFeatures": list(features), "writerFeatures": list(features)}}  # fmt: skip


def without_rows(path: str, rows: Sequence[int]) -> None:
    """Deletes rows of the table's only file by a vector: an inline roaring bitmap, as the protocol describes it."""
    head = struct.pack("<IQI", 1681511377, 1, 0) + struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16)
    data = head + struct.pack(f"<{len(rows)}H", *rows)
    vector = {"storageType": "i", "pathOrInlineDv": z85(data), "sizeInBytes": len(data), "cardinality": len(rows)}
    add = added(path)
    removed = {"path": add["path"], "deletionTimestamp": 1, "dataChange": True, "extendedFileMetadata": True,
               "partitionValues": add["partitionValues"], "size": add["size"]}  # fmt: skip
    appended(path, protocol("deletionVectors"), {"remove": removed}, {"add": add | {"deletionVector": vector}})


def z85(data: bytes) -> str:
    data += b"\0" * (-len(data) % 4)
    words = struct.unpack(f">{len(data) // 4}I", data)
    return "".join(Z85[word // 85**power % 85] for word in words for power in (4, 3, 2, 1, 0))


def source(adapted: Adapted) -> str:
    (found,) = adapted.sources()
    return str(found)


def test_removed_files_are_not_read_and_older_versions_are(tmp_path: Path) -> None:
    path = write(tmp_path / "t", range(4))
    write(tmp_path / "t", range(4, 6))
    deltalake.DeltaTable(path).delete("x < 4")
    assert len(list(Path(path).glob("*.parquet"))) == 2, "the removed file must lie there for this test to tell"
    assert sorted(read(path)) == [4, 5] == sorted(read(Path(path))) == sorted(read(f"file://{path}"))
    assert sorted(read(deltalake.DeltaTable(path))) == [4, 5]
    assert sorted(read(deltalake.DeltaTable(path, version=1))) == [0, 1, 2, 3, 4, 5]


def test_the_version_is_told_and_stays_while_others_write(tmp_path: Path) -> None:
    path = write(tmp_path / "t", range(4))
    adapted = adapt(path, ("x",))
    write(tmp_path / "t", [9])
    assert source(adapted) == f"Delta table {path} (version 0)"
    assert adapted.sources()[0].to_json() == {"kind": "Delta table", "name": path, "version": 0}
    assert sum(batch.num_rows for _, batch in adapted.shards.open(0, 1)) == 4
    assert source(adapt(path, ("x",))) == f"Delta table {path} (version 1)"


def test_columns_of_partitions_have_the_types_of_the_table(tmp_path: Path) -> None:
    day, at = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
    columns = {
        "name": ["a b/%ä=?", None], "day": [day, day], "n": pa.array([1, 2], pa.int16()), "on": [True, False],
        "cost": [Decimal("1.20"), Decimal("0.05")], "at": pa.array([at, at], pa.timestamp("us", "UTC")),
    }  # fmt: skip
    path = write(tmp_path / "t", [0, 1], columns=columns, partition_by=list(columns))
    adapted = adapt(path, tuple(columns))
    assert adapted.shards.schema.types[1:] == [
        pa.date32(), pa.int16(), pa.bool_(), pa.decimal128(3, 2), pa.timestamp("us", "UTC"),
    ]  # fmt: skip
    found = sorted(read(path, ("x", *columns)))
    assert found[0] == (0, "a b/%ä=?", day, 1, True, Decimal("1.20"), at)
    assert found[1] == (1, None, day, 2, False, Decimal("0.05"), at)


def test_ranks_share_the_files_and_travel_without_rows(tmp_path: Path) -> None:
    for start in range(0, 30, 5):
        path = write(tmp_path / "t", range(start, start + 5))
    shards = adapt(path, ("x",)).shards
    packed = pickle.dumps(shards)
    shares = [[row["x"] for _, batch in pickle.loads(packed).open(index, 3) for row in batch.to_pylist()]
              for index in range(3)]  # fmt: skip
    assert [len(share) for share in shares] == [10, 10, 10]
    assert sorted(itertools.chain(*shares)) == list(range(30)) and len(packed) < 5000


def test_columns_that_came_later_are_null_where_they_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "t", [1, 2])
    write(tmp_path / "t", [3], columns={"late": [7.0]}, schema_mode="merge")
    assert sorted(read(path)) == [1, 2, 3]
    assert sorted(read(path, ("late", "x")), key=str) == [(7.0, 3.0), (None, 1.0), (None, 2.0)]


def test_times_of_96_bits_are_read_as_the_table_says(tmp_path: Path) -> None:
    at = datetime.datetime(2024, 2, 29, 12, 30, 0, 5, tzinfo=datetime.UTC)
    path = write(tmp_path / "t", [1], columns={"at": pa.array([at], pa.timestamp("us", "UTC"))})
    file = Path(path, added(path)["path"])
    pq.write_table(pq.read_table(file), file, use_deprecated_int96_timestamps=True)  # as Spark writes them
    assert pq.read_table(file).schema.field("at").type.unit == "ns"
    assert read(path, ("at", "x")) == [(at, 1)]


def test_rows_that_a_vector_deletes_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t", range(10), columns={"p": ["a b"] * 10}, partition_by=["p"])
    without_rows(path, [0, 3, 7])
    shards = adapt(path, ("x",)).shards
    assert read(path) == [1, 2, 4, 5, 6, 8, 9] and read(path, ("p",)) == ["a b"] * 7
    assert shards.sizes == (7,)
    first = shards.peek()
    assert first is not None and first.to_pylist() == [{"x": 1}]


@settings(max_examples=60)
@given(
    groups=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    flags=st.lists(st.booleans(), max_size=40),
    piece=st.integers(1, 5),
)
def test_a_masked_file_has_the_rows_that_its_mask_leaves(groups: list[int], flags: list[bool], piece: int) -> None:
    from zoo.engine.data.files import RowGroup

    flags = flags[: sum(groups)]
    whole = [RowGroup("f", number, rows, ()) for number, rows in enumerate(groups)]
    masked = where_kept(whole, {"f": np.array(flags, bool), "other": np.array([False])})
    expected, found, start = [], [], 0
    for group, size in zip(masked, groups, strict=True):
        rows = pa.record_batch({"r": list(range(start, start + size))})
        left = list(living((rows.slice(at, piece) for at in range(0, size, piece)), group.mask))
        assert sum(batch.num_rows for batch in left) == group.rows
        found += [row for batch in left for row in batch.column(0).to_pylist()]
        start += size
    expected = [row for row in range(start) if row >= len(flags) or flags[row]]
    assert found == expected


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ((protocol("deletionVectors", "typeWidening"),), "uses typeWidening"),
        ((protocol("variantType"),), "variantType"),
    ],
)
def test_features_that_are_not_read_are_named(tmp_path: Path, actions: Any, words: str) -> None:
    path = write(tmp_path / "t", [1])
    appended(path, *actions)
    with pytest.raises(UsageError, match=words) as told:
        adapt(path, ("x",))
    assert "spark.read.format('delta')" in str(told.value)


def test_renamed_columns_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t", [1])
    (meta,) = [json.loads(line)["metaData"] for line in log(path, 0).read_text().splitlines() if "metaData" in line]
    field = {"name": "x", "type": "float", "nullable": True,
             "metadata": {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"}}  # fmt: skip
    meta["schemaString"] = json.dumps({"type": "struct", "fields": [field]})
    meta["configuration"] = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1"}
    appended(path, protocol("columnMapping"), {"metaData": meta})
    with pytest.raises(UsageError, match="columnMapping, which zoo does not read"):
        adapt(path, ("x",))


def test_parts_of_a_table_are_no_plain_files(tmp_path: Path) -> None:
    path = write(tmp_path / "t", [1, 2], columns={"k": [1, 2]}, partition_by=["k"])
    for part in ("k=1", "k=*", "*/*.parquet", "k=1/part-*.parquet"):
        with pytest.raises(UsageError, match="names files of the Delta table .*/t, whose log"):
            adapt(f"{path}/{part}", ("x",))
    with pytest.raises(UsageError, match="holds the Delta table .*/t, whose log"):
        adapt(str(tmp_path), ("x",))
    with pytest.raises(UsageError, match="holds the Delta table"):
        FileShards(path)


def test_a_damaged_log_and_an_empty_table_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "t", [1])
    deltalake.DeltaTable(path).delete()
    with pytest.raises(UsageError, match="has no rows in version 1"):
        adapt(path, ("x",))
    for entry in Path(path, "_delta_log").iterdir():
        entry.unlink()
    with pytest.raises(StorageFailed, match="the log of the Delta table .*/t cannot be read"):
        adapt(path, ("x",))


def test_a_file_that_was_vacuumed_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t", [1])
    name = added(path)["path"]
    Path(path, name).unlink()
    with pytest.raises(StorageFailed, match=f"could not read {path}/{name}"):
        adapt(path, ("x",))


def test_a_value_beyond_the_tables_type_names_the_column(tmp_path: Path) -> None:
    path = write(tmp_path / "t", [1], columns={"n": pa.array([1], pa.int32())})
    file = Path(path, added(path)["path"])
    pq.write_table(pa.table({"x": pa.array([1.0], pa.float32()), "n": pa.array([2**40])}), file)
    with pytest.raises(DataError, match="column 'n' cannot be read as int32"):
        read(path, ("n",))
    pq.write_table(pa.table({"x": [[1.0]], "n": pa.array([1], pa.int32())}), file)
    with pytest.raises(UsageError, match="column 'x' of file .* has the type list<element: double>, but float"):
        adapt(path, ("x",))


def test_without_deltalake_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t", [1])
    monkeypatch.setitem(__import__("sys").modules, "deltalake", None)
    with pytest.raises((MissingDependency, ModuleNotFoundError)) as told:
        adapt(path, ("x",))
    assert isinstance(told.value, MissingDependency) and "pip install 'openzoo[delta]'" in str(told.value)


def test_credentials_of_a_table_go_to_its_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = deltalake.DeltaTable(write(tmp_path / "t", [1, 2]), storage_options={"aws_secret_access_key": "hidden!"})
    monkeypatch.setattr(delta.storage, "is_local", lambda url: False)  # a remote table's way to its files, here
    listing, told = delta.listed(table)
    assert isinstance(listing.dataset.filesystem, pafs.PyFileSystem)
    monkeypatch.undo()
    shards = pickle.loads(pickle.dumps(FileShards(listing)))
    assert [row for _, batch in shards.open(0, 1) for row in batch.to_pylist()] == [{"x": 1}, {"x": 2}]
    assert "hidden!" not in f"{listing} {told} {shards}"


def test_predictions_stand_beside_all_columns(tmp_path: Path, inline: None) -> None:
    columns = {"y": np.linspace(-2, 2, 64), "v": pa.array([[1.0, 2.0]] * 64, pa.list_(pa.float32()))}
    path = write(tmp_path / "t", np.linspace(-1, 1, 64), columns=columns)
    without = deltalake.DeltaTable(path)
    without.delete("y > 1.9")
    model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
    estimator = Estimator.from_torch(model=model, optimizer=torch.optim.SGD, loss=torch.nn.MSELoss())
    (stats,) = estimator.fit(path, batch_size=8, feature_cols=["v"], label_cols=["y"])
    assert stats["num_samples"] == 62
    assert estimator.evaluate(without, feature_cols=["v"], label_cols=["y"])["num_samples"] == 62
    table = estimator.predict(path, feature_cols=["v"])
    assert table.column_names == ["x", "y", "v", "prediction"] and table.num_rows == 62
    assert f"data      Delta table {path} (version 1)" in str(estimator.report())


def test_the_version_is_in_the_checkpoint_and_another_one_is_said_on_going_on(
    tmp_path: Path, inline: None, caplog: pytest.LogCaptureFixture
) -> None:
    path, models = write(tmp_path / "t", np.linspace(-1, 1, 32), columns={"y": np.ones(32)}), str(tmp_path / "m")

    def trained(data: Any, load: bool) -> Any:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Unflatten(0, (-1, 1)), torch.nn.Linear(1, 1), torch.nn.Flatten(0))
        made = Estimator.from_torch(
            model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), loss=torch.nn.MSELoss(), model_dir=models
        )
        if load:
            made.load_checkpoint(models)
        made.fit(data, batch_size=8, feature_cols=["x"], label_cols=["y"])
        return checkpoint.load(made.latest_checkpoint()).plan["sources"]

    assert trained(path, load=False) == [{"kind": "Delta table", "name": path, "version": 0}]
    write(tmp_path / "t", [0.5], columns={"y": [1.0]})
    trained(deltalake.DeltaTable(path, version=0), load=True)
    assert not caplog.records
    assert trained(path, load=True) == [{"kind": "Delta table", "name": path, "version": 1}]
    assert [record.getMessage() for record in caplog.records] == [
        f"the checkpoint was trained on Delta table {path} (version 0); "
        f"training goes on with Delta table {path} (version 1)."
    ]
