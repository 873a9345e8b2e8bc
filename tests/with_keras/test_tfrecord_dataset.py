"""ImageNet as TFRecord files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import pictures
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image import read_tfrecord, write_tfrecord

pytestmark = [pytest.mark.one_backend, pytest.mark.usefixtures("inline")]


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    pictures.folders(root / "train", n01440764=5, n02000001=4)
    pictures.folders(root / "val", n02000001=2)
    (root / "train" / "n01440764" / "odd.png").write_bytes(pictures.encoded(7, "PNG"))
    return root


def examples(serialized: object) -> list[dict[str, object]]:
    import tensorflow as tf

    found = []
    for record in serialized:
        parsed = tf.train.Example.FromString(record.numpy()).features.feature
        found.append({name: [*one.bytes_list.value, *one.int64_list.value][0] for name, one in parsed.items()})
    return found


def test_every_image_is_in_one_example(imagenet, tmp_path):
    out = str(tmp_path / "out")
    write_tfrecord("imagenet", out, imagenet_path=str(imagenet), train_shards=4, validation_shards=3)
    assert sorted(os.listdir(f"{out}/train")) == [f"train-{number:05}-of-00004" for number in range(4)]
    found = {one["image/filename"]: one for one in examples(read_tfrecord("imagenet", out, is_training=True))}
    assert len(found) == 10 - 4  # both synsets have files of the same names
    train = examples(read_tfrecord("imagenet", out, is_training=True))
    assert sorted(one["image/class/label"] for one in train) == [1] * 6 + [2] * 4
    one = next(one for one in train if one["image/filename"] == "bild-ä04.jpg".encode())
    assert one["image/encoded"] == (imagenet / "train/n01440764/bild-ä04.jpg").read_bytes()
    assert (one["image/width"], one["image/height"], one["image/class/synset"]) == (24, 16, b"n01440764")
    assert found[b"odd.png"]["image/encoded"][:3] == b"\xff\xd8\xff"
    assert len(examples(read_tfrecord("imagenet", out, False))) == 2


def test_the_usual_numbers_of_files(imagenet, tmp_path):
    write_tfrecord("imagenet", str(tmp_path / "out"), str(imagenet), train_shards=2)
    assert len(os.listdir(tmp_path / "out" / "validation")) == 128
    assert (tmp_path / "out/validation/validation-00127-of-00128").exists()


def test_files_that_are_not_all_there_are_refused(imagenet, tmp_path):
    out = tmp_path / "out"
    write_tfrecord("imagenet", str(out), str(imagenet), train_shards=3, validation_shards=1)
    (out / "train" / "train-00001-of-00003").unlink()
    with pytest.raises(UsageError, match=r"2 TFRecord files; their names say \[3\]"):
        read_tfrecord("imagenet", str(out), is_training=True)


def test_mistakes(imagenet, tmp_path):
    with pytest.raises(ValueError, match="voc is not supported, should be 'imagenet'"):
        write_tfrecord("voc", "out")
    with pytest.raises(AssertionError, match="imagenet_path is not specified for format imagenet."):
        write_tfrecord("imagenet", "out")
    with pytest.raises(UsageError, match="neither train nor validation"):
        write_tfrecord("imagenet", "out", str(imagenet / "train"))
    with pytest.raises(UsageError, match="Did you mean 'train_shards'"):
        write_tfrecord("imagenet", "out", str(imagenet), trainshards=1)
    (imagenet / "train" / "n01440764" / "cut.jpg").write_bytes(pictures.encoded(1)[:100])
    with pytest.raises(DataError, match="cut.jpg cannot be decoded: this JPEG is cut off after 100 bytes"):
        write_tfrecord("imagenet", str(tmp_path / "out"), str(imagenet), train_shards=1, validation_shards=1)
    assert np.all([not name.endswith("of-00001") for name in os.listdir(tmp_path / "out" / "train")])
