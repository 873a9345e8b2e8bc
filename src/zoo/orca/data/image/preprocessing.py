"""Images as XShards: one shard for each image, for what fits the cluster's memory.

Owns: which images there are, pairing them with targets.
Leaves: VOC's and COCO's own files (voc_dataset, coco), shards (zoo.orca.data.shard).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.engine import session, storage
from zoo.engine.data.objects import Call, Item
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.collection import Collection
from zoo.orca.data.image import coco, encoded
from zoo.orca.data.image.listing import files_below, some
from zoo.orca.data.image.voc_dataset import VOCSource, list_images
from zoo.orca.data.shard import XShards

_BACKENDS = ("pillow", "spark")


def read_images(
    file_path: str,
    label_func: Callable[[str], Any] | None = None,
    target_path: str | None = None,
    image_type: str = ".jpg",
    target_type: str = ".png",
    backend: str = "pillow",
) -> XShards:
    """Reads the images below a directory: shards are PIL images, or pairs of an image and its target.

    Args:
        file_path: the directory, local or a URL.
        label_func: makes a target of an image's path.
        target_path: the directory of images that are the targets, by the same names (but for their ending).
        image_type: how the images' names end.
        target_type: how the targets' names end.
        backend: ``"pillow"`` or ``"spark"``; both read the same, where the cluster is.

    Raises:
        UsageError: no such directory, no image in it, an image without its target, both kinds of targets.
        DataError: a broken image.
    """
    if backend not in _BACKENDS:
        raise UsageError(f"backend must be one of {', '.join(map(repr, _BACKENDS))}. Received: {backend!r}")
    if label_func is not None and target_path is not None:
        raise UsageError("a target comes from label_func or from target_path, not from both. Leave one out.")
    stems = _stems(file_path, "file_path", image_type)
    if not stems:
        raise UsageError(f"{storage.masked(file_path)} holds no files that end with {image_type!r} (image_type).")
    if target_path is None:
        return _shards("read_images", list(stems.values()), _labelled, label_func)
    targets = _stems(target_path, "target_path", target_type)
    missing = [stem for stem in stems if stem not in targets]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(stems)} images have no target in {storage.masked(target_path)}: "
            f"{some(f'{stem}{target_type}' for stem in missing)}"
        )
    return _shards("read_images", [(url, targets[stem]) for stem, url in stems.items()], _paired)


def read_voc(
    file_path: str = "VOCdevkit",
    split_names: Sequence[tuple[int | str, str]] | None = None,
    classes: Sequence[str] | None = None,
    diff: bool = False,
    max_samples: int | None = None,
) -> XShards:
    """Reads PASCAL VOC: shards are (PIL image, label), labels as of `VOCDatasets`.

    Args:
        file_path: the directory that holds ``VOC2007``, ...
        split_names: (year, split) pairs; None for ``[(2007, "trainval")]``.
        classes: names in the order of their numbers; None for the twenty of VOC.
        diff: whether difficult objects are given, too.
        max_samples: at most so many images; None for all.

    Raises:
        UsageError: a split, an annotation or an image that is not there.
        DataError: a broken annotation or image.
    """
    if max_samples is not None and (not isinstance(max_samples, int) or max_samples < 1):
        raise UsageError(f"max_samples must be a whole number, at least 1. Received: {max_samples!r}")
    source = VOCSource.of(str(file_path), classes, bool(diff))
    listing = list_images(source.root, split_names or [(2007, "trainval")])
    return _shards("read_voc", listing.slice(0, max_samples).to_pylist(), _recorded, source)


def read_coco(file_path: str, split: str = "train") -> XShards:
    """Reads COCO 2017: shards are (PIL image, label), labels as of `write_coco`.

    Args:
        file_path: holds ``annotations/instances_<split>2017.json`` and ``<split>2017``.
        split: ``"train"`` or ``"val"``.

    Raises:
        UsageError: the file, or an image, is not there.
        DataError: another kind of JSON; a broken image.
    """
    annotations = storage.join(file_path, "annotations", f"instances_{split}2017.json")
    source, listing = coco.list_instances(storage.join(file_path, f"{split}2017"), annotations, lenient=False)
    return _shards("read_coco", listing.to_pylist(), _recorded, source)


def _shards(call: str, rows: Sequence[Any], load: Callable[..., Any], *args: Any) -> XShards:
    """Each row replaced by what `load` makes of it, where the cluster is."""
    encoded.pillow()
    cluster = session.current()
    pieces = np.array_split(np.arange(len(rows)), max(1, min(cluster.slots, len(rows))))
    items = [Item(part, place, rows[at]) for part, piece in enumerate(pieces) for place, at in enumerate(piece)]
    return XShards._of(Collection.placed(cluster, items, len(pieces), Call.of(call, load, *args)).settled())


def _stems(url: str, argument: str, ending: str) -> dict[str, str]:
    """Files that end so: their URLs by their names without the ending."""
    names = [name for name in files_below(url, argument)["name"].to_pylist() if name.endswith(ending)]
    return {name[: len(name) - len(ending)]: storage.join(url, name) for name in names}


def _labelled(url: str, label_func: Callable[[str], Any] | None) -> Any:
    picture = _picture(url)
    return picture if label_func is None else (picture, label_func(url))


def _paired(urls: tuple[str, str]) -> tuple[Any, Any]:
    return _picture(urls[0]), _picture(urls[1])


def _recorded(row: dict[str, Any], source: VOCSource | coco.COCOSource) -> tuple[Any, np.ndarray]:
    record = source.record(row)
    return _picture(record["image"].url), record["label"]


def _picture(url: str) -> Any:
    """The image, decoded as far as it is: its own mode, so that masks keep their numbers."""
    data = storage.read_bytes(url)
    told = encoded.flaw(data, storage.masked(url))
    if told:
        raise DataError(told)
    picture = encoded.pillow().open(io.BytesIO(data))
    return picture.copy()  # of the pixels alone, which travel
