from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from leftovers import within
from zoo.engine.clusters.spark.standalone import StandaloneCluster
from zoo.engine.errors import UsageError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def python(program: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": path} | environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


PROGRAM = """
import json, sys
from zoo.engine import session
from zoo.engine.clusters.spark import workers
from zoo.engine.errors import UsageError
from zoo.orca import OrcaContext, init_orca_context, stop_orca_context


def scratch(_):
    # where this executor puts what a killed one leaves behind: its traces, its libraries, its worker's files
    import os, pathlib, re, tempfile
    jvm = os.getppid()
    while "CoarseGrained" not in pathlib.Path(f"/proc/{jvm}/cmdline").read_text():
        jvm = int(re.search(r"PPid:\\s+(\\d+)", pathlib.Path(f"/proc/{jvm}/status").read_text())[1])
    maps = pathlib.Path(f"/proc/{jvm}/maps").read_text()
    return [os.environ["PYTHON_FAULTHANDLER_DIR"], tempfile.gettempdir(), *re.findall(r"(/\\S+)/liblz4-java\\S*", maps)]


master, *python = sys.argv[1:]
options = {"conf": {"spark.ui.enabled": False}} | ({"python_location": python[0]} if python else {})
sc = init_orca_context(
    "standalone", cores=1, memory="512m", num_nodes=2, driver_memory="512m", master=master, **options
)
seen = {"size": [session.current().nodes, session.current().cores]}
try:
    found = workers.check_workers(OrcaContext.get_spark_session(), slots=2)
    assert workers.check_workers(OrcaContext.get_spark_session(), slots=2) == found
    seen["python"] = [worker.executable for worker in found]
    seen["versions"] = sorted(found[0].packages)
    seen["zoo"] = sc.parallelize([0], 1).map(lambda _: __import__("zoo").__file__).collect()
    seen["scratch"] = sc.parallelize([0], 1).flatMap(scratch).collect()
    seen["executors"] = sc._jsc.sc().getExecutorMemoryStatus().size() - 1
    seen["driver imports from a zip"] = any("zoo-" in entry for entry in sys.path)
except UsageError as error:
    seen["error"] = str(error)
stop_orca_context()
print(json.dumps(seen))
"""


OTHER_PYTHON = """
import collections, sys
Version = collections.namedtuple("Version", "major minor micro releaselevel serial")
sys.version_info = Version(3, 9, 1, "final", 0)
"""


def test_a_context_on_two_workers_checks_them_and_carries_zoo_along(tmp_path: Path):
    with StandaloneCluster(workers=2, cores=1, memory="512m") as cluster:
        assert len(cluster.worker_pids) == 2
        assert all("worker.Worker" in " ".join(psutil.Process(pid).cmdline()) for pid in cluster.worker_pids)

        seen = answer(python(PROGRAM, cluster.master))
        assert seen["size"] == [2, 1] and seen["executors"] == 2
        assert seen["python"] == [sys.executable]
        assert seen["versions"] == ["numpy", "pyarrow", "torch"]
        assert seen["zoo"][0].endswith("zoo-0.1.0.zip/zoo/__init__.py")  # not installed there: sent
        assert not seen["driver imports from a zip"]
        assert len(seen["scratch"]) > 2 and all("/zoo-standalone-" in place for place in seen["scratch"]), seen

        other = tmp_path / "sitecustomize.py"  # an interpreter that calls itself 3.9
        other.write_text(OTHER_PYTHON)
        wrapper = tmp_path / "python"
        wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}:"$PYTHONPATH" exec {sys.executable} "$@"\n')
        wrapper.chmod(0o755)
        seen = answer(python(PROGRAM, cluster.master, str(wrapper)))
        assert seen["error"].startswith("Python 3.9 on ")
        assert f"; the driver has {sys.version_info[0]}.{sys.version_info[1]}." in seen["error"]

        seen = answer(python(PROGRAM, cluster.master, "/nowhere/python"))
        assert seen["error"].startswith("no Python interpreter '/nowhere/python' on ")


OWN = """
import json
import psutil
from zoo.common.nncontext import init_spark_standalone, stop_spark_standalone
from zoo.engine import session
sc = init_spark_standalone(2, 1, "512m", driver_memory="512m", conf={"spark.ui.enabled": False})
seen = {"sum": sc.range(10).map(lambda n: n).sum(), "master": sc.master}
stop_spark_standalone()
stop_spark_standalone()
seen["left"] = [p.name() for p in psutil.Process().children(recursive=True)]
seen["running"] = session.running() is not None
print(json.dumps(seen))
"""


def test_init_spark_standalone_without_a_master_brings_its_own_cluster():
    seen = answer(python(OWN))
    assert seen["sum"] == 45 and seen["master"].startswith("spark://127.0.0.1:")
    assert seen["left"] == [] and not seen["running"]


KILLED = """
import os, signal, sys
from zoo.engine.clusters.spark.standalone import StandaloneCluster
cluster = StandaloneCluster(workers=1, cores=1, memory="512m")
print(cluster.worker_pids[0], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_cluster_ends_with_a_program_that_is_killed():
    done = python(KILLED)
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout)
    assert within(10, lambda: not psutil.pid_exists(worker))
    assert within(10, lambda: not list(Path(tempfile.gettempdir()).glob("zoo-standalone-*")))


KILLED_LOCAL = """
import os, signal
from zoo.engine import session
from zoo.engine.clusters.spark.conf import SparkRequest
spark = session.begin_spark(SparkRequest(cores=1, memory="512m")).spark
assert spark.range(3).rdd.map(lambda row: row.id).sum() == 3
print(spark.conf.get("spark.python.unix.domain.socket.dir"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_sockets_end_with_a_program_that_is_killed():
    done = python(KILLED_LOCAL)
    assert done.returncode == -signal.SIGKILL
    sockets = Path(done.stdout.strip())
    assert sockets.name.startswith("zoo-spark-")
    assert within(20, lambda: not sockets.exists())


def test_a_daemon_that_does_not_start_shows_its_log():
    with pytest.raises(UsageError, match="the Spark daemon of worker0 ended.*\n(.|\n)*memory"):
        StandaloneCluster(workers=1, cores=1, memory="nonsense")
