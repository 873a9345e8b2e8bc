"""Ranks that tests fork behave as the processes that they stand for, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import psutil
import pytest

import warmranks
from leftovers import ExpectedLeftovers, left, picture, within
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.contracts import Rank, Shards, Sink, Terms
from zoo.engine.errors import RankLost
from zoo.engine.events.sinks import MemorySink


def gang(task: Any, world: int = 2) -> list[Any]:
    return LocalCluster(cores=4).gang(task, {}, world, MemorySink(), Terms(30.0))


def surroundings(rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> dict[str, Any]:
    return {
        "loaded": "torch._dynamo" in sys.modules,
        "parent": os.getppid(),
        "session": os.getsid(0) == os.getpid(),
        "variable": os.environ.get("ZOO_RANKS"),
        "folder": os.getcwd(),
        "path": sys.path,
        "interrupted": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "open": sorted(os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)),
    }


def test_a_rank_has_what_this_process_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("ZOO_RANKS", "here")
    monkeypatch.chdir(tmp_path)
    for found in gang(surroundings):
        assert found["loaded"] and found["parent"] != os.getpid() and found["session"] and found["interrupted"]
        assert (found["variable"], found["folder"], found["path"]) == ("here", str(tmp_path), sys.path)
        assert len([name for name in found["open"] if name.startswith("socket:")]) == 2  # to the driver, and its port
    monkeypatch.delenv("ZOO_RANKS")
    assert gang(surroundings)[0]["variable"] is None


def test_tests_may_ask_for_fresh_ones(fresh_ranks: None) -> None:
    assert [found["parent"] for found in gang(surroundings)] == [os.getpid()] * 2


@pytest.mark.parametrize(
    ("end", "said"), [(lambda: os._exit(3), "exit status 3"), (lambda: os.abort(), "killed by SIGABRT")]
)
def test_how_a_rank_ended_is_told(end: Any, said: str) -> None:
    def ends(rank: Rank, shards: Any, sink: Any) -> None:
        if rank.index == 1:
            end()

    with pytest.raises(RankLost, match=said):
        gang(ends)


def test_one_that_is_left_is_seen_and_can_be_waited_for_and_killed() -> None:
    nothing = ExpectedLeftovers()
    server = warmranks.server(())
    before = picture(nothing)
    assert left(before, nothing) == []
    one, other = socket.socketpair()
    with one, other:
        rank = server.start(other.fileno(), other.fileno())
        assert [line.partition(":")[0] for line in left(before, nothing)] == [f"process {rank.pid}"]
        assert rank.pid in [process.pid for process in warmranks.alive()]
        with pytest.raises(subprocess.TimeoutExpired):
            rank.wait(0.01)  # nobody hands it its task
        assert rank.poll() is None
        rank.kill()
        assert rank.wait(10) == -signal.SIGKILL == rank.poll()
    assert within(5, lambda: not psutil.pid_exists(rank.pid))
    assert left(before, nothing) == []


def test_the_interpreter_ends_with_its_process() -> None:
    program = "import os, warmranks as w; w.MODULES = (); print(w.server(()).pid, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert within(30, lambda: ended(int(done.stdout)))


def ended(pid: int) -> bool:
    """Whoever adopts orphans may not have asked yet how it ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
