"""PASCAL VOC: images with boxes in XML files, listed by splits.

Owns: the layout of a ``VOCdevkit``, annotations -> arrays, the records of a set.
Leaves: writing them (writing).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.engine import storage
from zoo.engine.data import images
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image.boxes import flaw_of_box
from zoo.orca.data.image.cells import Picture, Record
from zoo.orca.data.image.listing import address, files_below, some
from zoo.orca.data.image.manifest import Manifest
from zoo.orca.data.image.places import Place
from zoo.orca.data.image.schema import DType, FeatureType, SchemaField
from zoo.orca.data.image.writing import Row

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The twenty classes of VOC 2007 to 2012, in their order."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SCHEMA = {
    "image": SchemaField(FeatureType.IMAGE, DType.BYTES, ()),
    "label": SchemaField(FeatureType.NDARRAY, DType.FLOAT32, (None, 6)),
    "image_id": SchemaField(FeatureType.SCALAR, DType.STRING, ()),
}


class VOCDatasets:
    """The images of some splits with their boxes.

    Iterating gives (path of the image, label), an index gives (image, label): the image as a uint8 array (height,
    width, 3) in RGB, the label as a float32 array (boxes, 6) of xmin, ymin, xmax, ymax, class, difficult; corners in
    pixels as the annotation has them.
    """

    def __init__(
        self,
        root: str = "VOCdevkit",
        splits_names: Sequence[tuple[int | str, str]] = ((2007, "trainval"),),
        classes: Sequence[str] | None = None,
        difficult: bool = False,
    ) -> None:
        """Lists the images.

        Args:
            root: the directory that holds ``VOC2007``, ...; local or a URL.
            splits_names: (year, split), as in ``VOC<year>/ImageSets/Main/<split>.txt``.
            classes: names in the order of their numbers; objects of other classes are left out. None for the twenty of
                VOC, among which each object must be.
            difficult: whether objects that are marked as difficult are given, too.

        Raises:
            UsageError: a split, an annotation or an image that is not there.
        """
        self.source = VOCSource.of(str(root), classes, bool(difficult))
        self._rows = list_images(self.source.root, splits_names).to_pylist()

    @property
    def classes_label(self) -> list[str]:
        """The classes' names, in the order of their numbers."""
        return list(self.source.classes)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        for row in self._rows:
            yield storage.join(self.source.root, row["name"]), self.source.label(row["annotation"])

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        row = self._rows[index]
        return _pixels(storage.join(self.source.root, row["name"])), self.source.label(row["annotation"])


@dataclass(frozen=True, slots=True)
class VOCSource:
    """Images with the boxes of their annotations.

    Attributes:
        root: the directory of the years.
        classes: their names, by number.
        only: whether objects of other classes are left out, in place of an error.
        difficult: whether difficult objects are given.
    """

    root: str
    classes: tuple[str, ...]
    only: bool
    difficult: bool

    @classmethod
    def of(cls, root: str, classes: Sequence[str] | None, difficult: bool = True) -> VOCSource:
        """With the user's classes, or VOC's own."""
        return cls(Place(root), *_classes(classes), difficult)

    @property
    def manifest(self) -> Manifest:
        """``image``, ``label``, ``image_id``."""
        return Manifest(_SCHEMA, format="voc", classes=self.classes)

    def reader(self, rows: pa.Table) -> Callable[[Row], Record]:
        """Reads the row's annotation."""
        return self.record

    def record(self, row: Row) -> Record:
        """The record of one image, whose annotation is read."""
        name = row["name"]
        picture = Picture(storage.join(self.root, name), name)
        return {"image": picture, "label": self.label(row["annotation"]), "image_id": address(self.root, name)}

    def label(self, annotation: str) -> np.ndarray:
        """The boxes of an annotation, by its name below the root.

        Raises:
            DataError: XML that cannot be read, a box that is none, an unknown class.
        """
        url = storage.join(self.root, annotation)
        try:
            tree = ET.fromstring(storage.read_bytes(url))  # noqa: S314  expat bounds what entities grow to
            if tree.tag != "annotation":
                raise ValueError(f"its outermost element is <{tree.tag}>, not <annotation>")
            size = _size(tree)
            boxes = [box for each in tree.iter("object") if (box := self._box(each, size))]
        except (ET.ParseError, ValueError) as error:
            raise DataError(
                f"the annotation {storage.masked(url)} cannot be used: {error}. Correct the file."
            ) from error
        return np.array(boxes, np.float32).reshape(-1, 6)

    def _box(self, found: Any, size: tuple[float, float]) -> list[float] | None:
        """One object of a picture of `size`; None where it is left out. Raises ValueError."""
        name = (found.findtext("name") or "").strip()
        difficult = int(found.findtext("difficult") or 0)
        if name not in self.classes:
            if self.only:
                return None
            raise ValueError(f"it has an object of class '{name}', which is none of VOC's; give classes=[...]")
        if difficult and not self.difficult:
            return None
        texts = {corner: found.findtext(f"bndbox/{corner}") for corner in _CORNERS}
        missing = [corner for corner, text in texts.items() if text is None]
        if missing:
            raise ValueError(f"an object of class '{name}' has no bndbox/{missing[0]}")
        corners = [float(texts[corner] or "") for corner in _CORNERS]
        if wrong := flaw_of_box(corners, size):
            raise ValueError(f"an object of class '{name}' has the box {corners}, {wrong}")
        return [*corners, self.classes.index(name), difficult]


