"""The most memory of a rank that trains on ten times its budget; a process of its own, which is asked when it ends.

memory.py rows|images FEW MANY MEMORY      (prints the bytes that MANY adds at most)
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import Row
from places import folder

MEGABYTES = {"tiny": (40, 4), "quick": (320, 32), "full": (2000, 200)}  # of (the data, the budget)
IMAGE_MEGABYTES = {"tiny": (10, 1), "quick": (320, 32), "full": (1000, 100)}
DISTINCT = {"tiny": 4, "quick": 50, "full": 200}  # pictures; each is in the set many times


def rows(size: str) -> Iterator[Row]:
    """Rows of numbers; images, encoded, that are decoded and transformed on the way."""
    data, budget = MEGABYTES[size]
    yield _row("rows", write, data, budget)
    data, budget = IMAGE_MEGABYTES[size]
    yield _row("images", lambda path, megabytes: write_images(path, megabytes, DISTINCT[size]), data, budget)


def _row(kind: str, make: Callable[[str, int], None], data: int, budget: int) -> Row:
    """The peak beyond what the same process has after the same on 1 MB."""
    with folder() as place:
        few, many = str(place / "few.parquet"), str(place / "many.parquet")
        make(few, 1)
        make(many, data)
        command = [sys.executable, __file__, kind, few, many, f"{budget}m"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    what = f"peak memory of a rank: {data:,} MB of {kind} with memory='{budget}m', beyond that after 1 MB of {kind}"
    return Row(what, "`fit`", "at most", (int(done.stdout.split()[-1]) / 1e6,), budget, "MB", at_most=True)


def write(path: str, megabytes: int) -> None:
    """Rows of 784 floats and a label, in row groups of about 8 MB."""
    draw = np.random.default_rng(0)
    rows_ = 2500
    schema = pa.schema([("x", pa.list_(pa.float32())), ("y", pa.int64())])
    ends = np.arange(0, rows_ * 784 + 1, 784, dtype=np.int32)
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as file:
        for _ in range(max(1, megabytes // 8)):
            x = pa.ListArray.from_arrays(ends, draw.random(rows_ * 784, np.float32))
            file.write_table(pa.Table.from_arrays([x, pa.array(draw.integers(0, 10, rows_))], schema=schema))


def write_images(path: str, megabytes: int, distinct: int) -> None:
    """An image set of JPEG pictures of 640 x 480 and about 100 KB."""
    from zoo.orca.data.image import DType, FeatureType, ParquetDataset, SchemaField

    made = [_picture(number) for number in range(distinct)]
    count = max(1, megabytes * 1_000_000 * distinct // sum(map(len, made)))
    schema = {
        "image": SchemaField(FeatureType.IMAGE, DType.BYTES, ()),
        "label": SchemaField(FeatureType.SCALAR, DType.INT64, ()),
    }
    records = ({"image": made[number % distinct], "label": number % 10} for number in range(count))
    ParquetDataset.write(path, records, schema, block_size=200, errors="keep")


def _picture(seed: int) -> bytes:
    from PIL import Image

    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(smooth + draw.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(noisy).save(file, "JPEG", quality=85)
        return file.getvalue()


def growth(kind: str, few: str, many: str, memory: str) -> int:
    """Bytes that training on `many` adds to the process at most, libraries being there since it trained on `few`."""
    train(kind, few, memory)
    before = _status("VmRSS")
    with open("/proc/self/clear_refs", "w") as mark:
        mark.write("5")  # forgets the peak so far: the imports' own may hide what comes
    train(kind, many, memory)
    return _status("VmHWM") - before


def train(kind: str, path: str, memory: str) -> None:
    """One epoch on one rank in this process."""
    from models import adam, mlp
    from torch import nn

    from zoo.orca.learn.pytorch import Estimator

    asked: dict[str, Any] = {"feature_cols": ["x"], "label_cols": ["y"], "batch_size": 1024}
    if kind == "images":
        asked = {"feature_cols": ["image"], "label_cols": ["label"], "batch_size": 16, "transform": shrunk}
    estimator = Estimator.from_torch(model=lambda config: mlp(), optimizer=adam, loss=nn.CrossEntropyLoss())
    estimator.fit(path, epochs=1, memory=memory, **asked)


def _status(name: str) -> int:
    """Bytes, as the system counts them."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith(name))
    return int(line.split()[1]) * 1024


def shrunk(image: np.ndarray) -> np.ndarray:
    """784 of an image's numbers: float32."""
    return image[::24, ::16, 0].reshape(-1)[:784].astype(np.float32) / 255


if __name__ == "__main__":
    from zoo.engine import session

    session.begin_local(1)
    print(growth(*sys.argv[1:]))
