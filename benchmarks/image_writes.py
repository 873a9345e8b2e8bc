"""Image files to a data set: zoo against other writers of the same JPEG files.

Each begins with a directory, replaces what it wrote the time before, and ends with the encoded bytes of all images in
few files on disk: that they are there is checked, and files are synced to disk for those that do not do so. Of a
library's ways the fastest counts: one process, or one a core.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from images import GROUP_BYTES, pictures, there
from measure import Row, compared, taking_turns, timed
from places import folder

from zoo.engine import session
from zoo.orca.data.image import write_parquet

COUNT = {"tiny": 24, "quick": 1200, "full": 6000}
TURNS = {"tiny": 1, "quick": 3, "full": 5}
SIDE = {"tiny": 48, "quick": 224, "full": 224}
BLOCK = 1000
CORES = len(os.sched_getaffinity(0))

Write = Callable[[Sequence[Path], Path], None]


@dataclass(frozen=True)
class Writer:
    """Another way to write.

    Attributes:
        name: in the table.
        package: that it needs; empty for none.
        ways: by name; each writes files to a new place.
        target: of the ratio; None where the row only informs.
    """

    name: str
    package: str
    ways: Mapping[str, Write]
    target: float | None = 1.0


def rows(size: str) -> Iterator[Row]:
    """With a look at each image and without, on local processes, against each of `WRITERS`."""
    quiet()
    if session.running() is not None:
        session.end()
    session.begin_local(CORES)
    try:
        with folder() as place:
            files = sorted(pictures(place / "files" / "a", COUNT[size], SIDE[size]).iterdir())
            for writer in there(WRITERS[: 1 if size == "tiny" else None]):
                yield from against(writer, files, place, size)
    finally:
        session.end()


def against(writer: Writer, files: Sequence[Path], place: Path, size: str) -> Iterator[Row]:
    """One row for each of our ways."""
    ways = {name: partial(replaced, way, files, place / "theirs") for name, way in writer.ways.items()}
    name = min(ways, key=lambda name: timed(ways[name])) if len(ways) > 1 else next(iter(ways))
    ours = {errors: partial(replaced, partial(zoo_writes, errors), files, place / "ours") for errors in POLICIES}
    *own, theirs = taking_turns([*ours.values(), ways[name]], TURNS[size], 0 if size == "tiny" else 1)
    what = f"{len(files):,} JPEG files of {SIDE[size]} x {SIDE[size]} to a set"
    for errors, seconds in zip(ours, own, strict=True):
        labels = (what, f"`write_parquet(errors='{errors}')`", f"{writer.name}, {name}")
        yield compared(labels, seconds, theirs, writer.target)


def replaced(write: Write, files: Sequence[Path], place: Path) -> None:
    """Writes to where the same was written before; all encoded bytes are there then, and not twice."""
    shutil.rmtree(place, ignore_errors=True)
    write(files, place)
    written = [file for file in place.rglob("*") if file.is_file()]
    for file in written:  # zoo has done so; the others leave it to the system
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    least = sum(file.stat().st_size for file in files)
    found = sum(file.stat().st_size for file in written)
    assert least <= found < 1.5 * least, f"{found:,} bytes were written of files of {least:,}"


POLICIES = ("raise", "keep")


def zoo_writes(errors: str, files: Sequence[Path], place: Path) -> None:
    """Ours."""
    directory = str(files[0].parent.parent)
    write_parquet(
        "image_folder", str(place), directory=directory, label_map={"a": 0}, block_size=BLOCK, errors=errors
    )  # fmt: skip


# --- the others ------------------------------------------------------------------------------------------------------


def arrow_writes(files: Sequence[Path], place: Path) -> None:
    """What one process can do: a loop over files, and Parquet as ours is laid out."""
    place.mkdir()
    for number, start in enumerate(range(0, len(files), BLOCK)):
        images = [{"bytes": file.read_bytes(), "path": file.name} for file in files[start : start + BLOCK]]
        table = pa.table({"image": images, "label": pa.array([0] * len(images), pa.int32())})
        each = max(1, len(images) * GROUP_BYTES // sum(len(image["bytes"]) for image in images))
        pq.write_table(
            table, place / f"{number}.parquet", row_group_size=each, compression="none", use_dictionary=False
        )  # fmt: skip


def datasets_parquet(files: Sequence[Path], place: Path) -> None:
    """Hugging Face's, to one Parquet file."""
    import datasets

    place.mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int32")})
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]  # a path to a file drops bytes
    made = datasets.Dataset.from_dict({"image": images, "label": [0] * len(files)}, features=features)
    made.to_parquet(str(place / "0.parquet"))


def datasets_arrow(processes: int | None, files: Sequence[Path], place: Path) -> None:
    """Hugging Face's, to Arrow files, the only ones that it writes in several processes."""
    import datasets

    made = datasets.Dataset.from_dict({"image": list(map(str, files)), "label": [0] * len(files)})
    made.cast_column("image", datasets.Image()).save_to_disk(str(place), num_proc=processes)


def litdata_writes(processes: int, files: Sequence[Path], place: Path) -> None:
    """LitData's chunks."""
    import litdata

    litdata.optimize(
        of_file, list(map(str, files)), str(place), chunk_bytes=GROUP_BYTES, num_workers=processes, verbose=False
    )  # fmt: skip


def of_file(path: str) -> dict[str, Any]:
    """What LitData stores; of a text that names a file it would store the file once more."""
    return {"image": Path(path).read_bytes(), "path": Path(path).name, "label": 0}


def quiet() -> None:
    """No progress bars, nothing from the network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


WRITERS = (
    Writer("pyarrow, no look", "", {"a loop in 1 process": arrow_writes}, None),
    Writer("datasets", "datasets", {"`to_parquet`": datasets_parquet}),
    Writer("datasets, Arrow files", "datasets", {
        "`save_to_disk`": partial(datasets_arrow, None),
        f"`save_to_disk(num_proc={CORES})`": partial(datasets_arrow, CORES),
    }),
    Writer("LitData", "litdata", {
        f"`optimize(num_workers={number})`": partial(litdata_writes, number) for number in dict.fromkeys((1, CORES))
    }),
)  # fmt: skip