def list_images(root: str, splits_names: Any, lenient: bool = False) -> pa.Table:
    """The images of some splits, each once, in the order of the splits.

    Args:
        root: the directory of the years.
        splits_names: (year, split) pairs.
        lenient: whether an image that is not there is listed all the same, and found broken when it is read.

    Returns:
        ``name`` and ``annotation``, below the root, and sizes and times of both.

    Raises:
        UsageError: no such split, none at all, annotations or images that are not there.
    """
    parts = [_split(root, year, split, lenient) for year, split in _pairs(splits_names)]
    rows = {row["name"]: row for part in parts for row in part}
    if not rows:
        raise UsageError(f"the splits {list(splits_names)} of {storage.masked(root)} name no images.")
    return pa.Table.from_pylist(list(rows.values()))


def _size(tree: Any) -> tuple[float, float]:
    """Width and height; infinite where the annotation does not say them."""
    width, height = (float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    return width if width > 0 else math.inf, height if height > 0 else math.inf


def _classes(classes: Sequence[str] | None) -> tuple[tuple[str, ...], bool]:
    """(names, whether they were chosen)."""
    if classes is None:
        return CLASSES, False
    names = () if isinstance(classes, str) else tuple(classes)
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise UsageError(f"classes must be a list of names, each once. Received: {classes!r}")
    return names, True


def _pairs(splits_names: Any) -> list[tuple[str, str]]:
    pairs = list(splits_names) if isinstance(splits_names, list | tuple) else []
    if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise UsageError(f"splits_names must be a list as [(2007, 'trainval')]. Received: {splits_names!r}")
    return [(str(year), str(split)) for year, split in pairs]


def _split(root: str, year: str, split: str, lenient: bool) -> list[dict[str, Any]]:
    folder = f"VOC{year}"
    place = storage.join(root, folder, "ImageSets", "Main", f"{split}.txt")
    if not storage.exists(place):
        raise UsageError(
            f"there is no split ({year}, '{split}'): no file {storage.masked(place)}. "
            f"{storage.masked(root)} holds: {some(storage.list_names(root)) or 'nothing'}"
        )
    lines = storage.read_bytes(place).decode().splitlines()
    ids = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    pictures = _by_stem(storage.join(root, folder, "JPEGImages"))
    notes = _by_stem(storage.join(root, folder, "Annotations"))
    for what, there, ignored in (("annotation", notes, False), ("image", pictures, lenient)):
        missing = [one for one in ids if one not in there]
        if missing and not ignored:
            where = storage.masked(storage.join(root, folder, "Annotations" if what == "annotation" else "JPEGImages"))
            raise UsageError(
                f"{len(missing)} of the {len(ids)} images of split ({year}, '{split}') have no {what} in {where}: "
                f"{some(missing)}. Add the files, or take the names out of {storage.masked(place)}."
            )
    return [_row(folder, pictures.get(one, {"name": f"{one}.jpg"}), notes[one]) for one in ids]


def _row(folder: str, image: dict[str, Any], note: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{folder}/JPEGImages/{image['name']}",
        "annotation": f"{folder}/Annotations/{note['name']}",
        "stamps": [image.get("size", -1), image.get("changed", -1), note["size"], note["changed"]],
    }


def _by_stem(directory: str) -> dict[str, dict[str, Any]]:
    rows = files_below(directory, "voc_root_path").to_pylist()
    return {row["name"].rpartition(".")[0]: row for row in rows}


def _pixels(url: str) -> np.ndarray:
    return images.decode(storage.read_bytes(url), storage.masked(url))
