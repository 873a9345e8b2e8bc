"""Images as XShards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pictures
from zoo.engine import session
from zoo.engine.errors import UsageError, WorkerFailed
from zoo.orca.data.image.preprocessing import read_coco, read_images, read_voc


@pytest.fixture(params=["processes", "spark"])
def place(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "spark":
        request.getfixturevalue("on_spark")
    else:
        session.begin_local(2)
    yield
    session.end()


@pytest.mark.parametrize("place", ["processes"], indirect=True)
def test_images_with_labels_and_with_masks(place, tmp_path: Path):
    pictures.folders(tmp_path / "in", cats=3, dogs=2)
    (tmp_path / "masks" / "cats").mkdir(parents=True)
    for number in range(3):
        mask = pictures.encoded(number, "PNG")
        (tmp_path / "masks" / "cats" / f"bild-ä{number:02}.png").write_bytes(mask)
    found = read_images(str(tmp_path / "in"), label_func=lambda path: path.split("/")[-2])
    assert len(found.collect()) == 5 and found.num_partitions() == 2
    assert [label for _, label in found.collect()] == ["cats"] * 3 + ["dogs"] * 2
    assert {picture.size for picture, _ in found.collect()} == {(24, 16)}
    pairs = read_images(str(tmp_path / "in" / "cats"), target_path=str(tmp_path / "masks" / "cats")).collect()
    assert len(pairs) == 3
    assert np.array_equal(np.asarray(pairs[2][1]), pictures.pixels(2))
    with pytest.raises(UsageError, match=r"2 of 5 images have no target in .*: dogs/bild-ä00.png, dogs/bild-ä01.png"):
        read_images(str(tmp_path / "in"), target_path=str(tmp_path / "masks"))
    with pytest.raises(WorkerFailed, match="ZeroDivisionError"):
        read_images(str(tmp_path / "in"), label_func=lambda path: 1 / 0).collect()


def test_voc_and_coco(place, tmp_path: Path):
    pictures.voc(tmp_path)
    found = read_voc(str(tmp_path), diff=True, max_samples=4).collect()
    assert [label.shape for _, label in found] == [(0, 6), (1, 6), (2, 6), (3, 6)]
    assert found[0][0].size == (24, 16)
    said = pictures.coco(tmp_path / "coco")
    (tmp_path / "coco" / "images").rename(tmp_path / "coco" / "val2017")
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").write_text(json.dumps(said))
    assert [label.shape for _, label in read_coco(str(tmp_path / "coco"), "val").collect()] == [(0, 6), (2, 6)]


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda root: read_images(root), "holds no files that end with '.jpg'"),
        (lambda root: read_images(f"{root}/none"), "file_path must be a directory"),
        (lambda root: read_images(root, backend="cv2"), "backend must be one of"),
        (lambda root: read_images(root, str, root), "not from both"),
        (lambda root: read_voc(root), "no split"),
        (lambda root: read_voc(root, max_samples=0), "max_samples"),
        (lambda root: read_coco(root), "annotation_file must be a file"),
    ],
)
def test_mistakes(tmp_path, call, words):
    with pytest.raises(UsageError, match=words):
        call(str(tmp_path))
