"""Where Spark benchmarks run: one session local[2] for all of them, with the settings that zoo itself chooses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.engine import session
from zoo.engine.clusters.spark.conf import SparkRequest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from zoo.engine.contracts import Cluster


@contextmanager
def spark() -> Iterator[tuple[SparkSession, Cluster]]:
    """(session, cluster): those that are running, else new ones, which end here."""
    running = session.running() or session.adopt()
    if running is not None and running.spark is not None:
        _send_models(running.spark)
        yield running.spark, running.cluster
        return
    started = session.begin_spark(SparkRequest(mode="local", cores=2, memory="4g"))
    try:
        _send_models(started.spark)
        yield started.spark, started.cluster
    finally:
        session.end()


def _send_models(session: SparkSession) -> None:
    session.sparkContext.addPyFile(str(Path(__file__).with_name("models.py")))


@contextmanager
def folder() -> Iterator[Path]:
    """A directory for the data of one benchmark."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as path:
        yield Path(path)
