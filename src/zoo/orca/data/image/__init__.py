"""Images in Parquet: sets of image files written as few large files, and read back."""

from zoo.engine.jobs import ImageTransform
from zoo.orca.data.image.parquet_dataset import (
    ParquetDataset,
    read_as_dataloader,
    read_as_tfdataset,
    read_parquet,
    write_coco,
    write_from_directory,
    write_mnist,
    write_parquet,
    write_voc,
)
from zoo.orca.data.image.schema import DType, FeatureType, SchemaField
from zoo.orca.data.image.tfrecord_dataset import read_tfrecord, write_tfrecord
from zoo.orca.data.image.voc_dataset import VOCDatasets

__all__ = [
    "DType", "FeatureType", "ImageTransform", "ParquetDataset", "SchemaField", "VOCDatasets", "read_as_dataloader",
    "read_as_tfdataset", "read_parquet", "read_tfrecord", "write_coco", "write_from_directory", "write_mnist",
    "write_parquet", "write_tfrecord", "write_voc",
]  # fmt: skip
