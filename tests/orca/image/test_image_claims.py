"""One writer at a time, and a set that stays until another takes its place: at every interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import objectstore
import pictures
from leftovers import carrying, within
from zoo.engine import storage
from zoo.engine.errors import DataError, StorageFailed, UsageError
from zoo.orca.data.image import (
    DType,
    FeatureType,
    ParquetDataset,
    SchemaField,
    claims,
    read_parquet,
    target,
    write_from_directory,
)
from zoo.orca.data.image.chunks import Order, write_chunk
from zoo.orca.data.image.claims import Claim
from zoo.orca.data.image.listing import sizes_below
from zoo.orca.data.image.manifest import METADATA, chunk_name
from zoo.orca.data.image.places import move
from zoo.orca.data.image.target import STAGED

SCHEMA = {"n": SchemaField(FeatureType.SCALAR, DType.INT32, ())}
LABELS = {"cats": 0, "dögs": 1}


def write(path: str, *values: Any, **options: Any) -> None:
    ParquetDataset.write(path, ({"n": value} for value in values), SCHEMA, 1, **options)


def values(path: str) -> list[int]:
    """All numbers of a set, in order."""
    return [int(record["n"]) for (record,) in read_parquet("dataloader", path, collate_fn=list)]


@pytest.fixture(params=["disk", "s3"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where nothing is yet."""
    return str(tmp_path / "set") if request.param == "disk" else f"{request.getfixturevalue('s3')}/set"


# --- who may write ---------------------------------------------------------------------------------------------------


class Turns:
    """Runs programs so that only one moves at a time, up to its next touch of the files; `schedule` says which."""

    def __init__(self, schedule: list[int]) -> None:
        self.schedule, self.files, self.inside, self.most = list(schedule), set[str](), 0, 0
        self._waiting: dict[int, threading.Event] = {}
        self._changed = threading.Condition()
        self._mine = threading.local()

    def touch(self) -> None:
        """Waits for the turn of the thread that calls."""
        event = threading.Event()
        with self._changed:
            self._waiting[self._mine.number] = event
            self._changed.notify()
        assert event.wait(10)

    def run(self, count: int, program: Callable[[], None]) -> None:
        ended: set[int] = set()

        def one(number: int) -> None:
            self._mine.number = number
            with suppress(UsageError):
                program()
            with self._changed:
                ended.add(number)
                self._changed.notify()

        threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        while True:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self._waiting) + len(ended) == count, 10)
                if len(ended) == count:
                    break
                ready = sorted(self._waiting)
                at = self.schedule.pop() if self.schedule else 0
                self._waiting.pop(ready[at % len(ready)]).set()
        for thread in threads:
            thread.join(10)


@contextmanager
def told_apart(turns: Turns) -> Iterator[None]:
    """`claims` with files in memory, each touch of which is a turn."""

    def put(url: str, claim: Claim) -> None:
        turns.touch()
        turns.files.add(url.rpartition("/")[2])

    def names(path: str) -> list[str]:
        turns.touch()
        return sorted(turns.files)

    def remove(url: str) -> None:
        turns.touch()
        turns.files.discard(url.rpartition("/")[2])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "_put", put)
        patch.setattr(claims.storage, "list_names", names)
        patch.setattr(claims.storage, "remove_tree", remove)
        patch.setattr(claims, "PAUSE_SECONDS", (0, 0))
        yield


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(2, 3))
def test_two_never_write_at_once_in_whatever_order_they_move(schedule: list[int], count: int) -> None:
    turns = Turns(schedule)

    def program() -> None:
        with claims.held("/set"):
            turns.inside += 1
            turns.most = max(turns.most, turns.inside)
            turns.touch()
            turns.inside -= 1

    with told_apart(turns):
        turns.run(count, program)
    assert turns.most <= 1 and not turns.files


def test_whoever_comes_alone_or_later_writes() -> None:
    turns, entered = Turns([]), []

    def program() -> None:
        with claims.held("/set"):
            entered.append(True)

    with told_apart(turns):
        turns.run(1, program)
        turns.run(1, program)
    assert len(entered) == 2


