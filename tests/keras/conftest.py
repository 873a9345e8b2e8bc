"""Keras with the backend of this process (KERAS_BACKEND, TensorFlow by default), and this process as the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.local import LocalCluster


@pytest.fixture
def inline() -> Iterator[None]:
    """This process is the current cluster."""
    session.begin(InlineCluster())
    yield
    session.end()


@pytest.fixture
def local() -> Iterator[None]:
    """Two ranks, each in a process of its own."""
    session.begin(LocalCluster(cores=2))
    yield
    session.end()
