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
        _send_programs(running.spark)
        yield running.spark, running.cluster
        return
    started = session.begin_spark(SparkRequest(mode="local", cores=2, memory="4g"))
    try:
        _send_programs(started.spark)
        yield started.spark, started.cluster
    finally:
        session.end()


def _send_programs(session: SparkSession) -> None:
    """Functions of these modules are pickled by name, also into executors that were there before."""
    for path in Path(__file__).parent.glob("*.py"):
        session.sparkContext.addPyFile(str(path))


@contextmanager
def folder() -> Iterator[Path]:
    """A directory for the data of one benchmark."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as path:
        yield Path(path)
