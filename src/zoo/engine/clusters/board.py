"""The driver's side of a gang: who has come, who moves, who failed, what they answered.

Owns: joining, heartbeats, the stall timer, collecting results and failures; every wait is bounded.
Leaves: starting and killing processes (local, spark), what an answer means.
"""

from __future__ import annotations

import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from zoo.engine.clusters.channel import Frames, Stranger, frame, new_token, welcome
from zoo.engine.clusters.failures import Failure, raised
from zoo.engine.contracts import Sink
from zoo.engine.errors import RankLost, RankStalled

JOIN_SECONDS = 180.0
GRACE_SECONDS = 3.0
EXIT_SECONDS = 0.5
_LOOK_SECONDS = 0.1
_SIGN_SECONDS = 1.0
_BROKE = "ended without a word (its connection broke)"
_NOBODY: Mapping[int, str] = {}


@dataclass
class _Place:
    """What the driver knows of one rank."""

    connection: socket.socket
    frames: Frames = field(default_factory=Frames)
    hello: tuple[str, int, int] | None = None
    moves: int = -1
    stack: str = ""
    done: bool = False
    result: Any = None


class Board:
    """Hears the ranks of one gang.

    Args:
        world: how many ranks belong to it.
        sink: gets their events.
        stall_timeout: seconds without a move of any rank after which the gang is given up.
        rendezvous: where the ranks meet; empty: at a port of rank 0's host.
    """

    def __init__(self, world: int, sink: Sink, stall_timeout: float, rendezvous: str = "") -> None:
        self.world = world
        self.token = new_token()
        self._sink = sink
        self._stall_timeout = stall_timeout
        self._rendezvous = rendezvous
        self._places: dict[int, _Place] = {}
        self._failures: dict[int, Failure] = {}
        self._arrivals: queue.SimpleQueue[tuple[int, socket.socket]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._door: _Door | None = None
        self._started = False
        self._moved_at = time.monotonic()

    @property
    def failing(self) -> bool:
        """Whether a rank has failed already, so that what else ends has ended because of it."""
        return bool(self._failures)

    @property
    def deserted(self) -> bool:
        """Whether no rank has ever come."""
        return not self._places and self._arrivals.empty()

    def listen(self, host: str) -> tuple[str, int]:
        """Opens a TCP port on `host` for ranks that prove the token; returns its address."""
        self._door = _Door(host, self.token, self._arrivals)
        return self._door.address

    def attach(self, index: int, connection: socket.socket) -> None:
        """Takes a connection that needs no proof (one end of a socket pair)."""
        self._arrivals.put((index, connection))

    def run(
        self, gone: Callable[[], Mapping[int, str]] = lambda: _NOBODY, coming: Callable[[], bool] = lambda: False
    ) -> list[Any]:
        """Hears the gang to its end.

        Args:
            gone: ranks whose processes are known to have ended, with how; asked some times a second.
            coming: whether what must end before any rank can come is still at work; asked until the first comes.

        Returns:
            the ranks' answers, in rank order.

        Raises:
            WorkerFailed, RankLost, RankStalled, or the ZooError that ranks raised.
        """
        patience = _Patience(coming)
        while not all(place.done for place in self._places.values()) or len(self._places) < self.world:
            self._hear(_LOOK_SECONDS)
            self._note_gone(gone())
            if self._failures:
                self._collect_failures(gone)
            if not self._started and patience.is_over(self.deserted):
                raise self._absent()
            if self._started and time.monotonic() - self._moved_at > self._stall_timeout:
                raise self._stalled()
        return [self._places[index].result for index in range(self.world)]

    def close(self) -> None:
        """Tells ranks that are still there to end, and closes every socket. Idempotent."""
        if self._door is not None:
            self._door.close()
        for place in self._places.values():
            if not place.done:
                self._tell(place, "abort")
            place.connection.close()
        self._places.clear()
        self._selector.close()

    def _hear(self, seconds: float) -> None:
        while not self._arrivals.empty():
            self._seat(*self._arrivals.get())
        if not self._selector.get_map():
            time.sleep(min(seconds, 0.02))
            return
        for key, _ in self._selector.select(seconds if self._started else 0.02):
            self._read(key.data)

    def _seat(self, index: int, connection: socket.socket) -> None:
        if index in self._places or index >= self.world:
            connection.close()
            return
        connection.setblocking(True)
        self._places[index] = _Place(connection)
        self._selector.register(connection, selectors.EVENT_READ, index)

    def _read(self, index: int) -> None:
        place = self._places[index]
        try:
            data = place.connection.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(place.connection)
            if not place.done and index not in self._failures:
                self._failures[index] = Failure.lost(index, _BROKE)
            return
        for kind, payload in place.frames.feed(data):
            self._take(index, place, kind, payload)

    def _take(self, index: int, place: _Place, kind: str, payload: Any) -> None:
        if kind == "event":
            self._sink.put(payload)
        elif kind == "beat" and payload != place.moves:
            place.moves, self._moved_at = payload, time.monotonic()
        elif kind == "hello":
            place.hello = payload
            self._start_if_complete()
        elif kind == "done":
            place.done, place.result, self._moved_at = True, payload, time.monotonic()
        elif kind == "failed":
            self._failures[index] = payload
        elif kind == "stacks":
            place.stack = payload

    def _start_if_complete(self) -> None:
        if len(self._places) < self.world or any(place.hello is None for place in self._places.values()):
            return
        hello = self._places[0].hello
        assert hello is not None  # checked above for every place
        where = self._rendezvous or f"tcp://{hello[0]}:{hello[1]}"
        for place in self._places.values():
            self._tell(place, "start", where)
        self._started, self._moved_at = True, time.monotonic()

    def _note_gone(self, gone: Mapping[int, str]) -> None:
        for index, how in gone.items():
            place = self._places.get(index)
            known = self._failures.get(index)
            if (place is None or not place.done) and (known is None or known.kind == "lost"):
                self._failures[index] = Failure.lost(index, how)

    def _collect_failures(self, gone: Callable[[], Mapping[int, str]]) -> None:
        """Waits a moment for the other ranks' own words, and for how lost processes ended; then raises."""
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and not self._accounted():
            self._hear(_LOOK_SECONDS)
        self._note_gone(gone())
        until = min(until, time.monotonic() + EXIT_SECONDS)
        while time.monotonic() < until and not self._lost_are_told():
            time.sleep(0.01)
            self._note_gone(gone())
        raise raised([self._failures[index] for index in sorted(self._failures)], self.world)

    def _accounted(self) -> bool:
        done = {index for index, place in self._places.items() if place.done}
        return len(done | set(self._failures)) == self.world and any(
            failure.kind != "peer" for failure in self._failures.values()
        )

    def _lost_are_told(self) -> bool:
        return not any(f.kind == "lost" and f.headline.endswith(_BROKE) for f in self._failures.values())

    def _absent(self) -> RankLost:
        missing = [index for index in range(self.world) if index not in self._places]
        return RankLost(
            f"ranks {missing} of {self.world} did not report within {JOIN_SECONDS:.0f} s. "
            "Check that the workers can reach the driver's address (spark.driver.host) and that slots are free.",
            missing, retryable=True,
        )  # fmt: skip

    def _stalled(self) -> RankStalled:
        for place in self._places.values():
            self._tell(place, "stacks")
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and not all(p.stack or p.done for p in self._places.values()):
            self._hear(_LOOK_SECONDS)
        silent = "  (no answer: the process is stopped, or its interpreter is blocked)"
        stacks = [f"rank {i}:\n{place.stack or silent}" for i, place in sorted(self._places.items()) if not place.done]
        quiet = [i for i, place in self._places.items() if not place.done and not place.stack]
        return RankStalled(
            f"no rank has moved for {self._stall_timeout:g} s (stall_timeout). If a step may take that long, "
            "give a larger stall_timeout. Where each rank is:\n" + "\n".join(stacks),
            quiet or sorted(self._places), retryable=bool(quiet),
        )  # fmt: skip

    def _tell(self, place: _Place, kind: str, payload: Any = None) -> None:
        with suppress(OSError):  # where it has gone, reading says so
            place.connection.settimeout(GRACE_SECONDS)
            place.connection.sendall(frame((kind, payload)))
            place.connection.settimeout(None)


class _Patience:
    """How long ranks are waited for: some minutes without a sign, and as long again from the first one's arrival."""

    def __init__(self, coming: Callable[[], bool]) -> None:
        self._coming = coming
        self._deserted = True
        self._until = time.monotonic() + JOIN_SECONDS
        self._looked_at = time.monotonic()

    def is_over(self, deserted: bool) -> bool:
        """Whether they are late.

        Args:
            deserted: whether none has come yet.
        """
        now = time.monotonic()
        if self._deserted and (not deserted or self._sees_signs(now)):
            self._deserted, self._until = deserted, now + JOIN_SECONDS
        return now > self._until

    def _sees_signs(self, now: float) -> bool:
        if now < self._looked_at + _SIGN_SECONDS:
            return False
        self._looked_at = now
        return self._coming()


class _Door:
    """A listening socket that lets in whoever proves the token."""

    def __init__(self, host: str, token: str, arrivals: queue.SimpleQueue[tuple[int, socket.socket]]) -> None:
        self._server = socket.create_server((host, 0), backlog=64)
        self.address: tuple[str, int] = (host, self._server.getsockname()[1])
        self._token, self._arrivals = token, arrivals
        self._thread = threading.Thread(target=self._serve, name="zoo-door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._server.close()
        self._thread.join(GRACE_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._admit, args=(connection,), name="zoo-welcome", daemon=True).start()

    def _admit(self, connection: socket.socket) -> None:
        try:
            self._arrivals.put((welcome(connection, self._token), connection))
        except Stranger:
            connection.close()
