"""Whether the executors' Python fits the driver's, checked before the first gang.

Owns: sending zoo's own code to the executors, comparing interpreters and packages, the error that names the odd one.
Leaves: when to ask (cluster); shipping everything else (the user's packed environment, conf).
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zoo
from zoo.engine.clusters.spark import connect
from zoo.engine.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PACKAGES = ("numpy", "pyarrow", "torch")
"""Packages that a rank uses, where the driver has them. zoo itself travels."""

_TASKS = 1000  # of a failed stage are looked at
_CHECKED = "spark.zoo.workers"  # what was asked of the executors and what they answered, kept with the session itself
_SHIPPED = "spark.zoo.shipped"  # which zoo has been sent to the executors, kept with the session of Spark Connect


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One Python environment.

    Attributes:
        host: the machine.
        executable: the interpreter's path.
        python: its version, e.g. ``"3.11.7"``.
        packages: name -> version; None where it is missing.
    """

    host: str
    executable: str
    python: str
    packages: Mapping[str, str | None]


def check_workers(session: SparkSession, slots: int, packages: Sequence[str] = PACKAGES) -> list[Fingerprint]:
    """Compares Python and packages of every executor with the driver's; ships zoo's code to them first.

    Runs one small Spark job, once a session for the same question.

    Args:
        session: a session on a cluster of several machines (in local mode there is nothing to compare).
        slots: tasks that the cluster runs at once; as many probes are sent, to reach every executor.
        packages: the names to compare.

    Returns:
        The executors' environments, one for each host and interpreter.

    Raises:
        UsageError: an executor has another Python minor version, or lacks a package that the driver has, or has
            another release (major.minor) of it. The message names host, package and both versions.
    """
    question = json.dumps([slots, *packages])
    asked, _, answers = (session.conf.get(_CHECKED, "") or "").partition("\n")
    if asked == question:  # this session's executors have been found fit before
        return [Fingerprint(**one) for one in json.loads(answers)]
    ship(session)
    probe = _probe_of(packages)
    found = _probe_everywhere(session, probe, slots)
    problems = differences(Fingerprint(**json.loads(probe(0))), found)
    if problems:
        raise UsageError(UsageError.listing(problems).args[0] + "\n" + _REMEDY)
    session.conf.set(_CHECKED, question + "\n" + json.dumps([dataclasses.asdict(one) for one in found]))
    return found


def differences(driver: Fingerprint, workers: Iterable[Fingerprint]) -> list[str]:
    """What about the workers' environments does not fit the driver's, one line each."""
    problems = []
    for worker in workers:
        where = f"on {worker.host} ({worker.executable})"
        if _release(worker.python) != _release(driver.python):
            problems.append(f"Python {worker.python} {where}; the driver has {driver.python}.")
        for name, here in driver.packages.items():
            there = worker.packages.get(name)
            if here is not None and there is None:
                problems.append(f"package '{name}' is missing {where}; the driver has {here}.")
            elif here is not None and there is not None and _release(here) != _release(there):
                problems.append(f"package '{name}' is {there} {where}; the driver has {here}.")
    return problems


def ship(session: SparkSession) -> None:
    """Sends zoo's own code to the executors, so that nothing of it has to be installed there. Idempotent."""
    name = f"zoo-{zoo.__version__}.zip"
    if connect.is_connect(session):
        if session.conf.get(_SHIPPED, "") == name:
            return
        with tempfile.TemporaryDirectory(prefix="zoo-ship-") as place:
            session.addArtifact(str(pack(Path(place, name))), pyfile=True)
        session.conf.set(_SHIPPED, name)
        return
    archive = Path(session.sparkContext._temp_dir, name)  # Spark serves it from there, and removes it at its end
    if archive.exists():
        return
    pack(archive)
    before = list(sys.path)
    session.sparkContext.addPyFile(str(archive))
    sys.path[:] = before  # the driver keeps importing the zoo that it has


def pack(target: Path) -> Path:
    """Writes a zip of zoo's own source, the same bytes for the same source."""
    root = Path(zoo.__file__).parent
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                entry = zipfile.ZipInfo(str(Path("zoo", path.relative_to(root))), (1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return target


def _probe_of(packages: Sequence[str]) -> Callable[[int], str]:
    """A function that is sent by value: it must run where zoo and pyarrow are missing, so it uses neither."""
    names = tuple(packages)

    def probe(_: int) -> str:
        import importlib.metadata
        import json
        import platform
        import socket
        import sys
        import time

        versions: dict[str, str | None] = {}
        for name in names:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = None
        time.sleep(0.1)  # long enough that one executor does not take all the probes
        host, python = socket.gethostname(), platform.python_version()
        return json.dumps({"host": host, "executable": sys.executable, "python": python, "packages": versions})

    return probe


def _probe_everywhere(session: SparkSession, probe: Callable[[int], str], slots: int) -> list[Fingerprint]:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException
    from pyspark.sql.functions import col, udf

    asked = session.range(0, slots, 1, slots).select(udf(probe, "string", useArrow=False)(col("id")).alias("answer"))
    try:
        answers = {row.answer for row in asked.collect()}
    except (PySparkException, Py4JError) as error:  # Py4J's where no Python worker could start at all
        raise UsageError(explain(str(error), _failed_on(session))) from error
    return [Fingerprint(**json.loads(answer)) for answer in sorted(answers)]


def explain(text: str, hosts: Sequence[str] = ()) -> str:
    """One message from Spark's long one: which of the hosts cannot run the driver's Python code, and why."""
    where = f" on {', '.join(hosts)}" if hosts else ""
    versions = re.search(r"different version: (\d+\.\d+) than that in driver: (\d+\.\d+)", text)
    if "PYTHON_VERSION_MISMATCH" in text and versions:
        return f"Python {versions[1]}{where}; the driver has {versions[2]}.\n{_REMEDY}"
    missing = re.search(r'Cannot run program "([^"]+)"', text)
    if missing:
        return f"no Python interpreter {missing[1]!r}{where}.\n{_REMEDY}"
    return f"the executors cannot run Python code of this program{where}: {text[:2000]}\n{_REMEDY}"


def _failed_on(session: SparkSession) -> list[str]:
    """Hosts on which tasks of the last job failed; pyspark's exception does not say. Empty on Spark Connect."""
    if connect.is_connect(session):
        return []
    context = session.sparkContext
    job = max(context.statusTracker().getJobIdsForGroup(), default=None)
    info = None if job is None else context.statusTracker().getJobInfo(job)
    scala = context._jsc.sc()
    scala.listenerBus().waitUntilEmpty()  # 10 s at most; then the store knows every task's end
    hosts = set()
    for stage in info.stageIds if info is not None else ():
        tasks = scala.statusStore().taskList(stage, 0, _TASKS)
        all_tasks = [tasks.apply(index) for index in range(tasks.size())]
        hosts |= {task.host() for task in all_tasks if task.errorMessage().isDefined()}
    return sorted(hosts)


def _release(version: str) -> tuple[str, ...]:
    """(major, minor): patch levels and builds (``+cpu``, ``+cu130``) work together."""
    return tuple(re.split(r"[.+]", version)[:2])


_REMEDY = (
    "Give the executors the driver's environment: penv_archive=<archive made by conda-pack or venv-pack> on yarn, the "
    "same container_image on k8s, or python_location=<path of a fitting interpreter that every node has>."
)
