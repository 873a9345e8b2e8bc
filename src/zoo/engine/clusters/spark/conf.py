"""What Spark is told: the settings of each cluster mode, as a plain dict.

Owns: the words of a request for Spark, the checks that need no Spark, the settings that follow.
Leaves: starting anything (sessions, standalone), finding Java (java).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from zoo.engine.clusters.spark.sockets import settings as through_sockets
from zoo.engine.errors import UsageError

Mode: TypeAlias = Literal[
    "local", "yarn-client", "yarn-cluster", "k8s-client", "k8s-cluster", "standalone", "spark-submit"
]

ALIASES: Mapping[str, Mode] = {
    "local": "local",
    "yarn": "yarn-client",
    "yarn-client": "yarn-client",
    "yarn-cluster": "yarn-cluster",
    "k8s": "k8s-client",
    "k8s-client": "k8s-client",
    "k8s-cluster": "k8s-cluster",
    "standalone": "standalone",
    "spark-submit": "spark-submit",
    "bigdl-submit": "spark-submit",
}
"""Every accepted `cluster_mode` and what it means."""

OPTIONS = (
    "additional_archive", "app_name", "conda_name", "conf", "container_image", "driver_cores", "driver_memory",
    "enable_numa_binding", "extra_executor_memory_for_ray", "extra_python_lib", "hadoop_conf", "hadoop_user_name",
    "jars", "master", "penv_archive", "python_location", "redirect_spark_log", "spark_log_level", "spark_yarn_archive",
)  # fmt: skip
"""Keywords that Spark's start understands, beside mode, cores, memory and num_nodes."""

_MEMORY = re.compile(r"\d+[kmgt]b?", re.IGNORECASE)
_QUIET_LOG = Path(__file__).with_name("log4j2-quiet.properties")
_ENVIRONMENT = "environment"  # the name under which a packed Python environment lies beside each executor

