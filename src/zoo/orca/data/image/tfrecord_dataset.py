"""ImageNet as TFRecord files, with the names and features that TensorFlow's own programs for ImageNet read.

Owns: which image is in which file, the features of an example.
Leaves: files and bytes (zoo.engine.frameworks.tensorflow.tfrecords), where tasks run (writing).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.tensorflow import tfrecords
from zoo.orca.data.image import encoded
from zoo.orca.data.image.folders import split_of, synset_labels
from zoo.orca.data.image.listing import files_below, shuffled
from zoo.orca.data.image.writing import spread

__all__ = ["get_filenames", "read_imagenet", "read_tfrecord", "write_imagenet", "write_tfrecord"]

_SHARDS = {"train": 1024, "validation": 128}
_FILE = re.compile(r"\w+-(\d{5})-of-(\d{5})")


def write_imagenet(imagenet_path: str, output_path: str, **kwargs: Any) -> None:
    """Writes ``train/train-00000-of-01024``, ... and ``validation/validation-00000-of-00128``, ..., on the cluster.

    The features of an example are ``image/height, width, colorspace, channels, class/label, class/synset, format,
    filename, encoded``. Labels number the synsets from 1 on, in the order of their names. Images that are no JPEG, or
    have four colours, become JPEG in RGB; all others are written as they are.

    Args:
        imagenet_path: holds ``train`` and, if wanted, ``validation`` or ``val``, each with a folder for each synset.
        output_path: a directory, local or a URL.
        **kwargs: ``seed`` (0) of the random order; ``train_shards`` (1024) and ``validation_shards`` (128), the
            numbers of files.

    Raises:
        UsageError: no synsets there.
        DataError: a broken image.
    """
    known = {"seed": 0} | {f"{split}_shards": count for split, count in _SHARDS.items()}
    unknown = [name for name in kwargs if name not in known]
    if unknown:
        raise UsageError.unknown_argument("write_tfrecord", unknown, known)
    given = known | kwargs
    encoded.pillow()
    tasks: list[_File] = []
    for split in _SHARDS:
        root = split_of(imagenet_path, split)
        if root != imagenet_path:
            tasks += _files(root, storage.join(output_path, split, split), given[f"{split}_shards"], given["seed"])
    if not tasks:
        raise UsageError(f"{storage.masked(imagenet_path)} holds neither train nor validation.")
    spread(_write, tasks)


def get_filenames(is_training: bool, data_dir: str) -> list[str]:
    """The files of ``train`` or of ``validation``.

    Raises:
        UsageError: there are none, or not as many as their names say.
    """
    folder = storage.join(data_dir, "train" if is_training else "validation")
    names = [name for name in storage.list_names(folder) if _FILE.fullmatch(name)]
    counts = {int(found[2]) for name in names if (found := _FILE.fullmatch(name))}
    if counts != {len(names)}:
        raise UsageError(
            f"{storage.masked(folder)} holds {len(names)} TFRecord files; their names say {sorted(counts)}. "
            "Write them with write_tfrecord into an empty directory; a call that was interrupted must be made again."
        )
    return [storage.join(folder, name) for name in names]


def read_imagenet(path: str, is_training: bool) -> Any:
    """The examples of ``train`` or ``validation``, serialized, as a ``tf.data.Dataset``; those of training mixed.

    Raises:
        UsageError: files are missing.
    """
    return tfrecords.read(get_filenames(is_training, path), shuffle=is_training)


def write_tfrecord(format: str, output_path: str, *args: Any, **kwargs: Any) -> None:
    """Writes TFRecord files: see `write_imagenet`.

    Args:
        format: ``"imagenet"``, the only one.
        output_path: a directory.
        *args: ``imagenet_path``.
        **kwargs: the same by name, and those of `write_imagenet`.

    Raises:
        ValueError: another format.
        AssertionError: ``imagenet_path`` is missing.
    """
    _check(format)
    given = dict(zip(["imagenet_path"], args, strict=False)) | kwargs
    if "imagenet_path" not in given:
        raise AssertionError(f"imagenet_path is not specified for format {format}.")
    write_imagenet(str(given.pop("imagenet_path")), str(output_path), **given)


def read_tfrecord(format: str, path: str, *args: Any, **kwargs: Any) -> Any:
    """Reads what `write_tfrecord` wrote: see `read_imagenet`.

    Args:
        format: ``"imagenet"``, the only one.
        path: the directory.
        *args: ``is_training``.
        **kwargs: the same by name.

    Raises:
        ValueError: another format.
        AssertionError: ``is_training`` is missing.
    """
    _check(format)
    given = dict(zip(["is_training"], args, strict=False)) | kwargs
    if "is_training" not in given:
        raise AssertionError(f"is_training is not specified for format {format}.")
    return read_imagenet(str(path), **given)


@dataclass(frozen=True, slots=True)
class _File:
    """One file to write.

    Attributes:
        url: where.
        root: the directory of the synsets.
        images: (name below the root, label), in order.
    """

    url: str
    root: str
    images: tuple[tuple[str, int], ...]


def _files(root: str, stem: str, count: Any, seed: int) -> Iterator[_File]:
    if not isinstance(count, int) or isinstance(count, bool) or not 0 < count < 100_000:
        raise UsageError(f"the number of files must be a whole number from 1 to 99999. Received: {count!r}")
    labels = synset_labels(root)
    names = [name for name in shuffled(files_below(root, "imagenet_path"), seed)["name"].to_pylist() if "/" in name]
    images = [(name, labels[name.split("/")[0]] + 1) for name in names if name.split("/")[0] in labels]
    for number in range(count):
        bounds = slice(len(images) * number // count, len(images) * (number + 1) // count)
        yield _File(f"{stem}-{number:05}-of-{count:05}", root, tuple(images[bounds]))


def _write(file: _File) -> int:
    with encoded.quietly():
        return tfrecords.write(file.url, (_example(file.root, name, label) for name, label in file.images))


def _example(root: str, name: str, label: int) -> bytes:
    url = storage.join(root, name)
    data = storage.read_bytes(url)
    told = encoded.flaw(data, storage.masked(url))
    if told:
        raise DataError(told)
    data, (width, height) = _as_jpeg(data)
    synset, filename = name.split("/")[0], name.rpartition("/")[2]
    return tfrecords.example(
        {
            "image/height": height, "image/width": width, "image/colorspace": b"RGB", "image/channels": 3,
            "image/class/label": label, "image/class/synset": synset.encode(), "image/format": b"JPEG",
            "image/filename": filename.encode(), "image/encoded": data,
        }
    )  # fmt: skip


def _as_jpeg(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """(the image as JPEG of at most three colours, its width and height)."""
    with encoded.pillow().open(io.BytesIO(data)) as picture, io.BytesIO() as file:
        size = picture.size
        if picture.format in ("JPEG", "MPO") and picture.mode in ("RGB", "L"):
            return data, size
        picture.convert("RGB").save(file, "JPEG", quality=100)
        return file.getvalue(), size


def _check(format: str) -> None:
    if format != "imagenet":
        raise UsageError(f"{format} is not supported, should be 'imagenet'.")
