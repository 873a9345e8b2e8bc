"""Old address of the schema's words."""

from zoo.orca.data.image.schema import DType, FeatureType, SchemaField, ndarray_dtype_to_dtype

__all__ = ["DType", "FeatureType", "SchemaField", "ndarray_dtype_to_dtype"]
