"""How much of an image set is read from its files: all reading processes together, against the set's size.

What counts are the bytes of every read system call (`rchar` of /proc/PID/io) of the processes that read, beyond those
of the same work on a set of a few images: interpreters, libraries and what ranks tell each other. A read that the
system's cache serves counts as well, so a second rank that reads the same bytes cannot hide behind it, as it would in
the disk's own count. Reads through mapped memory are not seen; a first epoch with fewer bytes than the set has would
tell of them, and is an error.

image_disk.py files|plan SET FEW RANK      (prints the bytes of the first epoch and of the second, of one rank of two)
image_disk.py fit SET FEW                  (the same of a program that trains on two local ranks, ranks included)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from images import pictures
from measure import Row
from places import folder

from zoo.orca.data.image import read_parquet, write_parquet

COUNT = {"tiny": 200, "quick": 1000, "full": 6000}
SIDE = {"tiny": 128, "quick": 224, "full": 224}
CHUNKS = 6
RANKS = 2
FEW = 4
BATCH = 64
UNREAD = 0.02  # columns that training does not ask for


def rows(size: str) -> Iterator[Row]:
    """First and second epoch of a loader in either order, and of `fit`."""
    with folder() as place:
        every, few = written(place / "every", COUNT[size], SIDE[size]), written(place / "few", FEW, SIDE[size])
        whole = sum(file.stat().st_size for file in Path(every).rglob("*.parquet"))
        what = f"read of {COUNT[size]:,} images ({whole / 1e6:.0f} MB) on {RANKS} ranks, epoch "
        for order in ("plan", "files")[: 1 if size == "tiny" else None]:
            calls = [[order, every, few, str(rank)] for rank in range(RANKS)]
            with ThreadPoolExecutor(RANKS) as both:
                first, second = (sum(epoch) for epoch in zip(*both.map(counted, calls), strict=True))
            label = f"`read_parquet('dataloader', order='{order}')`"
            yield share(f"{what}1", label, first, whole)
            yield share(f"{what}2", label, second, whole, 101.0 if order == "files" else 1.0)
        first, second = counted(["fit", every, few])
        yield share(f"{what}1", "`fit(transform=...)`", first, whole)
        yield share(f"{what}2", "`fit(transform=...)`", second, whole, 1.0)


def share(what: str, ours: str, count: int, whole: int, target: float = 101.0) -> Row:
    """A row in percent of the set; one that should have read all of it and did not is an error."""
    if target > 100 and count < whole * (1 - UNREAD):
        raise RuntimeError(f"{ours}: {count:,} bytes were counted, and the set has {whole:,}: some reads are not seen.")
    return Row(what, ours, "size of the set", (100 * count / whole,), target, "%", at_most=True)


def written(place: Path, count: int, side: int) -> str:
    """A set of `CHUNKS` files."""
    pictures(place / "files" / "a", count, side)
    path = str(place / "set")
    block = -(-count // CHUNKS)
    write_parquet("image_folder", path, directory=str(place / "files"), label_map={"a": 0}, block_size=block)
    return path


def counted(arguments: Sequence[str]) -> tuple[int, int]:
    """Bytes of (the first epoch, the second) in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    first, second = json.loads(done.stdout.splitlines()[-1])
    return first, second


# --- in that process -------------------------------------------------------------------------------------------------


def read_so_far() -> int:
    """Bytes of this process's reads, and of its children's that have ended."""
    with open("/proc/self/io") as counters:
        return int(counters.readline().split()[1])


def loading(order: str, every: str, few: str, rank: str) -> tuple[int, int]:
    """Of a loader on one rank."""
    make = partial(
        read_parquet, "dataloader", config={"num_shards": RANKS, "rank": int(rank)}, batch_size=BATCH,
        collate_fn=len, order=order,
    )  # fmt: skip
    sum(make(few))  # imports what there is to import
    before = read_so_far()
    loader = make(every)
    sum(loader)
    between = read_so_far()
    sum(loader)
    return between - before, read_so_far() - between


def fitting(every: str, few: str) -> tuple[int, int]:
    """Of `fit`: what epochs add, each fit being in new ranks."""
    from zoo.engine import session

    session.begin_local(RANKS)
    train(few, 1)
    base, once, twice = (cost(partial(train, path, epochs)) for path, epochs in ((few, 1), (every, 1), (every, 2)))
    session.end()
    return once - base, twice - once


def cost(call: Callable[[], Any]) -> int:
    """Bytes that are read while it runs."""
    before = read_so_far()
    call()
    return read_so_far() - before


def train(path: str, epochs: int) -> None:
    """A model so small that what its ranks tell each other is nothing."""
    import torch

    from zoo.orca.learn.pytorch import Estimator

    model = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(model.parameters())
    estimator = Estimator.from_torch(model=model, optimizer=adam, loss=torch.nn.CrossEntropyLoss())
    estimator.fit(
        path, epochs=epochs, batch_size=BATCH, feature_cols=["image"], label_cols=["label"], transform=colour
    )  # fmt: skip


def colour(image: np.ndarray) -> np.ndarray:
    """The mean of each channel: float32 (3,)."""
    return image.mean((0, 1), dtype=np.float32) / 255


if __name__ == "__main__":
    which, *rest = sys.argv[1:]
    print(json.dumps(fitting(*rest) if which == "fit" else loading(which, *rest)))
