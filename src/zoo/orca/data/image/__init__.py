"""Images in Parquet: sets of image files written as few large files, and read back."""

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
from zoo.orca.data.image.voc_dataset import VOCDatasets

__all__ = [
    "DType", "FeatureType", "ParquetDataset", "SchemaField", "VOCDatasets", "read_as_dataloader",
    "read_as_tfdataset", "read_parquet", "write_coco", "write_from_directory",
    "write_mnist", "write_parquet", "write_voc",
]  # fmt: skip
