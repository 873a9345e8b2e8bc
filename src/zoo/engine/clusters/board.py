"""The driver's side of a gang: who has come, who moves, who failed, what they answered.

Owns: joining, heartbeats, the stall timer, who is taken for dead, when to give up, collecting results and failures;
every wait is bounded.
Leaves: which group is formed of whom (membership), starting and killing processes (local, spark), what an answer means.
"""

from __future__ import annotations

import queue
import selectors
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from zoo.engine.clusters.channel import Frames, Garbled, frame, listener, new_token
from zoo.engine.clusters.crew import Crew, NoCrew, Patience
from zoo.engine.clusters.door import Door
from zoo.engine.clusters.endings import Loss, absent, hopeless, stalled
from zoo.engine.clusters.failures import Failure, raised
from zoo.engine.clusters.membership import Member, Membership, Order, State
from zoo.engine.contracts import Sink, Terms
from zoo.engine.errors import GangYielded, RankLost, RankStalled
from zoo.engine.events.events import RankLeft, Refused

GIVE_SECONDS = 60.0
GRACE_SECONDS = 3.0
EXIT_SECONDS = 0.5
_LOOK_SECONDS = 0.1
_BROKE = "ended without a word (its connection broke)"


@dataclass
class _Member:
    """What the driver knows of one process."""

    seat: int
    connection: socket.socket
    frames: Frames = field(default_factory=Frames)
    where: tuple[str, int] = ("", 0)
    reference: int = 0
    place: tuple[int, ...] | None = None
    given: Any = None
    moves: int = -1
    line: str = ""
    stack: str = ""


