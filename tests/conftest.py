"""What all tests share: nothing may be left behind, one Spark session, and how hypothesis searches."""

from __future__ import annotations

import contextlib
import multiprocessing.util
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

import objectstore
import sharedspark
import warmranks
from leftovers import ExpectedLeftovers, carrying, clear_away, end, left_after_grace, picture, within
from zoo.engine.clusters import local

MARK = "ZOO_TEST_SESSION"  # every process that descends from this one carries it, orphans too
EXPECTED = ExpectedLeftovers()
ORPHANS: list[str] = []
SHARED: list[Any] = []  # the Spark session that all tests share, once it is there

FRESH = local._start  # how ranks start for users

# A JVM of the tests lives for seconds: its second compiler takes more time than it gives back (Spark's own variables).
SHORT_LIVED_JVMS = dict.fromkeys(("SPARK_SUBMIT_OPTS", "SPARK_LAUNCHER_OPTS"), "-XX:TieredStopAtLevel=1")


def compiled_once(folder: str) -> dict[str, str]:
    """JAX's own variables: what one process has compiled, the other ranks and runs load."""
    place = os.path.join(folder, "jax")
    os.mkdir(place)
    kept = {"MIN_COMPILE_TIME_SECS": "0", "MIN_ENTRY_SIZE_BYTES": "-1"}
    return {"JAX_COMPILATION_CACHE_DIR": place} | {
        f"JAX_PERSISTENT_CACHE_{name}": value for name, value in kept.items()
    }


settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Marks this session's processes and gives it a TMPDIR of its own; tmp_path stays where pytest keeps it."""
    settings.load_profile("ci" if os.environ.get("CI") else "developer")
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ[MARK] = uuid.uuid4().hex
    multiprocessing.util.get_temp_dir()  # not below ours: it is removed later than ours
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="zoo-")
    for name, value in (SHORT_LIVED_JVMS | compiled_once(os.environ["TMPDIR"])).items():
        os.environ.setdefault(name, value)
    local._start = warmranks.start


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session for any process that it started and that outlives it."""
    mark = os.environ[MARK]
    warmranks.end()
    if not within(10, lambda: not carrying(MARK, mark)):
        for process in carrying(MARK, mark):
            ORPHANS.append(f"{process.pid}: {process}")
            end(process.pid)
    if ORPHANS:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Names the processes that outlived the session."""
    for orphan in ORPHANS:
        terminalreporter.write_line(f"ERROR: a process outlived the tests: {orphan}", red=True)


def pytest_unconfigure() -> None:
    """Removes the session's TMPDIR."""
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def expected_leftovers() -> ExpectedLeftovers:
    """Where a session or module fixture says what it keeps: `with expected_leftovers.during(): start()`."""
    return EXPECTED


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    before = picture(EXPECTED)
    yield
    left = left_after_grace(before, EXPECTED)
    if left:
        clear_away(before, EXPECTED)
        pytest.fail("this test left behind:\n  " + "\n  ".join(left), pytrace=False)
    if not all(sharedspark.usable(started) for started in SHARED):
        SHARED.clear()
        pytest.fail("this test stopped the Spark session that all tests share; give it a process of its own")


@pytest.fixture(scope="session")
def spark(expected_leftovers: ExpectedLeftovers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The Spark local[2] session that all tests share, started by the first that asks; use it, do not stop it."""
    with expected_leftovers.during():
        started = sharedspark.start(tmp_path_factory.mktemp("spark"))
    SHARED.append(started)
    yield started.session
    SHARED.clear()
    sharedspark.stop(started)


@pytest.fixture(scope="session")
def object_store(expected_leftovers: ExpectedLeftovers) -> Iterator[objectstore.ObjectStore]:
    """The local S3 server that all tests share, started by the first that asks; it has a bucket ``bucket``."""
    with contextlib.ExitStack() as stack:
        with expected_leftovers.during():
            started = stack.enter_context(objectstore.running())
        yield started


@pytest.fixture
def s3(object_store: objectstore.ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory of this test's own on the S3 server, as a URL; this process has its keys."""
    object_store.use(monkeypatch)
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def fresh_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks of `LocalCluster` are fresh interpreters, as they are for users; else tests fork them (warmranks)."""
    monkeypatch.setattr(local, "_start", FRESH)


@pytest.fixture
def inline() -> Iterator[None]:
    """This process is the current cluster."""
    from zoo.engine import session
    from zoo.engine.clusters.inline import InlineCluster

    session.begin(InlineCluster())
    yield
    session.end()


@pytest.fixture
def on_spark(spark: Any) -> Iterator[Any]:
    """Spark is the current cluster, with room for two ranks; its session."""
    from zoo.engine import session
    from zoo.engine.clusters.spark.cluster import SparkCluster

    session.begin(SparkCluster(spark, 1, 2), spark=spark)
    yield spark
    session.end()


@pytest.fixture
def jobs(on_spark: Any) -> Iterator[Any]:
    """How many Spark jobs this thread has started since."""
    context = on_spark.sparkContext
    group = uuid.uuid4().hex
    context.setJobGroup(group, "what this test starts")
    yield lambda: len(context.statusTracker().getJobIdsForGroup(group))
    context.setLocalProperty("spark.jobGroup.id", None)
