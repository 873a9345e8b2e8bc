from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.engine import session
from zoo.engine.clusters.spark import conf, java, sessions
from zoo.engine.errors import NoContext, UsageError
from zoo.orca import OrcaContext, common, init_orca_context, stop_orca_context


class Place:
    """A cluster that does nothing, and knows whether it was closed."""

    nodes = slots = 1

    def __init__(self, cores: int = 1) -> None:
        self.cores, self.closed = cores, 0

    def __str__(self) -> str:
        return f"place of {self.cores}"

    def close(self) -> None:
        self.closed += 1


def run(program: str, *arguments: str, **environ: str) -> Any:
    """What a program in a Python of its own prints last, as JSON."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": path} | environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr}


@pytest.fixture
def no_spark(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No session of other tests is seen, and no context is left."""
    monkeypatch.setattr(sessions, "active", lambda: None)
    yield
    session.end()


# --- which cluster is current ------------------------------------------------------------------------------------


def test_without_a_context_the_error_says_what_to_call(no_spark: None):
    with pytest.raises(NoContext, match=r"Call init_orca_context\(\) first"):
        session.current()
    with pytest.raises(NoContext, match=r"Call init_orca_context\(\) first"):
        OrcaContext.get_spark_context()


def test_a_new_context_closes_the_one_before_and_ending_twice_closes_once(no_spark: None):
    first, second, stopped = Place(), Place(), []
    session.begin(first, stop=lambda: stopped.append("first"))
    session.begin(second)
    assert session.current() is second
    session.end()
    session.end()
    assert (first.closed, second.closed, stopped) == (1, 1, ["first"])


def test_a_context_that_died_is_cleared_away(no_spark: None):
    place = Place()
    session.begin(place, alive=lambda: False)
    assert session.running() is None
    assert place.closed == 1


def test_what_was_started_is_stopped_even_where_closing_fails(no_spark: None):
    stopped: list[bool] = []
    place = Place()
    place.close = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    session.begin(place, stop=lambda: stopped.append(True))
    with pytest.raises(ZeroDivisionError):
        session.end()
    assert stopped == [True] and session.running() is None


def test_the_session_of_the_program_itself_is_adopted_and_left_running(spark: Any):
    assert session.running() is None
    cluster = session.current()
    assert session.current() is cluster
    assert session.spark() is spark
    assert OrcaContext.get_spark_context() is spark.sparkContext
    assert OrcaContext.get_spark_session() is spark
    assert OrcaContext.get_sql_context().sparkSession is spark
    session.end()
    assert sessions.alive(spark) and spark.range(3).count() == 3


def test_init_adopts_the_session_of_the_program_itself(spark: Any, caplog: pytest.LogCaptureFixture):
    try:
        assert init_orca_context(cluster_mode="local", cores=4) is spark.sparkContext
        assert "stop_orca_context() leaves it running" in caplog.text
        assert zoo.init_nncontext("an app") is spark.sparkContext
    finally:
        stop_orca_context()
    assert sessions.alive(spark)


# --- what a call means -------------------------------------------------------------------------------------------


@pytest.fixture
def asked(no_spark: None, monkeypatch: pytest.MonkeyPatch) -> list[conf.SparkRequest]:
    """The requests for Spark that would have been started."""
    requests: list[conf.SparkRequest] = []

    def begin(request: conf.SparkRequest) -> session.Running:
        requests.append(request)
        return session.begin(Place(), request=request)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "begin_spark", begin)
    return requests


