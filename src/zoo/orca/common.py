"""The context of a program: where its work runs, and its process-wide options.

Owns: the words of `init_orca_context` and `OrcaContext`, their checks and defaults.
Leaves: starting and ending (zoo.engine.session), what Spark is told (zoo.engine.clusters.spark.conf).
"""

from __future__ import annotations

import logging
import re
from typing import Any

from zoo.engine import session
from zoo.engine.clusters.spark import conf, connect, sessions
from zoo.engine.errors import UsageError

_log = logging.getLogger("zoo")

RUNTIMES = ("spark", "python", "ray")
_RAY_OPTIONS = frozenset({
    "env", "extra_executor_memory_for_ray", "extra_params", "include_webui", "num_ray_nodes", "object_store_memory",
    "password", "ray_node_cpu_cores", "redis_password", "redis_port", "system_config", "verbose",
})  # fmt: skip
_ARGUMENTS = ("cluster_mode", "runtime", "cores", "memory", "num_nodes", "init_ray_on_spark")


class _Options(type):
    """Properties of the class `OrcaContext` itself, so that ``OrcaContext.x = v`` is checked."""

    _log_output = False
    _pandas_read_backend = "spark"
    _serialize_data_creator = False
    _train_data_store = "DRAM"
    _barrier_mode = True
    _eager = True
    _rows_per_shard: int | None = None

    @property
    def log_output(cls) -> bool:
        """Whether Spark's own log is shown on the console (default: errors only). Set it before the context starts."""
        return cls._log_output

    @log_output.setter
    def log_output(cls, value: bool) -> None:
        cls._log_output = _flag("log_output", value)

    @property
    def pandas_read_backend(cls) -> str:
        """What reads files in `zoo.orca.data.pandas`: ``"spark"`` (default) or ``"pandas"``."""
        return cls._pandas_read_backend

    @pandas_read_backend.setter
    def pandas_read_backend(cls, value: str) -> None:
        lower = value.lower() if isinstance(value, str) else value
        if lower not in ("spark", "pandas"):
            raise UsageError(f"pandas_read_backend must be either spark or pandas. Received: {value!r}")
        cls._pandas_read_backend = lower

    @property
    def serialize_data_creator(cls) -> bool:
        """Whether data creators on one machine take turns, as when they download the same file (default False)."""
        return cls._serialize_data_creator

    @serialize_data_creator.setter
    def serialize_data_creator(cls, value: bool) -> None:
        cls._serialize_data_creator = _flag("serialize_data_creator", value)

    @property
    def train_data_store(cls) -> str:
        """``"DRAM"`` (default), or ``"DISK_n"``: a rank has all its rows on its disk, and 1/n of them in memory."""
        return cls._train_data_store

    @train_data_store.setter
    def train_data_store(cls, value: str) -> None:
        upper = value.upper() if isinstance(value, str) else ""
        if not re.fullmatch(r"DRAM|DISK_[1-9]\d*", upper):
            raise UsageError(f"train_data_store must be 'DRAM' or 'DISK_n' with a whole number n. Received: {value!r}")
        cls._train_data_store = upper

    @property
    def barrier_mode(cls) -> bool:
        """Whether Ray is started in a Spark barrier stage (default True)."""
        return cls._barrier_mode

    @barrier_mode.setter
    def barrier_mode(cls, value: bool) -> None:
        cls._barrier_mode = _flag("barrier_mode", value)

    @property
    def _eager_mode(cls) -> bool:
        """Whether operations of XShards are computed and cached at once (default True)."""
        return cls._eager

    @_eager_mode.setter
    def _eager_mode(cls, value: bool) -> None:
        cls._eager = _flag("_eager_mode", value)

    @property
    def _shard_size(cls) -> int | None:
        """Most rows of a shard made from a DataFrame; None (default) for a partition's rows."""
        return cls._rows_per_shard

    @_shard_size.setter
    def _shard_size(cls, value: int | None) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"_shard_size must be None or a whole number of at least 1 row. Received: {value!r}")
        cls._rows_per_shard = value