def test_a_second_call_is_refused_and_changes_nothing(path: str, inline: None) -> None:
    write(path, 1, 2)
    with claims.held(path):
        before = sizes_below(path)
        with pytest.raises(UsageError, match=rf"{path}: process {os.getpid()} on .*If it has ended.*_writer\."):
            write(path, 3)
        assert sizes_below(path) == before
        assert values(path) == [1, 2]
    assert sorted(sizes_below(path)) == [METADATA, chunk_name(0), chunk_name(1)]


def claimed(path: str, **changes: Any) -> None:
    """Somebody's claim is there."""
    from dataclasses import replace

    storage.write_atomically(storage.join(path, replace(Claim.mine(), **changes).name), b"")


def test_claims_of_the_dead_are_removed_and_those_of_others_respected(path: str, inline: None) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(20)
    claimed(path, pid=ended.pid)
    claimed(path, pid=os.getppid(), started=1)  # its number belongs to another process now
    claimed(path)  # of this process, which holds none
    write(path, 1)
    assert sorted(sizes_below(path)) == [METADATA, chunk_name(0)]
    claimed(path, pid=ended.pid, machine="0" * 12, host="elsewhere")
    with pytest.raises(UsageError, match=f"process {ended.pid} on elsewhere"):
        write(path, 2)
    storage.remove_tree(storage.join(path, next(name for name in storage.list_names(path) if Claim.parse(name))))
    claimed(path, pid=os.getppid(), started=0)
    with pytest.raises(UsageError, match=f"process {os.getppid()} on"):
        write(path, 2)


def test_a_task_whose_call_lost_the_place_leaves_nothing(path: str) -> None:
    order = Order(path, SCHEMA, {}, "raise", storage.join(path, Claim.mine().name))
    with pytest.raises(StorageFailed, match="may not write any more.*all machines share"):
        write_chunk(order, 0, "", [])
    storage.write_atomically(order.claim, b"")

    def record() -> dict[str, Any]:
        storage.remove_tree(order.claim)
        return {"n": 1}

    with pytest.raises(StorageFailed, match="may not write any more"):
        write_chunk(order, 0, "", [record])
    assert sizes_below(path) == {}


def test_a_call_whose_claim_was_removed_makes_no_set(path: str, inline: None) -> None:
    def given() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        for name in storage.list_names(path):
            if Claim.parse(name):
                storage.remove_tree(storage.join(path, name))
        yield {"n": 2}

    with pytest.raises(StorageFailed, match="may not write any more"):
        ParquetDataset.write(path, given(), SCHEMA)
    assert sizes_below(path) == {}


# --- the old set, until the new one is whole -------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "after"), [("overwrite", [7, 8]), ("append", [1, 2, 3, 7, 8])])
def test_the_set_is_read_while_another_is_written(path: str, inline: None, mode: str, after: list[int]) -> None:
    def given() -> Iterator[dict[str, int]]:
        for value in (7, 8):
            yield {"n": value}
            assert values(path) == [1, 2, 3]

    write(path, 1, 2, 3)
    ParquetDataset.write(path, given(), SCHEMA, 1, write_mode=mode)
    assert values(path) == after
    assert sorted(sizes_below(path)) == sorted([METADATA, *map(chunk_name, range(len(after)))])


def test_a_call_that_fails_leaves_the_set_as_it_was(path: str, inline: None) -> None:
    write(path, 1, 2)
    before = sizes_below(path)
    for mode in ("overwrite", "append"):
        with pytest.raises(DataError, match="must be int32"):
            write(path, 3, "x", write_mode=mode)
        assert sizes_below(path) == before and values(path) == [1, 2]


class Cut(BaseException):
    """The end of the program."""


@contextmanager
def ending_at(step: int) -> Iterator[list[str]]:
    """The set's program ends at its so-manyth change of a file, before it; gives the changes so far."""
    seen: list[str] = []

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def run(url: str, *more: Any) -> None:
            if len(seen) >= step:
                raise Cut
            seen.append(url)
            change(url, *more)

        return run

    with pytest.MonkeyPatch.context() as patch:
        for home, name in ((storage, "remove_tree"), (storage, "write_atomically"), (target, "move")):
            patch.setattr(home, name, counted(getattr(home, name)))
        patch.setattr(target, "_MOVERS", 1)
        yield seen


