"""Places where a run can fail, and the mistakes that make it fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fields import Field

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.clusters.spark.cluster import SparkCluster


@pytest.fixture
def inline() -> Iterator[Field]:
    """This process."""
    session.begin(InlineCluster())
    yield Field("inline", 1)
    session.end()


@pytest.fixture
def local() -> Iterator[Field]:
    """Two processes of this machine."""
    session.begin(LocalCluster(cores=2))
    yield Field("local", 2)
    session.end()


@pytest.fixture
def on_spark(spark: Any) -> Iterator[Field]:
    """Two tasks of the shared Spark session; afterwards no stage is active, and another run works."""
    session.begin(SparkCluster(spark, 1, 2), spark=spark)
    yield Field("spark", 2, spark)
    session.end()
    tracker = spark.sparkContext.statusTracker()
    assert tracker.getActiveStageIds() == []
    assert tracker.getActiveJobsIds() == []
    assert spark.range(100).repartition(2).count() == 100


@pytest.fixture(params=["local", "on_spark"])
def gang(request: pytest.FixtureRequest) -> Field:
    """Two ranks, on each kind of cluster."""
    field: Field = request.getfixturevalue(request.param)
    return field


@pytest.fixture(params=["inline", "on_spark"])
def anywhere(request: pytest.FixtureRequest) -> Field:
    """For mistakes that do not depend on the number of ranks."""
    field: Field = request.getfixturevalue(request.param)
    return field
