"""Orca's distributed data: `XShards`, a list of Python objects that lies where the cluster is."""

from zoo.orca.data.shard import SparkXShards, XShards

__all__ = ["SparkXShards", "XShards"]
