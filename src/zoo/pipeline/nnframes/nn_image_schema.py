"""The schema of images in DataFrames: that of Spark's own image source.

Owns: the schema, in Spark's words and in Arrow's; pixels as its rows; the column of origins.
Leaves: reading files (nn_image_reader).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.feature.image.image_feature import ImageFeature, channels_last, mode_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

IMAGE = "image"
STRUCT = pa.struct([
    ("origin", pa.string()), ("height", pa.int32()), ("width", pa.int32()), ("nChannels", pa.int32()),
    ("mode", pa.int32()), ("data", pa.binary()),
])  # fmt: skip
ARROW = pa.schema([(IMAGE, STRUCT)])
"""Origin; height and width in pixels; channels; OpenCV's type of a pixel; pixels by rows, colours in BGR order."""


class NNImageSchema:
    """What a column of images is made of."""

    @staticmethod
    def column_schema() -> StructType:
        """The struct of one image."""
        from pyspark.sql.pandas.types import from_arrow_type

        kind: StructType = from_arrow_type(STRUCT)
        return kind

    @staticmethod
    def image_schema() -> StructType:
        """A DataFrame of images alone: one column ``image``."""
        from pyspark.sql.types import StructField, StructType

        return StructType([StructField(IMAGE, NNImageSchema.column_schema())])

    @staticmethod
    def with_origin_column(dataset: DataFrame, imageColumn: str = IMAGE, originColumn: str = "origin") -> DataFrame:
        """As the function of this name."""
        return with_origin_column(dataset, imageColumn, originColumn)


def with_origin_column(dataset: DataFrame, imageColumn: str = IMAGE, originColumn: str = "origin") -> DataFrame:
    """The DataFrame with the images' origins as a column of their own.

    Args:
        dataset: has a column of images.
        imageColumn: that column.
        originColumn: the new one.

    Raises:
        ColumnNotFound: there is no such column.
        UsageError: it holds no images.
    """
    if imageColumn not in dataset.columns:
        raise ColumnNotFound.among([imageColumn], dataset.columns, "imageColumn")
    kind: Any = dataset.schema[imageColumn].dataType
    if "origin" not in getattr(kind, "names", ()):
        raise UsageError(
            f"column '{imageColumn}' holds no images, which are structs with a field 'origin'. "
            f"Received: {kind.simpleString()}"
        )
    from pyspark.sql import functions as F

    return dataset.withColumn(originColumn, F.col(f"`{imageColumn}`.origin"))


def rows_of(features: Sequence[ImageFeature]) -> pa.RecordBatch:
    """Images as rows of `ARROW`; their pixels are copied once."""
    mats = [np.ascontiguousarray(channels_last(one.mat)) for one in features]
    data = np.empty(sum(mat.nbytes for mat in mats), np.uint8)
    ends = np.zeros(len(mats) + 1, np.int32)
    np.cumsum([mat.nbytes for mat in mats], out=ends[1:])
    for start, mat in zip(ends.tolist(), mats, strict=False):
        data[start : start + mat.nbytes] = mat.reshape(-1).view(np.uint8)
    whole = pa.Array.from_buffers(pa.binary(), len(mats), [None, pa.py_buffer(ends), pa.py_buffer(data)])
    sizes = [pa.array([mat.shape[axis] for mat in mats], pa.int32()) for axis in range(3)]
    origins = pa.array([one.get("uri") for one in features], pa.string())
    modes = pa.array([mode_of(mat) for mat in mats], pa.int32())
    struct = pa.StructArray.from_arrays([origins, *sizes, modes, whole], fields=list(STRUCT))
    return pa.RecordBatch.from_arrays([struct], schema=ARROW)
