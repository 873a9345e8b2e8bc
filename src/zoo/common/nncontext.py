"""The context functions of Analytics Zoo at their old address; they translate to `zoo.orca.common`.

``from zoo.common.nncontext import *`` also gives the names that programs came to expect with it.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
from typing import Any

import numpy as np

from zoo.engine import session
from zoo.engine.clusters.spark import conf as spark_conf
from zoo.engine.clusters.spark import connect, sessions
from zoo.engine.optional import installed
from zoo.orca.common import OrcaContext, open_context

_PYSPARK = ("SQLContext", "SparkConf", "SparkContext", "SparkSession")

__all__ = [
    "ZooContext",
    "getOrCreateSparkContext",
    "get_optimizer_version",
    "init_nncontext",
    "init_spark_conf",
    "init_spark_on_k8s",
    "init_spark_on_local",
    "init_spark_on_yarn",
    "init_spark_standalone",
    "np",
    "os",
    "random",
    "set_optimizer_version",
    "stop_spark_standalone",
    "sys",
    "tempfile",
    *(_PYSPARK if installed("pyspark") else ()),
]
_log = logging.getLogger("zoo")


class ZooContextMeta(type):
    """Properties of the class `ZooContext`; they are `OrcaContext`'s."""

    @property
    def log_output(cls) -> bool:
        """Whether Spark's own log is shown on the console. Set it before the context starts."""
        return OrcaContext.log_output

    @log_output.setter
    def log_output(cls, value: bool) -> None:
        OrcaContext.log_output = value

    @property
    def barrier_mode(cls) -> bool:
        """Whether Ray is started in a Spark barrier stage."""
        return OrcaContext.barrier_mode

    @barrier_mode.setter
    def barrier_mode(cls, value: bool) -> None:
        OrcaContext.barrier_mode = value


class ZooContext(metaclass=ZooContextMeta):
    """Process-wide options: ``ZooContext.log_output = True``."""


def init_nncontext(conf: Any = None, spark_log_level: str = "WARN", redirect_spark_log: bool = True) -> Any:
    """The running SparkContext, or a new one: spark-submit's, else on this machine with all its cores.

    In a program that uses Spark Connect, which has no SparkContext, its SparkSession, and a line says so.

    Args:
        conf: an application name, a SparkConf, or a dict of Spark settings. Its `spark.master` decides where it runs.
        spark_log_level: of Spark's log on the console, where `redirect_spark_log` is False.
        redirect_spark_log: whether the console shows Spark's errors only.
    """
    quiet = redirect_spark_log and not OrcaContext.log_output
    options = {"spark_log_level": spark_log_level, "redirect_spark_log": quiet}
    options |= {"app_name": conf} if isinstance(conf, str) else {"conf": conf}
    own = {} if isinstance(conf, str) else spark_conf.user_conf(conf)
    elsewhere = not own.get("spark.master", "local").startswith("local")
    context = open_context("spark-submit" if elsewhere else None, "*", "2g", 1, options)
    if connect.is_connect(context):
        _log.warning("Spark Connect has no SparkContext and no RDDs; the SparkSession is returned in its place.")
    return context


def getOrCreateSparkContext(conf: Any = None, appName: str | None = None) -> Any:
    """The running SparkContext, or a new one with these settings and this name; as `init_nncontext`."""
    return init_nncontext({**spark_conf.user_conf(conf), **({"spark.app.name": appName} if appName else {})})


def init_spark_conf(conf: Any = None) -> Any:
    """A SparkConf with zoo's settings, to be changed and passed to `init_nncontext`."""
    request = spark_conf.SparkRequest(mode="spark-submit", options={"conf": conf})
    return sessions.pyspark_class("SparkConf")().setAll(list(spark_conf.settings(request).items()))


def init_spark_on_local(
    cores: int | str = 2,
    conf: Any = None,
    python_location: str | None = None,
    spark_log_level: str = "WARN",
    redirect_spark_log: bool = True,
) -> Any:
    """Spark on this machine.

    Args:
        cores: how many, or ``"*"`` for all.
        conf: Spark settings that win over zoo's.
        python_location: interpreter of the Python workers; None for this one.
        spark_log_level: as in `init_nncontext`.
        redirect_spark_log: as in `init_nncontext`.
    """
    return open_context("local", cores, "2g", 1, _options(locals()))


