"""The Spark session of the tests: local[2], few shuffle partitions, no web page; and its complete end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from leftovers import within


def start(folder: Path) -> Any:
    """Starts Spark in a JVM of its own; tables and scratch files go below `folder`."""
    from pyspark.sql import SparkSession

    from zoo.engine.clusters.spark import java

    found = java.find()
    assert found is not None, "the tests with Spark need Java >= 17: `make setup` installs one where there is none"
    os.environ["JAVA_HOME"] = str(found.home)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.master": "local[2]",
        "spark.app.name": "zoo-tests",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": f"-XX:TieredStopAtLevel=1 -Djava.io.tmpdir={folder} -Dderby.system.home={folder}",
        "spark.local.dir": str(folder),
        "spark.pyspark.python": sys.executable,
        "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",
        "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "2",
        "spark.sql.execution.arrow.maxBytesPerBatch": "1m",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def stop(session: Any) -> None:
    """Stops the session and its JVM, and checks that the JVM has gone."""
    from pyspark import SparkContext

    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    SparkContext._gateway = SparkContext._jvm = None  # the next session starts a new JVM
    gateway.proc.stdin.close()  # the JVM ends when nobody can write to it any more
    if not within(20, lambda: gateway.proc.poll() is not None):
        gateway.proc.kill()
        gateway.proc.wait(5)
        raise AssertionError("the JVM was still there 20 s after its Spark session had been stopped")
