"""Files as `XShards` of pandas DataFrames."""

from zoo.orca.data.pandas.preprocessing import read_csv, read_json, read_parquet

__all__ = ["read_csv", "read_json", "read_parquet"]
