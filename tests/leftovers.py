"""What a test may leave behind: nothing.

Owns: a cheap picture of what this process holds (child processes, threads, environment, files in TMPDIR, listening
sockets, a torch process group), and the difference between two of them.
Leaves: when pictures are taken, and what becomes of a difference (conftest).
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

GRACE = 2.0  # seconds that things which are on their way out may take

# Made once per process by the standard library or by an import, and kept on purpose.
LASTING_COMMANDS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "warmranks.serve()")
LASTING_THREADS = ("pytest_timeout", "tqdm_monitor")
LASTING_FILES = (
    "pymp-",  # multiprocessing's own folder; removed at exit
    "torchinductor_",  # made by torch's optimizers when they are first used
)
LASTING_VARIABLES = {
    "PYTEST_CURRENT_TEST": "pytest's own",
    "KMP_DUPLICATE_LIB_OK": "set by `import sklearn`",
    "KMP_INIT_AT_FORK": "set by `import sklearn`",
    "TORCHINDUCTOR_CACHE_DIR": "set by `import torch._inductor`",
    "KERAS_BACKEND": "set by the tests of Keras, which run once for each",
    "HDF5_PLUGIN_PATH": "set by `import keras`",
    "LD_LIBRARY_PATH": "set by `import cv2`, which Keras imports where it is installed",
    **dict.fromkeys(
        (
            "ENABLE_RUNTIME_UPTIME_TELEMETRY",
            "TF2_BEHAVIOR",
            "TF_CPP_MIN_LOG_LEVEL",
            "TPU_ML_PLATFORM",
            "TF_FORCE_GPU_ALLOW_GROWTH",
            "TPU_ML_PLATFORM_VERSION",
            "TPU_SKIP_MDS_QUERY",
        ),
        "set by `import tensorflow` or `import jax`",
    ),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What this process holds at one moment."""

    processes: frozenset[int]
    threads: frozenset[threading.Thread]
    environment: dict[str, str]
    files: frozenset[str]
    sockets: frozenset[str]  # inodes of all sockets; whether one listens is asked only where it is new
    process_group: bool


@dataclass(slots=True)
class ExpectedLeftovers:
    """What lives longer than one test, by arrangement: a Spark session that all tests share, for one."""

    processes: set[int] = field(default_factory=set)
    threads: set[threading.Thread] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    sockets: set[str] = field(default_factory=set)

    @contextmanager
    def during(self) -> Iterator[None]:
        """Everything that appears inside the block may stay; so may the children of its processes."""
        before = picture(self)
        yield
        after = picture(self)
        self.processes |= after.processes - before.processes
        self.threads |= after.threads - before.threads
        self.variables |= _changed(before, after)
        self.files |= after.files - before.files
        self.sockets |= after.sockets - before.sockets


def picture(expected: ExpectedLeftovers) -> Picture:
    """What this process holds now (under a millisecond)."""
    return Picture(
        processes=frozenset(_descendants(os.getpid(), expected.processes)),
        threads=frozenset(threading.enumerate()),
        environment=dict(os.environ),
        files=frozenset(os.listdir(tempfile.gettempdir())),
        sockets=frozenset(_sockets()),
        process_group=_in_process_group(),
    )


def left(before: Picture, expected: ExpectedLeftovers) -> list[str]:
    """What is there now and was not `before`, in words; empty where all is well."""
    after = picture(expected)
    return [
        *(f"process {pid}: {_command(pid)}" for pid in new_processes(before, after)),
        *(
            f"thread {thread.name!r}{'' if thread.daemon else ' (not a daemon)'}"
            for thread in after.threads - before.threads - expected.threads
            if not isinstance(thread, threading._DummyThread) and not thread.name.startswith(LASTING_THREADS)
        ),
        *(
            f"environment variable {name}: {before.environment.get(name)!r} -> {after.environment.get(name)!r}"
            for name in sorted(_changed(before, after) - expected.variables - LASTING_VARIABLES.keys())
        ),
        *(
            f"file {Path(tempfile.gettempdir(), name)}"
            for name in sorted(after.files - before.files - expected.files)
            if not name.startswith(LASTING_FILES)
        ),
        *(
            f"listening socket on {address}"
            for address in _listening(after.sockets - before.sockets - expected.sockets)
        ),
        *(["a torch.distributed process group"] if after.process_group and not before.process_group else []),
    ]


def left_after_grace(before: Picture, expected: ExpectedLeftovers) -> list[str]:
    """The same, once things that end by themselves have had `GRACE` seconds."""
    within(GRACE, lambda: not left(before, expected))
    return left(before, expected)


def new_processes(before: Picture, after: Picture) -> list[int]:
    """Children that have come since, but for those that Python keeps."""
    return [pid for pid in after.processes - before.processes if not _lasts(pid)]


def clear_away(before: Picture, expected: ExpectedLeftovers) -> None:
    """Ends the processes and the process group that a test left, so that the next test is judged by itself."""
    for pid in new_processes(before, picture(expected)):
        end(pid)
    if _in_process_group():
        sys.modules["torch.distributed"].destroy_process_group()


def end(pid: int) -> None:
    """Kills one process that this test session started; whoever started it may still wait for it."""
    try:
        process = psutil.Process(pid)
        process.kill()
        within(5, lambda: process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        pass


def carrying(variable: str, value: str) -> list[psutil.Process]:
    """Processes of this user, other than this one, that inherited an environment variable: orphans too."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                found.append(process)
        except psutil.Error:
            continue  # it has ended, or it is somebody else's
    return [process for process in found if not _lasts(process.pid)]


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether `holds()` comes true in time; asks again and again."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
    return True


def _lasts(pid: int) -> bool:
    """Whether this process keeps it on purpose; its forks have the same command, and are others' children."""
    try:
        return psutil.Process(pid).ppid() == os.getpid() and any(name in _command(pid) for name in LASTING_COMMANDS)
    except psutil.NoSuchProcess:
        return False


def _descendants(pid: int, but: set[int]) -> Iterator[int]:
    for child in _children(pid):
        if child not in but:
            yield child
            yield from _descendants(child, but)


def _children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:  # no such file on this system, or the process or thread has just ended
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.NoSuchProcess:
            return []


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline()) or psutil.Process(pid).status()
    except psutil.Error:
        return "(ended)"


def _sockets() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue  # the listing's own descriptor
        if target.startswith("socket:["):
            yield target[8:-1]


def _listening(inodes: frozenset[str]) -> Iterator[str]:
    """Local addresses of those sockets that wait for TCP connections."""
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6") if inodes else ():
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in inodes:
                yield f"port {int(local.rpartition(':')[2], 16)}"


def _in_process_group() -> bool:
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _changed(before: Picture, after: Picture) -> set[str]:
    """What differs; OpenCV, which Keras imports where it is installed, puts its own folder into LD_LIBRARY_PATH."""
    old, new = before.environment, after.environment
    names = (old.keys() | new.keys()) - ({"LD_LIBRARY_PATH"} if "cv2" in sys.modules else set())
    return {name for name in names if old.get(name) != new.get(name)}
