"""Spark Connect: a session whose Spark runs behind a server, perhaps on another machine.

Owns: recognising such a session, what it does not have, where its executors reach this program.
Leaves: everything that is the same with it, which is nearly all (sessions, cluster, frames).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from zoo.engine.clusters.channel import own_address
from zoo.engine.errors import NoContext, UsageError

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession


def is_connect(session: SparkSession) -> bool:
    """Whether this is a Spark Connect session, which has no SparkContext."""
    return ".connect." in type(session).__module__


def connected() -> SparkSession | None:
    """The Spark Connect session of this program, made in whichever thread."""
    module = sys.modules.get("pyspark.sql.connect.session")
    if module is None:
        return None
    found: SparkSession | None = module.SparkSession.getActiveSession() or module.SparkSession._get_default_session()
    return found


def refuse_other_spark() -> None:
    """Raises UsageError where this program uses Spark Connect."""
    if "SPARK_REMOTE" in os.environ or "SPARK_CONNECT_MODE_ENABLED" in os.environ:  # pyspark sets the latter
        raise UsageError(
            "this program uses Spark Connect (SparkSession.builder.remote, or the variable SPARK_REMOTE), and pyspark "
            "starts no Spark of its own beside it. Make the SparkSession, then call init_orca_context() without a "
            "cluster_mode: it takes that session."
        )


def spark_context(session: SparkSession) -> SparkContext:
    """The session's SparkContext.

    Raises:
        NoContext: it is a Spark Connect session.
    """
    if is_connect(session):
        raise NoContext(
            "a Spark Connect session has no SparkContext, and so no RDDs. Use OrcaContext.get_spark_session(), or, in "
            "a program without Connect, init_orca_context(cluster_mode='local')."
        )
    return session.sparkContext


def parallelism(session: SparkSession) -> int:
    """Spark's default parallelism, which a Connect session tells by its deeds only: a small job."""
    pieces = session.range(0, 1 << 20).selectExpr("spark_partition_id() AS piece")
    return int(pieces.selectExpr("max(piece) + 1").collect()[0][0])


def address(session: SparkSession) -> str:
    """Where the executors behind the server reach this program: the interface that leads there."""
    facing = own_address(session.client.host)
    is_local = str(session.conf.get("spark.master", "")).startswith("local[")
    if facing == "127.0.0.1" and not is_local:  # the server is on this machine, its executors perhaps elsewhere
        facing = own_address(str(session.conf.get("spark.driver.host")))
    return facing