class Board:
    """Hears the ranks of one gang.

    Args:
        world: how many ranks belong to it.
        sink: gets their events.
        terms: on which it runs.
        rendezvous: where the ranks meet; empty: at a port of the first rank's host.
    """

    def __init__(self, world: int, sink: Sink, terms: Terms, rendezvous: str = "") -> None:
        self.world = world
        self.token = new_token()
        self._sink = sink
        self._terms = terms
        self._rendezvous = rendezvous
        self._membership = Membership(world)
        self._members: dict[Member, _Member] = {}
        self._results: dict[int, Any] = {}
        self._failures: dict[int, Failure] = {}
        self._losses: list[Loss] = []
        self._tries = (-1, 0)  # (step, groups that broke at it)
        self._arrivals: queue.SimpleQueue[tuple[int, socket.socket]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._door: Door | None = None
        self._crew: Crew = NoCrew()
        self._moved_at = self._broke_at = time.monotonic()
        self._next: Member = 0
        self._giving = False

    @property
    def failing(self) -> set[str]:
        """How ranks have failed already (`Failure.kind`), so that what else ends has ended because of it."""
        return {failure.kind for failure in self._failures.values()}

    @property
    def deserted(self) -> bool:
        """Whether no rank has ever come."""
        return not self._next and self._arrivals.empty()

    def listen(self, host: str, ports: range | None = None) -> tuple[str, int]:
        """Opens a TCP port on `host`, one of `ports`, for ranks that prove the token; returns its address."""
        self._door = Door(listener(host, ports), self.token, self._arrivals)
        return self._door.address

    @property
    def refused(self) -> int:
        """Connections that did not prove the token."""
        return self._door.refused if self._door is not None else 0

    def attach(self, index: int, connection: socket.socket) -> None:
        """Takes a connection that needs no proof (one end of a socket pair)."""
        self._arrivals.put((index, connection))

    def run(self, crew: Crew | None = None) -> list[Any]:
        """Hears the gang to its end.

        Args:
            crew: the processes behind the ranks.

        Returns:
            the ranks' answers, in rank order.

        Raises:
            WorkerFailed, RankLost, RankStalled, or the ZooError that ranks raised.
        """
        self._crew = crew or self._crew
        patience = Patience(self._crew.coming)
        while not self._membership.finished:
            self._hear(_LOOK_SECONDS)
            self._note_gone(self._crew.gone())
            if self._failures:
                self._collect_failures()
            if not self._membership.generation and patience.is_over(self.deserted):
                raise absent(self._membership.free, self.world)
            if self._membership.generation:
                self._watch()
        return [self._results[index] for index in range(self.world)]

    def close(self) -> None:
        """Tells ranks that are still there to end, and closes every socket. Idempotent."""
        if self._door is not None and not self._door.closed:
            self._door.close()
            if self.refused:
                self._sink.put(Refused(self.refused, self._door.last))
        while not self._arrivals.empty():
            self._arrivals.get()[1].close()
        for member in self._members.values():
            if not self._membership.finished:
                self._tell(member, "abort")
            member.connection.close()
        self._members.clear()
        self._selector.close()

    # --- what arrives ------------------------------------------------------------------------------------------------

    def _hear(self, seconds: float) -> None:
        while not self._arrivals.empty():
            self._seat(*self._arrivals.get())
        if not self._selector.get_map():
            time.sleep(min(seconds, 0.02))
            return
        for key, _ in self._selector.select(seconds if self._membership.generation else 0.02):
            self._read(key.data)

    def _seat(self, index: int, connection: socket.socket) -> None:
        taken = index >= self.world or self._membership.on(index) is not None
        if index >= self.world or (taken and not self._terms.peers) or index in self._failures:
            connection.close()
            return
        connection.setblocking(True)
        member, self._next = self._next, self._next + 1
        self._members[member] = _Member(index, connection)
        self._selector.register(connection, selectors.EVENT_READ, member)
        self._obey(self._membership.arrived(index, member))

    def _read(self, number: Member) -> None:
        member = self._members[number]
        try:
            data = member.connection.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._lose(number, _BROKE)
            return
        try:
            messages = member.frames.feed(data)
        except Garbled as error:
            self._lose(number, f"sent what is no message: {error}")
            return
        for message in messages:
            self._take(number, member, *message)

    def _take(self, number: Member, member: _Member, kind: str, payload: Any) -> None:
        seat, membership = member.seat, self._membership
        if kind == "event":
            self._sink.put(payload)
        elif kind == "beat":
            if payload[0] != member.moves:
                self._moved_at = time.monotonic()
            member.moves, member.line = payload
        elif kind == "ready":
            left, member.where, member.place, member.reference = payload
            self._obey(membership.ready(seat, number, left, member.place is not None))
            if membership.orphaned:  # it was the last that might have had the model
                self._note_losses(self._losses[-1].rank)
        elif kind == "done":
            generation, self._results[seat] = payload
            self._moved_at = time.monotonic()
            self._obey(membership.done(seat, number, generation))
        elif kind == "failed":
            self._failures[seat] = payload
        elif kind == "stacks":
            member.stack = payload
        elif kind == "given":
            member.given = payload

    def _obey(self, orders: Iterable[Order]) -> None:
        """Sends what the membership has decided."""
        orders = list(orders)
        starting = {o.member: self._members[o.member] for o in orders if o.kind == "start"}
        if starting:
            self._moved_at = time.monotonic()
            self._count_tries(starting.values())
        host, port = next((one.where for one in starting.values()), ("", 0))  # of the first rank
        where = self._rendezvous or f"tcp://{host}:{port}"
        for order in (order for order in orders if order.member in self._members):
            payload = (order.generation, where, self._terms.peers) if order.kind == "start" else order.generation
            if order.kind == "part":
                self._broke_at = time.monotonic()
            self._tell(self._members[order.member], order.kind, payload)

    # --- ranks that are lost -----------------------------------------------------------------------------------------

    def _lose(self, number: Member, how: str) -> None:
        """A member has gone: another one is awaited, or the gang fails."""
        member = self._members.pop(number)
        self._selector.unregister(member.connection)
        member.connection.close()
        seat = member.seat
        if self._membership.finished or self._giving or self._failures:
            seated = self._membership.on(seat) == number
            self._membership.gone(seat, number)
            if self._failures and seated:
                self._failures.setdefault(seat, Failure.lost(seat, how))
            return
        if self._membership.on(seat) != number:  # it stood by
            self._membership.gone(seat, number)
            return
        if not self._terms.peers and self._membership.state(seat) is State.DONE:
            return
        how = self._how(seat, how)
        self._losses.append(Loss(seat, how, member.line))
        orders = self._membership.gone(seat, number)
        self._broke_at = time.monotonic()
        if not self._terms.peers or self._membership.orphaned:
            self._note_losses(seat)
            return
        self._sink.put(RankLeft(seat, how, member.line))
        self._obey(orders)
        if not self._comes_again(seat):
            raise self._with_what_is_left(f"1 of {self.world} ranks was lost:\n  {self._losses[-1].told}", [seat])

    def _note_losses(self, last: int) -> None:
        """The gang fails: for the last rank that was lost, and all in whose place nobody has come."""
        for loss in self._losses:
            if loss.rank == last or loss.rank in self._membership.free:
                self._failures[loss.rank] = Failure.lost(loss.rank, loss.how)

    def _how(self, seat: int, how: str) -> str:
        """How a rank's process ended, if its cluster tells soon."""
        until = time.monotonic() + EXIT_SECONDS
        while how == _BROKE and self._terms.peers and time.monotonic() < until:
            how = self._crew.gone().get(seat, how)
            time.sleep(0.01)
        return how

    def _comes_again(self, seat: int) -> bool:
        """Whether the seat is taken again, or will be."""
        return self._membership.on(seat) is not None or self._crew.replace(seat)

    def _with_what_is_left(self, message: str, ranks: list[int]) -> RankLost:
        """The error of a gang that cannot go on, with what its furthest rank hands over."""
        return RankLost(message, ranks, retryable=True).handing(self._given())

    def _given(self) -> Any:
        """What the furthest of the ranks that are left hands over; None where none does in time."""
        until = time.monotonic() + GIVE_SECONDS
        self._giving = True
        while time.monotonic() < until and self._membership.busy:
            self._hear(_LOOK_SECONDS)
        while begun := [member for member in self._members.values() if member.place is not None]:
            source = max(begun, key=lambda member: member.place or ())
            self._tell(source, "give")
            while time.monotonic() < until and source.given is None and source in self._members.values():
                self._hear(_LOOK_SECONDS)
            if source.given is not None:
                return source.given
            if source in self._members.values():
                raise RankLost(
                    f"rank {source.seat} did not hand its state over within {GIVE_SECONDS:.0f} s, when no group could "
                    "be formed any more.", [source.seat], retryable=True,
                )  # fmt: skip
        return None

    def _count_tries(self, members: Iterable[_Member]) -> None:
        """Gives up where groups break at the same step again and again."""
        if self._membership.generation == 1:
            return
        step = max((member.place[1] for member in members if member.place), default=-1)
        last, losses = self._tries
        self._tries = (step, losses + 1 if step == last else 1)
        if self._tries[1] >= self._terms.attempts:
            raise hopeless(self._terms.attempts, step, self._losses)

    def _note_gone(self, gone: Mapping[int, str]) -> None:
        for index, how in gone.items():
            number = self._membership.on(index)
            known = self._failures.get(index)
            if number is not None and known is None and self._membership.state(index) is not State.DONE:
                self._lose(number, how)
            elif (known is None and number is None) or (known is not None and known.kind == "lost"):
                self._failures[index] = Failure.lost(index, how)

    def _watch(self) -> None:
        """What takes too long."""
        now = time.monotonic()
        if self._membership.awaited:
            self._moved_at = now  # nobody can move before they have come
        elif now - self._moved_at > self._terms.stall_timeout:
            self._look_at_stall()
        if self._membership.awaited and now - self._broke_at > self._terms.patience:
            loss = self._losses[-1]
            late = (
                f"no rank came in place of rank {loss.rank} within {self._terms.patience:g} s. It was lost: {loss.told}"
            )
            raise self._with_what_is_left(late, [loss.rank])
        if self._crew.room() > self.world and not self._membership.free:
            self._obey(self._membership.dissolve())
            given = self._given()
            if given is None and len(self._members) < self.world:  # they may have had the model
                raise RankLost("ranks were lost while they left for a larger gang.", retryable=True)
            raise GangYielded(given)

    def _look_at_stall(self) -> None:
        """Takes ranks that do not answer for dead; where all answer, their own code is to blame."""
        for member in self._members.values():
            member.stack = ""
            self._tell(member, "stacks")
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and self._silent():
            self._hear(_LOOK_SECONDS)
        silent = self._silent()
        if not silent or not self._terms.peers or len(silent) == self.world:
            raise self._stalled(silent)
        self._moved_at = time.monotonic()
        how = f"did not answer for {self._terms.stall_timeout:g} s (stall_timeout): it was stopped, or blocked"
        for number in silent:
            self._crew.kill(self._members[number].seat, self._members[number].reference)
            self._lose(number, how)

    def _silent(self) -> list[Member]:
        return [number for number, member in self._members.items() if not member.stack and self._seated(number)]

    def _seated(self, number: Member) -> bool:
        seat = self._members[number].seat
        return self._membership.on(seat) == number and self._membership.state(seat) is not State.DONE

    def _stalled(self, silent: list[Member]) -> RankStalled:
        seated = sorted((m.seat, m.stack) for number, m in self._members.items() if self._seated(number))
        return stalled(self._terms.stall_timeout, seated, [self._members[number].seat for number in silent])

    # --- the end of a gang that failed -------------------------------------------------------------------------------

    def _collect_failures(self) -> None:
        """Waits a moment for the other ranks' own words, and for how lost processes ended; then raises."""
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and not self._accounted():
            self._hear(_LOOK_SECONDS)
            self._note_gone(self._crew.gone())
        until = min(until, time.monotonic() + EXIT_SECONDS)
        while time.monotonic() < until and not self._lost_are_told():
            time.sleep(0.01)
            self._note_gone(self._crew.gone())
        parted = {seat: Failure(seat, "peer", f"rank {seat} left its group") for seat in self._waiting()}
        failures = {**parted, **self._failures}
        raise raised([failures[index] for index in sorted(failures)], self.world)

    def _accounted(self) -> bool:
        done = {index for index in range(self.world) if self._membership.state(index) is State.DONE}
        return len(done | self._waiting() | set(self._failures)) == self.world and any(
            failure.kind != "peer" for failure in self._failures.values()
        )

    def _waiting(self) -> set[int]:
        """Ranks that have left their group: they have no error of their own."""
        begun = self._membership.generation > 0
        return {seat for seat in range(self.world) if begun and self._membership.state(seat) is State.READY}

    def _lost_are_told(self) -> bool:
        return not any(f.kind == "lost" and f.headline.endswith(_BROKE) for f in self._failures.values())

    def _tell(self, member: _Member, kind: str, payload: Any = None) -> None:
        with suppress(OSError):  # where it has gone, reading says so
            member.connection.settimeout(GRACE_SECONDS)
            member.connection.sendall(frame((kind, payload)))
            member.connection.settimeout(None)
