"""Sets made of directories: one folder of image files for each class, and ImageNet, whose folders are synsets.

Owns: which folder has which label, the listing and the records of both formats.
Leaves: writing them (writing).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zoo.engine import storage
from zoo.engine.errors import UsageError, did_you_mean
from zoo.orca.data.image.cells import Picture, Record
from zoo.orca.data.image.listing import address, files_below, shuffled, some
from zoo.orca.data.image.manifest import Manifest
from zoo.orca.data.image.places import Place
from zoo.orca.data.image.schema import DType, FeatureType, SchemaField
from zoo.orca.data.image.target import Options
from zoo.orca.data.image.writing import Row, write_listed

_log = logging.getLogger(__name__)
_SCALARS = {"label": DType.INT32, "image_id": DType.STRING, "label_str": DType.STRING}
_SCHEMA = {"image": SchemaField(FeatureType.IMAGE, DType.BYTES, ())} | {
    name: SchemaField(FeatureType.SCALAR, dtype, ()) for name, dtype in _SCALARS.items()
}
_SYNSET = re.compile(r"n\d{8}")
_SPLITS = {"validation": ("validation", "val"), "val": ("val", "validation")}


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Image files in folders.

    Attributes:
        root: the directory of the folders.
        format: the set's.
        classes: names by label, where the labels number them.
    """

    root: str
    format: str
    classes: tuple[str, ...]

    @property
    def manifest(self) -> Manifest:
        """``image``, ``label``, ``image_id``, ``label_str``."""
        return Manifest(_SCHEMA, format=self.format, classes=self.classes)

    def reader(self, rows: pa.Table) -> Callable[[Row], Record]:
        """The row says all."""
        return self.record

    def record(self, row: Row) -> Record:
        """The record of one file."""
        name = row["name"]
        return {
            "image": Picture(storage.join(self.root, name), name),
            "label": row["label"],
            "image_id": address(self.root, name),
            "label_str": name.partition("/")[0],
        }


@dataclass(frozen=True, slots=True)
class Shuffle:
    """In which order files are written: by a seed, or, with None, by name."""

    seed: int | None

    def apply(self, listing: pa.Table) -> pa.Table:
        """The listing in that order."""
        return listing if self.seed is None else shuffled(listing, self.seed)


def write_folders(
    directory: str, label_map: Mapping[str, int], path: str, shuffle: Shuffle, options: Options, format: str
) -> None:
    """Writes the files of the folders that `label_map` names.

    Raises:
        UsageError: labels that are no whole numbers, a folder that is not there, or that holds no file.
    """
    _check_labels(label_map)
    listing = files_below(directory, "directory")
    top = [name.partition("/")[0] if "/" in name else "" for name in listing["name"].to_pylist()]
    _check_folders(directory, label_map, top)
    labels = pa.array([label_map.get(name) for name in top], pa.int32())
    listing = listing.append_column("label", labels).filter(pc.is_valid(labels))
    ignored = sorted({name for name in top if name} - set(label_map))
    if ignored:
        _log.info("Folders without a label are left out: %s", some(ignored))
    source = FolderSource(Place(directory), format, _classes(label_map))
    write_listed(path, source, shuffle.apply(listing), options)


def synset_labels(root: str) -> dict[str, int]:
    """The labels of ImageNet's folders: their numbers in the order of their names.

    Raises:
        UsageError: there are none.
    """
    synsets = [name for name in storage.list_names(root) if _SYNSET.fullmatch(name)]
    if not synsets:
        raise UsageError(
            f"{storage.masked(root)} holds no folders called as synsets (n01440764, ...). "
            f"It holds: {some(storage.list_names(root)) or 'nothing'}. Give the directory above them, or above train/ "
            "and validation/; validation images that lie in one folder must be sorted into synsets first."
        )
    return {name: label for label, name in enumerate(synsets)}


def split_of(root: str, split: str) -> str:
    """The directory of a split of ImageNet, which may be `root` itself."""
    names = set(storage.list_names(root))
    for name in _SPLITS.get(split, (split,)):
        if name in names:
            return storage.join(root, name)
    return root


def _check_labels(label_map: Any) -> None:
    if not isinstance(label_map, Mapping) or not label_map:
        raise UsageError(f"label_map must be a dict from folder name to label, {{'cat': 0}}. Received: {label_map!r}")
    limits = np.iinfo(np.int32)
    wrong = {
        name: label
        for name, label in label_map.items()
        if not isinstance(label, int | np.integer) or isinstance(label, bool) or not limits.min <= label <= limits.max
    }
    if wrong:
        raise UsageError(f"labels in label_map must be whole numbers of 32 bits. Received: {some(wrong.items())}")


def _check_folders(directory: str, label_map: Mapping[str, int], top: Sequence[str]) -> None:
    there = sorted(set(top) - {""})
    missing = [name for name in label_map if name not in set(there)]
    if not missing:
        return
    empty = [name for name in missing if storage.exists(storage.join(directory, name))]
    told = f"label_map names folders of {storage.masked(directory)} that "
    told += f"hold no files: {some(empty)}." if empty == missing else f"are not there: {some(missing)}."
    raise UsageError(f"{told}{did_you_mean(str(missing[0]), there)} Folders with files: {some(there) or '(none)'}")


def _classes(label_map: Mapping[str, int]) -> tuple[str, ...]:
    """Names by label, where labels are 0, 1, 2, ... without gaps or twins."""
    names = {int(label): name for name, label in label_map.items()}
    if sorted(names) == list(range(len(label_map))):
        return tuple(names[label] for label in range(len(names)))
    return ()
