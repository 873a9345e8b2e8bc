"""Ranks of `LocalCluster` in tests: forks of an interpreter that has imported what ranks import.

A fresh interpreter takes three seconds of CPU to import torch, and seven with Keras; a fork takes none. What a rank is
handed, says and leaves behind is the same. Tests of a start itself ask for the fixture `fresh_ranks`.

Owns: the interpreter that forks, what stands for a `subprocess.Popen` of one of its forks.
Leaves: forks that are no ranks (warm).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from typing import Any

import psutil

MODULES = ("pandas", "torch._dynamo", "zoo.engine.clusters.local_rank", "zoo.engine.loop", "zoo.orca.learn.pytorch")
"""What ranks import; torch's optimizers import torch._dynamo."""
START_SECONDS = 60.0
HEAVY = ("tensorflow", "keras")
"""Imported beforehand where the tests' own process has them."""
COMMAND = "import sys; sys.path[:0] = [sys.argv[1]]; import warmranks; warmranks.serve()"

_LOCK = threading.Lock()
_FOUND: dict[tuple[str, ...], Server] = {}


class Rank:
    """One fork, as its parent would see it: what `LocalCluster` asks of a `subprocess.Popen`."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid, self.returncode = pid, None
        self._status = status

    def poll(self) -> int | None:
        """Its exit status, where it has ended; negative for a signal."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended."""
        found = self._look(START_SECONDS if timeout is None else timeout)
        if found is None:
            raise subprocess.TimeoutExpired(f"rank {self.pid}", START_SECONDS if timeout is None else timeout)
        return found

    def kill(self) -> None:
        """Ends it."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _look(self, seconds: float) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            told = self._status.recv(4)
            self.returncode = struct.unpack("!i", told)[0] if told else -signal.SIGKILL  # with its server
            self._status.close()
        return self.returncode


class Server:
    """The interpreter that forks; it ends with this process."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = [os.path.dirname(__file__), str(theirs.fileno()), *modules]
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", COMMAND, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """Its own process id."""
        return self._process.pid

    def start(self, connection: int, meeting: int) -> Rank:
        """A rank with these two descriptors, and with this process's environment, paths, folder and output."""
        ours, theirs = socket.socketpair()
        numbers = [connection, meeting]
        order = json.dumps([numbers, dict(os.environ), [path or os.getcwd() for path in sys.path], os.getcwd()])
        with theirs:
            socket.send_fds(self._orders, [order.encode()], [theirs.fileno(), *numbers, 1, 2])
        ours.settimeout(START_SECONDS)
        (pid,) = struct.unpack("!i", ours.recv(4))
        ours.settimeout(None)
        return Rank(pid, ours)

    def end(self) -> None:
        """Has it end."""
        self._orders.close()
        self._process.wait(START_SECONDS)


def start(fd: int, meeting: int, world: int) -> Rank:
    """In place of `zoo.engine.clusters.local._start`."""
    return server(tuple(name for name in HEAVY if name in sys.modules)).start(fd, meeting)


def alive() -> list[psutil.Process]:
    """The ranks that have not ended."""
    ranks = [rank for found in _FOUND.values() for rank in psutil.Process(found.pid).children()]
    return [rank for rank in ranks if rank.status() != psutil.STATUS_ZOMBIE]


def server(modules: tuple[str, ...]) -> Server:
    """The interpreter that has imported these, too."""
    with _LOCK:
        if modules not in _FOUND:
            _FOUND[modules] = Server((*MODULES, *modules))
        return _FOUND[modules]


def end() -> None:
    """Ends the interpreters."""
    while _FOUND:
        _FOUND.popitem()[1].end()


# --- the other interpreter -------------------------------------------------------------------------------------------


def serve() -> None:
    """Imports, then forks for each order, and tells how each fork ended."""
    orders = socket.socket(fileno=int(sys.argv[2]))
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    for name in sys.argv[3:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    ranks: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([orders, waking], [], [])
        if waking in ready:
            os.read(waking, 1000)
            _tell(ranks)
        if orders in ready:
            order, descriptors, _, _ = socket.recv_fds(orders, 1 << 20, 5)
            if not order:
                return
            _fork(json.loads(order), descriptors, ranks, functools.partial(_leave, orders, waking, woken))


def _tell(ranks: dict[int, socket.socket]) -> None:
    for pid in list(ranks):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with contextlib.suppress(OSError), ranks.pop(pid) as told:  # where nobody asks any more
                told.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))


def _fork(order: Any, descriptors: list[int], ranks: dict[int, socket.socket], leave: Any) -> None:
    told = socket.socket(fileno=descriptors[0])
    pid = os.fork()
    if not pid:
        leave()
        for other in (told, *ranks.values()):
            other.close()
        os._exit(_rank(order, descriptors[1:]))
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    ranks[pid] = told
    with contextlib.suppress(OSError):
        told.sendall(struct.pack("!i", pid))


def _leave(orders: socket.socket, waking: int, woken: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    orders.close()
    os.close(waking)
    os.close(woken)


def _rank(order: Any, descriptors: list[int]) -> int:
    """As `python -c` does it, but for the interpreter's start."""
    from zoo.engine.clusters.local_rank import main

    numbers, environment, paths, folder = order
    os.setsid()
    _place(descriptors, [*numbers, 1, 2])
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:], sys.argv = paths, ["-c", str(numbers[0])]
    status = 0
    try:
        main()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()  # a fork ends without
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def _place(descriptors: list[int], numbers: list[int]) -> None:
    """Gives each descriptor its number; first all go where none of the numbers is."""
    import fcntl

    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, max(numbers) + 100) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(high, numbers, strict=True):
        os.dup2(descriptor, number, inheritable=False)
        os.close(descriptor)
    for number in (1, 2):
        os.set_inheritable(number, True)
