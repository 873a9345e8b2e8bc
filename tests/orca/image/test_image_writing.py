"""Image sets as they are written: what the files hold, what is refused, what an interruption leaves."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import pictures
from pictures import encoded
from zoo.engine import session
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image import (
    DType,
    FeatureType,
    ParquetDataset,
    SchemaField,
    VOCDatasets,
    write_from_directory,
    write_mnist,
    write_parquet,
    write_voc,
)
from zoo.orca.data.image import schema as schemas
from zoo.orca.data.image.cells import batch_of
from zoo.orca.data.image.manifest import METADATA, Manifest

pytestmark = pytest.mark.usefixtures("inline")  # the place, where a test does not say another
IMAGE = SchemaField(FeatureType.IMAGE, DType.BYTES, ())
NUMBER = SchemaField(FeatureType.SCALAR, DType.INT32, ())


def records(path: Path) -> list[dict[str, Any]]:
    """All records of a set in the order of its chunks, read by pyarrow alone; every chunk is as its metadata say."""
    said = Manifest.read(str(path))
    found = []
    for number, chunk in enumerate(said.chunks or ()):
        file = path / f"chunk={number}" / "part-0.parquet"
        table = pq.read_table(file, partitioning=None)
        assert (table.num_rows, file.stat().st_size) == chunk
        found += table.to_pylist()
    assert sorted(os.listdir(path)) == sorted([METADATA, *(f"chunk={at}" for at in range(len(said.chunks or ())))])
    assert {len(os.listdir(path / f"chunk={at}")) for at in range(len(said.chunks or ()))} <= {1}
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A directory with folders of 7 and 5 pictures."""
    pictures.folders(tmp_path / "in", cats=7, dögs=5)
    return tmp_path / "in"