@pytest.mark.parametrize(
    ("positional", "named", "size"),
    [
        ((), {}, (2, "2g", 1)),
        (("local",), {}, (2, "2g", 1)),
        (("local", 4), {}, (4, "2g", 1)),
        (("local", 4, "4g"), {}, (4, "4g", 1)),
        (("local", 4, "4g", 1), {}, (4, "4g", 1)),
        (("local", 4, "4g", 1, False), {}, (4, "4g", 1)),
        (("local", 4), {"memory": "4g"}, (4, "4g", 1)),
        (("local", "*"), {"memory": "4g"}, (conf.available_cores(), "4g", 1)),
        (("local", "spark", 4, "4g", 1, False), {}, (4, "4g", 1)),
        ((), {"cluster_mode": "local", "cores": "*"}, (conf.available_cores(), "2g", 1)),
        (("standalone", 4, "4g", 3), {}, (4, "4g", 3)),
        (("standalone", "spark", 4, "4g", 3), {}, (4, "4g", 3)),
        (("standalone", 4), {"num_nodes": 3}, (4, "2g", 3)),
    ],
)
def test_both_forms_of_the_call_mean_the_same(
    asked: list[conf.SparkRequest], positional: tuple[Any, ...], named: dict[str, Any], size: tuple[int, str, int]
):
    init_orca_context(*positional, **named)
    assert [(r.cores, r.memory, r.nodes) for r in asked] == [size]


def test_a_second_call_returns_the_running_context_and_says_so(
    asked: list[conf.SparkRequest], caplog: pytest.LogCaptureFixture
):
    first = init_orca_context(cluster_mode="local", cores=2)
    assert init_orca_context(cluster_mode="local", cores=4) is first
    assert len(asked) == 1
    assert "A context is already running (place of 1)" in caplog.text


def test_an_unknown_keyword_is_named_with_the_nearest_known_one(asked: list[conf.SparkRequest]):
    with pytest.raises(UsageError, match="no argument 'memroy'. Did you mean 'memory'(.|\n)*Known arguments: .*penv_"):
        init_orca_context(memroy="4g")
    assert asked == []


@pytest.mark.parametrize("call", [{"runtime": "ray"}, {"init_ray_on_spark": True}])
def test_ray_is_refused_in_plain_words(asked: list[conf.SparkRequest], call: dict[str, Any]):
    with pytest.raises(UsageError, match="Ray comes with a later one"):
        init_orca_context(**call)
    with pytest.raises(UsageError, match="Ray comes with a later one"):
        OrcaContext.get_ray_context()


def test_keywords_for_ray_are_known_and_said_to_have_no_effect(
    asked: list[conf.SparkRequest], caplog: pytest.LogCaptureFixture
):
    init_orca_context(object_store_memory="1g")
    assert "no effect: object_store_memory" in caplog.text
    assert "object_store_memory" not in asked[0].options


def test_wrong_calls_start_nothing(asked: list[conf.SparkRequest]):
    with pytest.raises(ValueError, match="cluster_mode must be one of .* Received: 'mesos'"):
        init_orca_context("mesos")
    with pytest.raises(UsageError, match="runtime must be 'spark' or 'python'. Received: 'dask'"):
        init_orca_context(runtime="dask")
    with pytest.raises(UsageError, match="num_nodes must be 1"):
        init_orca_context("local", num_nodes=2)
    assert asked == [] and session.running() is None


