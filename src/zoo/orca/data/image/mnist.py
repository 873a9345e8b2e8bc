"""MNIST's own files: images and labels in the format IDX, also compressed with gzip.

Owns: the format, blocks of records from it.
Leaves: writing them (writing).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from zoo.engine import storage
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image.cells import Record
from zoo.orca.data.image.manifest import Manifest
from zoo.orca.data.image.places import Place
from zoo.orca.data.image.schema import DType, FeatureType, SchemaField
from zoo.orca.data.image.writing import Row

_GZIP = b"\x1f\x8b"
_STEP = 1 << 22


@dataclass(frozen=True, slots=True)
class Idx:
    """A file of unsigned bytes: a head, then items one after the other.

    Attributes:
        url: of the file.
        shape: of one item.
        count: of the items.
        packed: whether it is compressed.
        stamp: its size and time.
    """

    url: str
    shape: tuple[int, ...]
    count: int
    packed: bool
    stamp: tuple[int, int]

    @classmethod
    def look(cls, url: str, argument: str, axes: int) -> Idx:
        """Reads the head, and checks that the file is as long as it says.

        Args:
            url: of the file.
            argument: of the call, which named it.
            axes: of the whole array: 3 for images, 1 for labels.

        Raises:
            UsageError: no such file.
            DataError: it is no IDX file of so many axes, or was cut off.
        """
        files, path = storage.file_system(url)
        shown = storage.masked(url)
        with storage.explained(url, "read"):
            info = files.get_file_info(path)
            if info.type != pafs.FileType.File:
                raise UsageError(f"{argument} must be a file that is there. Received: {shown}")
            with files.open_input_file(path) as file:
                packed = file.read(2) == _GZIP
        stamp = (info.size or 0, info.mtime_ns or -1)
        length = 4 + 4 * axes
        head = _bytes(url, packed, 0, length)
        magic = int.from_bytes(head[:4], "big")
        wanted = 0x0800 + axes
        if len(head) < length or magic != wanted:
            kind = "images" if axes == 3 else "labels"
            raise DataError(
                f"{argument} {shown} begins with the number {magic}, a file of {kind} with {wanted}. "
                f"Give MNIST's own file, as train-{kind}-idx{axes}-ubyte."
            )
        count, *shape = struct.unpack(f">{axes}I", head[4:])
        made = cls(Place(url), tuple(shape), count, packed, stamp)
        made._check_length(argument)
        return made

    def items(self, first: int, count: int) -> np.ndarray:
        """Some items: uint8, (count, *shape)."""
        each = int(np.prod(self.shape, dtype=np.int64))
        data = _bytes(self.url, self.packed, 4 * len(self.shape) + 8 + first * each, count * each)
        if len(data) != count * each:
            raise DataError(f"{storage.masked(self.url)} ends before item {first + count}. Download it again.")
        return np.frombuffer(data, np.uint8).reshape(count, *self.shape)

    def _check_length(self, argument: str) -> None:
        if self.packed:
            self.items(self.count - 1, 1) if self.count else None
            return
        wanted = 4 * len(self.shape) + 8 + self.count * int(np.prod(self.shape, dtype=np.int64))
        if self.stamp[0] != wanted:
            raise DataError(
                f"{argument} {storage.masked(self.url)} has {self.stamp[0]} bytes, {self.count} items take {wanted}. "
                "It was cut off or is damaged: download it again."
            )


@dataclass(frozen=True, slots=True)
class MNISTSource:
    """Images and their labels.

    Attributes:
        images: the file of images.
        labels: the file of labels.
    """

    images: Idx
    labels: Idx

    @classmethod
    def look(cls, image_file: str, label_file: str) -> MNISTSource:
        """Checks both files.

        Raises:
            UsageError: no such file.
            DataError: one that is not what it should be, or another number of labels than of images.
        """
        images, labels = Idx.look(image_file, "image_file", 3), Idx.look(label_file, "label_file", 1)
        if not images.count:
            raise DataError(f"there are no images in {storage.masked(image_file)}. Give MNIST's own file.")
        if images.count != labels.count:
            raise DataError(
                f"there are {images.count} images in {storage.masked(image_file)} and {labels.count} labels in "
                f"{storage.masked(label_file)}. Give two files that belong together."
            )
        return cls(images, labels)

    @property
    def listing(self) -> pa.Table:
        """The items' numbers."""
        return pa.table({"number": np.arange(self.images.count)})

    @property
    def manifest(self) -> Manifest:
        """``image``, ``label``."""
        image = SchemaField(FeatureType.NDARRAY, DType.UINT8, self.images.shape)
        label = SchemaField(FeatureType.NDARRAY, DType.UINT8, ())
        return Manifest({"image": image, "label": label}, format="mnist")

    def reader(self, rows: pa.Table) -> Callable[[Row], Record]:
        """Reads the block that the rows are at once."""
        first = rows["number"][0].as_py()
        images, labels = self.images.items(first, len(rows)), self.labels.items(first, len(rows))

        def record(row: Row) -> Record:
            at = row["number"] - first
            return {"image": images[at], "label": labels[at]}

        return record


def _bytes(url: str, packed: bool, start: int, count: int) -> bytes:
    files, path = storage.file_system(url)
    with storage.explained(url, "read"):
        if not packed:
            with files.open_input_file(path) as file:
                file.seek(start)
                return _whole(file, count)
        with files.open_input_stream(path, compression="gzip") as stream:
            for at in range(0, start, _STEP):
                stream.read(min(_STEP, start - at))
            return _whole(stream, count)


def _whole(stream: Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    return data
