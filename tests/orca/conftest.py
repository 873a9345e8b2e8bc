"""Places where XShards are tested, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zoo.engine import session
from zoo.engine.contracts import Cluster
from zoo.orca import OrcaContext


@pytest.fixture(params=["python", "spark"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Local processes, then Spark."""
    if request.param == "spark":
        request.getfixturevalue("spark")
        running = session.adopt()
        assert running is not None
    else:
        running = session.begin_local(2)
    yield running.cluster
    session.end()


@pytest.fixture
def local() -> Iterator[Cluster]:
    """Local processes alone."""
    yield session.begin_local(2).cluster
    session.end()


@pytest.fixture
def lazy() -> Iterator[None]:
    """Nothing is computed before it is asked for."""
    OrcaContext._eager_mode = False
    yield
    OrcaContext._eager_mode = True
