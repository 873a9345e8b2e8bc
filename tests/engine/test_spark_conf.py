from __future__ import annotations

import importlib
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from zoo.engine.clusters.spark import sockets
from zoo.engine.clusters.spark.conf import (
    ALIASES,
    SparkRequest,
    environment,
    parse_cores,
    parse_mode,
    settings,
    submit_command,
    times,
    user_conf,
)
from zoo.engine.clusters.spark.sessions import parse_size
from zoo.engine.clusters.spark.workers import Fingerprint, differences, explain
from zoo.engine.errors import UsageError

HADOOP = {"HADOOP_CONF_DIR": "/etc/hadoop"}
K8S = {"master": "https://api:6443", "container_image": "me/zoo:1"}


def request(mode: Any = "local", cores: int = 3, memory: str = "5g", nodes: int = 1, **options: Any) -> SparkRequest:
    return SparkRequest(mode=mode, cores=cores, memory=memory, nodes=nodes, options=options)


def test_local_is_one_jvm_with_the_cores_and_memory_asked_for():
    values = settings(request(), {})
    assert values["spark.master"] == "local[3]"
    assert values["spark.driver.memory"] == "5g"
    assert values["spark.pyspark.python"] == sys.executable
    assert not any(name.startswith("spark.executor") for name in values)


def test_local_takes_this_interpreter_whatever_the_environment_says():
    assert settings(request(), {"PYSPARK_PYTHON": "/old/python"})["spark.pyspark.python"] == sys.executable
    assert settings(request(python_location="/my/python"), {})["spark.pyspark.python"] == "/my/python"


def test_local_listens_on_loopback_unless_the_user_chose_an_address():
    assert environment(request(), {})["SPARK_LOCAL_IP"] == "127.0.0.1"
    assert "SPARK_LOCAL_IP" not in environment(request(), {"SPARK_LOCAL_IP": "10.0.0.1"})
    assert "SPARK_LOCAL_IP" not in environment(request(conf={"spark.master": "yarn"}), {})
    assert "SPARK_LOCAL_IP" not in environment(request("standalone", master="spark://h:7077"), {})


SOCKETS = "spark.python.unix.domain.socket"


def test_unix_sockets_serve_where_all_executors_are_on_this_machine(tmp_path: Path):
    own = settings(request("standalone", master="spark://127.0.0.1:4012"), {}, tmp_path)
    for values in (settings(request(), {}, tmp_path), own):
        assert values[f"{SOCKETS}.enabled"] == "true" and values[f"{SOCKETS}.dir"] == str(tmp_path)
    elsewhere = settings(request(conf={"spark.master": "spark://host:7077"}), {}, tmp_path)
    for values in (elsewhere, settings(request(), {})):
        assert not any(name.startswith(SOCKETS) for name in values)


def test_the_users_word_on_sockets_wins(tmp_path: Path):
    assert settings(request(conf={f"{SOCKETS}.enabled": False}), {}, tmp_path)[f"{SOCKETS}.enabled"] == "false"
    assert settings(request(conf={f"{SOCKETS}.dir": "/run/mine"}), {}, tmp_path)[f"{SOCKETS}.dir"] == "/run/mine"
    name = "spark.executorEnv.PYTHONPATH"
    theirs, ours = settings(request(conf={name: "/mine"}), {}, tmp_path)[name].split(os.pathsep)
    assert theirs == "/mine" and (Path(ours) / "zoo_python_daemon.py").is_file()


def test_a_worker_whose_socket_is_closed_ends_in_silence():
    daemon: Any = importlib.import_module("zoo.engine.clusters.spark.daemon.zoo_python_daemon")

    def closed(sock: Any, authenticated: bool) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    assert daemon.silent(lambda sock, authenticated: 0)(None, True) == 0
    assert daemon.silent(closed)(None, True) != 0


