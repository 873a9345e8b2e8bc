"""What a prediction gives back to programs that expect an RDD.

Owns: that.
Leaves: computing it (zoo.orca.learn.estimator).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from zoo.engine import session


class LocalRows(list[Any]):
    """Rows where there is no Spark, with the words of an RDD that programs use on predictions."""

    def collect(self) -> list[Any]:
        """All of them."""
        return list(self)

    def take(self, num: int) -> list[Any]:
        """The first ones."""
        return self[:num]

    def first(self) -> Any:
        """The first one."""
        return self[0]

    def count(self, *value: Any) -> int:
        """How many there are; or, as lists have it, how many are equal to `value`."""
        return super().count(*value) if value else len(self)

    def filter(self, f: Callable[[Any], Any]) -> LocalRows:
        """Those of which `f` is true."""
        return LocalRows(filter(f, self))

    def flatMap(self, f: Callable[[Any], Any]) -> LocalRows:
        """All that `f` gives, one after the other."""
        return LocalRows(one for row in self for one in f(row))

    def map(self, f: Callable[[Any], Any]) -> LocalRows:
        """`f` of each."""
        return LocalRows(map(f, self))


def as_rdd(predicted: Any) -> Any:
    """Predictions row by row: an RDD where Spark runs, else `LocalRows`.

    Args:
        predicted: what `Estimator.predict` gave: arrays, a DataFrame of outputs alone, XShards, or an RDD already.
    """
    if hasattr(predicted, "mapPartitions") and hasattr(predicted, "flatMap"):
        return predicted
    if hasattr(predicted, "withColumn") and hasattr(predicted, "rdd"):
        return predicted.rdd.map(_of_row)
    rows = rows_of(predicted)
    running = session.running()
    spark = None if running is None else running.spark
    if spark is None or not hasattr(spark, "sparkContext"):
        return LocalRows(rows)
    return spark.sparkContext.parallelize(rows)


def rows_of(predicted: Any) -> list[Any]:
    """Predictions on the driver, one for each row: an array, or a list of arrays for several outputs."""
    if hasattr(predicted, "collect") and hasattr(predicted, "transform_shard"):
        return [row for shard in predicted.collect() for row in rows_of(shard["prediction"])]
    if isinstance(predicted, np.ndarray):
        return list(predicted)
    if isinstance(predicted, Mapping):
        return rows_of(list(predicted.values()))
    return [list(row) for row in zip(*predicted, strict=True)]


def _of_row(row: Any) -> Any:
    found = [value.toArray() if hasattr(value, "toArray") else np.asarray(value) for value in row]
    return found[0] if len(found) == 1 else found
