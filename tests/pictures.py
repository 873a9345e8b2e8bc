"""Image files and data sets in their own formats, small, made by tests."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np


def pixels(seed: int, size: tuple[int, int] = (24, 16)) -> np.ndarray:
    """Noise: uint8, (height, width, 3); `size` is (width, height)."""
    return np.random.default_rng(seed).integers(0, 256, (*reversed(size), 3), np.uint8)


def encoded(seed: int, kind: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
    """A picture of `pixels`."""
    from PIL import Image

    with io.BytesIO() as file:
        Image.fromarray(pixels(seed, size)).save(file, kind)
        return file.getvalue()


def folders(root: Path, **sizes: int) -> dict[str, bytes]:
    """Folders with so many pictures each; gives the bytes by name below `root`."""
    made = {}
    for at, (folder, count) in enumerate(sizes.items()):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            name = f"{folder}/bild-ä{number:02}.jpg"
            made[name] = encoded(100 * at + number)
            (root / name).write_bytes(made[name])
    return made


BOX = "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>"


def annotation(*objects: tuple[str, int, tuple[float, ...]]) -> str:
    """An annotation with objects of (class, difficult, corners)."""
    found = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult>{BOX.format(*corners)}"
        f"<part><name>head</name>{BOX.format(1, 1, 2, 2)}</part></object>"
        for name, difficult, corners in objects
    )
    return f"<annotation><size><width>24</width></size>{found}</annotation>"


def voc(root: Path, year: int = 2007, split: str = "trainval", count: int = 5) -> list[str]:
    """A VOCdevkit: image i has i objects; gives the ids."""
    folder = root / f"VOC{year}"
    for name in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ids = [f"{year % 100:06}{number}" for number in range(count)]
    for number, one in enumerate(ids):
        (folder / "JPEGImages" / f"{one}.jpg").write_bytes(encoded(number))
        objects = [("dog" if at % 2 else "person", at % 2, (at, 1, at + 5.5, 9)) for at in range(number)]
        (folder / "Annotations" / f"{one}.xml").write_text(annotation(*objects))
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(ids) + "\n")
    return ids


def coco(root: Path) -> dict[str, Any]:
    """Two images, one of them without boxes; ``root/images`` and ``root/instances.json``."""
    (root / "images").mkdir(parents=True)
    for number in (1, 2):
        (root / "images" / f"{number:03}.jpg").write_bytes(encoded(number))
    said = {
        "images": [{"id": 1, "file_name": "001.jpg"}, {"id": 2, "file_name": "002.jpg"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 7, "image_id": 2, "category_id": 18, "bbox": [1, 2, 10, 5], "iscrowd": 0},
            {"id": 8, "image_id": 2, "category_id": 1, "bbox": [0.5, 0, 3, 4], "iscrowd": 1},
        ],
    }
    (root / "instances.json").write_text(json.dumps(said))
    return said


def idx(path: Path, array: np.ndarray) -> Path:
    """An IDX file; compressed where its name ends with ``.gz``."""
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
