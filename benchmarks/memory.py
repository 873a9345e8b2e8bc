"""The most memory of a rank that trains on many times its budget; a process of its own, asked when it ends.

memory.py PARQUET MEMORY      (prints the process's peak in bytes; MEMORY 0: only what training needs anyway)
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import Row
from places import folder

MEGABYTES = {"tiny": (16, 4), "quick": (256, 64), "full": (2000, 512)}  # of (the data, the budget)


def rows(size: str) -> Iterator[Row]:
    """The peak beyond that of the same program on a few rows."""
    data, budget = MEGABYTES[size]
    with folder() as place:
        write(str(place / "few.parquet"), 1)
        write(str(place / "many.parquet"), data)
        with ThreadPoolExecutor(2) as both:  # side by side: the peak of a process is its own
            few, many = both.map(lambda name: _peak(str(place / name), budget), ("few.parquet", "many.parquet"))
    what = f"peak memory of a rank: {data:,} MB of rows with memory='{budget}m', beyond that of 1 MB of rows"
    yield Row(what, "`fit`", "at most", ((many - few) / 1e6,), budget, "MB", at_most=True)


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


def _peak(path: str, budget: int) -> int:
    command = [sys.executable, __file__, path, f"{budget}m"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def train(path: str, memory: str) -> int:
    """One epoch on one rank in this process; its peak in bytes."""
    from models import adam, mlp
    from torch import nn

    from zoo.engine import session
    from zoo.orca.learn.pytorch import Estimator

    session.begin_local(1)
    estimator = Estimator.from_torch(model=lambda config: mlp(), optimizer=adam, loss=nn.CrossEntropyLoss())
    estimator.fit(path, epochs=1, batch_size=1024, feature_cols=["x"], label_cols=["y"], memory=memory)
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(train(*sys.argv[1:]))
