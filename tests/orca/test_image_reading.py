"""Image sets as torch loaders: which rows come, in which order, as what; and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imagesets
from zoo.engine.data.files import FileShards
from zoo.engine.data.plan import Plan
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image import ParquetDataset
from zoo.orca.data.image.reading import read_as_dataloader, read_parquet

pytest.importorskip("torch")


def same(records: list[Any]) -> list[Any]:
    return records


def numbers(loader: Any) -> list[list[int]]:
    """The numbers of the records in each batch."""
    return [[int(record["number"]) for record in batch] for batch in loader]


def joined(batches: Iterable[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def load(path: str, **arguments: Any) -> Any:
    return read_parquet("dataloader", path, collate_fn=same, **arguments)


GROUPS = [(0, 4), (4, 4), (8, 1)]  # (first row, rows) of a chunk's row groups


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """11 chunks, so that chunk=10 comes before chunk=2 by name; the last has one row."""
    return imagesets.write(tmp_path_factory.mktemp("set") / "set", [9] * 10 + [1])


def test_every_record_comes_as_it_was_written(path: str) -> None:
    (records,) = load(path, batch_size=100)
    assert len(records) == 91
    for number, record in enumerate(records):
        assert list(record) == list(imagesets.SCHEMA)
        assert record["image"] == imagesets.encoded(imagesets.picture(number))
        np.testing.assert_array_equal(record["label"], imagesets.boxes(number))
        np.testing.assert_array_equal(record["mask"], imagesets.mask(number))
        assert record["label"].dtype == np.float32 and record["mask"].dtype == np.uint8
        assert (record["number"], record["image_id"]) == (number, f"id-{number}")
        assert record["number"].dtype == np.int32


def test_upstreams_layout_is_read(tmp_path: Path) -> None:
    path = imagesets.write_upstream(tmp_path / "set", [4, 4, 3])
    (records,) = load(path, batch_size=100, decode=True)
    assert [int(record["number"]) for record in records] == list(range(11))
    for number, record in enumerate(records):
        np.testing.assert_array_equal(record["image"], imagesets.picture(number))
        np.testing.assert_array_equal(record["label"], imagesets.boxes(number))


def test_batches_are_tensors_of_decoded_images(path: str) -> None:
    import torch

    loader = read_as_dataloader(path, batch_size=4, decode=True, columns=["image", "number", "image_id"])
    for number, batch in enumerate(loader):
        assert batch["image"].dtype == torch.uint8 and batch["image"].shape[1:] == (8, 12, 3)
        assert batch["number"].dtype == torch.int32
        np.testing.assert_array_equal(batch["image"][0], imagesets.picture(4 * number))
    assert batch["image_id"] == ["id-88", "id-89", "id-90"]


def test_transforms_are_called_once_for_each_record(path: str) -> None:
    found = list(read_as_dataloader(path, transforms=lambda record: record["number"] * 2, batch_size=7))
    assert [int(value) for batch in found for value in batch] == [2 * number for number in range(91)]


@pytest.mark.parametrize("shards", [1, 2, 3, 11])
@pytest.mark.parametrize("workers", [0, 2])
def test_each_row_is_read_once_by_all_ranks_and_workers(path: str, shards: int, workers: int) -> None:
    if workers and shards == 3:
        pytest.skip("two workers are tried with two other numbers of ranks")
    ranks = [
        joined(numbers(load(path, batch_size=5, config={"num_shards": shards, "rank": r, "num_workers": workers})))
        for r in range(shards)
    ]
    assert sorted(joined(ranks)) == list(range(91))
    for rank, rows in enumerate(ranks):
        chunks = {row // 9 for row in rows}
        assert chunks == set(range(rank, 11, shards))


def test_the_plan_gives_the_same_rows_in_a_step_for_any_number_of_ranks(path: str) -> None:
    alone = [sorted(step) for step in numbers(load(path, order="plan", batch_size=8, seed=3))]
    assert sorted(joined(alone)) == list(range(91)) and [len(step) for step in alone] == [8] * 11 + [3]
    for shards in (2, 3, 40):  # 31 row groups: some of 40 ranks have none
        ranks = [
            numbers_or_none(load(path, order="plan", batch_size=8, seed=3, config={"num_shards": shards, "rank": r}))
            for r in range(shards)
        ]
        assert [sorted(joined(step)) for step in zip(*ranks, strict=True)] == alone


def numbers_or_none(loader: Any) -> list[list[int]]:
    return [[int(record["number"]) for record in batch] if batch else [] for batch in loader]


def test_a_rank_without_rows_in_a_step_has_tensors_without_rows(path: str) -> None:
    import torch

    def empty(**arguments: Any) -> list[Any]:
        ranks = [{"num_shards": 3, "rank": rank} for rank in range(3)]
        loaders = [read_as_dataloader(path, config=r, order="plan", batch_size=2, **arguments) for r in ranks]
        return [batch for loader in loaders for batch in loader if not len(parts(batch)[0])]

    def parts(batch: Any) -> list[Any]:
        return list(batch.values()) if isinstance(batch, dict) else list(batch)

    for batch in empty(decode=True, columns=["image", "number", "image_id"]):
        assert (batch["image"].shape, batch["image"].dtype) == ((0, 8, 12, 3), torch.uint8)
        assert (batch["number"].shape, batch["number"].dtype) == ((0,), torch.int32)
        assert batch["image_id"] == []
    pairs = empty(transforms=lambda record: (record["mask"], record["number"]))
    assert pairs and all([tuple(part.shape) for part in pair] == [(0, 2, 3), (0,)] for pair in pairs)
    own = empty(collate_fn=lambda records: (np.stack([r["mask"] for r in records]), [r["label"] for r in records]))
    assert own and all((pair[0].shape, pair[1]) == ((0, 2, 3), []) for pair in own)


def test_a_creator_trains_on_the_steps_of_the_plan(path: str) -> None:
    from zoo.engine.contracts import FeedRequest, Rank
    from zoo.engine.data.adapters import adapt
    from zoo.engine.events.sinks import MemorySink

    def create(config: dict[str, Any], batch_size: int) -> Any:
        rows = batch_size * config.get("num_shards", 1)
        return read_as_dataloader(
            path, config=config, order="plan", batch_size=rows, transforms=lambda r: (r["mask"], r["number"])
        )

    def read(world: int, epoch: int, start: int = 0) -> list[list[int]]:
        ranks = []
        for r in range(world):
            request = FeedRequest(rank=Rank(r, world), features=(), labels=(), batch_size=6, sink=MemorySink())
            feed = adapt(create).shards.feed(request)
            next(iter(feed.epoch(0)))  # what was read before does not matter
            batches = zip(feed.epoch(epoch, start), range(17), strict=False)
            ranks.append([b.labels[0].tolist() if b.weight else [] for b, _ in batches])
            feed.close()
        return [sorted(joined(step)) for step in zip(*ranks, strict=True)]

    alone = read(1, 2)
    assert sorted(joined(alone)) == list(range(91)) and read(2, 2) == read(3, 2) == alone != read(1, 1)
    assert read(2, 2, start=3)[:10] == alone[3:13]


def test_the_plan_is_the_engines(path: str) -> None:
    chunks = [0, 1, 10, *range(2, 10)]  # row groups come in the order of the files' paths
    groups = [(9 * chunk + at, size) for chunk in chunks for at, size in ([(0, 1)] if chunk == 10 else GROUPS)]
    plan = Plan(tuple(size for _, size in groups), 8, seed=3)
    expected = [
        sorted(groups[p][0] + int(plan.permutation(1, p)[i]) for p, i in zip(part, k, strict=True))
        for part, k in plan.steps_of(range(len(groups)))
    ]
    found = numbers(load(path, order="plan", batch_size=8, seed=3, start=(1, 0)))
    assert [sorted(step) for step in found] == expected


def test_epochs_differ_and_any_step_can_be_the_first(path: str) -> None:
    loader = load(path, order="plan", batch_size=8)
    first, second, third = numbers(loader), numbers(loader), numbers(loader)
    assert first != second != third and sorted(joined(second)) == list(range(91))
    resumed = load(path, order="plan", batch_size=8, start=(1, 5))
    assert (numbers(resumed), numbers(resumed)) == (second[5:], third)
    unshuffled = load(path, order="plan", batch_size=8, shuffle=False)
    assert numbers(unshuffled) == numbers(unshuffled)


def test_rows_of_the_plan_lie_on_disk_beyond_the_memory(path: str) -> None:
    assert numbers(load(path, order="plan", batch_size=8, memory=4000)) == numbers(
        load(path, order="plan", batch_size=8)
    )


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = {3: b"not an image", 6: imagesets.encoded(imagesets.picture(6))[:60]}
    path = imagesets.write(tmp_path / "set", [10], images=broken)
    with pytest.raises(DataError, match=r"a/3\.png cannot be decoded: it begins with b'not an i'"):
        numbers(load(path, decode=True))
    with caplog.at_level(logging.WARNING, "zoo.data"):
        kept = numbers(load(path, decode=True, on_error="skip", batch_size=20))
    assert kept == [[0, 1, 2, 4, 5, 7, 8, 9]]
    assert "2 images were left out" in caplog.text and "a/6.png" in caplog.text
    steps = [
        numbers_or_none(load(path, decode=True, on_error="skip", order="plan", batch_size=5, seed=s)) for s in range(3)
    ]
    assert all(sorted(joined(found)) == kept[0] and len(found) == 2 for found in steps)


def test_images_of_different_sizes_need_a_resize(tmp_path: Path) -> None:
    other = imagesets.encoded(imagesets.picture(1, 20, 30))
    path = imagesets.write(tmp_path / "set", [2], images={1: other})
    loader = read_as_dataloader(path, batch_size=2, decode=True, columns=["image"])
    with pytest.raises(DataError, match=r"'image' has the shapes \(8, 12, 3\) and \(20, 30, 3\)"):
        list(loader)
    (batch,) = read_as_dataloader(
        path, batch_size=2, decode=True, columns=["image"], transforms=lambda record: record["image"][:8, :12]
    )
    assert batch.shape == (2, 8, 12, 3)


def test_a_set_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = imagesets.write(tmp_path / "set", [4, 4])
    (tmp_path / "set" / "_orca_metadata").rename(tmp_path / "kept")
    with pytest.raises(UsageError, match="is not whole.*The same call to write_parquet again completes it"):
        load(path)
    (tmp_path / "kept").rename(tmp_path / "set" / "_orca_metadata")
    shutil.rmtree(tmp_path / "set" / "chunk=1")
    with pytest.raises(DataError, match="chunk 1 should have 4 rows and has 0; 1 such chunks"):
        load(path)


def test_arrays_of_objects_are_not_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = imagesets.write_upstream(tmp_path / "set", [2])
    for file in (tmp_path / "set").rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        bad = [imagesets.npy(np.array([{}, 1], object), pickled=True)] * len(table)
        pq.write_table(table.set_column(1, "label", pa.array(bad, pa.binary())), file)
    with pytest.raises(DataError, match="column 'label' should hold arrays as numpy saves them.*may run code"):
        numbers(load(path))


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"config": {"num_shards": 12, "rank": 0}}, "num_shards should be not larger than partitions.*12.*11 chunks"),
        ({"config": {"num_shards": 2, "rank": 2}}, "rank should be smaller than num_shards.*0 .. 1. Received: 2"),
        ({"config": {"num_shards": 2}}, "has num_shards and no rank"),
        ({"config": {"num_shards": 0, "rank": -1}}, r"2 problems:\n.*'num_shards'(.|\n)*'rank'"),
        ({"order": "random", "batch_size": 0}, r"2 problems:\n.*order must be(.|\n)*batch_size must be"),
        ({"start": (0, 1)}, r"start=\(0, 1\) needs order='plan'"),
        ({"start": (0, -1), "order": "plan"}, r"start must be \(epoch, step\).*Received: \(0, -1\)"),
        ({"start": (0, 93), "order": "plan"}, r"start=\(0, 93\) lies behind the end of its epoch, which has 91 steps"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip'. Received: 'ignore'"),
        ({"columns": ["imag"]}, "(?s)no column 'imag'.*Did you mean 'image'?"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(path: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load(path, **arguments)


def test_other_formats_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="csv is not supported, should be 'tf_dataset' or 'dataloader'."):
        read_parquet("csv", path)
    with pytest.raises(UsageError, match="output_types is not specified for format tf_dataset"):
        read_parquet("tf_dataset", path)


def test_a_set_is_read_as_shards_where_the_cluster_is(path: str, on_spark: Any) -> None:
    shards = ParquetDataset._read_as_xshards(path)
    assert shards.num_partitions() == 11
    found = shards.collect()
    assert np.concatenate([shard["number"] for shard in found]).tolist() == list(range(91))
    assert found[2]["image"][3] == imagesets.encoded(imagesets.picture(21))
    assert found[1]["mask"].shape == (9, 2, 3) and found[1]["mask"].dtype == np.uint8
    np.testing.assert_array_equal(found[1]["label"][2], imagesets.boxes(11))


def test_workers_divide_a_torch_data_set(path: str) -> None:
    from torch.utils.data import DataLoader

    dataset = ParquetDataset.read_as_torch(path, columns=["number"])
    assert sorted(joined(numbers(DataLoader(dataset, 4, num_workers=2, collate_fn=same)))) == list(range(91))


def test_a_plan_is_not_divided_by_workers(path: str) -> None:
    from torch.utils.data import DataLoader

    steps = ParquetDataset.read_as_torch(path, order="plan", batch_size=8)
    batches = iter(DataLoader(steps, None, num_workers=2))
    with pytest.raises(UsageError, match="a loader with 2 worker processes would read each step as often"):
        next(batches)
    batches._shutdown_workers()  # the error's traceback would keep them


def test_workers_decode(path: str) -> None:
    (records,) = load(path, decode=True, columns=["image"], batch_size=91, config={"num_workers": 1})
    np.testing.assert_array_equal(records[90]["image"], imagesets.picture(90))


def test_what_is_written_is_read(tmp_path: Path, inline: None) -> None:
    records = [
        {"image": imagesets.encoded(imagesets.picture(k)), "label": imagesets.boxes(k), "mask": imagesets.mask(k),
         "number": k, "image_id": f"id-{k}"}
        for k in range(10)
    ]  # fmt: skip
    ParquetDataset.write(str(tmp_path / "set"), iter(records), imagesets.SCHEMA, block_size=4)
    (found,) = load(str(tmp_path / "set"), batch_size=20)
    assert len(found) == 10
    for one, record in zip(found, records, strict=True):
        for name, value in record.items():
            np.testing.assert_array_equal(one[name], value)


# --- sets that are not what they say ---------------------------------------------------------------------------------


def spoilt(place: Path, how: str) -> str:
    """A set of two chunks with 6 and 5 rows, of which something is wrong."""
    path = Path(imagesets.write(place / "set", [6, 5]))
    said = json.loads((path / "_orca_metadata").read_text())
    if how == "fewer":
        shutil.rmtree(path / "chunk=1")
    if how == "more":
        shutil.copytree(path / "chunk=1", path / "chunk=2")
    if how == "beside":
        shutil.copy(path / "chunk=1" / "part-0.parquet", path / "a.parquet")
    if how == "cut":
        (path / "chunk=1" / "part-0.parquet").write_bytes((path / "chunk=1" / "part-0.parquet").read_bytes()[:500])
    if how == "newer":
        (path / "_orca_metadata").write_text(json.dumps(said | {"version": 9, "written_by": "zoo 9.0"}))
    if how == "garbled":
        (path / "_orca_metadata").write_bytes(b"\xff{")
    if how == "listed":
        (path / "_orca_metadata").write_text("[1]")
    if how == "bare":
        (path / "_orca_metadata").write_text(json.dumps({"version": 1, "schema": said["schema"]}))
    return str(path)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("fewer", DataError, "chunk 1 should have 5 rows and has 0"),
        ("more", DataError, "chunk 2 should have 0 rows and has 5"),
        ("beside", DataError, r"files outside its chunk=.*a\.parquet"),
        ("cut", UsageError, "chunk=1/part-0.parquet is not a Parquet file .*cut off or damaged"),
        ("newer", UsageError, "set has format 9, written by zoo 9.0; .*Install the newer"),
        ("garbled", DataError, "_orca_metadata is damaged .*Write the set anew"),
        ("listed", DataError, "_orca_metadata is damaged .*no object"),
        ("bare", DataError, "_orca_metadata is damaged .*no 'chunks'"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: read_parquet("dataloader", path), FileShards])
def test_a_set_that_is_not_what_it_says_is_refused_by_all_readers(
    tmp_path: Path, read: Any, how: str, kind: Any, words: str
) -> None:
    path = spoilt(tmp_path, how)
    with pytest.raises(kind, match=words) as caught:
        read(path)
    assert path in str(caught.value)


def test_a_part_of_a_set_may_be_asked_for(tmp_path: Path) -> None:
    path = imagesets.write(tmp_path / "set", [6, 5])
    assert FileShards(f"{path}/chunk=[1-9]").rows == 5
    assert FileShards(f"{path}/chunk=0").rows == 6


def test_a_file_is_no_set(tmp_path: Path) -> None:
    path = imagesets.write(tmp_path / "set", [6])
    with pytest.raises(UsageError, match="an image set is a directory, and .*part-0.parquet is a file"):
        read_parquet("dataloader", f"{path}/chunk=0/part-0.parquet")


# --- calls and functions that cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"columns": "image"}, "columns must list columns, at least one.*Received: 'image'"),
        ({"columns": []}, "columns must list columns"),
        ({"config": "2"}, "config must be a dict.*Received: '2'"),
        ({"transforms": 3}, "transforms must be a function. Received: 3"),
        ({"collate_fn": 3}, "collate_fn must be a function. Received: 3"),
        ({"batchsize": 3}, r"has no argument 'batchsize'. Did you mean 'batch_size'\?"),
    ],
)
def test_a_call_of_a_reader_that_cannot_be_is_refused(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    path = imagesets.write(tmp_path / "set", [6])
    with pytest.raises(UsageError, match=words):
        read_parquet("dataloader", path, **given)


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="path must be that of an image set. Received: None"):
        read_parquet("dataloader", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        (lambda record: None, "transforms=... returned None"),
        (lambda record: {str(record["number"] % 2): 1}, "different keys: .* and "),
    ],
)
def test_a_transform_whose_records_make_no_batch_is_told(tmp_path: Path, transforms: Any, words: str) -> None:
    path = imagesets.write(tmp_path / "set", [6])
    with pytest.raises(DataError, match=words):
        list(read_parquet("dataloader", path, batch_size=3, transforms=transforms))


def test_changing_a_record_in_place_changes_no_other_epoch(tmp_path: Path) -> None:
    def blacken(record: dict[str, Any]) -> dict[str, Any]:
        mean = float(record["image"].mean())
        record["image"][:] = 0
        record["mask"][:] = 0
        return {"number": record["number"], "mean": mean}

    path = imagesets.write(tmp_path / "set", [6])
    loader = read_parquet("dataloader", path, transforms=blacken, decode=True, order="plan", shuffle=False)
    first, second = (
        [(int(one["number"]), float(one["mean"])) for one in loader],
        [(int(one["number"]), float(one["mean"])) for one in loader],
    )
    assert sorted(first) == sorted(second) and all(mean > 0 for _, mean in first)
