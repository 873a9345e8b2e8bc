"""Image sets, in this process and on Spark: reading, transforming, arrays, labels, rows for training."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pictures
from zoo.engine.data.adapters import adapt
from zoo.engine.data.images import decoder
from zoo.engine.errors import DataError, UsageError
from zoo.feature.common import ChainedPreprocessing, FeatureSet, TensorToSample
from zoo.feature.image import (
    DistributedImageSet,
    ImageColorJitter,
    ImageFeatureToTensor,
    ImageMatToTensor,
    ImageRandomCrop,
    ImageResize,
    ImageSet,
    ImageSetToSample,
    LocalImageSet,
)

cv2 = decoder()  # with the settings that zoo chooses when OpenCV is loaded
CHAIN = ChainedPreprocessing([ImageColorJitter(), ImageRandomCrop(8, 6), ImageMatToTensor(), ImageSetToSample()])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, three photos."""
    pictures.folders(tmp_path, kätzchen=2, Dogs=1)
    return tmp_path


def seen(name: str, codec: int = 1) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(Path(name).read_bytes(), np.uint8), codec)


def files(photos: Path) -> list[str]:
    return sorted(map(str, photos.rglob("*.jpg")))


def test_reading_here(photos: Path) -> None:
    images = ImageSet.read(str(photos), image_codec=1)
    assert images.is_local() and not images.is_distributed() and images.label_map is None
    for array, name in zip(images.get_image(), files(photos), strict=True):
        assert array.dtype == np.float32 and np.array_equal(array, seen(name).transpose(2, 0, 1))
    assert np.array_equal(images.get_image(to_chw=False)[0], seen(files(photos)[0]))
    assert images.get_label() == [None] * 3
    assert images.get_predict() == [(name, None) for name in files(photos)]
    assert ImageSet.from_image_frame(images).to_image_frame() is images


@pytest.mark.parametrize("first", [0, 1])
def test_classes_are_directories(photos: Path, first: int) -> None:
    images = ImageSet.read(photos, resize_height=5, resize_width=4, with_label=True, one_based_label=bool(first))
    assert images.label_map == {"Dogs": first, "kätzchen": first + 1}
    assert images.get_label() == [first, first + 1, first + 1]
    made = images.transform(ImageMatToTensor())
    assert made.label_map == images.label_map
    assert [array.shape for array in made.get_image("imageTensor")] == [(3, 5, 4)] * 3
    (photos / "loose.jpg").write_bytes(pictures.encoded(1))
    with pytest.raises(UsageError, match=r"loose\.jpg lies in none"):
        ImageSet.read(photos, with_label=True)


def test_broken_images(photos: Path, caplog: Any) -> None:
    (photos / "Dogs" / "a.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"Dogs/a\.jpg cannot be decoded: it begins with b'<html>'"):
        ImageSet.read(photos)
    with caplog.at_level(logging.WARNING):
        assert len(ImageSet.read(photos, errors="skip")) == 3
    assert "1 image(s) were left out" in caplog.text and "Dogs/a.jpg" in caplog.text


def test_arrays_and_labels_of_ones_own() -> None:
    mats = [pictures.pixels(seed) for seed in range(3)]
    images = LocalImageSet(mats, [1, 2, [3, 4]])
    assert np.array_equal(images.get_image("mat", to_chw=False), mats)
    assert images.get_label()[2].tolist() == [3, 4]
    with pytest.raises(UsageError, match="3 images and 1 labels"):
        LocalImageSet(mats, [1])


def test_rows_for_training(photos: Path) -> None:
    images = ImageSet.read(photos, resize_height=8, resize_width=9, with_label=True, image_codec=1)
    plain, tensors = adapt(images), adapt(images.transform(ImageMatToTensor()))
    shapes = [one.shards.schema.field("x").metadata[b"zoo.shape"] for one in (plain, tensors)]
    assert shapes == [b"[8, 9, 3]", b"[3, 8, 9]"]
    assert plain.columns.labels == ("y",)
    assert tensors.shards.table()["y"].to_pylist() == [1, 2, 2]
    assert adapt(FeatureSet.image_set(images).transform(CHAIN).to_dataset()).shards.rows == 3
    assert adapt(LocalImageSet([np.zeros((2, 2, 3), np.uint8)])).columns.labels == ()
    mixed = LocalImageSet([np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)])
    with pytest.raises(DataError, match=r"shapes \(2, 2, 3\) .* and \(3, 2, 3\)"):
        adapt(mixed)


