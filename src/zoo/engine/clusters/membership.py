"""Who belongs to which group of a gang: the protocol of recovery, as a pure state machine.

A *seat* is one rank of a gang; a *member* is one process that takes it; a *generation* is one group that the members of
all seats have formed. The driver decides alone. It hears of a member: it has *arrived*, it is *ready* (it stands
outside any group and can meet the others), it is *done* (it has handed its answer over), it is *gone*. It says to a
member: *start* (meet the others), *part* (leave this generation's group, and be ready again), *over* (all are done).

A group breaks when a member goes, or leaves it by itself since a message between ranks was lost. Then everybody parts,
and the next generation starts when every seat has a member that is ready. A member that comes while its seat is taken
stands by, and sits down when the seat becomes free (Spark may start a task twice).

Owns: that, without clock, socket or thread, so that every order of events can be tried out
(tests/engine/clusters/test_membership.py does).
Leaves: connections, time, giving up (board); what a member does when it hears an order (seat).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

Member: TypeAlias = int
"""A number that no other process of the gang has had."""


class State(Enum):
    """Of the member on a seat."""

    COMING = "coming"
    READY = "ready"
    WORKING = "working"
    PARTING = "parting"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Order:
    """What a member is told.

    Attributes:
        kind: ``"start"``, ``"part"`` or ``"over"``.
        member: who.
        generation: the one that starts, or that is left.
    """

    kind: str
    member: Member
    generation: int


@dataclass(slots=True)
class _Seat:
    """What is known of one."""

    member: Member | None = None
    state: State = State.COMING
    left: int = 0
    begun: bool = False
    standby: list[tuple[Member, bool]] = field(default_factory=list)  # (who, whether it is ready)


class Membership:
    """The seats of one gang.

    Attributes:
        generation: of the group that was started last; 0 before the first.
        finished: whether all members have handed their answers over.
    """

    def __init__(self, world: int) -> None:
        self.generation = 0
        self.finished = False
        self._seats = [_Seat() for _ in range(world)]
        self._trained = self._dissolved = False

    def on(self, seat: int) -> Member | None:
        """The member on a seat; None while it is free."""
        return self._seats[seat].member

    def state(self, seat: int) -> State | None:
        """Of the member on a seat; None while it is free."""
        return self._seats[seat].state if self._seats[seat].member is not None else None

    @property
    def free(self) -> list[int]:
        """Seats without a member."""
        return [number for number, seat in enumerate(self._seats) if seat.member is None]

    @property
    def awaited(self) -> list[int]:
        """Seats that are free, or whose member has not said that it is ready for its first group."""
        return [number for number in range(len(self._seats)) if self.state(number) in (None, State.COMING)]

    @property
    def orphaned(self) -> bool:
        """Whether training had begun, and no member is left that may have its model."""
        return self._trained and not any(seat.begun or self._in_group(seat) for seat in self._seats)

    @property
    def busy(self) -> bool:
        """Whether a member is still in a group."""
        return any(self._in_group(seat) for seat in self._seats)

    def dissolve(self) -> list[Order]:
        """All leave their group, and none is formed any more."""
        self._dissolved = True
        return list(self._break())

    def arrived(self, seat: int, member: Member) -> list[Order]:
        """A process has come for a seat."""
        place = self._seats[seat]
        if place.member is None:
            self._take(place, member, State.COMING)
        else:
            place.standby.append((member, False))
        return []

    def ready(self, seat: int, member: Member, left: int, begun: bool) -> list[Order]:
        """A member stands outside any group.

        Args:
            seat: its own.
            member: who.
            left: the generation that it has left; 0 for one that was in none.
            begun: whether it has the model of a training that has begun.
        """
        place = self._seats[seat]
        if place.member != member:
            place.standby = [(who, is_ready or who == member) for who, is_ready in place.standby]
            return []
        if place.state is State.READY or left not in (0, self.generation):
            return []
        broke = place.state in (State.WORKING, State.DONE)
        place.state, place.left, place.begun = State.READY, left, begun
        self._trained |= begun
        return [*(self._break() if broke else ()), *self._start()]

    def done(self, seat: int, member: Member, generation: int) -> list[Order]:
        """A member has handed its answer over; it waits for the others'."""
        place = self._seats[seat]
        if place.member != member or place.state is not State.WORKING or generation != self.generation:
            return []
        place.state = State.DONE
        if any(other.state is not State.DONE for other in self._seats):
            return []
        self.finished = True
        return [Order("over", other.member, generation) for other in self._seats if other.member is not None]

    def gone(self, seat: int, member: Member) -> list[Order]:
        """A member's process has ended, or is taken for dead."""
        place = self._seats[seat]
        place.standby = [(who, is_ready) for who, is_ready in place.standby if who != member]
        if place.member != member or self.finished:
            return []
        had_group, place.member, place.begun = self._in_group(place), None, False
        orders = list(self._break()) if had_group else []
        if had_group and not any(self._knows(other) for other in self._seats):
            self._trained = True  # as far as anybody can tell
        if place.standby:
            who, is_ready = place.standby.pop(0)
            self._take(place, who, State.READY if is_ready else State.COMING)
            orders += self._start()
        return orders

    def _take(self, place: _Seat, member: Member, state: State) -> None:
        place.member, place.state, place.left, place.begun = member, state, 0, False

    def _in_group(self, seat: _Seat) -> bool:
        return seat.member is not None and seat.state in (State.WORKING, State.PARTING, State.DONE)

    def _knows(self, seat: _Seat) -> bool:
        """Whether its member can tell if training had begun in the last generation."""
        return self._in_group(seat) or (seat.member is not None and 0 < seat.left == self.generation)

    def _break(self) -> Iterator[Order]:
        """All who are in the group leave it."""
        for seat in self._seats:
            if seat.member is not None and seat.state in (State.WORKING, State.DONE):
                seat.state = State.PARTING
                yield Order("part", seat.member, self.generation)

    def _start(self) -> list[Order]:
        """The next generation, once every seat has a member that is ready."""
        if (
            self.orphaned
            or self._dissolved
            or any(seat.member is None or seat.state is not State.READY for seat in self._seats)
        ):
            return []
        self.generation += 1
        orders = []
        for seat in self._seats:
            assert seat.member is not None
            seat.state = State.WORKING
            orders.append(Order("start", seat.member, self.generation))
        return orders
