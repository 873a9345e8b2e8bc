"""COCO: images with boxes in one JSON file of instances.

Owns: that file -> a listing with the boxes in it, the records of a set.
Leaves: writing them (writing).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from zoo.engine import storage
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image.boxes import flaw_of_box
from zoo.orca.data.image.cells import Picture, Record
from zoo.orca.data.image.listing import files_below, some
from zoo.orca.data.image.manifest import Manifest
from zoo.orca.data.image.places import Place
from zoo.orca.data.image.schema import DType, FeatureType, SchemaField
from zoo.orca.data.image.writing import Row

_SCHEMA = {
    "image": SchemaField(FeatureType.IMAGE, DType.BYTES, ()),
    "label": SchemaField(FeatureType.NDARRAY, DType.FLOAT32, (None, 6)),
    "category_id": SchemaField(FeatureType.NDARRAY, DType.INT64, (None,)),
    "image_id": SchemaField(FeatureType.SCALAR, DType.INT64, ()),
}
_LISTED = pa.schema(
    [
        ("name", pa.string()), ("image_id", pa.int64()), ("boxes", pa.list_(pa.float32())),
        ("category_id", pa.list_(pa.int64())), ("size", pa.int64()), ("changed", pa.int64()),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class COCOSource:
    """Images with the boxes of their listing.

    Attributes:
        root: the directory of the images.
        classes: the categories' names, in the order of their ids; a label's class is a place in it.
    """

    root: str
    classes: tuple[str, ...]

    @property
    def manifest(self) -> Manifest:
        """``image``, ``label``, ``category_id``, ``image_id``."""
        return Manifest(_SCHEMA, format="coco", classes=self.classes)

    def reader(self, rows: pa.Table) -> Callable[[Row], Record]:
        """The row says all."""
        return self.record

    def record(self, row: Row) -> Record:
        """The record of one image."""
        return {
            "image": Picture(storage.join(self.root, row["name"]), row["name"]),
            "label": np.array(row["boxes"], np.float32).reshape(-1, 6),
            "category_id": np.array(row["category_id"], np.int64),
            "image_id": row["image_id"],
        }


def list_instances(image_directory: str, annotation_file: str, lenient: bool) -> tuple[COCOSource, pa.Table]:
    """Reads the file of instances.

    Args:
        image_directory: where its images lie.
        annotation_file: as ``instances_train2017.json``.
        lenient: whether an image that is not there is listed all the same, and found broken when it is read.

    Raises:
        UsageError: a file that is not there, or images that are not.
        DataError: no file of instances, or one that contradicts itself.
    """
    if not storage.exists(annotation_file):
        raise UsageError(f"annotation_file must be a file that is there. Received: {storage.masked(annotation_file)}")
    shown = storage.masked(annotation_file)
    try:
        said = json.loads(storage.read_bytes(annotation_file))
        categories, images, annotations = (said[name] for name in ("categories", "images", "annotations"))
    except (ValueError, KeyError, TypeError) as error:
        cause = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{shown} is no COCO file of instances: {cause}. "
            "Give the file with 'images', 'annotations' (with bbox) and 'categories', as instances_train2017.json."
        ) from None
    try:
        names = {number: str(one["name"]) for number, one in _numbered("category", categories).items()}
        order = {category: place for place, category in enumerate(sorted(names))}
        found = _numbered("image", images)
        files = {number: str(one["file_name"]) for number, one in found.items()}
        boxes = _boxes(annotations, found, order)
    except (ValueError, KeyError, TypeError) as error:
        cause = f"an entry has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{shown} cannot be used: {cause}. Correct the file.") from None
    listing = _listing(image_directory, files, boxes, lenient)
    return COCOSource(Place(image_directory), tuple(names[category] for category in sorted(names))), listing


def _numbered(kind: str, entries: list[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Entries by their ids. Raises ValueError and KeyError."""
    found: dict[int, Mapping[str, Any]] = {}
    for one in entries:
        if "id" not in one:
            raise ValueError(f"{_an(kind)} {str(dict(one))[:120]} has no id")
        number = int(one["id"])
        if number in found:
            raise ValueError(f"the {kind} id {number} is there twice: {_name(found[number])} and {_name(one)}")
        found[number] = one
    return found


def _name(entry: Mapping[str, Any]) -> str:
    return repr(entry.get("file_name", entry.get("name")))


def _an(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"


def _boxes(
    found: list[Mapping[str, Any]], images: Mapping[int, Mapping[str, Any]], order: Mapping[int, int]
) -> dict[int, list[list[float]]]:
    """For each image its boxes: corners, class, whether it is a crowd, category id. Raises ValueError."""
    boxes = defaultdict[int, list[list[float]]](list)
    for one in found:
        named = f"annotation {one.get('id')}"
        missing = [key for key in ("image_id", "category_id", "bbox") if key not in one]
        if missing:
            raise ValueError(f"{named} has no {missing[0]}")
        image, category = int(one["image_id"]), int(one["category_id"])
        if image not in images or category not in order:
            kind, number = ("image", image) if image not in images else ("category", category)
            raise ValueError(f"{named} is of {kind} {number}, which the file does not have")
        if len(one["bbox"]) != 4:
            raise ValueError(f"{named} has the box {one['bbox']}; a box is [left, top, width, height]")
        left, top, width, height = map(float, one["bbox"])
        corners = [left, top, left + width, top + height]
        if wrong := flaw_of_box(corners, _size(images[image])):
            raise ValueError(f"{named} has the box {one['bbox']} (left, top, width, height), {wrong}")
        boxes[image].append([*corners, order[category], int(one.get("iscrowd", 0)), category])
    return boxes


def _size(image: Mapping[str, Any]) -> tuple[float, float]:
    return float(image.get("width") or math.inf), float(image.get("height") or math.inf)


def _listing(
    directory: str, images: Mapping[int, str], boxes: Mapping[int, list[list[float]]], lenient: bool
) -> pa.Table:  # fmt: skip
    there = {row["name"]: row for row in files_below(directory, "image_directory").to_pylist()}
    missing = [name for name in images.values() if name not in there]
    if missing and not lenient:
        raise UsageError(
            f"{len(missing)} of {len(images)} images are not in {storage.masked(directory)}: {some(missing)}. "
            "Give the directory of these images as image_directory; errors='skip' leaves out what is missing."
        )
    if not images:
        raise UsageError("the annotation file names no images.")
    rows = [
        {
            "name": name,
            "image_id": image,
            "boxes": [value for box in boxes.get(image, []) for value in box[:6]],
            "category_id": [int(box[6]) for box in boxes.get(image, [])],
            "size": there[name]["size"] if name in there else -1,
            "changed": there[name]["changed"] if name in there else -1,
        }
        for image, name in images.items()
    ]
    return pa.Table.from_pylist(rows, _LISTED)
