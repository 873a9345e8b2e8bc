"""Driver programs on a standalone cluster: how a test runs one, and what the programs share.

A program is a script beside this file, so that its classes live in __main__ as a user's do. What is here stays on the
driver.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from torch import nn

from zoo.engine.clusters.spark.standalone import StandaloneCluster

HERE = Path(__file__).parent


def environment() -> dict[str, str]:
    """Another interpreter finds what this one finds."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


def command(program: str, master: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / program), master, *map(str, arguments)]


def answer(program: str, *arguments: object, timeout: float) -> dict[str, Any]:
    """What a program prints last, a JSON object, when it runs on a cluster of two Workers of one core."""
    with StandaloneCluster(workers=2, cores=1, memory="700m") as cluster:
        done = subprocess.run(
            command(program, cluster.master, *arguments),
            env=environment(), capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def begin(master: str, **settings: object) -> Any:
    """The program's Spark session, with two executors of one core where there are two Workers.

    Args:
        master: the cluster's.
        settings: of Spark, with ``_`` for a dot.
    """
    from zoo.orca import OrcaContext, init_orca_context

    given = {name.replace("_", "."): value for name, value in settings.items()}
    init_orca_context(
        "standalone", master=master, cores=1, memory="700m", num_nodes=2, driver_memory="700m",
        conf={"spark.ui.enabled": False, **given},
    )  # fmt: skip
    return OrcaContext.get_spark_session()


def frame(session: Any, rows: int) -> Any:
    """Columns a (float), b (below 5) and y (of two classes) in 7 partitions."""
    return session.range(0, rows, 1, 7).selectExpr("cast(id % 13 - 6 as float) a", "id % 5 b", "int(id % 13 > 6) y")


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


def listen(sink: Any) -> None:
    """What the next `fit` tells the console is told to this sink."""
    from zoo.orca.learn import listeners

    listeners.ConsoleSink = lambda: sink  # type: ignore[assignment]