class OrcaContext(metaclass=_Options):
    """Process-wide options, set as ``OrcaContext.log_output = True``, and the running context's parts."""

    @staticmethod
    def get_spark_context() -> Any:
        """The running SparkContext. Raises NoContext where there is none, as on Spark Connect."""
        return connect.spark_context(session.spark())

    @staticmethod
    def get_spark_session() -> Any:
        """The running SparkSession. Raises NoContext where there is none."""
        return session.spark()

    @staticmethod
    def get_sql_context() -> Any:
        """The running SQLContext. Raises NoContext where there is none."""
        return sessions.sql_context(session.spark())

    @staticmethod
    def get_ray_context() -> Any:
        """Raises UsageError: this release has no Ray."""
        raise UsageError(_NO_RAY)


def init_orca_context(
    cluster_mode: str | None = None,
    runtime: str = "spark",
    cores: int | str | None = None,
    memory: str = "2g",
    num_nodes: int = 1,
    init_ray_on_spark: bool = False,
    **kwargs: Any,
) -> Any:
    """Starts the context that the program's work runs in, or returns the one that runs.

    The older positional form ``init_orca_context("local", 4, "4g", 1)`` (cores where `runtime` is now) works as well.

    Args:
        cluster_mode: ``"local"``, ``"yarn"`` (``"yarn-client"``), ``"yarn-cluster"``, ``"k8s"`` (``"k8s-client"``),
            ``"k8s-cluster"``, ``"standalone"`` (on this machine without `master`), or ``"spark-submit"``: take cores,
            memory and nodes from spark-submit's command line. None is ``"spark-submit"`` where that started the
            program, a SparkSession of the program's own where it has one, and ``"local"`` elsewhere.
        runtime: ``"spark"``, or ``"python"``: processes of this machine, no Java.
        cores: of each node; in local mode of this machine; ``"*"`` for all. None for 2.
        memory: of each node, e.g. ``"2g"``; in local mode of Spark's one JVM.
        num_nodes: number of executors; 1 in local mode.
        init_ray_on_spark: False; this release has no Ray.
        kwargs: ``conf`` (a dict of Spark settings, wins over all others), ``master``, ``container_image``,
            ``driver_cores``, ``driver_memory``, ``extra_python_lib``, ``penv_archive``, ``additional_archive``,
            ``jars``, ``hadoop_conf``, ``hadoop_user_name``, ``python_location``, ``app_name``, ``spark_log_level``,
            ``redirect_spark_log``.

    Returns:
        The SparkContext (the SparkSession on Spark Connect); the cluster where there is no Spark.

    Raises:
        UsageError: (a ValueError) a wrong mode, size or keyword, the cluster's own configuration is missing, or Spark
            would have to start in a program that uses Spark Connect.
        MissingDependency: pyspark or Java is missing, in any mode but local.
    """
    if isinstance(runtime, int) or runtime == "*":
        runtime, cores, memory, num_nodes, init_ray_on_spark = _older_form(
            runtime, cores, memory, num_nodes, init_ray_on_spark
        )
    _check_names(kwargs)
    _check_ray(runtime, init_ray_on_spark, kwargs)
    cores = 2 if cores is None else cores
    if runtime == "python":
        return reuse() or handle(session.begin_local(conf.parse_cores(cores)))
    options = {"redirect_spark_log": not OrcaContext.log_output}
    options |= {name: value for name, value in kwargs.items() if name not in _RAY_OPTIONS}
    return open_context(cluster_mode, cores, memory, num_nodes, options)


def stop_orca_context() -> None:
    """Ends the context and all that was started for it: ranks, Spark, its JVM, a standalone cluster.

    Idempotent, and run at interpreter exit. A new context may follow, with other memory. A SparkSession that the
    program made itself goes on running.
    """
    session.end()


