"""NNImageReader on real Spark: what cv2.imread says, which files there are, what is said about broken ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pictures
from objectstore import KEY, SECRET, ObjectStore
from zoo.engine import storage
from zoo.engine.data.images import decoder
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.feature.common import ChainedPreprocessing
from zoo.feature.image import (
    ImageCenterCrop,
    ImageChannelNormalize,
    ImageFeatureToTensor,
    ImageMatToTensor,
    ImageResize,
    ImageSet,
    RowToImageFeature,
)
from zoo.feature.image.image_feature import mat_of
from zoo.pipeline.nnframes import NNImageReader, NNImageSchema, with_origin_column

cv2 = decoder()  # with the settings that zoo chooses when OpenCV is loaded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos in sub-directories, and pictures of other kinds, with odd names."""
    pictures.folders(tmp_path, cats=2, dogs=1)
    noise = np.random.default_rng(0)
    kinds = {
        "grau ß.png": noise.integers(0, 255, (6, 5), np.uint8),
        "alpha.png": noise.integers(0, 255, (6, 5, 4), np.uint8),
        "deep.png": noise.integers(0, 65535, (6, 5), np.uint16),
        "rgb48.png": noise.integers(0, 65535, (6, 5, 3), np.uint16),
    }
    for name, pixels in kinds.items():
        (tmp_path / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    turned = Image.fromarray(pictures.pixels(3))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / ".hidden").write_text("no image")
    (tmp_path / "Thumbs.db").write_text("no image")
    return tmp_path


