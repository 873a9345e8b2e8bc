"""MNIST: 28 x 28 pixels of handwritten digits, in the IDX files of its authors."""

from __future__ import annotations

import gzip
import struct
from typing import IO, Any

import numpy as np

from zoo.engine.errors import DataError, UsageError
from zoo.pipeline.api.keras.datasets.sources import HOME, located

URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def extract_images(f: IO[bytes]) -> np.ndarray:
    """(images, 28, 28, 1), uint8, of a gzip-compressed IDX file.

    Raises:
        DataError: it is another file, or not whole.
    """
    return _idx(f, 3)[..., np.newaxis]


def extract_labels(f: IO[bytes]) -> np.ndarray:
    """(labels,), uint8, of a gzip-compressed IDX file.

    Raises:
        DataError: as `extract_images`.
    """
    return _idx(f, 1)


def read_data_sets(train_dir: str, data_type: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """(images, labels): (n, 28, 28, 1) and (n,), uint8.

    Args:
        train_dir: a folder with the authors' files, which are fetched where they are not there.
        data_type: ``"train"`` (60,000) or ``"test"`` (10,000).

    Raises:
        UsageError: another `data_type`.
    """
    if data_type not in FILES:
        raise UsageError(f"data_type must be 'train' or 'test'. Received: {data_type!r}")
    images, labels = (located(train_dir, name, URL + name) for name in FILES[data_type])
    with images.open("rb") as pixels, labels.open("rb") as numbers:
        return extract_images(pixels), extract_labels(numbers)


def load_data(location: str = f"{HOME}/mnist") -> Any:
    """``(x_train, y_train), (x_test, y_test)`` of `read_data_sets`."""
    return read_data_sets(location, "train"), read_data_sets(location, "test")


def _idx(file: IO[bytes], axes: int) -> np.ndarray:
    try:
        data = gzip.decompress(file.read())
        magic, *shape = struct.unpack_from(f">{axes + 1}I", data)
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"not a gzip-compressed IDX file of MNIST: {error}") from error
    start = 4 * (axes + 1)
    if magic != 0x0800 + axes or len(data) - start != np.prod(shape, dtype=np.int64):
        raise DataError(f"not an IDX file of bytes with {axes} axes, or not whole: {magic:#x}, {shape}, {len(data)} B")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()