def test_log_output_shows_sparks_log(asked: list[conf.SparkRequest], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(common._Options, "_log_output", False)
    OrcaContext.log_output = True
    try:
        init_orca_context()
    finally:
        OrcaContext.log_output = False
    assert asked[0].options["redirect_spark_log"] is False


def test_under_spark_submit_its_command_line_is_asked(asked: list[conf.SparkRequest], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    init_orca_context()
    assert asked[0].mode == "spark-submit"


def test_a_cluster_deploy_mode_needs_a_script_to_send(no_spark: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [""])
    with pytest.raises(UsageError, match="sends the program's script to the cluster.*Use 'yarn-client' here"):
        init_orca_context("yarn-cluster", hadoop_conf="/etc/hadoop")


def test_a_program_for_a_cluster_deploy_mode_is_sent_with_spark_submit_and_ends_here(
    no_spark: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    submit = tmp_path / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.write_text(f'#!/bin/sh\necho "$HADOOP_CONF_DIR" "$@" > {tmp_path}/sent\nexit 3\n')
    submit.chmod(0o755)
    script = tmp_path / "train.py"
    script.touch()
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "--epochs", "2"])
    monkeypatch.setattr(java, "find", lambda: java.Java(tmp_path, 17, "the test"))
    with pytest.raises(SystemExit) as ended:
        init_orca_context("yarn-cluster", hadoop_conf="/etc/hadoop", penv_archive="env.tar.gz", num_nodes=2)
    assert ended.value.code == 3
    sent = (tmp_path / "sent").read_text().split()
    assert sent[0] == "/etc/hadoop" and sent[-3:] == [str(script), "--epochs", "2"]
    assert {"spark.master=yarn", "spark.submit.deployMode=cluster", "spark.executor.instances=2"} <= set(sent)


def test_without_java_local_processes_are_used_and_the_log_names_the_fix(
    no_spark: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(java, "find", lambda: None)
    cluster = init_orca_context(cluster_mode="local", cores=2)
    assert cluster is session.current()
    assert [record.message for record in caplog.records if "pip install 'openzoo[java]'" in record.message]
    with pytest.raises(NoContext, match=r"has no Spark.*pip install 'openzoo\[spark,java\]'"):
        OrcaContext.get_spark_context()
    with pytest.raises(ImportError, match="Java 17 or newer"):
        sessions.start(conf.SparkRequest(mode="standalone", options={"master": "spark://h:1"}))


def test_the_python_runtime_is_local_processes(no_spark: None):
    cluster = init_orca_context(runtime="python", cores=2)
    assert type(cluster).__name__ == "LocalCluster"
    assert session.current() is cluster
    assert init_orca_context(runtime="python") is cluster
    stop_orca_context()
    stop_orca_context()
    assert session.running() is None


# --- options -----------------------------------------------------------------------------------------------------


@pytest.fixture
def options_restored() -> Iterator[None]:
    names = [name for name in vars(common._Options) if isinstance(vars(common._Options)[name], property)]
    before = {name: getattr(OrcaContext, name) for name in names}
    yield
    for name, value in before.items():
        setattr(OrcaContext, name, value)


def test_options_have_the_documented_defaults():
    assert (OrcaContext.log_output, OrcaContext.pandas_read_backend) == (False, "spark")
    assert (OrcaContext.serialize_data_creator, OrcaContext.train_data_store) == (False, "DRAM")
    assert (OrcaContext.barrier_mode, OrcaContext._eager_mode, OrcaContext._shard_size) == (True, True, None)


def test_options_take_their_values(options_restored: None):
    OrcaContext.pandas_read_backend = "Pandas"
    OrcaContext.train_data_store = "disk_4"
    OrcaContext._shard_size = 10
    assert (OrcaContext.pandas_read_backend, OrcaContext.train_data_store) == ("pandas", "DISK_4")
    assert OrcaContext._shard_size == 10
    zoo.ZooContext.log_output = True
    zoo.ZooContext.barrier_mode = False
    assert (OrcaContext.log_output, OrcaContext.barrier_mode) == (True, False)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pandas_read_backend", "polars", "pandas_read_backend must be either spark or pandas"),
        ("train_data_store", "DISK_0", "train_data_store must be 'DRAM' or 'DISK_n'"),
        ("train_data_store", "PMEM", "train_data_store must be 'DRAM' or 'DISK_n'"),
        ("_shard_size", 0, "_shard_size must be None or a whole number of at least 1 row. Received: 0"),
        ("log_output", "yes", "log_output must be True or False. Received: 'yes'"),
        ("_eager_mode", 1, "_eager_mode must be True or False"),
    ],
)
def test_options_refuse_other_values(options_restored: None, name: str, value: Any, message: str):
    with pytest.raises(UsageError) as caught:
        setattr(OrcaContext, name, value)
    assert message in str(caught.value)


