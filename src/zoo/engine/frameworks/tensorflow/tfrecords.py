"""TFRecord files: TensorFlow's own format of records one after the other.

Owns: examples as bytes, whole files of them, files as a ``tf.data.Dataset``.
Leaves: what is in an example.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.engine import storage
from zoo.engine.frameworks.tensorflow.process import library

_WHY = "TFRecord files are TensorFlow's"
_READ_AT_ONCE = 10


def example(features: Mapping[str, int | bytes]) -> bytes:
    """A ``tf.train.Example``, serialized."""
    train = library(_WHY).train
    made = {
        name: train.Feature(bytes_list=train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else train.Feature(int64_list=train.Int64List(value=[value]))
        for name, value in features.items()
    }
    return bytes(train.Example(features=train.Features(feature=made)).SerializeToString())


def write(url: str, records: Iterable[bytes]) -> int:
    """Writes a file, which is there whole or not at all; gives the number of its records.

    Raises:
        StorageFailed: it cannot be written.
    """
    count = 0
    with tempfile.TemporaryDirectory(prefix="zoo-records-") as folder, storage.new_file(url) as target:
        place = Path(folder, "records")
        with library(_WHY).io.TFRecordWriter(str(place)) as writer:
            for count, record in enumerate(records, 1):  # noqa: B007  used below
                writer.write(record)
        with open(place, "rb") as written:
            shutil.copyfileobj(written, target, 1 << 20)
    return count


def read(files: Sequence[str], shuffle: bool) -> Any:
    """The records of files, serialized, as a ``tf.data.Dataset``.

    Args:
        files: paths or URLs that TensorFlow itself can open.
        shuffle: whether in each epoch the files come in another order, several of them mixed.
    """
    data = library(_WHY).data
    names = data.Dataset.from_tensor_slices(list(files))
    if not shuffle:
        return data.TFRecordDataset(names)
    mixed = names.shuffle(len(files), reshuffle_each_iteration=True)
    return mixed.interleave(
        data.TFRecordDataset, cycle_length=_READ_AT_ONCE, num_parallel_calls=data.AUTOTUNE, deterministic=False
    )
