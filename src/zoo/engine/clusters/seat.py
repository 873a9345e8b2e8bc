"""The rank's side of a gang: take a seat, meet the others, run the task, say how it went.

Owns: the rank's connection to its driver, heartbeats, forwarding of logs, warnings and prints.
Leaves: how the process was started (local, spark), what the task does.

A rank ends by itself within seconds once its driver has gone or has given the gang up.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from zoo.engine.clusters.channel import frame, receive
from zoo.engine.clusters.failures import Failure
from zoo.engine.contracts import Rank, Shards, Sink
from zoo.engine.errors import PeerLost
from zoo.engine.events.events import Event, Logged, Tick
from zoo.engine.parcels import Parcel

BEAT_SECONDS = 0.5
GRACE_SECONDS = 3.0
_ABANDONED = 70  # exit status of a rank whose driver has gone


class Here:
    """The seat of the one rank of a gang in the driver's own process."""

    def __init__(self, sink: Sink) -> None:
        self.put = sink.put

    def regroup(self) -> Rank | None:
        """None: there are no peers."""
        return None

    def finished(self, answer: Any) -> bool:
        """True: there is nobody to wait for."""
        return True


class Wire:
    """A rank's connection to its driver; a sink for events."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._moves = 0
        self._over = threading.Event()
        self._main = threading.get_ident()
        self._reader = threading.Thread(target=self._listen, name="zoo-wire", daemon=True)
        self._beater = threading.Thread(target=self._beat, name="zoo-beat", daemon=True)

    def meet(self, host: str, port: int) -> str:
        """Says hello; waits until the whole gang is there. Returns where it meets.

        Args:
            host: the address at which the others reach this rank.
            port: an open one here, if this is rank 0.
        """
        self._connection.settimeout(None)
        self.send("hello", (host, port, os.getpid()))
        kind, where = receive(self._connection)
        if kind != "start":
            raise PeerLost("the driver gave the gang up before it was complete.")
        self._reader.start()
        self._beater.start()
        return str(where)

    def put(self, event: Event) -> None:
        """Sends an event; a Tick is only counted."""
        if isinstance(event, Tick):
            self._moves += 1
        else:
            self.send("event", event)

    def regroup(self) -> Rank | None:
        """None: this gang ends with the first rank that is lost."""
        return None

    def finished(self, answer: Any) -> bool:
        """True: the answer goes to the driver when the task returns it."""
        return True

    def send(self, kind: str, payload: Any) -> None:
        """Sends one message. A driver that has gone is noticed by the reader, not here."""
        data = frame((kind, payload))
        with suppress(OSError), self._lock:  # where the driver has gone, the reader ends this process
            self._connection.sendall(data)

    def close(self) -> None:
        """Ends both threads and the connection."""
        self._over.set()
        with suppress(OSError):  # where the driver was faster
            self._connection.shutdown(socket.SHUT_RDWR)
        for thread in (self._reader, self._beater):
            if thread.is_alive():
                thread.join(GRACE_SECONDS)
        self._connection.close()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self.send("beat", self._moves)

    def _listen(self) -> None:
        with suppress(OSError, EOFError):
            while receive(self._connection)[0] == "stacks":
                self.send("stacks", _stack_of(self._main))
        # Aborted, or the driver has gone. The main thread may sit in a collective or in the user's code for ever.
        if not self._over.wait(GRACE_SECONDS):
            os._exit(_ABANDONED)


def sit(wire: Wire, rank: Rank, packed: Parcel, shards: Mapping[str, Shards]) -> None:
    """Unpacks the task, runs it as a rank of a gang, and tells the driver how all of that went.

    Args:
        wire: the connection to the driver; closed on return.
        rank: who this is; its rendezvous is filled in if it is empty.
        packed: (what to run, data that it takes along).
        shards: the task's other data.

    Raises:
        BaseException: what the task raised, after the driver was told.
    """
    try:
        task, carried = packed.open()
        with _door(rank) as (port, opened):
            meeting = wire.meet(rank.host, port) + opened
            rank = dataclasses.replace(rank, rendezvous=rank.rendezvous or meeting)
            with _heard(wire, rank.index):
                result = task(rank, {**carried, **shards}, wire)
        wire.send("done", result)
    except BaseException as error:
        wire.send("failed", Failure.of(rank.index, error))
        raise
    finally:
        wire.close()


@contextmanager
def _heard(wire: Wire, index: int) -> Iterator[None]:
    """Sends what is logged, warned and printed to the driver."""
    handler = _Forward(wire, index)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    lines = _Lines(wire, index)
    try:
        with redirect_stdout(lines):
            yield
    finally:
        lines.finish()
        logging.captureWarnings(False)
        root.removeHandler(handler)


class _Forward(logging.Handler):
    def __init__(self, wire: Wire, index: int) -> None:
        super().__init__()
        self._wire, self._index = wire, index

    def emit(self, record: logging.LogRecord) -> None:
        self._wire.put(Logged(self._index, record.levelname, self.format(record).rstrip()))


class _Lines(io.TextIOBase):
    """Standard output, line by line."""

    def __init__(self, wire: Wire, index: int) -> None:
        self._wire, self._index, self._rest = wire, index, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._wire.put(Logged(self._index, "PRINT", line))
        return len(text)

    def finish(self) -> None:
        if self._rest:
            self.write("\n")


def _stack_of(thread: int) -> str:
    current = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(current)) if current is not None else "(the main thread has ended)"


@contextmanager
def _door(rank: Rank) -> Iterator[tuple[int, str]]:
    """(port, how its socket is found) where the others meet rank 0; open before they are told, so none is early."""
    if rank.index:
        yield 0, ""
        return
    with socket.create_server((rank.host, 0)) as server:
        yield server.getsockname()[1], f"?fd={server.fileno()}"
