"""Training through a Spark Connect server that is a process of its own, with its executors on a standalone cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driver import environment

from leftovers import within
from zoo.engine.clusters.spark import java
from zoo.engine.clusters.spark.standalone import StandaloneCluster, spark_home

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
PROGRAM = Path(__file__).parent.with_name("connect_program.py")
SETTINGS = {
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.connect.grpc.binding.port": "0",
    "spark.executor.cores": "1",
    "spark.executor.memory": "512m",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}


@contextmanager
def connect_server(master: str, home: Path) -> Iterator[str]:
    """The address of a server with its executors on `master`; its files go below `home`."""
    found = java.find()
    assert found is not None
    command = [str(spark_home() / "bin" / "spark-submit"), "--master", master, "--driver-memory", "700m"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    command += ["--driver-java-options", f"-Djava.io.tmpdir={home}"]
    command += [part for name, value in SETTINGS.items() for part in ("--conf", f"{name}={value}")]
    own = {"JAVA_HOME": str(found.home), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    log = home / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "spark-internal"], env=os.environ | own, cwd=home, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        started = re.compile(r"Spark Connect server started at: .*:(\d+)")
        assert within(60, lambda: started.search(log.read_text()) or server.poll() is not None), log.read_text()[-2000:]
        port = started.search(log.read_text())
        assert port is not None, log.read_text()[-2000:]
        yield f"sc://localhost:{port[1]}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


def test_ranks_on_executors_behind_a_server_reach_the_program(tmp_path: Path) -> None:
    home, scratch = tmp_path / "home", tmp_path / "ranks"
    home.mkdir()
    scratch.mkdir()
    with StandaloneCluster(workers=2, cores=1, memory="512m") as cluster, connect_server(cluster.master, home) as url:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), url, str(scratch)],
            env=environment(), capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["children"] == []  # no Spark in the program's own process
    assert seen["size"] == [2, 1]
    assert seen["zoo"].endswith(".zip/zoo/__init__.py")
    assert [rank for rank, _ in seen["ranks"]] == ["0", "1"]
    assert seen["evaluated"]["val_loss"] == pytest.approx(seen["loss"], abs=1e-5) and seen["apart"] < 1e-5
    assert seen["equal"] and "peers" in seen["report"]  # where a rank was killed on the way
    assert "in forward: KeyError: 'of the user'" in seen["failed"]
    assert seen["left running"] == 3