# --- the old addresses -------------------------------------------------------------------------------------------


def test_the_old_functions_ask_for_the_same(asked: list[conf.SparkRequest]):
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (zoo.init_spark_on_local, (3,), {"conf": {"spark.x": "1"}}),
        (zoo.init_spark_on_yarn, ("/etc/hadoop", None, 5, 3), {"executor_memory": "4g", "penv_archive": "e.tar.gz"}),
        (zoo.init_spark_standalone, (5, 3), {"master": "spark://h:7077", "driver_memory": "1g"}),
        (zoo.init_spark_on_k8s, ("https://h", "image", 5, 3), {}),
    ]
    for function, positional, named in calls:
        function(*positional, **named)
        stop_orca_context()
    assert [(r.mode, r.nodes, r.cores, r.memory) for r in asked] == [
        ("local", 1, 3, "2g"), ("yarn-client", 5, 3, "4g"), ("standalone", 5, 3, "2g"), ("k8s-client", 5, 3, "2g"),
    ]  # fmt: skip
    assert asked[0].options["conf"] == {"spark.x": "1"}
    assert asked[1].options["hadoop_conf"] == "/etc/hadoop" and "hadoop_user_name" not in asked[1].options
    assert asked[2].options["driver_memory"] == "1g"
    assert asked[3].options["driver_memory"] == "1g"


def test_nncontext_takes_a_name_or_settings(asked: list[conf.SparkRequest]):
    for argument in (None, "My program", {"spark.master": "yarn"}, {"spark.master": "local[3]"}):
        zoo.init_nncontext(argument)
        stop_orca_context()
    assert [r.mode for r in asked] == ["local", "local", "spark-submit", "local"]
    assert asked[1].options["app_name"] == "My program"
    assert asked[0].cores == conf.available_cores()


def test_stop_spark_standalone_ends_its_own_cluster_only(asked: list[conf.SparkRequest]):
    for master in ("spark://h:7077", None):
        zoo.init_spark_standalone(1, 1, master=master)
        zoo.stop_spark_standalone()
        assert (session.running() is None) == (master is None)
        stop_orca_context()


def test_a_star_import_gives_what_programs_expect():
    names: dict[str, Any] = {}
    exec("from zoo.common.nncontext import *", names)  # noqa: S102  programs do
    assert {"init_nncontext", "init_spark_on_yarn", "ZooContext", "SparkConf", "SparkContext", "np", "os"} <= set(names)
    assert names["SparkContext"].__module__.startswith("pyspark")


def test_zoo_names_what_it_has_and_refuses_the_rest():
    assert {"init_nncontext", "__version__"} <= set(dir(zoo))
    with pytest.raises(AttributeError, match="no attribute 'init_spark_on_mesos'"):
        zoo.init_spark_on_mesos  # noqa: B018


IMPORT = """
import json, sys
import zoo
heavy = sorted({"numpy", "pyarrow", "pyspark", "torch", "pandas"} & set(sys.modules))
print(json.dumps({"heavy": heavy, "modules": len([name for name in sys.modules if name.startswith("zoo")])}))
"""


def test_importing_zoo_loads_nothing():
    loaded = run(IMPORT)
    assert (loaded["heavy"], loaded["modules"]) == ([], 1)


# --- with Spark --------------------------------------------------------------------------------------------------

