"""Keras with the backend of this process (KERAS_BACKEND, TensorFlow by default), and this process as the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.spark.cluster import SparkCluster


@pytest.fixture
def inline() -> Iterator[None]:
    """This process is the current cluster."""
    session.begin(InlineCluster())
    yield
    session.end()


@pytest.fixture
def two(spark: Any) -> Iterator[None]:
    """Room for two ranks: Spark's workers, which have imported Keras when the second test asks for them."""
    session.begin(SparkCluster(spark, 1, 2), spark=spark)
    yield
    session.end()
