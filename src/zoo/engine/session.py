"""Which cluster is current: the only global of the engine.

Owns: the one running context, its start, its end, and the end at interpreter exit.
Leaves: settings and processes (clusters), the words of the user's call (front ends). Only front ends, applications and
`tune` read it; nothing else in the engine knows that there is a current cluster.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from zoo.engine.errors import NoContext

if TYPE_CHECKING:
    from zoo.engine.clusters.spark.conf import SparkRequest
    from zoo.engine.contracts import Cluster

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """The running context.

    Attributes:
        cluster: the place that starts processes.
        spark: its SparkSession; None where there is no Spark.
        alive: whether it can still be used.
        stop: ends what was started with it, after the cluster is closed.
        request: what was asked of Spark; None where nothing was asked (adopted, local processes).
    """

    cluster: Cluster
    spark: Any
    alive: Callable[[], bool]
    stop: Callable[[], None]
    request: SparkRequest | None = None


_lock = threading.RLock()
_running: Running | None = None
_instead: ContextVar[Running | None] = ContextVar("zoo_cluster_instead", default=None)


def current() -> Cluster:
    """The current cluster. A SparkSession that the program made itself is adopted.

    Raises:
        NoContext: there is neither.
    """
    return _current().cluster


def spark() -> Any:
    """The current SparkSession.

    Raises:
        NoContext: there is none.
    """
    session = _current().spark
    if session is None:
        raise NoContext(
            "The running context has no Spark (it runs local processes). Call stop_orca_context(), install what Spark "
            "needs with: pip install 'openzoo[spark,java]', and call init_orca_context(cluster_mode='local')."
        )
    return session


def running() -> Running | None:
    """The running context, or None; one whose SparkContext was stopped behind our back is cleared away first."""
    with _lock:
        if _running is not None and not _running.alive():
            end()
        return _running


def begin(
    cluster: Cluster,
    *,
    spark: Any = None,
    alive: Callable[[], bool] = lambda: True,
    stop: Callable[[], None] = lambda: None,
    request: SparkRequest | None = None,
) -> Running:
    """Makes `cluster` the current one, in place of any other. Arguments as in `Running`."""
    global _running
    with _lock:
        end()
        atexit.unregister(end)
        atexit.register(end)  # once, and before the ends that were registered earlier
        _running = Running(cluster, spark, alive, stop, request)
        return _running


def end() -> None:
    """Closes the current cluster and ends what was started for it. Idempotent."""
    global _running
    with _lock:
        ended, _running = _running, None
        if ended is None:
            return
        try:
            ended.cluster.close()
        finally:
            ended.stop()


def begin_local(cores: int) -> Running:
    """Makes processes of this machine the current cluster.

    Args:
        cores: how many this machine may use for them.
    """
    from zoo.engine.clusters.local import LocalCluster

    return begin(LocalCluster(cores))


def begin_spark(request: SparkRequest) -> Running:
    """Starts Spark as asked and makes it the current cluster.

    Raises:
        MissingDependency: pyspark or Java is missing.
        UsageError: the cluster's configuration is missing, or Spark refuses the settings.
    """
    from zoo.engine.clusters.spark import sessions
    from zoo.engine.clusters.spark.cluster import SparkCluster

    with _lock:
        end()
        started = sessions.start(request)
        session = started.session
        try:
            cluster = SparkCluster(session, *sessions.size_of(session))
        except BaseException:
            sessions.stop(started)
            raise
        return begin(
            cluster,
            spark=session,
            alive=lambda: sessions.alive(session),
            stop=lambda: sessions.stop(started),
            request=request,
        )


def adopt() -> Running | None:
    """Makes the SparkSession that the program started itself the current cluster; None where there is none.

    It is the program's own: `end` forgets it and leaves it running.
    """
    from zoo.engine.clusters.spark import sessions

    with _lock:
        session = sessions.active()
        if session is None:
            return None
        from zoo.engine.clusters.spark.cluster import SparkCluster

        nodes, cores = sessions.size_of(session)
        _log.info("Using the SparkSession that is already running: %d executor(s) of %d core(s).", nodes, cores)
        return begin(SparkCluster(session, nodes, cores), spark=session, alive=lambda: sessions.alive(session))


@contextmanager
def using(cluster: Cluster) -> Iterator[None]:
    """Makes `cluster` the current one in the block, for this thread alone; the running context stays as it is."""
    around = _running
    instead = Running(cluster, None, lambda: True, lambda: None) if around is None else replace(around, cluster=cluster)
    token = _instead.set(instead)
    try:
        yield
    finally:
        _instead.reset(token)


def _current() -> Running:
    instead = _instead.get()
    if instead is not None:
        return instead
    with _lock:
        found = running() or adopt()
    if found is None:
        raise NoContext("No context is running. Call init_orca_context() first: from zoo.orca import init_orca_context")
    return found