def test_no_directory_for_sockets_whose_paths_were_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    short = sockets.directory()
    assert short is not None and short.stat().st_mode & 0o777 == 0o700
    sockets.remove(short)
    assert not short.exists()
    long = tmp_path / ("n" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert sockets.directory() is None and not list(long.iterdir())


def test_no_directory_where_the_file_system_has_no_sockets(monkeypatch: pytest.MonkeyPatch):
    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError(95, "Operation not supported")

    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    before = set(Path("/tmp").glob("zoo-spark-*"))
    monkeypatch.setattr(socket, "socket", Refusing)
    assert sockets.directory() is None
    assert set(Path("/tmp").glob("zoo-spark-*")) == before


@pytest.mark.parametrize("mode", sorted(set(ALIASES.values())))
def test_every_mode_has_what_gangs_need(mode: Any):
    values = settings(request(mode, **K8S), HADOOP)
    assert values["spark.sql.execution.arrow.maxBytesPerBatch"] == "1m"
    assert values["spark.scheduler.barrier.maxConcurrentTasksCheck.interval"] == "1s"
    assert values["spark.python.worker.faulthandler.enabled"] == "true"


def test_standalone_gets_as_many_executors_as_asked_for():
    values = settings(request("standalone", cores=3, nodes=4, master="spark://host:7077"), {})
    assert values["spark.master"] == "spark://host:7077"
    assert (values["spark.cores.max"], values["spark.executor.cores"], values["spark.executor.memory"]) == (
        "12",
        "3",
        "5g",
    )
    assert values["spark.scheduler.minRegisteredResourcesRatio"] == "1.0"
    assert values["spark.dynamicAllocation.enabled"] == "false"
    assert "spark.driver.host" not in values


def test_yarn_ships_the_packed_environment_and_runs_its_python():
    asked = request("yarn-client", nodes=4, penv_archive="env.tar.gz", additional_archive="data.zip#data")
    values = settings(asked, HADOOP)
    assert values["spark.master"] == "yarn"
    assert values["spark.submit.deployMode"] == "client"
    assert values["spark.executor.instances"] == "4"
    assert values["spark.yarn.dist.archives"] == "env.tar.gz#environment,data.zip#data"
    python = "./environment/bin/python"
    for name in ("spark.pyspark.python", "spark.yarn.appMasterEnv.PYSPARK_PYTHON", "spark.executorEnv.PYSPARK_PYTHON"):
        assert values[name] == python
    assert environment(asked, {})["PYSPARK_PYTHON"] == python


def test_yarn_takes_hadoops_configuration_from_the_call_or_the_environment():
    with pytest.raises(UsageError, match="HADOOP_CONF_DIR.*hadoop_conf="):
        settings(request("yarn-client"), {})
    asked = request("yarn-cluster", hadoop_conf="/my/conf", hadoop_user_name="me")
    assert settings(asked, {})["spark.submit.deployMode"] == "cluster"
    assert environment(asked, {})["HADOOP_CONF_DIR"] == "/my/conf"
    assert environment(asked, {})["HADOOP_USER_NAME"] == "me"


@pytest.mark.parametrize("master", ["https://api:6443", "k8s://https://api:6443"])
def test_kubernetes_runs_the_image(master: str):
    values = settings(request("k8s-client", nodes=2, **K8S | {"master": master}), {})
    assert values["spark.master"] == "k8s://https://api:6443"
    assert values["spark.kubernetes.container.image"] == "me/zoo:1"
    assert values["spark.executor.instances"] == "2"


def test_kubernetes_names_everything_that_is_missing_at_once():
    with pytest.raises(UsageError, match=r"2 problems:\n.*master=(.|\n)*container_image="):
        request("k8s-client")


def test_spark_submit_decides_size_and_place_itself():
    values = settings(request("spark-submit", cores=7, memory="9g"), {})
    decided = ("spark.master", "spark.driver.memory", "spark.executor.cores", "spark.app.name")
    assert not set(decided) & values.keys()


def test_the_users_conf_wins():
    mine = {"spark.master": "local[1]", "spark.driver.memory": "1g", "spark.sql.ansi.enabled": False}
    values = settings(request(conf=mine), {})
    assert (values["spark.master"], values["spark.driver.memory"]) == ("local[1]", "1g")
    assert values["spark.sql.ansi.enabled"] == "false"
    assert environment(request(conf={"spark.pyspark.python": "/p"}), {})["PYSPARK_PYTHON"] == "/p"


def test_jvm_options_of_the_user_are_kept_beside_ours_and_his_log4j_wins():
    both = settings(request(conf={"spark.driver.extraJavaOptions": "-Xss4m"}), {})["spark.driver.extraJavaOptions"]
    assert both.endswith(" -Xss4m") and "log4j2-quiet.properties" in both
    own = "-Dlog4j2.configurationFile=mine.xml"
    assert settings(request(conf={"spark.driver.extraJavaOptions": own}), {})["spark.driver.extraJavaOptions"] == own


def test_the_console_shows_errors_unless_more_is_asked_for():
    options = "spark.driver.extraJavaOptions"
    assert "-Dzoo.log.level=ERROR" in settings(request(spark_log_level="info"), {})[options]
    assert "-Dzoo.log.level=INFO" in settings(request(spark_log_level="info", redirect_spark_log=False), {})[options]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nodes": 2}, "num_nodes must be 1 with cluster_mode='local'. Received: 2"),
        ({"nodes": 0}, "num_nodes must be a whole number of at least 1. Received: 0"),
        ({"memory": "2 gigs"}, "memory must be a size with its unit, e.g. '2g' or '512m'. Received: '2 gigs'"),
        ({"memory": 2}, "memory must be a size"),
        ({"driver_memory": "2"}, "driver_memory must be a size"),
        ({"enable_numa_binding": True}, "enable_numa_binding is not supported"),
        ({"conda_name": "py311"}, "conda pack -n py311 -o environment.tar.gz"),
    ],
)
def test_wrong_sizes_are_named_with_what_was_received(wrong: dict[str, Any], message: str):
    with pytest.raises(UsageError) as caught:
        request(**wrong)
    assert message in str(caught.value)