def open_context(
    cluster_mode: str | None, cores: int | str, memory: str, num_nodes: int, options: dict[str, Any]
) -> Any:
    """The running context's handle, else that of the program's own SparkSession, else of a new context.

    Arguments as in `init_orca_context`; `options` are its keywords that Spark understands.
    """
    if cluster_mode is None:
        cluster_mode = "spark-submit" if sessions.in_spark_submit() else "local"
    mode = conf.parse_mode(cluster_mode)
    request = conf.SparkRequest(
        mode=mode, cores=conf.parse_cores(cores), memory=memory, nodes=num_nodes, options=options
    )
    running = reuse()
    if running is not None:
        return running
    adopted = session.adopt() if mode in ("local", "spark-submit") else None
    if adopted is not None:
        _log.warning("The SparkSession that is already running is used; stop_orca_context() leaves it running.")
        return handle(adopted)
    return handle(_start(request))


def reuse() -> Any:
    """The running context's handle, with a warning that nothing new was started; None where none is running."""
    running = session.running()
    if running is None:
        return None
    _log.warning("A context is already running (%s) and is returned; stop_orca_context() ends it.", running.cluster)
    return handle(running)


def _start(request: conf.SparkRequest) -> session.Running:
    """Starts Spark; in local mode, where it cannot start, local processes."""
    connect.refuse_other_spark()
    if request.mode in ("yarn-cluster", "k8s-cluster") and not sessions.in_spark_submit():
        raise SystemExit(sessions.resubmit(request))  # the program has run, elsewhere
    obstacle = sessions.obstacle() if request.mode == "local" else ""
    if obstacle:
        _log.warning("Local processes are used instead of Spark: %s", obstacle)
        return session.begin_local(request.cores)
    return session.begin_spark(request)


def handle(running: session.Running) -> Any:
    """What a program holds of a context: its SparkContext (Connect: its session), or the cluster without Spark."""
    if running.spark is None:
        return running.cluster
    return running.spark if connect.is_connect(running.spark) else running.spark.sparkContext


def _older_form(first: Any, second: Any, third: Any, fourth: Any, fifth: Any) -> tuple[Any, ...]:
    """Analytics Zoo's order (cores, memory, num_nodes, init_ray_on_spark), told apart by type.

    A keyword keeps its own place: in ``init_orca_context("local", 4, memory="4g")`` only the 4 moves.
    """
    cores, memory, nodes, ray = first, third, fourth, fifth
    if isinstance(second, str):
        memory = second
    if isinstance(third, int):
        memory, nodes = second if isinstance(second, str) else "2g", third
    if isinstance(fourth, bool):
        nodes, ray = third if isinstance(third, int) else 1, fourth
    return "spark", cores, memory, nodes, ray


def _check_names(received: dict[str, Any]) -> None:
    known = {*conf.OPTIONS, *_RAY_OPTIONS, *_ARGUMENTS}
    unknown = [name for name in received if name not in known]
    if unknown:
        raise UsageError.unknown_argument("init_orca_context", unknown, known)


def _check_ray(runtime: str, init_ray_on_spark: bool, received: dict[str, Any]) -> None:
    if runtime not in RUNTIMES:
        raise UsageError(f"runtime must be 'spark' or 'python'. Received: {runtime!r}")
    if runtime == "ray" or init_ray_on_spark:
        wanted = "runtime='ray'" if runtime == "ray" else "init_ray_on_spark=True"
        raise UsageError(f"{_NO_RAY} Received: {wanted}")
    ignored = sorted(_RAY_OPTIONS.intersection(received))
    if ignored:
        _log.warning("Without Ray these have no effect: %s", ", ".join(ignored))


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False. Received: {value!r}")
    return value


_NO_RAY = "This release of zoo runs on Spark and on local processes; Ray comes with a later one."
