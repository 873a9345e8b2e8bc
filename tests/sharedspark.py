"""The Spark session of the tests: local[2], few shuffle partitions, torch at hand, no web page; and its whole end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leftovers import within

if TYPE_CHECKING:
    from zoo.engine.clusters.spark.sessions import Started


def start(folder: Path) -> Started:
    """Starts Spark in a JVM of its own; tables and scratch files go below `folder`."""
    from zoo.engine.clusters.spark import conf, sessions

    settings = {
        "spark.app.name": "zoo-tests",
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={folder}",
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).with_name("sparkdaemon")),
        "spark.local.dir": str(folder),
        "spark.python.daemon.module": "warm_daemon",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
    }
    return sessions.start(conf.SparkRequest(mode="local", cores=2, memory="1g", options={"conf": settings}))


def stop(started: Started) -> None:
    """Stops the session and checks that its JVM has gone."""
    from zoo.engine.clusters.spark import sessions

    sessions.stop(started)
    assert started.process is not None, "another JVM was there before the tests' own"
    gone = within(20, lambda: started.process.poll() is not None)
    if not gone:
        started.process.kill()
    assert gone, "the JVM was still there 20 s after its Spark session had been stopped"


def usable(started: Started) -> bool:
    """Whether nobody has stopped it."""
    from zoo.engine.clusters.spark import sessions

    return sessions.alive(started.session)