def init_spark_on_yarn(
    hadoop_conf: str,
    conda_name: str | None,
    num_executors: int,
    executor_cores: int,
    executor_memory: str = "2g",
    driver_cores: int = 4,
    driver_memory: str = "2g",
    extra_executor_memory_for_ray: str | None = None,
    extra_python_lib: str | None = None,
    penv_archive: str | None = None,
    additional_archive: str | None = None,
    hadoop_user_name: str | None = None,
    spark_yarn_archive: str | None = None,
    spark_log_level: str = "WARN",
    redirect_spark_log: bool = True,
    jars: str | None = None,
    conf: Any = None,
) -> Any:
    """Spark on YARN, the driver here.

    Args:
        hadoop_conf: directory of yarn-site.xml.
        conda_name: name of the conda environment that `penv_archive` was packed from.
        num_executors: how many executors.
        executor_cores: cores of each executor.
        executor_memory: memory of each executor, e.g. ``"2g"``.
        driver_cores: cores of the driver.
        driver_memory: memory of the driver.
        extra_executor_memory_for_ray: no effect; this release has no Ray.
        extra_python_lib: comma-separated .py, .zip files for the executors.
        penv_archive: packed Python environment, made by conda-pack or venv-pack.
        additional_archive: comma-separated archives that are unpacked beside the executors.
        hadoop_user_name: None for the user that runs this (Analytics Zoo said root).
        spark_yarn_archive: archive of Spark's own jars.
        spark_log_level: as in `init_nncontext`.
        redirect_spark_log: as in `init_nncontext`.
        jars: comma-separated jars.
        conf: Spark settings that win over zoo's.
    """
    return open_context("yarn-client", executor_cores, executor_memory, num_executors, _options(locals()))


def init_spark_standalone(
    num_executors: int,
    executor_cores: int,
    executor_memory: str = "2g",
    driver_cores: int = 4,
    driver_memory: str = "2g",
    master: str | None = None,
    extra_executor_memory_for_ray: str | None = None,
    extra_python_lib: str | None = None,
    spark_log_level: str = "WARN",
    redirect_spark_log: bool = True,
    conf: Any = None,
    jars: str | None = None,
    python_location: str | None = None,
    enable_numa_binding: bool = False,
) -> Any:
    """Spark on a standalone cluster.

    Args:
        num_executors: how many executors.
        executor_cores: cores of each executor.
        executor_memory: memory of each executor, e.g. ``"2g"``.
        driver_cores: cores of the driver.
        driver_memory: memory of the driver.
        master: the cluster's address; None starts a cluster on this machine, which ends with the context.
        extra_executor_memory_for_ray: no effect; this release has no Ray.
        extra_python_lib: comma-separated .py and .zip files for the executors.
        jars: comma-separated jars.
        conf: Spark settings that win over zoo's.
        spark_log_level: as in `init_nncontext`.
        redirect_spark_log: as in `init_nncontext`.
        python_location: interpreter of the Python workers on every node.
        enable_numa_binding: not supported; True is an error.
    """
    return open_context("standalone", executor_cores, executor_memory, num_executors, _options(locals()))


def stop_spark_standalone() -> None:
    """Ends the standalone cluster that `init_spark_standalone` started, and the context on it. Idempotent."""
    running = session.running()
    request = None if running is None else running.request
    if request is not None and request.mode == "standalone" and not request.options.get("master"):
        session.end()


def init_spark_on_k8s(
    master: str,
    container_image: str,
    num_executors: int,
    executor_cores: int,
    executor_memory: str = "2g",
    driver_memory: str = "1g",
    driver_cores: int = 4,
    extra_executor_memory_for_ray: str | None = None,
    extra_python_lib: str | None = None,
    spark_log_level: str = "WARN",
    redirect_spark_log: bool = True,
    jars: str | None = None,
    conf: Any = None,
    python_location: str | None = None,
) -> Any:
    """Spark on Kubernetes, the driver here.

    Args:
        master: the API server, e.g. ``"k8s://https://host:6443"``.
        container_image: an image that holds Spark, Python and the program's packages.
        num_executors: how many executors.
        executor_cores: cores of each executor.
        executor_memory: memory of each executor, e.g. ``"2g"``.
        driver_memory: memory of the driver.
        driver_cores: cores of the driver.
        extra_executor_memory_for_ray: no effect; this release has no Ray.
        extra_python_lib: comma-separated .py and .zip files for the executors.
        jars: comma-separated jars.
        conf: Spark settings that win over zoo's.
        spark_log_level: as in `init_nncontext`.
        redirect_spark_log: as in `init_nncontext`.
        python_location: the image's interpreter.
    """
    return open_context("k8s-client", executor_cores, executor_memory, num_executors, _options(locals()))


def set_optimizer_version(optimizerVersion: str) -> None:
    """No effect: there is one implementation. Kept for programs that choose between BigDL's two."""
    _log.warning("set_optimizer_version(%r) has no effect: zoo has one optimizer.", optimizerVersion)


def get_optimizer_version() -> str:
    """``"optimizerV2"``, whatever was set."""
    return "optimizerV2"


def _options(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that were given and that Spark's start understands."""
    chosen = {name: arguments[name] for name in spark_conf.OPTIONS if arguments.get(name) is not None}
    if OrcaContext.log_output:
        chosen["redirect_spark_log"] = False
    if arguments.get("extra_executor_memory_for_ray"):
        _log.warning("Without Ray extra_executor_memory_for_ray has no effect.")
    return chosen


def __getattr__(name: str) -> Any:
    if name in _PYSPARK:
        return sessions.pyspark_class(name)
    raise AttributeError(f"module 'zoo.common.nncontext' has no attribute '{name}'")
