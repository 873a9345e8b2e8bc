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
            board = Board(world, sink, terms.stall_timeout, f"file:///proc/self/fd/{meeting}")
            payloads = [
                _payload(task, shards, Rank(index, world, token=board.token, threads=threads)) for index in range(world)
            ]
            with _processes(payloads, board, meeting) as processes:
                return board.run(lambda: _gone(processes))

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
def _processes(payloads: Sequence[bytes], board: Board, meeting: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    try:
        connections = []
        for index in range(len(payloads)):
            ours, theirs = socket.socketpair()
            board.attach(index, ours)
            connections.append(ours)
            with theirs:
                started.append(_start(theirs.fileno(), meeting, len(payloads)))
        for connection, payload in zip(connections, payloads, strict=True):
            _hand_over(connection, payload)
        yield started
        _wait(started, _END_SECONDS)  # they have answered: let them leave by themselves
    finally:
        board.close()
        _end(started)


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


def _hand_over(connection: socket.socket, payload: bytes) -> None:
    connection.settimeout(60.0)
    with suppress(OSError):  # where it died at its start, the board says so
        connection.sendall(frame(payload))
    connection.settimeout(None)


def _gone(processes: Sequence[subprocess.Popen[bytes]]) -> dict[int, str]:
    ended = {}
    for index, process in enumerate(processes):
        status = process.poll()
        if status:
            ended[index] = f"(process {process.pid}) {_how(status)}"
    return ended


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL; the system does so to a process that takes too much memory"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"


def _wait(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()
