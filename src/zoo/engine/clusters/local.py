"""Ranks as processes of this machine. No Java, no socket that a stranger could reach.

Owns: starting, watching and ending the processes.
Leaves: what driver and rank say to each other (board, seat), what a task does.

A rank is a fresh interpreter that is handed its task, not a fork and not a re-import of the user's script: scripts need
no `if __name__ == "__main__"`, and classes defined in a notebook travel by value. One rank alone runs in this process.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.engine.clusters.board import Board
from zoo.engine.clusters.channel import frame
from zoo.engine.clusters.seat import Here
from zoo.engine.contracts import Mapper, Rank, Shards, Sink, T, Task, Terms
from zoo.engine.data.held import MemoryStore
from zoo.engine.data.mapped import ExtendedShards, MappedShards
from zoo.engine.errors import NotEnoughSlots
from zoo.engine.parcels import Parcel
from zoo.engine.values import TERMS

if TYPE_CHECKING:
    import pyarrow as pa

_MAIN = "import json,sys; sys.path[:]=json.loads(sys.argv[2]); from zoo.engine.clusters.local_rank import main; main()"
_END_SECONDS = 5.0


@dataclass(frozen=True)
class LocalCluster:
    """Processes of this machine.

    Attributes:
        cores: CPU cores that the ranks share.
    """

    cores: int = 1

    @property
    def nodes(self) -> int:
        """One machine."""
        return 1

    @property
    def slots(self) -> int:
        """One rank a core."""
        return self.cores

    def __str__(self) -> str:
        return f"local processes ({self.cores} core{'s' if self.cores > 1 else ''})"

    def gang(
        self, task: Task[T], shards: Mapping[str, Shards], world: int, sink: Sink, terms: Terms = TERMS
    ) -> list[T]:
        """Runs `task` on `world` processes at once; see `Cluster.gang`. One rank runs in this very process."""
        if world > self.slots:
            raise NotEnoughSlots(
                f"{world} ranks need {world} cores, and this cluster has {self.slots}. "
                f"Start it with cores={world}, or ask for fewer ranks (workers_per_node)."
            )
        threads = max(1, self.cores // world)
        if world == 1 and not terms.apart:
            return [task(Rank(threads=threads), shards, Here(sink))]
        with _meeting_file() as meeting:
            board = Board(world, sink, terms, f"file:///proc/self/fd/{meeting}")
            payloads = [
                _payload(task, shards, Rank(index, world, token=board.token, threads=threads)) for index in range(world)
            ]
            with _processes(payloads, board, meeting) as processes:
                return board.run(processes)

    def map(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> Shards:
        """Lazy: the rows are made, in this process, when they are opened."""
        return MappedShards(shards, fn, schema)

    def extend(self, fn: Mapper, shards: Shards, schema: pa.Schema) -> Shards:
        """Lazy: the columns are made, in this process, when they are opened."""
        return ExtendedShards(shards, fn, schema)

    @property
    def store(self) -> MemoryStore:
        """Rows are kept in this process."""
        return MemoryStore()

    def close(self) -> None:
        """Every gang ends its own processes."""


def _payload(task: Task[T], shards: Mapping[str, Shards], rank: Rank) -> bytes:
    own = {name: part.share(rank.index, rank.world) for name, part in shards.items()}
    return pickle.dumps((rank, Parcel.of((task, own))))


@contextmanager
def _meeting_file() -> Iterator[int]:
    """A file without a name, which the ranks inherit to find each other: nobody else can, and it dies with them."""
    descriptor = os.memfd_create("zoo-gang")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _processes(payloads: Sequence[bytes], board: Board, meeting: int) -> Iterator[Processes]:
    processes = Processes(payloads, board, meeting)
    try:
        processes.start()
        yield processes
        processes.wait(_END_SECONDS)  # they have answered: let them leave by themselves
    finally:
        board.close()
        processes.end()


class Processes:
    """The processes of a gang: a `board.Crew`.

    Args:
        payloads: what each rank is handed.
        board: hears them.
        meeting: the descriptor of the file where they meet.
    """

    def __init__(self, payloads: Sequence[bytes], board: Board, meeting: int) -> None:
        self._payloads, self._board, self._meeting = payloads, board, meeting
        self._current: dict[int, subprocess.Popen[bytes]] = {}
        self._former: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Starts all, and hands them their tasks."""
        connections = {index: self._begin(index) for index in range(len(self._payloads))}
        for index, connection in connections.items():
            self._hand_over(index, connection)

    def gone(self) -> dict[int, str]:
        """Ranks whose processes have ended in another way than well, with how."""
        ended = {}
        for index, process in self._current.items():
            status = process.poll()
            if status:
                ended[index] = f"(process {process.pid}) {_how(status)}"
        return ended

    def coming(self) -> bool:
        """They have been started."""
        return False

    def replace(self, index: int) -> bool:
        """Starts another process for a rank; what is left of the former one is ended."""
        former = self._current.pop(index)
        former.kill()
        self._former.append(former)
        self._hand_over(index, self._begin(index))
        return True

    def kill(self, index: int, reference: int) -> None:
        """Ends the process of a rank."""
        self._current[index].kill()

    def room(self) -> int:
        """A machine's cores are there from the beginning."""
        return 0

    def wait(self, seconds: float) -> None:
        """Lets them end by themselves."""
        for process in self._current.values():
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return

    def end(self) -> None:
        """Ends those that are still there, and waits for all."""
        processes = [*self._current.values(), *self._former]
        for process in processes:
            if process.poll() is None:
                process.kill()
        for process in processes:
            process.wait()

    def _begin(self, index: int) -> socket.socket:
        """Starts a process; the driver's end of its connection."""
        ours, theirs = socket.socketpair()
        self._board.attach(index, ours)
        with theirs:
            self._current[index] = _start(theirs.fileno(), self._meeting, len(self._payloads))
        return ours

    def _hand_over(self, index: int, connection: socket.socket) -> None:
        connection.settimeout(60.0)
        with suppress(OSError):  # where it died at its start, the board says so
            connection.sendall(frame(self._payloads[index]))
        connection.settimeout(None)


def _start(fd: int, meeting: int, world: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // world))
    environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} | dict(os.environ)
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, str(fd), json.dumps([path or os.getcwd() for path in sys.path])],
        pass_fds=[fd, meeting],
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the driver, which then ends its ranks
    )


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL; the system does so to a process that takes too much memory"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"
