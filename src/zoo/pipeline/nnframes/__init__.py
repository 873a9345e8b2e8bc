"""DataFrames in, DataFrames out: image readers and Spark ML stages."""

from zoo.pipeline.nnframes.nn_image_reader import NNImageReader
from zoo.pipeline.nnframes.nn_image_schema import NNImageSchema, with_origin_column

__all__ = ["NNImageReader", "NNImageSchema", "with_origin_column"]
