"""Spark as a place to start processes: sessions, gangs in barrier stages, DataFrames as shards.

The only room that imports pyspark. Nothing is imported here, so that naming one of its modules loads no other.
"""