@pytest.mark.parametrize(
    ("path", "mode", "new"),
    [("disk", "overwrite", [7, 8]), ("disk", "append", [1, 2, 3, 7, 8]), ("s3", "overwrite", [7, 8])],
    indirect=["path"],
)
def test_an_end_at_any_moment_leaves_the_old_set_or_one_that_is_finished(
    path: str, inline: None, mode: str, new: list[int]
) -> None:
    states: list[str] = []
    for step in range(100):
        write(path, 1, 2, 3)
        with ending_at(step), suppress(Cut):
            write(path, 7, 8, write_mode=mode)
            break
        states.append(state(path, [1, 2, 3], new))
        write(path, 9, write_mode="append")  # finishes first what was whole
        assert values(path) in ([*new, 9], [1, 2, 3, 9] if states[-1] == "old" else None)
        assert sorted(sizes_below(path)) == sorted([METADATA, *map(chunk_name, range(len(values(path))))])
    assert values(path) == new
    assert states == sorted(states, key=["old", "between", "new"].index) and {"old", "between"} <= set(states)


def state(path: str, old: list[int], new: list[int]) -> str:
    """What readers find."""
    try:
        return {str(old): "old", str(new): "new"}[str(values(path))]
    except UsageError as error:
        return "between" if "is not whole" in str(error) else str(error)


def test_a_new_set_that_lost_files_is_not_moved(path: str, inline: None) -> None:
    write(path, 1, 2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "finish", cut_off(target.finish))
        with pytest.raises(Cut):
            write(path, 100, 101, 102, 103)
    storage.remove_tree(storage.join(path, STAGED, chunk_name(3)))
    with pytest.raises(DataError, match=f"1 of 4 new chunks have been removed since: 3. Remove .*{STAGED} and write"):
        write(path, 9)
    assert values(path) == [1, 2, 3]


def cut_off(finish: Callable[[str], None]) -> Callable[[str], None]:
    """`finish`, but for the commit."""

    def run(path: str) -> None:
        if METADATA in storage.list_names(storage.join(path, STAGED)):
            raise Cut
        finish(path)

    return run


# --- programs that end -----------------------------------------------------------------------------------------------

WRITER = """
import sys, tempfile, time
from zoo.orca import init_orca_context
from zoo.orca.data.image import chunks, folders, write_from_directory
class Slow(folders.FolderSource):
    def reader(self, rows):
        whole = chunks.batch_of
        def slow(records, *more):
            if any(record["label"] for record in records):
                open(stop, "w").close()
                time.sleep(60)
            return whole(records, *more)
        chunks.batch_of = slow
        return super().reader(rows)
    def __repr__(self):
        return super().__repr__().replace("Slow", "FolderSource")
directory, out, stop, place = sys.argv[1:]
if __name__ == "__main__":
    if place == "spark":
        scratch = {"spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={tempfile.gettempdir()}"}
        init_orca_context("local", cores=2, memory="1g", conf={"spark.ui.enabled": "false"} | scratch)
    elif place == "processes":
        init_orca_context(runtime="python", cores=2)
    folders.FolderSource = Slow
    write_from_directory(directory, {"cats": 0, "dögs": 1}, out, shuffle=False, block_size=2)
"""


