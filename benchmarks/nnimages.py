"""`NNImageReader` and a chain of steps on Spark, against a plain OpenCV loop over the same files, on as many cores.

Both decode, resize, crop, normalise and transpose each image. The loop runs in one thread for each of Spark's cores,
for OpenCV gives Python's lock free. Spark carries the decoded images from the reader's process to the chain's, as it
does in training (200 kB each, whatever the files' size), and plans a job; the loop does neither.
The large images are those of a chest X-ray set; of photographs as small as ImageNet's the way through Spark costs about
as much as decoding, so that row only informs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from images import pictures
from measure import Row, compared, in_turns
from places import folder, spark

from zoo.engine.data.images import decoder
from zoo.feature.common import ChainedPreprocessing
from zoo.feature.image import (
    ImageCenterCrop,
    ImageChannelNormalize,
    ImageFeatureToTensor,
    ImageMatToTensor,
    ImageResize,
    RowToImageFeature,
)
from zoo.pipeline.nnframes import NNImageReader

cv2 = decoder()  # with the settings that zoo chooses when OpenCV is loaded
TURNS = {"tiny": 1, "quick": 3, "full": 5}
WARM = {"tiny": 0, "quick": 2, "full": 3}  # the JVM goes on compiling its code for three passes
SETS = {  # (pixels of a side, images, target)
    "tiny": ((48, 16, 0.9),), "quick": ((1024, 600, 0.9),), "full": ((1024, 6000, 0.9), (400, 2000, None)),
}  # fmt: skip
RESIZED, CROPPED = 256, 224
MEANS = (123.68, 116.779, 103.939)


def rows(size: str) -> Iterator[Row]:
    """Images per second."""
    for side, count, target in SETS[size]:
        with folder() as place, spark() as (session, cluster), single_threaded():
            directory = pictures(place / "photos", count, side)
            ours = partial(prepared, session, directory, count)
            theirs = partial(plain, sorted(directory.iterdir()), count, cluster.slots)
            seconds = in_turns(ours, theirs, TURNS[size], WARM[size])
            what = f"{count:,} JPEG of {side} x {side} to arrays (3, {CROPPED}, {CROPPED})"
            yield compared((what, "`NNImageReader` and a chain", "OpenCV in a loop"), *seconds, target)


@contextmanager
def single_threaded() -> Iterator[None]:
    """OpenCV with one thread for each of ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def prepared(session: Any, directory: Path, count: int) -> None:
    """Ours: the files as a DataFrame, and what the chain makes of its rows."""
    chain = ChainedPreprocessing([
        RowToImageFeature(), ImageResize(RESIZED, RESIZED), ImageCenterCrop(CROPPED, CROPPED),
        ImageChannelNormalize(*MEANS), ImageMatToTensor(), ImageFeatureToTensor(),
    ])  # fmt: skip
    frame = NNImageReader.readImages(str(directory), resizeH=RESIZED, resizeW=RESIZED, image_codec=1)
    made = sum(row.rows for row in frame.mapInArrow(_counting(chain), "rows long").collect())
    assert made == count, f"{made} of {count} images"


def _counting(chain: ChainedPreprocessing) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Applies the chain to each row; in a closure, which travels by value."""

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        seen = 0
        for batch in batches:
            column = batch.column(0)
            fields = {name: column.field(name) for name in ("origin", "height", "width", "nChannels", "mode")}
            told = {name: array.to_pylist() for name, array in fields.items()}
            data = column.field("data")
            for row in range(len(batch)):
                struct = {name: values[row] for name, values in told.items()} | {"data": data[row].as_buffer()}
                seen += chain.apply(struct).ndim == 3
        yield pa.RecordBatch.from_pydict({"rows": [seen]})

    return count


def plain(files: list[Path], count: int, threads: int) -> None:
    """The loop."""
    with ThreadPoolExecutor(threads) as pool:
        made = sum(array.ndim == 3 for array in pool.map(plain_one, files))
    assert made == count


def plain_one(path: Path) -> np.ndarray:
    """One image."""
    pixels = cv2.resize(cv2.imread(str(path), cv2.IMREAD_COLOR), (RESIZED, RESIZED))
    edge = (RESIZED - CROPPED) // 2
    cropped = pixels[edge : edge + CROPPED, edge : edge + CROPPED]
    normal = cv2.subtract(cropped, (*MEANS[::-1], 0.0), dtype=cv2.CV_32F)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))
