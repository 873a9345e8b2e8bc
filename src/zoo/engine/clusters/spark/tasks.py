"""The tasks behind a gang's seats: one Spark job, which starts tasks again that have failed.

Owns: running and cancelling the job, how often a task may fail, ending a task that does not answer.
Leaves: what the tasks do (cluster), who belongs to the gang (board).
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from zoo.engine import storage
from zoo.engine.clusters.board import Board
from zoo.engine.clusters.spark import connect
from zoo.engine.clusters.spark.faults import of_rows, told
from zoo.engine.data.feed import NO_ROWS
from zoo.engine.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_END_SECONDS = 10.0
_ASK_SECONDS = 2.0
_SCOUT_SECONDS = 1.0
_TELL_SECONDS = 5.0


def most_failures(session: SparkSession) -> int:
    """How often one task may fail before Spark gives its stage up."""
    master = str(session.conf.get("spark.master", "") or "")
    if master.startswith("local-cluster"):
        return int(str(session.conf.get("spark.task.maxFailures", "4")))
    if master.startswith("local"):
        named = re.fullmatch(r"local\[[^,\]]+,\s*(\d+)\s*\]", master)
        return int(named[1]) if named else 1
    return int(str(session.conf.get("spark.task.maxFailures", "4")))


class Tasks:
    """The tasks of a gang: a `board.Crew`.

    Args:
        session: where they run.
        stage: their job.
        board: hears them.
        slots: how many ranks the gang could have now; 0 where it does not grow.
    """

    def __init__(self, session: SparkSession, stage: Stage, board: Board, slots: Callable[[], int]) -> None:
        self._session, self._stage, self._board, self._slots = session, stage, board, slots
        self._failed: Counter[int] = Counter()
        self._asked_at = time.monotonic()

    def gone(self) -> Mapping[int, str]:
        """As `Stage.gone`."""
        return self._stage.gone(self._board)

    def coming(self) -> bool:
        """As `Stage.coming`."""
        return self._stage.coming()

    def replace(self, index: int) -> bool:
        """Spark starts the task again, unless it has failed too often: once, with ``local[n]``. Connect is silent.

        Raises:
            ZooError: as `Stage.gone`, of a stage that ends with this task.
        """
        self._failed[index] += 1
        if connect.is_connect(self._session):
            return False
        if not self._stage.ended and self._failed[index] < most_failures(self._session):
            return True
        self._stage.wait(_TELL_SECONDS)  # what the rows' error is, Spark tells with the end of the stage
        self._stage.gone(self._board)
        return False

    def room(self) -> int:
        """Asked of Spark every few seconds."""
        if time.monotonic() - self._asked_at < _ASK_SECONDS:
            return 0
        self._asked_at = time.monotonic()
        return self._slots()

    def kill(self, index: int, reference: int) -> None:
        """Has Spark end a task and start it again."""
        self._failed[index] -= 1  # what is killed has not failed
        if not connect.is_connect(self._session):
            self._session.sparkContext._jsc.sc().killTaskAttempt(reference, False, "it does not answer")


class Tag:
    """Marks the jobs of one thread, for another thread to cancel them.

    A SparkSession finds only tags of the thread that asks (seen with Spark 4.3), but for Spark Connect's; those of a
    SparkContext are found by all threads.
    """

    def __init__(self, session: SparkSession, name: str) -> None:
        self._session, self._name = session, f"{name}-{secrets.token_hex(8)}"
        self._connect = connect.is_connect(session)

    def put(self) -> None:
        """Upon the jobs that this thread starts from now on."""
        if self._connect:
            self._session.addTag(self._name)
        else:
            self._session.sparkContext.addJobTag(self._name)

    def take_away(self) -> None:
        """From this thread."""
        if self._connect:
            self._session.removeTag(self._name)
        else:
            self._session.sparkContext.removeJobTag(self._name)

    def cancel(self) -> None:
        """Ends the jobs that have it and run now."""
        if self._connect:
            self._session.interruptTag(self._name)
        else:
            self._session.sparkContext.cancelJobsWithTag(self._name)


@contextmanager
def wanting(session: SparkSession, more: int) -> Iterator[None]:
    """Tasks that wait for slots and then end, where executors come only as tasks wait (dynamic allocation).

    They come again and again: the first may find the slots of a gang that is not seated yet.

    Args:
        session: where they wait.
        more: how many slots more than there are could be used.
    """
    from pyspark import InheritableThread

    if more < 1 or connect.is_connect(session) or not allocates(session):
        yield
        return
    tag, over = Tag(session, "zoo-scouts"), threading.Event()

    def wait() -> None:
        tag.put()
        with suppress(Exception):  # cancelled behind the gang
            while not over.wait(_SCOUT_SECONDS):
                session.range(0, more, 1, more).write.format("noop").mode("overwrite").save()

    thread = InheritableThread(target=wait, session=session, name="zoo-scouts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        for _ in range(int(_END_SECONDS / _SCOUT_SECONDS)):  # again, where a job begins in between
            tag.cancel()
            thread.join(_SCOUT_SECONDS)
            if not thread.is_alive():
                break


def allocates(session: SparkSession) -> bool:
    """Whether Spark asks for executors as it needs them."""
    return str(session.conf.get("spark.dynamicAllocation.enabled", "false")).lower() == "true"


def most_allocated(session: SparkSession) -> float:
    """As many executors as Spark may come to have by asking for them; 0 where it does not ask."""
    if connect.is_connect(session) or not allocates(session):
        return 0
    return float(str(session.conf.get("spark.dynamicAllocation.maxExecutors", "inf")).replace("infinity", "inf"))


class Stage:
    """The Spark job of a gang, in a thread of its own; cancelled if the gang ends before it."""

    def __init__(self, session: SparkSession, ranks: DataFrame) -> None:
        from pyspark import InheritableThread

        self._session = session
        self._tag = Tag(session, "zoo-gang")
        self._ranks = ranks
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._thread = InheritableThread(target=self._run, session=session, name="zoo-stage", daemon=True)

    @property
    def ended(self) -> bool:
        """Whether the job has."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> None:
        """Until the job has ended, but no longer than `seconds`."""
        self._ended.wait(seconds)

    def gone(self, board: Board) -> Mapping[int, str]:
        """For `Board.run`: all ranks, once the job has failed.

        Raises:
            DataError: the job has ended well without any rank: Spark starts no task for a frame that is plainly empty.
                Or its rows cannot be computed, which another gang could not do either.
            WorkerFailed: a user's function that computes rows has failed, and is to blame as well.
        """
        if not self._ended.is_set() or "own" in board.failing:
            return {}
        if self._error is not None and (found := of_rows(str(self._error))) is not None:
            raise found from None  # Spark's own has it once more, among the stack of its JVM
        if board.failing:
            return {}
        if self._error is not None:
            return dict.fromkeys(range(board.world), f"went with its Spark stage: {_first_lines(self._error)}")
        if board.deserted:
            raise DataError(NO_ROWS.format("training"))
        return {}

    def coming(self) -> bool:
        """For `Board.run`: whether Spark is at work, be it on what the ranks shall read or on others' jobs."""
        if self._ended.is_set() or connect.is_connect(self._session):
            return not self._ended.is_set()
        tracker = self._session.sparkContext.statusTracker()
        stages = (tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds())
        return any(stage is not None and stage.numActiveTasks > 0 for stage in stages)

    def __enter__(self) -> Stage:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self._ended.wait(1.0):
            self._tag.cancel()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        self._tag.put()
        try:
            self._ranks.collect()
        except BaseException as error:  # noqa: BLE001  told by the board; whatever it is, it must not end in a thread's traceback
            self._error = error
        finally:
            self._tag.take_away()
            self._ended.set()


def _first_lines(error: BaseException) -> str:
    """The task's own words where it raised something, else Spark's."""
    found = told(str(error))
    text = str(error) if found is None else str(found).partition("\nTraceback")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return storage.masked(" ".join(lines[:3]))[:600]  # a database's URL may be among them
