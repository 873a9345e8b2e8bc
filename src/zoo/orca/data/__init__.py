"""Orca's distributed data: `XShards`, a list of Python objects that lies where the cluster is."""

from zoo.orca.data.shard import SharedValue, SparkXShards, XShards

__all__ = ["SharedValue", "SparkXShards", "XShards"]