def test_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(ValueError, match="cluster_mode must be one of local, yarn, .*spark-submit.* Received: 'mesos'"):
        parse_mode("mesos")
    assert parse_mode("Yarn") == "yarn-client"


def test_cores_are_a_number_or_all():
    assert parse_cores(3) == parse_cores("3") == 3
    assert parse_cores("*") >= 1
    for wrong in (0, -1, "many", 1.5, True):
        with pytest.raises(UsageError, match=r"cores must be '\*' or a whole number"):
            parse_cores(wrong)  # type: ignore[arg-type]


def test_conf_may_be_a_dict_or_pairs_and_nothing_else():
    assert user_conf({"a": 1, "b": True}) == user_conf([("a", "1"), ("b", "true")]) == {"a": "1", "b": "true"}
    with pytest.raises(UsageError, match="conf must be a dict of Spark settings.*Received: 'spark.x=1'"):
        user_conf("spark.x=1")


def test_memory_is_multiplied_in_its_own_unit():
    assert (times("2g", 3), times("512m", 2)) == ("6g", "1024m")


def test_a_program_is_sent_to_the_cluster_with_its_settings_and_arguments():
    command = submit_command("/spark/bin/spark-submit", {"spark.b": "2", "spark.a": "1"}, ["train.py", "--epochs", "3"])
    assert command == [
        "/spark/bin/spark-submit", "--conf", "spark.a=1", "--conf", "spark.b=2", "train.py", "--epochs", "3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "parallelism", "registered", "size"),
    [
        ({"spark.master": "local"}, 1, 0, (1, 1)),
        ({"spark.master": "local[4]"}, 64, 0, (1, 4)),
        ({"spark.master": "local[4,2]"}, 4, 0, (1, 4)),
        ({"spark.master": "local[*]"}, 8, 0, (1, 8)),
        ({"spark.master": "local-cluster[3, 2, 1024]"}, 6, 3, (3, 2)),
        ({"spark.master": "yarn", "spark.executor.instances": "5", "spark.executor.cores": "4"}, 2, 1, (5, 4)),
        ({"spark.master": "spark://h:1"}, 12, 3, (3, 4)),
        ({"spark.master": "spark://h:1"}, 2, 0, (1, 2)),
        ({"spark.master": "spark://h:1", "spark.executor.cores": "4"}, 12, 0, (3, 4)),  # Connect: nobody counts them
        ({"spark.master": "spark://h:1", "spark.executor.cores": "4"}, 2, 0, (1, 4)),
    ],
)
def test_the_size_of_a_running_session_is_read_off_its_settings(
    values: dict[str, str], parallelism: int, registered: int, size: tuple[int, int]
):
    assert parse_size(values, parallelism, registered) == size


DRIVER = Fingerprint("laptop", "/p", "3.11.7", {"numpy": "2.4.6", "torch": "2.13.0+cpu", "pyarrow": None})


def test_workers_like_the_driver_have_no_problem_nor_have_other_patches_and_builds():
    worker = Fingerprint("node1", "/q", "3.11.2", {"numpy": "2.4.1", "torch": "2.13.1+cu130", "pyarrow": "26.0.1"})
    assert differences(DRIVER, [DRIVER, worker]) == []


def test_a_worker_that_differs_is_named_with_package_and_versions():
    worker = Fingerprint("node1", "/q", "3.12.1", {"numpy": "1.26.4", "torch": None, "pyarrow": None})
    assert differences(DRIVER, [DRIVER, worker]) == [
        "Python 3.12.1 on node1 (/q); the driver has 3.11.7.",
        "package 'numpy' is 1.26.4 on node1 (/q); the driver has 2.4.6.",
        "package 'torch' is missing on node1 (/q); the driver has 2.13.0+cpu.",
    ]


def test_sparks_long_messages_become_one_line():
    mismatch = (
        "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11, PySpark"
    )
    assert explain(mismatch, ["10.0.0.7"]).startswith("Python 3.9 on 10.0.0.7; the driver has 3.11.\n")
    missing = 'java.io.IOException: Cannot run program "/my/python": error=2, No such file or directory'
    assert explain(missing, ["a", "b"]).startswith("no Python interpreter '/my/python' on a, b.\n")
    assert explain("something else").startswith("the executors cannot run Python code of this program: something else")