_EVERYWHERE = {
    "spark.sql.execution.arrow.maxBytesPerBatch": "1m",  # 1.3-2x the rows a second of the default into Python
    "spark.python.worker.faulthandler.enabled": "true",  # a crash in native code leaves its Python stack
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",  # default 15s: too few slots are found at once
}
_HERE = ("local", "spark://127.0.0.1:")
"""How masters begin whose executors are on this machine."""
_ON_A_CLUSTER = {
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",  # no task before all executors are there
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "30",  # a lost executor has 30 s to come back
    "spark.dynamicAllocation.enabled": "false",  # Spark refuses barrier stages with it
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkRequest:
    """What is asked of Spark; checked when it is made.

    Attributes:
        mode: one of the values of `ALIASES`.
        cores: of each node (executor); in local mode of this machine.
        memory: of each node, e.g. ``"2g"``; in local mode of the one JVM.
        nodes: number of executors; 1 in local mode. ``standalone`` without the option `master` is one machine's own.
        options: the remaining keywords, names from `OPTIONS`.
    """

    mode: Mode = "local"
    cores: int = 2
    memory: str = "2g"
    nodes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [*_size_problems(self), *_option_problems(self)]
        if problems:
            raise UsageError.listing(problems)


def parse_mode(cluster_mode: str) -> Mode:
    """The mode that a program's word means.

    Raises:
        UsageError: (a ValueError) it is not one of `ALIASES`.
    """
    mode = ALIASES.get(cluster_mode.lower()) if isinstance(cluster_mode, str) else None
    if mode is None:
        raise UsageError(f"cluster_mode must be one of {', '.join(ALIASES)}. Received: {cluster_mode!r}")
    return mode


def parse_cores(cores: int | str) -> int:
    """A number of cores; ``"*"`` is all that this process may use.

    Raises:
        UsageError: neither ``"*"`` nor a whole number of at least 1.
    """
    if cores == "*":
        return available_cores()
    if isinstance(cores, str) and cores.isdecimal():
        cores = int(cores)
    if isinstance(cores, bool) or not isinstance(cores, int) or cores < 1:
        raise UsageError(f"cores must be '*' or a whole number of at least 1. Received: {cores!r}")
    return cores


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def times(memory: str, count: int) -> str:
    """`count` times a size such as ``"2g"``."""
    number = re.match(r"\d+", memory)
    return f"{int(number[0]) * count}{memory[number.end() :]}" if number else memory


def settings(
    request: SparkRequest, environ: Mapping[str, str] | None = None, sockets: Path | None = None
) -> dict[str, str]:
    """The Spark settings of a request; the user's own `conf` wins over all of them.

    Args:
        request: what is asked.
        environ: where ``HADOOP_CONF_DIR`` and ``PYSPARK_PYTHON`` are looked up; None for this process's environment.
        sockets: a directory for Unix sockets between the JVM and Python, if there is one.

    Raises:
        UsageError: the cluster's own configuration is missing (yarn without ``HADOOP_CONF_DIR``).
    """
    environ = os.environ if environ is None else environ
    values = dict(_EVERYWHERE) | _of_mode(request, environ) | _shipped(request)
    values["spark.pyspark.python"] = python_of(request, environ)
    own = user_conf(request.options.get("conf"))
    values |= own
    if sockets is not None and values["spark.master"].startswith(_HERE):
        values |= through_sockets(sockets, own)
    if request.mode not in ("spark-submit", "yarn-cluster", "k8s-cluster"):  # there the JVM runs elsewhere, or already
        values["spark.driver.extraJavaOptions"] = _java_options(request, own)
    return {key: value for key, value in values.items() if value}


def environment(request: SparkRequest, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment variables that the driver's JVM starts with, beside the ones it inherits.

    Loopback only, in local mode: nothing outside this machine has to reach the driver or its UI.
    """
    environ = os.environ if environ is None else environ
    own = user_conf(request.options.get("conf"))
    variables = {"PYSPARK_PYTHON": own.get("spark.pyspark.python") or python_of(request, environ)}
    is_local = request.mode == "local" and own.get("spark.master", "local").startswith("local")
    if is_local and "SPARK_LOCAL_IP" not in environ:
        variables["SPARK_LOCAL_IP"] = "127.0.0.1"
    if request.options.get("hadoop_conf"):
        variables["HADOOP_CONF_DIR"] = str(request.options["hadoop_conf"])
    if request.options.get("hadoop_user_name"):
        variables["HADOOP_USER_NAME"] = str(request.options["hadoop_user_name"])
    return variables


def python_of(request: SparkRequest, environ: Mapping[str, str]) -> str:
    """The interpreter of the Python workers: never whichever ``python3`` comes first on a worker's PATH."""
    options = request.options
    if options.get("python_location"):
        return str(options["python_location"])
    if request.mode.startswith("yarn") and options.get("penv_archive"):
        return f"./{_ENVIRONMENT}/bin/python"
    if request.mode == "local":
        return sys.executable
    return environ.get("PYSPARK_PYTHON") or sys.executable


def user_conf(conf: Any) -> dict[str, str]:
    """The user's own settings as a dict: None, a mapping, pairs, or a SparkConf.

    Raises:
        UsageError: something else.
    """
    if conf is None:
        return {}
    pairs = conf.getAll() if hasattr(conf, "getAll") else conf.items() if isinstance(conf, Mapping) else conf
    try:
        return {str(key): _as_text(value) for key, value in pairs}
    except (TypeError, ValueError):
        raise UsageError(
            f"conf must be a dict of Spark settings, e.g. {{'spark.executor.memoryOverhead': '1g'}}. Received: {conf!r}"
        ) from None


def submit_command(submit: str, values: Mapping[str, str], script: list[str]) -> list[str]:
    """The spark-submit command that runs a program's driver inside the cluster.

    Args:
        submit: path of the ``spark-submit`` script.
        values: from `settings`.
        script: the program and its arguments.
    """
    pairs = [part for key, value in sorted(values.items()) for part in ("--conf", f"{key}={value}")]
    return [submit, *pairs, *script]


def _of_mode(request: SparkRequest, environ: Mapping[str, str]) -> dict[str, str]:
    options = request.options
    if request.mode == "spark-submit":
        return {}
    named = {
        "spark.app.name": str(options.get("app_name") or "zoo"),
        "spark.ui.showConsoleProgress": "false",  # zoo draws its own
    }
    if request.mode == "local":
        return named | {
            "spark.master": f"local[{request.cores}]",
            "spark.driver.memory": str(options.get("driver_memory") or request.memory),
            "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "2",
        }
    sized = named | _ON_A_CLUSTER | _executors(request)
    if request.mode == "standalone":
        master = str(options.get("master") or "")  # sessions fills in the address of the one that it starts
        loopback = {"spark.driver.host": "127.0.0.1"} if master.startswith("spark://127.0.0.1:") else {}
        return sized | loopback | {"spark.master": master, "spark.cores.max": str(request.nodes * request.cores)}
    deploy = {"spark.submit.deployMode": request.mode.partition("-")[2]}
    if request.mode.startswith("yarn"):
        return sized | deploy | _yarn(request, environ)
    return sized | deploy | _kubernetes(request)


def _executors(request: SparkRequest) -> dict[str, str]:
    options = request.options
    return {
        "spark.executor.instances": str(request.nodes),
        "spark.executor.cores": str(request.cores),
        "spark.executor.memory": request.memory,
        "spark.driver.cores": str(options.get("driver_cores") or 4),
        "spark.driver.memory": str(options.get("driver_memory") or "2g"),
    }


def _yarn(request: SparkRequest, environ: Mapping[str, str]) -> dict[str, str]:
    options = request.options
    if not (options.get("hadoop_conf") or environ.get("HADOOP_CONF_DIR") or environ.get("YARN_CONF_DIR")):
        raise UsageError(
            "cluster_mode='yarn' needs the cluster's own configuration: set the environment variable HADOOP_CONF_DIR "
            "to the directory that holds yarn-site.xml, or pass hadoop_conf=<that directory>."
        )
    penv = options.get("penv_archive")
    archives = [f"{penv}#{_ENVIRONMENT}"] if penv else []
    if options.get("additional_archive"):
        archives.append(str(options["additional_archive"]))
    python = python_of(request, environ)
    return {
        "spark.master": "yarn",
        "spark.yarn.dist.archives": ",".join(archives),
        "spark.yarn.archive": str(options.get("spark_yarn_archive") or ""),
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON": python,
        "spark.executorEnv.PYSPARK_PYTHON": python,
    }


def _kubernetes(request: SparkRequest) -> dict[str, str]:
    master, python = str(request.options["master"]), request.options.get("python_location")
    return {
        "spark.master": master if master.startswith("k8s://") else f"k8s://{master}",
        "spark.kubernetes.container.image": str(request.options["container_image"]),
        "spark.kubernetes.driverEnv.PYSPARK_PYTHON": str(python or ""),
        "spark.executorEnv.PYSPARK_PYTHON": str(python or ""),
    }


def _shipped(request: SparkRequest) -> dict[str, str]:
    """Files of the user's own that go to every executor."""
    return {
        "spark.submit.pyFiles": _joined(request.options.get("extra_python_lib")),
        "spark.jars": _joined(request.options.get("jars")),
    }


def _java_options(request: SparkRequest, own: Mapping[str, str]) -> str:
    """The user's JVM options, and before them ours that keep Spark's log off the console (errors excepted)."""
    theirs = own.get("spark.driver.extraJavaOptions", "")
    if "log4j" in theirs:
        return theirs
    options = request.options
    level = "ERROR" if options.get("redirect_spark_log", True) else options.get("spark_log_level", "WARN")
    return f"-Dlog4j2.configurationFile={_QUIET_LOG.as_uri()} -Dzoo.log.level={str(level).upper()} {theirs}".strip()


def _size_problems(request: SparkRequest) -> list[str]:
    problems = []
    if not isinstance(request.nodes, int) or request.nodes < 1:
        problems.append(f"num_nodes must be a whole number of at least 1. Received: {request.nodes!r}")
    elif request.mode == "local" and request.nodes != 1:
        problems.append(f"num_nodes must be 1 with cluster_mode='local'. Received: {request.nodes}")
    memories = {"memory": request.memory, "driver_memory": request.options.get("driver_memory")}
    for name, value in memories.items():
        if value is not None and not (isinstance(value, str) and _MEMORY.fullmatch(value)):
            problems.append(f"{name} must be a size with its unit, e.g. '2g' or '512m'. Received: {value!r}")
    return problems


def _option_problems(request: SparkRequest) -> list[str]:
    options, problems = request.options, []
    for name, what in _NEEDED_BY_K8S.items():
        if request.mode.startswith("k8s") and not options.get(name):
            problems.append(f"cluster_mode='{request.mode}' needs {name}=..., {what}. Received: nothing")
    if options.get("enable_numa_binding"):
        problems.append("enable_numa_binding is not supported: bind the Workers themselves, e.g. with numactl.")
    if options.get("conda_name") and not (options.get("penv_archive") or options.get("python_location")):
        problems.append(
            f"zoo does not pack conda environments itself. Run: conda pack -n {options['conda_name']} -o "
            f"environment.tar.gz, and pass penv_archive='environment.tar.gz'. Received: "
            f"conda_name={options['conda_name']!r}"
        )
    return problems


_NEEDED_BY_K8S = {
    "master": "the cluster's address, e.g. 'k8s://https://host:6443'",
    "container_image": "an image that holds Spark, Python and your packages",
}


def _joined(paths: str | list[str] | tuple[str, ...] | None) -> str:
    return ",".join(paths) if isinstance(paths, list | tuple) else paths or ""


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