LIFE = """
import json, os, signal
import psutil
from zoo.engine import session
from zoo.engine.errors import UsageError
from zoo.orca import OrcaContext, init_orca_context, stop_orca_context

def megabytes(sc):
    return sc._jvm.java.lang.Runtime.getRuntime().maxMemory() >> 20

def children():
    return len(psutil.Process().children(recursive=True))

seen = {}
before, interrupt = dict(os.environ), signal.getsignal(signal.SIGINT)
sc = init_orca_context("local", 2, "600m")
seen["first"] = [sc.master, megabytes(sc), session.current().nodes, session.current().cores]
seen["again"] = init_orca_context(cores=4) is sc
seen["sum"] = OrcaContext.get_spark_session().range(10).rdd.map(lambda row: row.id).sum()
seen["python"] = sc.parallelize([0], 1).map(lambda _: __import__("sys").executable).collect()
stop_orca_context()
stop_orca_context()
seen["left"] = [children(), session.running() is None, signal.getsignal(signal.SIGINT) is interrupt]
ours = ("JAVA_HOME", "PYSPARK_PYTHON", "SPARK_LOCAL_IP")
seen["environment"] = [name for name in ours if before.get(name) != os.environ.get(name)]
sc = init_orca_context(cluster_mode="local", cores=1, memory="500m", conf={"spark.ui.enabled": False})
seen["second"] = [sc.master, megabytes(sc), OrcaContext.get_spark_session().range(5).count(), sc.uiWebUrl]
sc.stop()
seen["behind our back"] = [session.running() is None, children()]
try:
    init_orca_context(conf={"spark.master": "nowhere://"})
except UsageError as error:
    seen["refused"] = str(error)
from zoo import init_nncontext
sc = init_nncontext("named")
seen["third"] = [sc.appName, sc.range(5).count()]
print(json.dumps(seen))
"""  # and its end is left to the interpreter's exit


@pytest.fixture(scope="module")
def life() -> Any:
    """What a program saw that started Spark four times."""
    return run(LIFE)


@pytest.mark.slow
def test_contexts_follow_each_other_in_one_process_and_leave_nothing(life: Any):
    assert life["first"] == ["local[2]", 600, 1, 2]
    assert life["again"] is True and "A context is already running" in life["stderr"]
    assert life["sum"] == 45 and life["python"] == [sys.executable]
    assert life["left"] == [0, True, True]
    assert life["environment"] == []
    assert life["second"] == ["local[1]", 500, 5, None]
    assert life["behind our back"] == [True, 0]
    assert life["third"] == ["named", 5]
    assert "log4j" not in life["stderr"] and "WARN " not in life["stderr"]


@pytest.mark.slow
def test_settings_that_spark_refuses_are_shown_and_another_start_may_follow(life: Any):
    assert "Spark did not start: " in life["refused"] and "nowhere://" in life["refused"]
    assert "spark.driver.memory=2g" in life["refused"]
    assert life["third"] == ["named", 5]


SUBMITTED = """
import json, sys
from zoo.engine import session
from zoo.orca import init_orca_context, stop_orca_context
sc = init_orca_context(cluster_mode="spark-submit", conf={"spark.x.mine": "1"})
conf = sc.getConf()
print(json.dumps({
    "master": sc.master, "cores": session.current().cores, "name": sc.appName, "x": conf.get("spark.x.mine"),
    "theirs": conf.get("spark.python.worker.faulthandler.enabled"),
    "sum": sc.range(5).map(lambda n: n).sum(), "python": sc.pythonExec,
}))
stop_orca_context()
stop_orca_context()
"""


@pytest.mark.slow
def test_a_program_started_by_spark_submit_takes_its_command_line(tmp_path: Path):
    script = tmp_path / "program.py"
    script.write_text(SUBMITTED)
    found = java.find()
    assert found is not None
    submit = sessions.spark_home() / "bin" / "spark-submit"
    done = subprocess.run(
        [
            str(submit), "--master", "local[1]", "--name", "submitted", "--driver-memory", "512m",
            "--conf", "spark.python.worker.faulthandler.enabled=false", "--conf", "spark.ui.enabled=false", str(script),
        ],
        env=os.environ
        | {"JAVA_HOME": str(found.home), "PYSPARK_DRIVER_PYTHON": sys.executable}
        | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "master": "local[1]", "cores": 1, "name": "submitted", "x": "1", "theirs": "false", "sum": 10,
        "python": sys.executable,
    }  # fmt: skip