LABELS = {"cats": 0, "dögs": 1}


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["inline", "processes", "spark"])
def place(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "spark":
        request.getfixturevalue("on_spark")
    if request.param == "processes":
        session.begin_local(2)
    yield
    session.end()


def test_folders_are_written_the_same_wherever_the_tasks_run(place, photos, tmp_path):
    out = tmp_path / "sät"
    write_parquet("image_folder", str(out), directory=str(photos), label_map=LABELS, block_size=5)
    found = records(out)
    assert [chunk.rows for chunk in Manifest.read(str(out)).chunks] == [5, 5, 2]
    for one in found:
        name = one["image"]["path"]
        assert one["image"]["bytes"] == (photos / name).read_bytes()
        assert one["label_str"] == name.split("/")[0] and one["label"] == LABELS[one["label_str"]]
        assert one["image_id"] == str(photos / name)
    names = [one["image"]["path"] for one in found]
    assert sorted(names) == sorted(path.relative_to(photos).as_posix() for path in photos.glob("*/*"))
    assert Manifest.read(str(out)).classes == ("cats", "dögs")
    again = tmp_path / "again"
    write_from_directory(str(photos), LABELS, f"file://{again}", block_size=100)
    assert [one["image"]["path"] for one in records(again)] == names != sorted(names)


def test_spark_and_pandas_read_the_files_as_any_others(spark, tmp_path):
    import pandas as pd

    pictures.voc(tmp_path / "kit")
    write_voc(str(tmp_path / "kit"), [(2007, "trainval")], str(tmp_path / "out"), block_size=2)
    frame = spark.read.parquet(str(tmp_path / "out"))
    assert set(frame.columns) == {"image", "label", "image_id", "chunk"}
    rows = frame.orderBy("image_id").collect()
    assert [len(row.label) for row in rows] == [0, 1, 2, 3, 4]
    assert bytes(rows[0].image.bytes) == pictures.encoded(0)
    table = pd.read_parquet(tmp_path / "out" / "chunk=1" / "part-0.parquet")
    assert table.image[1]["path"] == "VOC2007/JPEGImages/0000073.jpg"
    assert np.stack(table.label[1]).shape == (3, 6)


def test_a_voc_label_is_corners_class_and_difficult(tmp_path):
    pictures.voc(tmp_path)
    pictures.voc(tmp_path, 2012, "val", 1)
    write_parquet("voc", str(tmp_path / "out"), voc_root_path=str(tmp_path), splits_names=[(2007, "trainval")])
    write_voc(str(tmp_path), [(2012, "val")], str(tmp_path / "out"), write_mode="append")
    found = records(tmp_path / "out")
    assert found[2]["label"] == [[0, 1, 5.5, 9, 14, 0], [1, 1, 6.5, 9, 11, 1]]
    assert found[0]["label"] == found[5]["label"] == []
    assert found[5]["image_id"] == str(tmp_path / "VOC2012/JPEGImages/0000120.jpg")
    write_voc(str(tmp_path), [(2007, "trainval")], str(tmp_path / "out"), classes=["dog"])
    assert [len(one["label"]) for one in records(tmp_path / "out")] == [0, 0, 1, 1, 2]
    assert Manifest.read(str(tmp_path / "out")).classes == ("dog",)


def test_voc_datasets_iterate_paths_and_index_pixels(tmp_path):
    ids = pictures.voc(tmp_path)
    easy, every = (VOCDatasets(str(tmp_path), [(2007, "trainval")], difficult=flag) for flag in (False, True))
    assert len(every) == 5 and every.classes_label[14] == "person"
    assert [path for path, _ in every] == [str(tmp_path / f"VOC2007/JPEGImages/{one}.jpg") for one in ids]
    assert [label.shape for _, label in every] == [(count, 6) for count in range(5)]
    assert [label.shape for _, label in easy] == [((count + 1) // 2, 6) for count in range(5)]
    pixels, label = every[-1]
    assert pixels.shape == (16, 24, 3) and pixels.dtype == np.uint8 and label.dtype == np.float32


def test_coco_gives_corners_from_widths_and_numbers_categories_in_order(tmp_path):
    pictures.coco(tmp_path)
    where = {"image_directory": str(tmp_path / "images"), "annotation_file": str(tmp_path / "instances.json")}
    write_parquet("coco", str(tmp_path / "out"), **where)
    first, second = records(tmp_path / "out")
    assert first["label"] == [] and first["category_id"] == [] and first["image_id"] == 1
    assert second["label"] == [[1, 2, 11, 7, 1, 0], [0.5, 0, 3.5, 4, 0, 1]] and second["category_id"] == [18, 1]
    assert Manifest.read(str(tmp_path / "out")).classes == ("person", "dog")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_arrays(tmp_path, suffix):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (23, 28, 28)), rng.integers(0, 10, 23)
    files = [pictures.idx(tmp_path / f"images{suffix}", images), pictures.idx(tmp_path / f"labels{suffix}", labels)]
    write_mnist(str(files[0]), str(files[1]), str(tmp_path / "out"), block_size=10)
    found = records(tmp_path / "out")
    assert np.array_equal(np.array([one["image"] for one in found]).reshape(-1, 28, 28), images)
    assert [one["label"] for one in found] == list(labels)


def test_imagenet_numbers_the_synsets(tmp_path):
    pictures.folders(tmp_path / "in" / "train", n02000001=2, n01440764=1)
    pictures.folders(tmp_path / "in" / "val", n02000001=1)
    write_parquet("imagenet", str(tmp_path / "out"), imagenet_path=str(tmp_path / "in"), shuffle=False)
    assert [(one["label"], one["label_str"]) for one in records(tmp_path / "out")] == [
        (0, "n01440764"), (1, "n02000001"), (1, "n02000001"),
    ]  # fmt: skip
    write_parquet("imagenet", str(tmp_path / "val"), imagenet_path=str(tmp_path / "in"), split="validation")
    assert len(records(tmp_path / "val")) == 1


def test_a_generator_is_never_ahead_of_what_is_written(tmp_path):
    alive = []

    def given() -> Iterator[dict[str, Any]]:
        for number in range(200):
            alive.append(number)
            yield {"image": pictures.encoded(number), "n": number}
            written = len(list((tmp_path / "out").glob("chunk=*/part-0.parquet")))
            assert number - 5 * written < 50

    ParquetDataset.write(str(tmp_path / "out"), given(), {"image": IMAGE, "n": NUMBER}, block_size=5)
    assert [one["n"] for one in records(tmp_path / "out")] == alive == list(range(200))


def test_a_set_can_lie_behind_a_url(tmp_path, photos):
    import fsspec

    url = f"memory://zoo-{os.getpid()}/set"
    write_from_directory(str(photos), LABELS, url, block_size=8)
    said = Manifest.read(url)
    assert [chunk.rows for chunk in said.chunks] == [8, 4]
    files = fsspec.filesystem("memory")
    with files.open(f"{url}/chunk=1/part-0.parquet") as file:
        assert pq.read_table(file).num_rows == 4
    with pytest.raises(UsageError, match="already"):
        write_from_directory(str(photos), LABELS, url, write_mode="error")
    copy = tmp_path / "copy"
    for name, data in pictures.folders(copy, cats=2).items():
        files.pipe_file(f"{url}-in/{name}", data)
    write_from_directory(f"{url}-in", {"cats": 3}, str(tmp_path / "out"))
    assert {one["label"] for one in records(tmp_path / "out")} == {3}
    files.rm(f"memory://zoo-{os.getpid()}", recursive=True)


def test_each_file_says_what_it_is(photos, tmp_path):
    write_from_directory(str(photos), LABELS, str(tmp_path / "out"))
    arrow = pq.read_schema(tmp_path / "out" / "chunk=0" / "part-0.parquet")
    assert schemas.from_arrow(arrow) == Manifest.read(str(tmp_path / "out")).schema
    assert schemas.facts_of(arrow)["classes"] == ["cats", "dögs"]
    shown = json.loads(arrow.metadata[b"huggingface"])["info"]["features"]
    assert shown["image"] == {"_type": "Image"} and shown["label"] == {"dtype": "int32", "_type": "Value"}
    assert arrow.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_row_groups_end_at_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.orca.data.image.chunks.GROUP_BYTES", 5000)
    data = pictures.encoded(0, "BMP")  # 1206 bytes
    ParquetDataset.write(str(tmp_path / "out"), ({"image": data} for _ in range(12)), {"image": IMAGE})
    footer = pq.read_metadata(tmp_path / "out" / "chunk=0" / "part-0.parquet")
    assert [footer.row_group(at).num_rows for at in range(footer.num_row_groups)] == [5, 5, 2]
    assert footer.row_group(0).column(0).compression == "UNCOMPRESSED"


def test_a_reader_of_some_rows_reads_some_pages(tmp_path):
    large = bytes(100_000)
    ParquetDataset.write(str(tmp_path / "out"), ({"image": large} for _ in range(64)), {"image": IMAGE}, errors="keep")
    path = tmp_path / "out" / "chunk=0" / "part-0.parquet"
    assert pq.read_metadata(path).num_row_groups == 1
    count = 0

    class Counting(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            nonlocal count
            got = super().readinto(buffer) or 0
            count += got
            return got

        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal count
            got = super().read(size)
            count += len(got)
            return got

    with Counting(path) as file:
        read = pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=False, buffer_size=1 << 16)
        assert next(read.iter_batches(1, columns=["image.bytes"])).num_rows == 1
    assert len(large) <= count < 40 * len(large)


def test_large_images_are_read_ahead_by_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.orca.data.image.chunks.GROUP_BYTES", 1)
    taken: list[int] = []

    def given() -> Iterator[dict[str, Any]]:
        for number in range(40):
            taken.append(number)
            yield {"image": bytes([number]) * (10 << 20)}

    most = []
    monkeypatch.setattr("zoo.orca.data.image.chunks.batch_of", lambda *of: most.append(len(taken)) or batch_of(*of))
    ParquetDataset.write(str(tmp_path / "out"), given(), {"image": IMAGE}, errors="keep")
    assert max(ahead - done for done, ahead in enumerate(most)) <= 64 // 10 + 1
    assert len(most) == 40


# --- what was there before -------------------------------------------------------------------------------------------


def numbers(*values: int) -> Iterator[dict[str, int]]:
    return ({"n": value} for value in values)


def test_the_three_modes(tmp_path):
    out, schema = str(tmp_path / "out"), {"n": NUMBER}
    ParquetDataset.write(out, numbers(1, 2, 3), schema, 2, write_mode="append")
    ParquetDataset.write(out, numbers(4), schema, write_mode="append")
    assert [one["n"] for one in records(tmp_path / "out")] == [1, 2, 3, 4]
    with pytest.raises(UsageError, match="an image set at .* already"):
        ParquetDataset.write(out, numbers(5), schema, write_mode="error")
    with pytest.raises(UsageError, match="other columns"):
        ParquetDataset.write(out, numbers(5), {"m": NUMBER}, write_mode="append")
    ParquetDataset.write(out, numbers(6), schema)
    assert [one["n"] for one in records(tmp_path / "out")] == [6]


def test_a_generator_that_fails_leaves_what_was_appended_to(tmp_path):
    out, schema = str(tmp_path / "out"), {"n": NUMBER}
    ParquetDataset.write(out, numbers(1), schema)
    with pytest.raises(DataError, match="column 'n' of record 1: it must be int32. Received: 'x'"):
        ParquetDataset.write(out, numbers(2, "x"), schema, 1, write_mode="append")
    assert [one["n"] for one in records(tmp_path / "out")] == [1]
    with pytest.raises(DataError, match="no records"):
        ParquetDataset.write(out, [], schema)
    with pytest.raises(DataError, match="keys"):
        ParquetDataset.write(out, [{"m": 1}], schema)
    assert [one["n"] for one in records(tmp_path / "out")] == [1]


def test_a_directory_with_other_things_is_left_alone(tmp_path, photos):
    with pytest.raises(UsageError, match="holds other files \\(cats, dögs\\)"):
        write_from_directory(str(photos), LABELS, str(photos))
    assert len(list(photos.glob("*/*"))) == 12


# --- interruptions ---------------------------------------------------------------------------------------------------

WRITER = """
import sys, time
from zoo.orca.data.image import chunks, write_from_directory
whole = chunks.batch_of
def slow(records, *more):
    if any(record["label_str"] == "dögs" for record in records):
        print("stopped", flush=True)
        time.sleep(60)
    return whole(records, *more)
chunks.batch_of = slow
write_from_directory(sys.argv[1], {"cats": 0, "dögs": 1}, sys.argv[2], shuffle=False, block_size=2)
"""


def killed(photos: Path, out: Path) -> None:
    """Writes a set, and is killed in its fourth chunk."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", WRITER, str(photos), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"stopped\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(20) == -signal.SIGKILL


def test_a_writer_that_is_killed_leaves_no_set_and_the_same_call_completes_it(photos, tmp_path):
    out = tmp_path / "out"
    killed(photos, out)
    with pytest.raises(UsageError, match="is not whole.*The same call to write_parquet again completes it"):
        Manifest.read(str(out))
    assert any(name.endswith(".tmp") for name in os.listdir(out / "chunk=3"))
    before = {at: (out / f"chunk={at}" / "part-0.parquet").stat().st_ino for at in range(3)}
    write_from_directory(str(photos), LABELS, str(out), shuffle=False, block_size=2)
    assert {at: (out / f"chunk={at}" / "part-0.parquet").stat().st_ino for at in range(3)} == before
    found = records(out)
    assert [one["image"]["path"] for one in found] == sorted(one["image"]["path"] for one in found)
    assert len(found) == 12


def test_a_call_with_other_inputs_takes_nothing_of_the_half_written_set(photos, tmp_path):
    out = tmp_path / "out"
    killed(photos, out)
    changed = photos / "cats" / "bild-ä02.jpg"
    changed.write_bytes(pictures.encoded(999))
    before = {at: (out / f"chunk={at}" / "part-0.parquet").stat().st_ino for at in range(3)}
    write_from_directory(str(photos), LABELS, str(out), shuffle=False, block_size=2)
    after = {at: (out / f"chunk={at}" / "part-0.parquet").stat().st_ino for at in range(3)}
    assert [at for at in range(3) if after[at] == before[at]] == [0, 2]
    assert all(one["image"]["bytes"] == (photos / one["image"]["path"]).read_bytes() for one in records(out))
    (out / METADATA).unlink()
    write_from_directory(str(photos), {"cats": 5}, str(out), shuffle=False, block_size=3)
    assert [one["label"] for one in records(out)] == [5] * 7


def test_a_chunk_that_was_cut_off_is_written_again(photos, tmp_path):
    out = tmp_path / "out"
    write_from_directory(str(photos), LABELS, str(out), block_size=4)
    (out / METADATA).unlink()
    file = out / "chunk=1" / "part-0.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    write_from_directory(str(photos), LABELS, str(out), block_size=4)
    assert len(records(out)) == 12 and file.stat().st_size == len(whole)


def test_chunks_that_the_driver_does_not_see_make_no_set(photos, tmp_path, monkeypatch):
    from zoo.orca.data.image import writing

    def elsewhere(fn: Any, tasks: Any) -> list[Any]:
        done = [fn(task) for task in tasks]
        (tmp_path / "out" / "chunk=1" / "part-0.parquet").unlink()
        return done

    monkeypatch.setattr(writing, "spread", elsewhere)
    with pytest.raises(OSError, match="1 of 3 chunks .* are not there for the driver: 1. Give a path"):
        write_from_directory(str(photos), LABELS, str(tmp_path / "out"), block_size=5)
    assert not (tmp_path / "out" / METADATA).exists()


# --- broken images ---------------------------------------------------------------------------------------------------


def spoil(photos: Path) -> None:
    whole = (photos / "cats" / "bild-ä01.jpg").read_bytes()
    (photos / "cats" / "bild-ä01.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "cats" / "bild-ä03.jpg").write_bytes(b"")
    (photos / "dögs" / "notes.txt").write_text("no image")


def test_a_broken_image_is_named_or_left_out_or_kept(photos, tmp_path, caplog):
    spoil(photos)
    call = {"directory": str(photos), "label_map": LABELS, "shuffle": False, "block_size": 4}
    with pytest.raises(DataError, match="bild-ä01.jpg cannot be decoded: this JPEG is cut off .*errors='skip'"):
        write_parquet("image_folder", str(tmp_path / "out"), **call)
    with caplog.at_level(logging.WARNING):
        write_parquet("image_folder", str(tmp_path / "out"), **call, errors="skip")
    assert (
        "3 of 13 images were left out" in caplog.text
        and "notes.txt cannot be decoded: it begins with b'no image'" in caplog.text
    )
    assert Manifest.read(str(tmp_path / "out")).skipped == 3
    assert len(records(tmp_path / "out")) == 10
    write_parquet("image_folder", str(tmp_path / "out"), **call, errors="keep")
    assert len(records(tmp_path / "out")) == 13


def test_a_broken_image_is_named_from_spark_too(on_spark, photos, tmp_path):
    spoil(photos)
    with pytest.raises(DataError, match="(bild-ä0[13].jpg|notes.txt) cannot be decoded: .*errors='skip'") as caught:
        write_from_directory(str(photos), LABELS, str(tmp_path / "out"))
    assert "org.apache.spark" not in "".join(traceback.format_exception(caught.value))


def test_what_was_left_out_is_not_taken_for_whole_by_a_stricter_call(photos, tmp_path):
    spoil(photos)
    write_from_directory(str(photos), LABELS, str(tmp_path / "out"), errors="skip")
    (tmp_path / "out" / METADATA).unlink()
    with pytest.raises(DataError, match="cannot be decoded"):
        write_from_directory(str(photos), LABELS, str(tmp_path / "out"))
    write_from_directory(str(photos), LABELS, str(tmp_path / "out"), errors="skip")
    assert Manifest.read(str(tmp_path / "out")).skipped == 3


def test_a_set_of_broken_images_only_is_none(tmp_path):
    given = ({"image": data} for data in (b"no image", b"none either"))
    with pytest.raises(DataError, match="none of the 2 images can be read"):
        ParquetDataset.write(str(tmp_path / "out"), given, {"image": IMAGE}, errors="skip")
    assert os.listdir(tmp_path / "out") == []


def test_a_link_without_its_file_is_a_broken_image(photos, tmp_path, caplog):
    (photos / "cats" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match="cats/lost.jpg cannot be read: it is not there"):
        write_from_directory(str(photos), LABELS, str(tmp_path / "out"))
    write_from_directory(str(photos), LABELS, str(tmp_path / "out"), errors="skip")
    assert Manifest.read(str(tmp_path / "out")).skipped == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (encoded(1, "ICO", (16, 16)), "is ICO; sets hold .*Convert it"),
        (encoded(1, "TIFF")[:-40], "this TIFF of .* damaged"),
        (b"", "it is empty"),
    ],
)
def test_a_record_without_a_path_is_named_by_its_number(tmp_path, data, told):
    given = [{"image": encoded(1)}, {"image": data}]
    with pytest.raises(DataError, match=f"^the image of record 1 .*{told}"):
        ParquetDataset.write(str(tmp_path / "out"), given, {"image": IMAGE})


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path):
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    with pytest.raises(DataError, match=r"record 0 is too large: .*400000000 pixels.*tiles"):
        ParquetDataset.write(str(tmp_path / "out"), [{"image": bomb.getvalue()}], {"image": IMAGE})


def test_what_gives_no_records_is_no_generator(tmp_path):
    with pytest.raises(UsageError, match="generator must give records.*call it"):
        ParquetDataset.write(str(tmp_path / "out"), lambda: [], {"image": IMAGE})


def test_a_missing_file_of_a_generator_is_named(tmp_path):
    with pytest.raises(DataError, match="gone.jpg cannot be read: it is not there"):
        ParquetDataset.write(str(tmp_path / "out"), [{"image": str(tmp_path / "gone.jpg")}], {"image": IMAGE})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_cut_is_seen_in_every_kind(kind):
    from zoo.orca.data.image.encoded import flaw, quietly

    data = pictures.encoded(0, kind, (200, 150))
    with quietly():
        assert flaw(data) == ""
        assert flaw(data + b"\0" * 3) == ""
        for part in (0.02, 0.3, 0.7, 0.99):
            assert flaw(data[: int(len(data) * part)])


def test_a_kind_that_training_does_not_decode_is_told():
    from zoo.orca.data.image.encoded import flaw

    assert flaw(pictures.encoded(0, "PPM")).startswith("an image is PPM; sets hold JPEG,")


def test_a_flipped_bit_in_a_png_is_seen():
    from zoo.orca.data.image.encoded import flaw

    data = bytearray(pictures.encoded(0, "PNG", (64, 64)))
    data[len(data) // 2] ^= 1
    assert flaw(bytes(data))


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "given", "kind", "words"),
    [
        ("csv", {}, ValueError, "csv is not supported, should be one of 'mnist', 'image_folder', .* and 'coco'."),
        ("mnist", {"image_file": "x"}, AssertionError, "label_file is not specified for format mnist."),
        ("voc", {"voc_root_path": "x"}, AssertionError, "splits_names is not specified for format voc."),
        ("voc", {"voc_root_path": "x", "splits_names": (2007, "val")}, UsageError, r"\[\(2007, 'trainval'\)\]"),
        ("voc", {"voc_root_path": "x", "splits_names": [(2007, "val")]}, UsageError, "no split .2007, 'val'."),
        ("image_folder", {"directory": "x", "label_map": {"a": 0}}, UsageError, "directory that is there"),
        ("image_folder", {"directory": "x", "label_map": {}}, UsageError, "label_map must be a dict"),
        ("image_folder", {"directory": "x", "label_map": {"a": "0"}}, UsageError, "whole numbers"),
        ("image_folder", {"directory": "x", "label_map": {"a": 0}, "seed": -1}, UsageError, "directory that is there"),
        ("image_folder", {"directory": "x", "label_map": {"a": 0}, "blok_size": 1}, UsageError, "mean 'block_size'"),
        ("mnist", {"image_file": "x", "label_file": "y", "block_size": 0}, UsageError, "block_size .* at least 1"),
        ("mnist", {"image_file": "x", "label_file": "y", "errors": "no"}, UsageError, "errors must be one of"),
        ("mnist", {"image_file": "x", "label_file": "y"}, UsageError, "image_file must be a file"),
        ("imagenet", {"imagenet_path": "x"}, UsageError, "no folders called as synsets"),
        ("coco", {"image_directory": "x", "annotation_file": "y"}, UsageError, "annotation_file must be a file"),
    ],
)
def test_a_call_that_cannot_be_is_refused(tmp_path, monkeypatch, format, given, kind, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words):
        write_parquet(format, "out", **given)
    assert os.listdir(tmp_path) == []


def test_a_label_map_of_other_folders_is_refused(photos, tmp_path):
    (photos / "empty").mkdir()
    with pytest.raises(UsageError, match="are not there: dogs. Did you mean 'dögs'. Folders with files: cats, dögs"):
        write_from_directory(str(photos), {"cats": 0, "dogs": 1}, str(tmp_path / "out"))
    with pytest.raises(UsageError, match="hold no files: empty"):
        write_from_directory(str(photos), {"cats": 0, "empty": 1}, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_voc_without_an_annotation_or_an_image_is_refused_before_anything_is_written(tmp_path):
    pictures.voc(tmp_path)
    call = (str(tmp_path), [(2007, "trainval")], str(tmp_path / "out"))
    (tmp_path / "VOC2007" / "JPEGImages" / "0000072.jpg").unlink()
    with pytest.raises(UsageError, match="1 of the 5 images .* have no image in .*JPEGImages: 0000072"):
        write_voc(*call)
    write_voc(*call, errors="skip")
    assert Manifest.read(call[2]).skipped == 1
    (tmp_path / "VOC2007" / "Annotations" / "0000073.xml").unlink()
    with pytest.raises(UsageError, match="have no annotation in .*Annotations: 0000073"):
        write_voc(*call, errors="skip")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation>", "cannot be used: no element found"),
        (pictures.annotation(("dragon", 0, (1, 1, 2, 2))), "class 'dragon', which is none of VOC's; give classes="),
        (pictures.annotation(("dog", 0, (5, 1, 2, 2))), "whose maximum is below its minimum"),
        ("<annotation><object><name>dog</name></object></annotation>", "has no bndbox/xmin"),
        (pictures.annotation(("dog", 0, ("left", 1, 2, 2))), "could not convert string to float: 'left'"),
        (pictures.annotation(("dog", 0, (1, 1, "inf", 2))), "not of finite numbers"),
        (pictures.annotation(("dog", 0, (25, 1, 27, 2))), "outside of its picture of 24 x [?]"),
        ("<svg/>", "outermost element is <svg>, not <annotation>"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, text, words):
    pictures.voc(tmp_path, count=1)
    (tmp_path / "VOC2007" / "Annotations" / "0000070.xml").write_text(text)
    with pytest.raises(DataError, match=f"Annotations/0000070.xml .*{words}"):
        write_voc(str(tmp_path), [(2007, "trainval")], str(tmp_path / "out"))


def test_mnist_files_that_do_not_belong_together_are_refused(tmp_path):
    images = pictures.idx(tmp_path / "images", np.zeros((3, 28, 28)))
    labels = pictures.idx(tmp_path / "labels", np.zeros(4))
    with pytest.raises(DataError, match="3 images in .*images and 4 labels in .*labels"):
        write_mnist(str(images), str(labels), str(tmp_path / "out"))
    with pytest.raises(DataError, match="image_file .*labels begins with the number 2049, a file of images with 2051"):
        write_mnist(str(labels), str(images), str(tmp_path / "out"))
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(DataError, match="has 2367 bytes, 3 items take 2368. It was cut off"):
        write_mnist(str(images), str(labels), str(tmp_path / "out"))
    packed = pictures.idx(tmp_path / "images.gz", np.random.default_rng(0).integers(0, 255, (30, 28, 28)))
    packed.write_bytes(packed.read_bytes()[:5000])
    with pytest.raises((DataError, OSError), match="images.gz"):
        write_mnist(str(packed), str(labels), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_coco_file_that_contradicts_itself_is_refused(tmp_path):
    said = pictures.coco(tmp_path)
    file = tmp_path / "instances.json"
    call = {"image_directory": str(tmp_path / "images"), "annotation_file": str(file)}
    (tmp_path / "images" / "001.jpg").unlink()
    with pytest.raises(UsageError, match="1 of 2 images are not in .*: 001.jpg"):
        write_parquet("coco", str(tmp_path / "out"), **call)
    file.write_text(json.dumps(said | {"categories": said["categories"][:1]}))
    with pytest.raises(DataError, match="annotation 8 is of category 1, which the file does not have"):
        write_parquet("coco", str(tmp_path / "out"), **call)
    file.write_text("{}")
    with pytest.raises(DataError, match="is no COCO file of instances: it has no 'categories'"):
        write_parquet("coco", str(tmp_path / "out"), **call)


@pytest.mark.parametrize(
    ("part", "entry", "words"),
    [
        ("annotations", {"bbox": [1, 2, 3]}, r"annotation 7 has the box \[1, 2, 3\]; a box is"),
        ("annotations", {"bbox": [1, 2, -3, 4]}, "annotation 7 .* maximum is below its minimum"),
        ("annotations", {"bbox": [1, 2, float("nan"), 4]}, "annotation 7 .* finite"),
        ("annotations", {"bbox": [30, 2, 3, 4]}, "annotation 7 .* outside of its picture of 24 x 16"),
        ("annotations", {"bbox": None}, "annotation 7 has no bbox"),
        ("annotations", {"image_id": None}, "annotation 7 has no image_id"),
        ("images", {"id": None}, "an image .*'001.jpg'.* has no id"),
        ("images", {"id": 2}, "the image id 2 is there twice: '001.jpg' and '002.jpg'"),
        ("images", {"file_name": None}, "an entry has no 'file_name'"),
        ("categories", {"id": 1}, "the category id 1 is there twice: 'dog' and 'person'"),
    ],
)
def test_an_entry_of_coco_that_cannot_be_is_named(tmp_path, part, entry, words):
    said = pictures.coco(tmp_path)
    said["images"][1] |= {"width": 24, "height": 16}
    said[part][0] = {key: value for key, value in (said[part][0] | entry).items() if value is not None}
    (tmp_path / "instances.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=f"instances.json cannot be used: {words}"):
        write_parquet("coco", str(tmp_path / "out"), str(tmp_path / "images"), str(tmp_path / "instances.json"))
    assert not (tmp_path / "out").exists()


def test_a_box_may_stick_out_of_its_picture(tmp_path):
    said = pictures.coco(tmp_path)
    said["images"][1] |= {"width": 24, "height": 16}
    said["annotations"][0]["bbox"] = [-1, 2, 26, 30]
    (tmp_path / "instances.json").write_text(json.dumps(said))
    write_parquet("coco", str(tmp_path / "out"), str(tmp_path / "images"), str(tmp_path / "instances.json"))
    assert records(tmp_path / "out")[1]["label"][0][:4] == [-1, 2, 25, 32]
