"""Image files as a DataFrame.

The driver lists files and opens none. Each task of Spark reads and decodes its own, when the DataFrame is computed.

Owns: which task reads which files, how many images go to Spark at once.
Leaves: files and their content (zoo.feature.image.reading), rows (nn_image_schema).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zoo.engine import session, storage
from zoo.engine.clusters.spark import rdds
from zoo.engine.data import images
from zoo.engine.data.ahead import Ahead, in_order
from zoo.engine.errors import UsageError
from zoo.feature.image.image_feature import ImageFeature
from zoo.feature.image.reading import File, Reading, listed
from zoo.pipeline.nnframes.nn_image_schema import NNImageSchema, rows_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_URL = "url"
_AT_ONCE = 4 << 20  # bytes of pixels that a task hands to Spark
_READERS = 4  # of remote files, which answer slowly
_FILE = 1 << 17  # bytes of a file, before the first is read


class NNImageReader:
    """Reader of image files."""

    @staticmethod
    def readImages(
        path: Any,
        sc: Any = None,
        minPartitions: int = 1,
        resizeH: int = -1,
        resizeW: int = -1,
        image_codec: int = -1,
        errors: str = "raise",
    ) -> DataFrame:
        """The images behind a path, as a DataFrame with one column ``image`` (`NNImageSchema`); lazy.

        Args:
            path: a directory (with all below it), a file, a glob, or a comma-separated list of them; paths or URLs
                that every machine of the cluster can read.
            sc: has no effect: the current Spark reads; the program's own session where there is no context.
            minPartitions: at least so many; never more than files.
            resizeH: height of all images, in pixels; -1, with `resizeW`, for each image's own.
            resizeW: width likewise.
            image_codec: a flag of ``cv2.imread``: -1 as the file is, 0 grey, 1 colour.
            errors: ``"raise"``: a file that is no image, or cannot be read, is an error that names it, when the
                DataFrame is computed; ``"skip"``: it is left out, and counted in the log of its task.

        Returns:
            rows in the order of the files' names, where `minPartitions` is not above Spark's default parallelism.

        Raises:
            UsageError: there are no files, or arguments that do not fit.
            NoContext: there is no Spark.
            MissingDependency: OpenCV is not installed.
        """
        if not isinstance(minPartitions, int) or isinstance(minPartitions, bool) or minPartitions < 1:
            raise UsageError(f"minPartitions must be a whole number, at least 1. Received: {minPartitions!r}")
        reading = Reading(resizeH, resizeW, image_codec, errors)
        images.decoder()
        urls = listed(path)
        spark = session.spark()
        rdds.send_code(spark)
        files = spark.createDataFrame(pa.table({_URL: urls}))
        parts = min(minPartitions, len(urls))
        if parts > session.current().slots:
            files = files.repartition(parts)
        frame: DataFrame = files.mapInArrow(_Task(reading), NNImageSchema.image_schema())
        return frame


class _Task:
    """(on an executor) From names of files to their images."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        images.decoder().setNumThreads(1)  # a task has one core
        waiting: list[ImageFeature] = []
        size = 0
        files = (File(url) for batch in batches for url in batch.column(0).to_pylist())
        for feature in self._reading.images(files, _ahead):
            waiting.append(feature)
            size += feature.mat.nbytes
            if size >= _AT_ONCE:
                yield rows_of(waiting)
                waiting, size = [], 0
        if waiting:
            yield rows_of(waiting)


def _ahead(work: Callable[[File], Any], files: Iterator[File]) -> Iterator[Any]:
    """The work on files, in their order: on remote ones some files ahead."""
    first = next(files, None)
    if first is None:
        return
    files = chain([first], files)
    if storage.is_local(first.url):
        yield from map(work, files)
    else:
        yield from in_order(files, work, Ahead(_READERS), (lambda _: _FILE, _bytes))


def _bytes(made: Any) -> int:
    return int(made.mat.nbytes) if isinstance(made, ImageFeature) else len(made)
