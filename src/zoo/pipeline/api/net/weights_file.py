"""The weights that BigDL's ``saveModule(path, weightPath)`` writes beside a module file.

Big-endian: a magic number, the type of the numbers, how many storages, then for each storage its id, its length and its
numbers.

Owns: reading that.
Leaves: which storage is whose (storages).
"""

from __future__ import annotations

import struct

import numpy as np

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.pipeline.api.net.storages import Storages

MAGIC = 3721


def read_weights(url: str, storages: Storages) -> None:
    """Adds the storages of a file of weights.

    Raises:
        UsageError: it is no such file.
        StorageFailed: it cannot be read.
    """
    data = storage.read_bytes(url)
    for itemsize in (4, 8):  # only the right one ends where the file does
        found = _storages(data, itemsize)
        if found is not None:
            for number, values in found.items():
                storages.add(number, [values])
            return
    raise UsageError(
        f"{storage.masked(url)} is not a file of BigDL weights (or is truncated). Give the file that saveModule(path, "
        "weightPath) wrote as weightPath; or save the model with its weights in one file: saveModule(path)."
    )


def _storages(data: bytes, itemsize: int) -> dict[int, np.ndarray] | None:
    if len(data) < 12 or struct.unpack_from(">i", data)[0] != MAGIC:
        return None
    count, at, found = struct.unpack_from(">i", data, 8)[0], 12, {}
    for _ in range(count):
        if at + 8 > len(data):
            return None
        number, length = struct.unpack_from(">ii", data, at)
        at += 8
        if length < 0 or at + length * itemsize > len(data):
            return None
        found[number] = np.frombuffer(data, f">f{itemsize}", length, at).astype(f"<f{itemsize}")
        at += length * itemsize
    return found if at == len(data) else None