def seen(path: Path, codec: int) -> np.ndarray:
    """As OpenCV reads a file; not by its path, for other systems' sake."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), codec)


@pytest.mark.parametrize("codec", [-1, 0, 1])
def test_pixels_are_those_of_imread(on_spark: Any, folder: Path, codec: int) -> None:
    rows = NNImageReader.readImages(str(folder), on_spark.sparkContext, image_codec=codec).collect()
    files = sorted(path for path in folder.rglob("*.*g"))
    assert [row.image.origin for row in rows] == [str(path) for path in files]
    for row, path in zip(rows, files, strict=True):
        wanted = seen(path, codec)
        assert np.array_equal(mat_of(row.image.asDict()), wanted)
        assert (row.image.height, row.image.width) == wanted.shape[:2]


def test_modes_are_opencvs(on_spark: Any, folder: Path) -> None:
    frame = NNImageReader.readImages(str(folder / "*.png"))
    modes = {Path(row.image.origin).name: (row.image.mode, row.image.nChannels) for row in frame.collect()}
    assert modes == {"grau ß.png": (0, 1), "alpha.png": (24, 4), "deep.png": (2, 1), "rgb48.png": (18, 3)}
    assert frame.schema == NNImageSchema.image_schema()


def test_the_schema_is_that_of_sparks_image_source(on_spark: Any, folder: Path) -> None:
    theirs = on_spark.read.format("image").load(str(folder / "cats"))
    ours = NNImageReader.readImages(str(folder / "cats"), image_codec=1)
    assert ours.schema == theirs.schema
    sizes = ("height", "width", "nChannels", "mode")
    assert [[row.image[key] for key in sizes] for row in theirs.collect()] == [
        [row.image[key] for key in sizes] for row in ours.collect()
    ]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("{0}/cats", 2),
        ("{0}/cats,{0}/dogs", 3),
        ("{0}/*/*0.jpg", 2),
        ("file://{0}/cats", 2),
        ("{0}/grau ß.png", 1),
        ("{0}/{{cats,dogs}}/*", 3),
        ("{0}/{{dogs,none}},{0}/*.{{png,gif}}", 5),
        ("{0}/{{none,{{none,c{{a,o}}ts}}/*0,dogs/*}}.jpg", 2),
    ],
)
def test_paths(on_spark: Any, folder: Path, path: str, count: int) -> None:
    assert NNImageReader.readImages(path.format(folder)).count() == count


def test_images_are_resized_and_reading_is_lazy(folder: Path, jobs: Any) -> None:
    (folder / "cats" / "0.jpg").write_text("no image")
    before = jobs()
    frame = NNImageReader.readImages(str(folder / "cats"), resizeH=8, resizeW=9, image_codec=1)
    frame = frame.where("image.height > 0")
    assert jobs() == before
    (folder / "cats" / "0.jpg").write_bytes(pictures.encoded(7))
    rows = frame.collect()
    for row in rows:
        wanted = cv2.resize(seen(Path(row.image.origin), 1), (9, 8))
        assert np.array_equal(mat_of(row.image.asDict()), wanted)
    assert len(rows) == 3


def test_partitions(on_spark: Any, folder: Path) -> None:
    frame = NNImageReader.readImages(str(folder), minPartitions=5)
    assert frame.rdd.getNumPartitions() == 5
    assert frame.count() == 8


def test_a_broken_image_is_named(on_spark: Any, folder: Path) -> None:
    whole = (folder / "cats" / "bild-ä00.jpg").read_bytes()
    (folder / "cats" / "cut ü.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Exception, match=r"cut ü\.jpg cannot be decoded: this JPEG is cut off"):
        NNImageReader.readImages(str(folder / "cats")).count()
    assert NNImageReader.readImages(str(folder / "cats"), errors="skip").count() == 2


def test_mistakes_are_told_at_once(on_spark: Any, folder: Path) -> None:
    for words, wrong in [
        ("Path does not exist", {"path": str(folder / "nothing")}),
        ("there are no files", {"path": str(folder / "*.gif")}),
        ("minPartitions", {"path": str(folder), "minPartitions": 0}),
        ("Received: height 3, width -1", {"path": str(folder), "resizeH": 3}),
        ("image_codec", {"path": str(folder), "image_codec": "grey"}),
        ("errors must be", {"path": str(folder), "errors": "ignore"}),
    ]:
        with pytest.raises(UsageError, match=words):
            NNImageReader.readImages(**wrong)


def test_origins(on_spark: Any, folder: Path) -> None:
    frame = NNImageReader.readImages(str(folder / "cats")).withColumnRenamed("image", "my.picture")
    told = with_origin_column(frame, "my.picture", "from").collect()
    assert [row["from"] for row in told] == [row["my.picture"].origin for row in told]
    with pytest.raises(ColumnNotFound, match="imageColumn"):
        with_origin_column(frame)
    with pytest.raises(UsageError, match="holds no images"):
        with_origin_column(on_spark.range(2), "id")


def test_a_chain_takes_rows_and_structs(on_spark: Any, folder: Path) -> None:
    chain = ChainedPreprocessing([
        RowToImageFeature(), ImageResize(20, 30), ImageCenterCrop(16, 12),
        ImageChannelNormalize(123.68, 116.779, 104.0), ImageMatToTensor(), ImageFeatureToTensor(),
    ])  # fmt: skip
    frame = NNImageReader.readImages(str(folder / "cats"), image_codec=1)
    rows = frame.collect()
    made = chain(frame.rdd).collect()
    for row, one in zip(rows, made, strict=True):
        mat = cv2.resize(seen(Path(row.image.origin), 1), (30, 20))[4:16, 7:23].astype(np.float32)
        wanted = (mat - np.float32([104.0, 116.779, 123.68])).transpose(2, 0, 1)
        assert one.dtype == np.float32 and np.array_equal(one, wanted)
        assert np.array_equal(chain.apply(row.image.asDict()), wanted)
    with pytest.raises(DataError, match="the image of a row is null"):
        chain.apply({"image": None})


def test_remote_files(on_spark: Any, folder: Path, s3: str, object_store: ObjectStore) -> None:
    for path in (folder / "cats").iterdir():
        storage.write_atomically(storage.join(s3, "cats", path.name), path.read_bytes())
    storage.write_atomically(storage.join(s3, "cats", "x.jpg"), b"none")
    keys = f"{KEY}:{SECRET}@"  # in the URL: the tests' Spark was started before the variables were set
    options = f"?scheme=http&endpoint_override={object_store.endpoint.removeprefix('http://')}"
    there = f"s3://{keys}{s3.removeprefix('s3://')}/cats"
    rows = NNImageReader.readImages(f"{there}/bild*{options}", image_codec=1).collect()
    local = NNImageReader.readImages(str(folder / "cats"), image_codec=1).collect()
    assert [row.image.data for row in rows] == [row.image.data for row in local]
    assert [row.image.origin.rpartition("/")[2] for row in rows] == ["bild-ä00.jpg", "bild-ä01.jpg"]
    assert not any(SECRET in row.image.origin or "endpoint" in row.image.origin for row in rows)
    assert NNImageReader.readImages(there + options, errors="skip").count() == 2
    with pytest.raises(Exception, match=r"x\.jpg cannot be decoded"):
        NNImageReader.readImages(there + options).count()
    found = ImageSet.read(f"s3://{keys}{s3.removeprefix('s3://')}{options}", with_label=True, errors="skip")
    assert found.label_map == {"cats": 1} and found.get_label() == [1, 1]