class Program:
    """A program that writes a set and stands still in its fourth chunk."""

    def __init__(self, folder: Path, out: str, place: str, variables: dict[str, str]) -> None:
        (folder / "writer.py").write_text(WRITER)
        self._stop = folder / "stopped"
        environment = os.environ | variables | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"}
        environment["TMPDIR"] = str(folder / "tmp")  # a JVM that is killed leaves its files behind
        (folder / "tmp").mkdir()
        environment["ZOO_TEST_WRITER"] = self._mark = f"{folder}-{time.monotonic_ns()}"
        command = [sys.executable, str(folder / "writer.py"), str(folder / "in"), out, str(self._stop), place]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def stopped(self, out: str) -> bool:
        """Whether it has written three chunks and is in the fourth."""
        assert self.process.poll() is None, self.process.stderr.read().decode()
        return self._stop.exists() and all(chunk_name(at) in sizes_below(out) for at in range(3))

    def family(self) -> list[psutil.Process]:
        """All that it has started and that lives."""
        return [one for one in carrying("ZOO_TEST_WRITER", self._mark) if one.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def program(folder: Path, out: str, place: str, variables: dict[str, str] | None = None) -> Iterator[Program]:
    """It stands still; whatever lives of it afterwards is ended."""
    started = Program(folder, out, place, variables or {})
    try:
        assert within(200, lambda: started.stopped(out))
        yield started
    finally:
        for one in started.family():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        started.process.communicate(timeout=20)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pictures.folders(tmp_path / "in", cats=6, dögs=2)
    return tmp_path


def temporary(out: str) -> list[str]:
    return [name for name in sizes_below(out) if not name.endswith("/part-0.parquet")]


def completed(photos: Path, out: str) -> None:
    """The same call completes the set: three chunks are kept, one is written, nothing else is there."""
    with pytest.raises(UsageError, match="is not whole"):
        read_parquet("dataloader", out)
    files, root = storage.file_system(out)
    times = {at: files.get_file_info(f"{root}/{chunk_name(at)}").mtime_ns for at in range(3)}
    write_from_directory(str(photos / "in"), LABELS, out, shuffle=False, block_size=2)
    assert {at: files.get_file_info(f"{root}/{chunk_name(at)}").mtime_ns for at in range(3)} == times
    assert sorted(sizes_below(out)) == [METADATA, *map(chunk_name, range(4))]
    assert len(list(read_parquet("dataloader", out))) == 8


def test_a_second_program_is_refused_until_the_first_is_dead(
    photos: Path, path: str, inline: None, request: pytest.FixtureRequest
) -> None:
    store = request.getfixturevalue("object_store") if path.startswith("s3:") else None
    variables = store.variables() if isinstance(store, objectstore.ObjectStore) else {}
    with program(photos, path, "here", variables) as first:
        with pytest.raises(UsageError, match=f"process {first.process.pid} on"):
            write_from_directory(str(photos / "in"), LABELS, path, shuffle=False, block_size=2)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(20)
    completed(photos, path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_spark_driver_leaves_no_set_and_the_same_call_completes_it(photos: Path, inline: None) -> None:
    out = str(photos / "set")
    with program(photos, out, "spark") as driver:
        (jvm,) = [one for one in driver.family() if "java" in one.name()]
        for pid in (driver.process.pid, jvm.pid):
            os.kill(pid, signal.SIGKILL)
        driver.process.wait(20)
        assert within(30, lambda: not driver.family()), driver.family()
    assert any(name.endswith(".tmp") for name in temporary(out)) and any(map(Claim.parse, temporary(out)))
    completed(photos, out)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["here", "processes", pytest.param("spark", marks=pytest.mark.slow)])
def test_ctrl_c_ends_at_once_and_leaves_whole_chunks_alone(photos: Path, inline: None, place: str) -> None:
    out = str(photos / "set")
    with program(photos, out, place) as driver:
        driver.process.send_signal(signal.SIGINT)
        driver.process.wait(30)
        assert within(10, lambda: not driver.family()), driver.family()
        assert within(5, lambda: not temporary(out)), temporary(out)
    completed(photos, out)


def test_a_file_moves_over_another_on_every_file_system(tmp_path: Path, s3: str) -> None:
    for root in (str(tmp_path), f"memory://{tmp_path.name}", s3):
        old, new = storage.join(root, "a", "x"), storage.join(root, "b", "c", "x")
        for data in (b"one", b"two"):
            storage.write_atomically(old, data)
            move(old, new)
            assert storage.read_bytes(new) == data and not storage.is_file(old)
    storage.remove_tree(f"memory://{tmp_path.name}")