def test_steps_must_give_images(photos: Path) -> None:
    with pytest.raises(DataError, match="must give an image"):
        ImageSet.read(photos).transform(ImageMatToTensor() >> ImageFeatureToTensor())


def test_mistakes(photos: Path) -> None:
    for words, make in [
        ("Path does not exist", lambda: ImageSet.read(photos / "nothing")),
        ("sc must be a SparkContext", lambda: ImageSet.read(photos, sc="local[2]")),
        ("min_partitions", lambda: ImageSet.read(photos, min_partitions=0)),
        ("must be an RDD", lambda: ImageSet.from_rdds([1])),
        ("takes an ImageSet", lambda: ImageSet.from_image_frame(3)),
        ("has no images", lambda: adapt(LocalImageSet())),
        ("DISK_n", lambda: FeatureSet.image_set(LocalImageSet(), "DISK_2")),
        ("PMEM", lambda: FeatureSet.image_set(LocalImageSet(), "PMEM")),
        ("shuffle=False", lambda: FeatureSet.image_set(LocalImageSet(), shuffle=False)),
        ("takes an RDD", lambda: FeatureSet.rdd([1])),
        ("collate_fn", lambda: FeatureSet.pytorch_dataloader([], features="_data[1]")),
        ("in the loader", lambda: FeatureSet.pytorch_dataloader([]).transform(TensorToSample())),
        ("a function", lambda: FeatureSet.tf_dataset(3, 1)),
    ]:
        with pytest.raises(UsageError, match=words):
            make()


def test_spark_and_this_process_give_the_same(on_spark: Any, photos: Path, jobs: Any) -> None:
    before = jobs()
    there = ImageSet.read(str(photos), on_spark.sparkContext, 2, image_codec=1, with_label=True)
    made = there.transform(CHAIN >> ImageResize(4, 4))
    assert made.is_distributed() and made.label_map == {"Dogs": 1, "kätzchen": 2}
    assert jobs() == before
    here = ImageSet.read(str(photos), image_codec=1, with_label=True).transform(CHAIN >> ImageResize(4, 4))
    for key in ("floats", "imageTensor"):
        assert np.array_equal(made.get_image(key).collect(), here.get_image(key))
    assert made.get_label().collect() == here.get_label()
    assert made.get_predict().collect() == here.get_predict()
    assert adapt(made).columns == adapt(here).columns


def test_rdds_of_ones_own(on_spark: Any, tmp_path: Path) -> None:
    sc = on_spark.sparkContext
    mats = [pictures.pixels(seed) for seed in range(4)]
    images = ImageSet.from_rdds(sc.parallelize(mats, 2), sc.parallelize([0, 1, 0, 1], 2))
    assert isinstance(images, DistributedImageSet)
    assert np.array_equal(images.get_image("mat", to_chw=False).collect(), mats)
    assert images.get_label().collect() == [0, 1, 0, 1]
    rows = adapt(FeatureSet.rdd(images.rdd.map(lambda feature: (feature.mat[0, 0] / 2, 1))))
    assert rows.shards.schema.field("x").metadata[b"zoo.shape"] == b"[3]"
    samples = images.transform(ImageMatToTensor() >> ImageSetToSample()).rdd.map(lambda feature: feature["sample"])
    assert adapt(FeatureSet.sample_rdd(samples)).columns.labels == ("y",)
    tripled = FeatureSet.rdd(sc.parallelize([1.0, 2.0], 1)).transform(lambda value: 3 * value)
    assert tripled.data.collect() == [3.0, 6.0]


def test_estimators_train_on_sets(inline: None, photos: Path) -> None:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from zoo.orca.learn.pytorch import Estimator

    images = ImageSet.read(photos, image_codec=1, with_label=True, one_based_label=False).transform(CHAIN)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 6 * 8, 1), torch.nn.Flatten(0))
    estimator = Estimator.from_torch(
        model=model, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), 1e-6)
    )
    loader = DataLoader(TensorDataset(torch.zeros(4, 3, 6, 8), torch.zeros(4)), 2)
    for data, rows in [(images, 3), (FeatureSet.image_set(images), 3), (FeatureSet.pytorch_dataloader(loader), 4)]:
        (stats,) = estimator.fit(data, epochs=1, batch_size=3)
        assert stats["num_samples"] == rows


def test_a_function_that_makes_a_dataset_is_read_by_the_ranks() -> None:
    adapted = adapt(FeatureSet.tf_dataset(lambda: [(np.ones((2, 3)), np.zeros(2))] * 2, 4))
    assert adapted.columns.labels == ("y0",)
    assert [batch.num_rows for _, batch in adapted.shards.open(0, 1)] == [2, 2]
