"""The hygiene of the tests is tested too: each kind of leftover is seen, and things on their way out are waited for."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from leftovers import ExpectedLeftovers, carrying, clear_away, end, left, left_after_grace, picture, within

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def nothing() -> ExpectedLeftovers:
    return ExpectedLeftovers()


def test_a_clean_test_leaves_nothing(nothing):
    assert left(picture(nothing), nothing) == []


def test_a_child_process_is_seen_and_cleared_away(nothing):
    before = picture(nothing)
    with subprocess.Popen(SLEEPER) as child:
        found = left(before, nothing)
        clear_away(before, nothing)
        assert child.wait(5) == -9
    assert [line.partition(":")[0] for line in found] == [f"process {child.pid}"]
    assert "time.sleep(60)" in found[0]
    assert left(before, nothing) == []


def test_a_grandchild_is_seen(nothing):
    before = picture(nothing)
    script = f"import subprocess; p = subprocess.Popen({SLEEPER}); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        grandchild = int(child.stdout.readline())
        found = left(before, nothing)
        end(grandchild)
        child.wait(5)
    assert {line.partition(":")[0] for line in found} == {f"process {child.pid}", f"process {grandchild}"}


def test_an_orphan_is_found_by_what_it_inherited(monkeypatch):
    monkeypatch.setenv("ZOO_ORPHAN", str(os.getpid()))
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    script = f"import subprocess; print(subprocess.Popen({SLEEPER}, {quiet}).pid)"
    orphan = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30).stdout)
    found = [process.pid for process in carrying("ZOO_ORPHAN", str(os.getpid()))]
    end(orphan)
    assert found == [orphan]
    assert carrying("ZOO_ORPHAN", str(os.getpid())) == []


@pytest.mark.parametrize("daemon", [True, False])
def test_a_thread_is_seen(nothing, daemon):
    before = picture(nothing)
    done = threading.Event()
    thread = threading.Thread(target=done.wait, args=(30,), name="lingering", daemon=daemon)
    thread.start()
    found = left(before, nothing)
    done.set()
    thread.join(5)
    assert found == ["thread 'lingering'" if daemon else "thread 'lingering' (not a daemon)"]


def test_an_ending_thread_is_waited_for(nothing):
    before = picture(nothing)
    thread = threading.Thread(target=time.sleep, args=(0.1,))
    thread.start()
    assert left(before, nothing) != []
    assert left_after_grace(before, nothing) == []


def test_an_environment_variable_is_seen(nothing, monkeypatch):
    before = picture(nothing)
    monkeypatch.setenv("ZOO_LEFT", "1")
    assert left(before, nothing) == ["environment variable ZOO_LEFT: None -> '1'"]


def test_a_temporary_file_is_seen(nothing):
    before = picture(nothing)
    handle, path = tempfile.mkstemp()
    os.close(handle)
    found = left(before, nothing)
    Path(path).unlink()
    assert found == [f"file {path}"]


def test_a_listening_socket_is_seen_and_a_silent_one_is_not(nothing):
    before = picture(nothing)
    with socket.socket() as silent, socket.socket() as server:
        silent.bind(("127.0.0.1", 0))
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert left(before, nothing) == [f"listening socket on port {server.getsockname()[1]}"]


def test_a_process_group_is_seen_and_cleared_away(nothing, tmp_path):
    dist = pytest.importorskip("torch.distributed")
    with nothing.during():  # torch's store and its threads may keep sockets for a moment
        before = picture(nothing)
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        found = left(before, nothing)
        clear_away(before, nothing)
    assert "a torch.distributed process group" in found
    assert not dist.is_initialized()


def test_what_was_agreed_on_may_stay(nothing, monkeypatch):
    before = picture(nothing)
    with nothing.during():
        monkeypatch.setenv("ZOO_AGREED", "1")
        server = socket.create_server(("127.0.0.1", 0))
        child = subprocess.Popen(SLEEPER)
    found = left(before, nothing)
    server.close()
    end(child.pid)
    child.wait(5)
    assert found == []


def test_waiting_is_bounded():
    assert within(0, lambda: True)
    assert not within(0.01, lambda: False)
