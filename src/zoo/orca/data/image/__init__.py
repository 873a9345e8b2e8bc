"""Images in Parquet: writing sets of image files as few large files, and reading them back."""

from zoo.orca.data.image.schema import DType, FeatureType, SchemaField

__all__ = ["DType", "FeatureType", "SchemaField"]
