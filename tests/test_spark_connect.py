"""A program that uses Spark Connect trains, evaluates and predicts as any other does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from leftovers import within
from zoo.engine.clusters.spark import java

PROGRAM = Path(__file__).with_name("connect_program.py")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch, home, found = tmp_path_factory.mktemp("ranks"), tmp_path_factory.mktemp("home"), java.find()
    assert found is not None, "Spark Connect's server needs a Java"
    java_options = f"'-XX:TieredStopAtLevel=1 -Djava.io.tmpdir={home}'"
    settings = f"--conf spark.sql.shuffle.partitions=2 --driver-java-options {java_options}"
    own = {
        "JAVA_HOME": str(found.home),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"{settings} pyspark-shell",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_TESTING": "1",  # pyspark's own switch for a free port in place of 15002
    }
    command = [sys.executable, str(PROGRAM), "local[2]", str(scratch)]
    done = subprocess.run(
        command, env=os.environ | own, cwd=home, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr}


def test_the_session_of_the_program_is_taken(seen: dict[str, Any]) -> None:
    assert seen["session"] == "pyspark.sql.connect.session"
    assert seen["returned"] == [True, True] and seen["size"] == [1, 2]
    assert "WARNING:zoo:Spark Connect has no SparkContext and no RDDs" in seen["stderr"]


def test_zoo_itself_travels_to_the_server(seen: dict[str, Any]) -> None:
    assert seen["zoo"].endswith(".zip/zoo/__init__.py")


def test_two_ranks_train_the_programs_own_model(seen: dict[str, Any]) -> None:
    assert seen["epochs"] == [101, 101]
    (first, one), (second, other) = seen["ranks"]
    assert (first, second) == ("0", "1") and one != other


def test_evaluate_and_predict_agree_with_the_model(seen: dict[str, Any]) -> None:
    assert seen["evaluated"]["num_samples"] == 101
    assert seen["evaluated"]["val_loss"] == pytest.approx(seen["loss"], abs=1e-5)
    assert seen["columns"] == ["a", "b", "y", "prediction"]
    assert seen["apart"] < 1e-5


def test_a_rank_that_is_killed_costs_nothing(seen: dict[str, Any]) -> None:
    assert seen["equal"]
    assert "peers" in seen["report"] and "lost      " in seen["report"], seen["report"]


def test_errors_are_in_the_users_words(seen: dict[str, Any]) -> None:
    assert seen["failed"].startswith(f"WorkerFailed: {PROGRAM}:")
    assert "in forward: KeyError: 'of the user'" in seen["failed"]


def test_what_connect_does_not_have_is_said(seen: dict[str, Any]) -> None:
    assert seen["SparkContext"].startswith("NoContext: a Spark Connect session has no SparkContext")
    assert seen["SQLContext"]
    assert seen["beside"].startswith("UsageError: this program uses Spark Connect")


def test_the_session_is_left_running_and_its_server_ends_with_the_program(seen: dict[str, Any]) -> None:
    assert seen["left running"] == 3
    (jvm,) = seen["children"]
    assert within(10, lambda: not psutil.pid_exists(jvm))
