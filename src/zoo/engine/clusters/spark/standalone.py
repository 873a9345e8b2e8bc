"""A Spark standalone cluster on this machine, from the pip-installed pyspark: one Master and some Workers.

Owns: these processes, from start to end; they end with the program, even where it is killed.
Leaves: clusters that somebody else runs, the sessions on them (sessions).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from zoo.engine.clusters.spark import java
from zoo.engine.errors import MissingDependency, UsageError
from zoo.engine.optional import require

_START_SECONDS = 60.0
_EXIT_SECONDS = 10.0
_DAEMON_MEMORY = "256m"
# Beside each daemon a watcher reads the pipe from this program. When that ends, however it ends, the daemon's group is
# asked to end, the files ($1) are removed, and whatever is left of the group goes.
_GUARDED = """
exec 3<&0
(trap '' TERM; cat <&3 >/dev/null; kill -TERM 0; sleep 1; rm -rf "$1"; kill -KILL 0) &
shift
exec "$@" </dev/null 3<&-
"""


class StandaloneCluster:
    """Master and Workers on loopback, running from construction to `stop`.

    Attributes:
        master: its address, e.g. ``"spark://127.0.0.1:40123"``.
        scratch: directory of its temporary files, which only this user may enter.
        worker_pids: process ids of the Workers; executors are their children.
    """

    def __init__(self, workers: int = 2, cores: int = 1, memory: str = "1g", python: str = "") -> None:
        """Starts the processes and waits until all Workers have registered.

        Args:
            workers: how many Workers.
            cores: cores that each Worker offers.
            memory: memory that each Worker offers its executors, e.g. ``"1g"``.
            python: interpreter of the Python workers where a session names none.

        Raises:
            MissingDependency: there is no Java.
            UsageError: a process ended or had not started within 60 s; the message holds the end of its log.
        """
        self._home = Path(tempfile.mkdtemp(prefix="zoo-standalone-"))
        self.scratch = self._home / "tmp"
        self._daemons: list[_Daemon] = []
        try:
            environment = _environment(python, self._home, self.scratch)
            master = self._launch("master", _MASTER, [], environment)
            self.master = _await(master, r"Starting Spark master at (spark://\S+)")
            size = ["--cores", str(cores), "--memory", memory, "--work-dir", str(self._home / "work")]
            self._worker = [*size, self.master], environment
            self.worker_pids: tuple[int, ...] = ()
            self.add_workers(workers)
        except BaseException:
            self.stop()
            raise

    def add_workers(self, number: int) -> None:
        """Starts further Workers, and waits until they have registered.

        Args:
            number: how many.
        """
        names = [f"worker{len(self.worker_pids) + n}" for n in range(number)]
        started = [self._launch(name, _WORKER, *self._worker) for name in names]
        for worker in started:
            _await(worker, r"(Successfully registered with master)")
        self.worker_pids += tuple(worker.process.pid for worker in started)

    def stop(self) -> None:
        """Ends the processes with their executors and removes their files. Idempotent."""
        while self._daemons:
            self._daemons.pop().end()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> StandaloneCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, name: str, main: str, arguments: list[str], environment: dict[str, str]) -> _Daemon:
        where = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        command = [str(spark_home() / "bin" / "spark-class"), main, *where, *arguments]
        daemon = _Daemon(command, environment, self._home / f"{name}.log")
        self._daemons.append(daemon)
        return daemon


class _Daemon:
    """One Master or Worker: a process group of its own, and its log."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "sh", str(log.parent), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=log.parent,
                start_new_session=True,
            )

    def end(self) -> None:
        """Ends the whole group: the daemon, its executors and their Python workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its own group: start_new_session made it so
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(_EXIT_SECONDS)


_MASTER = "org.apache.spark.deploy.master.Master"
_WORKER = "org.apache.spark.deploy.worker.Worker"


def spark_home() -> Path:
    """Where Spark's scripts and jars are: ``SPARK_HOME``, else inside the installed pyspark."""
    pyspark = require("pyspark", extra="spark", because="its scripts start Spark")
    return Path(os.environ.get("SPARK_HOME") or Path(str(pyspark.__file__)).parent)


def _environment(python: str, home: Path, scratch: Path) -> dict[str, str]:
    found = java.find()
    if found is None:
        raise MissingDependency("a standalone Spark cluster needs Java 17 or newer: pip install 'openzoo[java]'")
    scratch.mkdir()  # not the machine's own: executors that are killed leave theirs behind
    options = f'{os.environ.get("JDK_JAVA_OPTIONS", "")} "-Djava.io.tmpdir={scratch}"'
    own = {
        "JAVA_HOME": str(found.home),
        "JDK_JAVA_OPTIONS": options.lstrip(),
        "TMPDIR": str(scratch),
        "SPARK_DAEMON_MEMORY": _DAEMON_MEMORY,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(home / "local"),
    }
    return dict(os.environ) | own | ({"PYSPARK_PYTHON": python} if python else {})


def _found(daemon: _Daemon, pattern: str) -> str:
    match = re.search(pattern, daemon.log.read_text(errors="replace"))
    return match[1] if match else ""


def _await(daemon: _Daemon, pattern: str) -> str:
    """The pattern's group, once the daemon has logged it."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = _found(daemon, pattern)
        if found:
            return found
        if daemon.process.poll() is not None:
            break
        time.sleep(0.1)
    state = "ended" if daemon.process.poll() is not None else f"was not ready within {_START_SECONDS:.0f} s"
    tail = daemon.log.read_text(errors="replace")[-2000:]
    raise UsageError(f"the Spark daemon of {daemon.log.stem} {state}. The end of its log:\n{tail}")
