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
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from zoo.engine.clusters.channel import frame, listener, receive
from zoo.engine.clusters.failures import Failure, own_line_of
from zoo.engine.contracts import Rank, Shards, Sink
from zoo.engine.errors import PeerLost
from zoo.engine.events.events import Event, Logged, Tick
from zoo.engine.parcels import Parcel

BEAT_SECONDS = 0.5
GRACE_SECONDS = 3.0
_ABANDONED = 70  # exit status of a rank whose driver has gone


class InputBroken(Exception):
    """The stream of a rank's rows broke off. Its cluster knows why; to the driver, the rank is lost."""


class Here:
    """The seat of the one rank of a gang in the driver's own process."""

    def __init__(self, sink: Sink) -> None:
        self.put = sink.put

    def guard(self, abort: Callable[[], None]) -> None:
        """Nobody breaks a group of one up."""

    def regroup(self, place: Sequence[int] | None, give: Callable[[], Any]) -> Rank | None:
        """None: there are no peers."""
        return None

    def finished(self, answer: Any) -> bool:
        """True: there is nobody to wait for."""
        return True


class Wire:
    """A rank's connection to its driver: a `Seat`.

    Args:
        connection: to the driver.
        rank: who this is, before it meets the others.
        reference: by which its cluster finds its process.
        ports: where it may listen; None for any.
    """

    def __init__(
        self, connection: socket.socket, rank: Rank, reference: int = 0, ports: range | None = None
    ) -> None:  # fmt: skip
        self._connection, self._reference, self._ports = connection, reference, ports
        self._rank = rank
        self._lock = threading.Lock()
        self._moves = 0
        self._over = threading.Event()
        self._main = threading.get_ident()
        self._orders: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._generation = self._parted = 0
        self._goes_on = self._answered = False
        self._abort: Callable[[], None] | None = None
        self._opened: socket.socket | None = None
        self._reader = threading.Thread(target=self._listen, name="zoo-wire", daemon=True)
        self._beater = threading.Thread(target=self._beat, name="zoo-beat", daemon=True)

    def meet(self) -> Rank:
        """Says that this rank is there; waits until the whole gang is. Returns the rank, which knows where it meets.

        Raises:
            PeerLost: the gang was given up before it was complete.
        """
        self._connection.settimeout(None)
        self._reader.start()
        met = self._met(0, None, lambda: None)
        self._beater.start()
        return met

    def put(self, event: Event) -> None:
        """Sends an event; a Tick is only counted."""
        if isinstance(event, Tick):
            self._moves += 1
        else:
            self.send("event", event)

    def guard(self, abort: Callable[[], None]) -> None:
        """Has `abort`, which ends all calls that wait for a peer, called when the driver breaks the group up."""
        self._abort = abort
        if self._parted == self._generation:  # the order came first
            abort()

    def regroup(self, place: Sequence[int] | None, give: Callable[[], Any]) -> Rank | None:
        """Waits for the next group.

        Args:
            place: where this rank stands, comparable; None where it has not begun.
            give: makes what the driver is handed where it asks for it, as no group can be formed any more.

        Returns:
            the rank in it; None where this gang ends with the first rank that is lost.
        """
        self._abort = None
        return self._met(self._generation, None if place is None else tuple(place), give) if self._goes_on else None

    def finished(self, answer: Any) -> bool:
        """Hands the answer over; whether all ranks have done so. False: one was lost before, and the others regroup."""
        self._abort = None
        self.send("done", (self._generation, answer))
        kind = self._order({("over", self._generation), ("part", self._generation)})
        self._answered = kind == "over"
        return self._answered

    def answer(self, result: Any) -> None:
        """Hands the answer of a task over that has not done so itself.

        Raises:
            PeerLost: another rank was lost before it had answered.
        """
        if not self._answered and not self.finished(result):
            raise PeerLost("a peer was lost before it had answered.")

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
        if self._opened is not None:
            self._opened.close()

    def _met(self, left: int, place: tuple[int, ...] | None, give: Callable[[], Any]) -> Rank:
        """Stands outside any group until the next is formed. Every rank has a port open: any may become the meeting."""
        if self._opened is not None:
            self._opened.close()
        self._opened = listener(self._rank.host, self._ports)
        port = self._opened.getsockname()[1]
        self.send("ready", (left, (self._rank.host, port), place, self._reference))
        while (order := self._order({("start", None), ("give", None)})) is None:
            self.send("given", give())
        self._generation, where, self._goes_on = order
        if where == f"tcp://{self._rank.host}:{port}":
            where += f"?fd={self._opened.fileno()}"
        return dataclasses.replace(self._rank, rendezvous=where, generation=self._generation)

    def _order(self, wanted: set[tuple[str, int | None]]) -> Any:
        """Waits for one of the driver's orders: the word itself, or what comes with a start; others are outdated."""
        while True:
            kind, payload = self._orders.get()
            if kind == "abort":
                self._orders.put((kind, payload))
                raise PeerLost("the driver gave the gang up.")
            if (kind, None) in wanted:
                return payload
            if (kind, payload) in wanted:
                return kind

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self.send("beat", (self._moves, own_line_of(sys._current_frames().get(self._main))))

    def _listen(self) -> None:
        with suppress(OSError, EOFError):
            while (order := receive(self._connection))[0] != "abort":
                self._hear(*order)
        # Aborted, or the driver has gone. The main thread may sit in a collective or in the user's code for ever.
        self._orders.put(("abort", None))
        if not self._over.wait(GRACE_SECONDS):
            os._exit(_ABANDONED)

    def _hear(self, kind: str, payload: Any) -> None:
        if kind == "stacks":
            self.send("stacks", _stack_of(self._main))
            return
        if kind == "part":
            self._parted = payload
            if payload == self._generation and self._abort is not None:
                self._abort()
        self._orders.put((kind, payload))


def sit(
    connection: socket.socket, rank: Rank, packed: Parcel, shards: Mapping[str, Shards], reference: int = 0,
    ports: range | None = None,
) -> None:  # fmt: skip
    """Unpacks the task, runs it as a rank of a gang, and tells the driver how all of that went.

    Args:
        connection: to the driver; closed on return.
        rank: who this is.
        packed: (what to run, data that it takes along).
        shards: the task's other data.
        reference: by which the cluster finds this process.
        ports: where it may listen; None for any.

    Raises:
        BaseException: what the task raised, after the driver was told.
    """
    wire = Wire(connection, rank, reference, ports)
    try:
        task, carried = packed.open()
        rank = wire.meet()
        with _heard(wire, rank.index):
            result = task(rank, {**carried, **shards}, wire)
        wire.answer(result)
    except InputBroken:
        raise
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
