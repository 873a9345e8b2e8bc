"""Images from a data set to decoded batches: zoo against other readers of the same JPEG files.

Each gives all images as batches of uint8 (rows, height, width, 3), as a torch `DataLoader` does or would: a directory
read with Pillow by a loop, and by as many processes as cores; Parquet with Hugging Face's `datasets`; WebDataset's tar
files; LitData's chunks. Of each the faster of no process and one a core counts. A library that is not installed is left
out, with a line that says so.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import Row, compared, in_turns, timed
from PIL import Image
from places import folder
from torch.utils.data import DataLoader, Dataset, default_collate

from zoo.engine.optional import installed
from zoo.orca.data.image import DType, FeatureType, SchemaField, read_as_dataloader
from zoo.orca.data.image.manifest import Chunk, Manifest
from zoo.orca.data.image.schema import to_arrow

COUNT = {"tiny": 24, "quick": 900, "full": 6000}
TURNS = {"tiny": 1, "quick": 3, "full": 7}
SIZES = {"tiny": (48,), "quick": (224,), "full": (64, 224)}
BATCH = 64
GROUP_BYTES = 8 << 20
SCHEMA = {
    "image": SchemaField(FeatureType.IMAGE, DType.BYTES, ()),
    "label": SchemaField(FeatureType.SCALAR, DType.INT32, ()),
}

Epoch = Callable[[], Iterable[Any]]


@dataclass(frozen=True)
class Reader:
    """Another way to read.

    Attributes:
        name: in the table.
        package: that it needs; empty for none.
        made: (directory of images, a new place, worker processes) -> reads an epoch.
    """

    name: str
    package: str
    made: Callable[[Path, Path, int], Epoch]


def rows(size: str) -> Iterator[Row]:
    """Images per second against each of `READERS`; then how long the middle of an epoch takes to be found."""
    torch.set_num_threads(1)
    for side in SIZES[size]:
        with folder() as place:
            count = COUNT[size] if side < 100 else COUNT[size] // 3
            directory = pictures(place / "directory", count, side)
            path = written(directory, place / "set")
            ours = fastest(partial(zoo_epoch, path), count)
            for reader in there(READERS[: 1 if size == "tiny" else None]):
                theirs = fastest(partial(begun, reader, directory, place), count)
                seconds = in_turns(ours.drain, theirs.drain, TURNS[size])
                what = f"{count:,} JPEG of {side} x {side} to decoded batches"
                names = (f"`read_as_dataloader`, {ours.workers} workers", f"{reader.name}, {theirs.workers} workers")
                yield compared((what, *names), *seconds, 1.0)
            yield Row(*SEEK, tuple(seek(path, count) for _ in range(TURNS[size])), None, "ms", at_most=True)


def begun(reader: Reader, directory: Path, place: Path, workers: int) -> Epoch:
    """Another reader, with files of its own."""
    return reader.made(directory, place / f"{reader.name.split()[0]}-{workers}", workers)


class Compared(Protocol):
    """Another library, or none.

    Attributes:
        name: in the table.
        package: that it needs; empty for none.
    """

    name: str
    package: str


Other = TypeVar("Other", bound=Compared)


def there(others: Iterable[Other]) -> Iterator[Other]:
    """Those whose packages are installed; says which are not."""
    for one in others:
        if not one.package or installed(one.package):
            yield one
        else:
            print(f"# {one.name} is not installed: `make bench` puts it into .venv/bench", file=sys.stderr)


SEEK = ("first batch from the middle of an epoch, set already read", "order='plan'", "no seek: reads half an epoch")


def seek(path: str, count: int) -> float:
    """Milliseconds to the first batch at the middle of epoch 3."""
    loader = read_as_dataloader(path, None, None, BATCH, decode=True, order="plan", start=(3, count // BATCH // 2))
    began = time.perf_counter()
    batches = iter(loader)
    next(batches)
    took = time.perf_counter() - began
    del batches
    return took * 1000


@dataclass(frozen=True)
class Fastest:
    """How a reader is fastest.

    Attributes:
        epoch: reads an epoch.
        workers: processes that it has.
    """

    epoch: Epoch
    workers: int

    def drain(self) -> None:
        """Reads an epoch."""
        for _ in self.epoch():
            pass


def fastest(made: Callable[[int], Epoch], count: int) -> Fastest:
    """The faster of no worker and one a core; each gives every image."""
    found = []
    for workers in (0, len(os.sched_getaffinity(0))):
        one = Fastest(made(workers), workers)
        seen = sum(len(batch) for batch in one.epoch())
        assert seen == count, f"{seen} of {count} images"
        found.append((timed(one.drain), workers, one))
    return min(found, key=lambda one: one[:2])[2]


def zoo_epoch(path: str, workers: int) -> Epoch:
    """Ours."""
    loader = read_as_dataloader(path, {"num_workers": workers}, pixels, BATCH, decode=True, columns=["image"])
    return lambda: loader


def pixels(record: dict[str, Any]) -> np.ndarray:
    """The image of a record."""
    image: np.ndarray = record["image"]
    return image


# --- the others ------------------------------------------------------------------------------------------------------


def opened(file: Any) -> np.ndarray:
    """With Pillow."""
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


class Files(Dataset[np.ndarray]):
    """A directory."""

    def __init__(self, directory: Path) -> None:
        self.files = sorted(directory.iterdir())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        return opened(self.files[index])


def directory_epoch(directory: Path, place: Path, workers: int) -> Epoch:
    """A loader over files."""
    loader = DataLoader(Files(directory), BATCH, num_workers=workers)
    return lambda: loader


def datasets_epoch(directory: Path, place: Path, workers: int) -> Epoch:
    """Hugging Face's, over the same Parquet files."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    files = sorted(str(file) for file in (directory.parent / "set").rglob("*.parquet"))
    dataset = datasets.Dataset.from_parquet(files, cache_dir=str(place)).select_columns(["image"])
    dataset = dataset.cast_column("image", datasets.Image(mode="RGB"))
    loader = DataLoader(dataset, BATCH, num_workers=workers, collate_fn=of_datasets)
    return lambda: loader


def of_datasets(records: list[Any]) -> torch.Tensor:
    """A batch."""
    return default_collate([np.array(record["image"]) for record in records])


def webdataset_epoch(directory: Path, place: Path, workers: int) -> Epoch:
    """WebDataset, over tar files of as many bytes as our chunks."""
    import webdataset

    place.mkdir()
    files = sorted(directory.iterdir())
    for number, start in enumerate(range(0, len(files), chunk_of(files))):
        with tarfile.open(place / f"{number:04}.tar", "w") as tar:
            for file in files[start : start + chunk_of(files)]:
                tar.add(file, file.name)
    shards = sorted(str(file) for file in place.glob("*.tar"))
    dataset = webdataset.WebDataset(
        shards, shardshuffle=False, workersplitter=webdataset.split_by_worker, empty_check=False
    ).map(of_webdataset)  # fmt: skip
    loader = DataLoader(dataset, BATCH, num_workers=workers)
    return lambda: loader


def of_webdataset(record: dict[str, Any]) -> np.ndarray:
    """An image."""
    return opened(io.BytesIO(record["jpg"]))


def litdata_epoch(directory: Path, place: Path, workers: int) -> Epoch:
    """LitData, which decodes with Pillow."""
    import litdata

    files = [str(file) for file in sorted(directory.iterdir())]
    litdata.optimize(of_file, files, str(place), chunk_bytes=GROUP_BYTES, num_workers=1, verbose=False)
    dataset = litdata.StreamingDataset(str(place), shuffle=False)
    loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=of_litdata)
    return lambda: loader


def of_file(path: str) -> dict[str, bytes]:
    """What LitData stores: encoded bytes."""
    return {"image": Path(path).read_bytes()}


def of_litdata(records: list[Any]) -> torch.Tensor:
    """A batch."""
    return default_collate([opened(io.BytesIO(record["image"])) for record in records])


READERS = (
    Reader("directory + PIL", "", directory_epoch),
    Reader("datasets", "datasets", datasets_epoch),
    Reader("WebDataset", "webdataset", webdataset_epoch),
    Reader("LitData", "litdata", litdata_epoch),
)


# --- the images ------------------------------------------------------------------------------------------------------


def pictures(place: Path, count: int, side: int) -> Path:
    """A directory of JPEG files; smooth colours with some noise, which is what photographs are to a decoder."""
    place.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(draw.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + draw.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(place / f"{number:06}.jpg", quality=85)
    return place


def chunk_of(files: list[Path]) -> int:
    """Files of a chunk: 8 chunks, of at most a thousand."""
    return max(1, min(1000, -(-len(files) // 8)))


def written(directory: Path, place: Path) -> str:
    """The image set, with row groups of `GROUP_BYTES`."""
    files, schema, chunks = sorted(directory.iterdir()), to_arrow(SCHEMA), []
    for number, start in enumerate(range(0, len(files), chunk_of(files))):
        images = [{"bytes": file.read_bytes(), "path": file.name} for file in files[start : start + chunk_of(files)]]
        columns = [pa.array(images, schema.field("image").type), pa.array([0] * len(images), pa.int32())]
        file = place / f"chunk={number}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        each = max(1, len(images) * GROUP_BYTES // sum(len(image["bytes"]) for image in images))
        table = pa.Table.from_arrays(columns, schema=schema)
        pq.write_table(table, file, row_group_size=each, compression={"image.bytes": "none"})
        chunks.append(Chunk(len(images), file.stat().st_size))
    (place / "_orca_metadata").write_text(Manifest(SCHEMA, tuple(chunks)).text())
    return str(place)
