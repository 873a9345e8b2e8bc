"""The protocol of recovery, tried out in every order of deaths, delays and second processes.

Every state of a small gang is visited once: what the driver's real `Membership` knows, its members, and the messages
between them, which arrive in order on each connection and in any order between connections. A group is a chain of
agreements: the meeting, where all take the furthest one's model over, then one for each step. One completes where all
of the group have contributed, also those who have died since; it may fail wherever one of them has died or left.

A member contributes to an agreement in the same move in which it passes the one before (or enters the group). If it
died or left between the two, the others' agreement would fail; it may fail as well if it dies or leaves behind both.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import pytest

from zoo.engine.clusters.membership import Member, Membership, Order, State

Message: TypeAlias = tuple[Any, ...]
"""To the driver: a method of `Membership`, and what it is told of the member."""
Move: TypeAlias = tuple[Member, str]
"""Who does what."""

WAITING, WORKING, DONE, DEAD = "waiting", "working", "done", "dead"
FINISHED, ORPHANED = "finished", "orphaned"
ARRIVED: Message = ("arrived",)
FIRST: Message = ("ready", 0, False)
GONE: Message = ("gone",)
DIES, DIES_UNHEARD, COMES_TOO = "dies", "dies, and its last words are lost", "comes for a seat that is taken"
GIVES_UP, NOTICES = "leaves its group by itself", "leaves its group, as it sees that one is gone"
UNSURE = frozenset({DIES, DIES_UNHEARD, COMES_TOO, GIVES_UP, NOTICES})
"""What nobody may count on: the driver must get the gang to its end without it."""
MOST = 100
"""More processes than a seat will ever have; a member's number is ``seat * MOST + how many came before``."""


class Process(NamedTuple):
    """One member, as it sees itself, and its connection to the driver, both ways."""

    member: Member
    phase: str = WAITING
    generation: int = 0  # of the group that it is in, or has left last
    passed: int = 0  # agreements of this group
    step: int | None = None  # that its model has made; None before it has one
    up: tuple[Message, ...] = (ARRIVED, FIRST)
    down: tuple[tuple[str, int], ...] = ()

    @property
    def seat(self) -> int:
        return self.member // MOST


class Group(NamedTuple):
    """What the members of a generation have contributed so far, by seat: where they stand, then their steps."""

    generation: int
    members: tuple[Member, ...]
    said: tuple[tuple[int | None, ...], ...]


class Driver(NamedTuple):
    """A `Membership` that cannot change, and what it answers."""

    memory: bytes
    generation: int
    finished: bool
    orphaned: bool
    free: tuple[int, ...]

    @classmethod
    def of(cls, membership: Membership) -> Driver:
        memory = pickle.dumps(membership)
        state = membership.generation, membership.finished, membership.orphaned
        return cls(memory, *state, tuple(membership.free))


class Scene(NamedTuple):
    """Everything there is."""

    driver: Driver
    processes: tuple[Process, ...]  # by number; one that has died stays until the driver knows
    came: tuple[int, ...]  # processes so far, by seat
    answers: tuple[int | None, ...]  # by seat: the steps of the model that the last answer came from
    deaths: int  # that may still happen
    glitches: int
    twins: int
    group: Group = Group(0, (), ())
    trained: bool = False  # whether any member has ever made a step

    def after(self, *changed: Process, **changes: Any) -> Scene:
        by_number = {process.member: process for process in changed}
        processes = tuple(by_number.get(process.member, process) for process in self.processes)
        return self._replace(processes=processes, **changes)

    def spawned(self, seat: int) -> Scene:
        """Another process comes for a seat; how long its first messages take is how late it comes."""
        member = seat * MOST + self.came[seat]
        came = (*self.came[:seat], self.came[seat] + 1, *self.came[seat + 1 :])
        return self._replace(processes=tuple(sorted((*self.processes, Process(member)))), came=came)


class Gang:
    """What may happen next, in every state of a gang.

    Args:
        world: ranks.
        steps: that the training takes.
    """

    def __init__(self, world: int, steps: int) -> None:
        self.world, self.steps = world, steps
        self._decided: dict[tuple[bytes, Member, Message], tuple[Driver, list[Order]]] = {}

    def beginning(self, deaths: int = 0, glitches: int = 0, twins: int = 0) -> Scene:
        nobody = (None,) * self.world
        scene = Scene(Driver.of(Membership(self.world)), (), (0,) * self.world, nobody, deaths, glitches, twins)
        for seat in range(self.world):
            scene = scene.spawned(seat)
        return scene

    def is_over(self, scene: Scene) -> bool:
        """Whether the gang has ended as it may: all have been told that all are done, or nobody has the model.

        The second can come of any message, not only of a loss; the driver then gives the gang up.
        """
        if scene.driver.orphaned:
            assert all(p.step is None for p in scene.processes if p.phase != DEAD), "one who has the model is left"
            return True
        return scene.driver.finished and not any(process.down for process in scene.processes)

    def moves(self, scene: Scene) -> Iterator[tuple[Move, Scene]]:
        """What can happen next, and what comes of it."""
        finished = scene.driver.finished  # it hears nothing any more
        for process in scene.processes:
            who = process.member
            if process.up and not finished:
                yield (who, f"'{process.up[0][0]}' is heard"), self._heard(scene, process)
            if process.phase == DEAD:
                continue
            if process.down:
                yield (who, f"'{process.down[0][0]}' arrives"), self._obeyed(scene, process)
            if process.phase == WORKING:
                yield from self._works(scene, process)
            if scene.deaths and not finished:
                yield from self._dies(scene._replace(deaths=scene.deaths - 1), process)
        if scene.twins and not finished:
            for seat in range(self.world):
                move = seat * MOST + scene.came[seat], COMES_TOO
                yield move, scene.spawned(seat)._replace(twins=scene.twins - 1)

    def _dies(self, scene: Scene, process: Process) -> Iterator[tuple[Move, Scene]]:
        """A cluster may tell that a process has ended before the driver has read all that it said."""
        dead = process._replace(phase=DEAD, up=(*process.up, GONE), down=())
        yield (process.member, DIES), scene.after(dead)
        if process.up and ARRIVED not in process.up:
            yield (process.member, DIES_UNHEARD), scene.after(dead._replace(up=(GONE,)))

    def _works(self, scene: Scene, process: Process) -> Iterator[tuple[Move, Scene]]:
        who, group = process.member, scene.group
        assert group.generation == process.generation, "in a group that was followed by another"
        if process.passed and process.step == self.steps:
            message = ("done", process.generation, process.step)
            yield (who, "is done"), scene.after(process._replace(phase=DONE, up=(*process.up, message)))
        elif all(len(said) > process.passed for said in group.said):
            yield (who, "passes an agreement"), self._passed(scene, process)
        present = {p.member for p in scene.processes if p.phase != DEAD and not self._has_left(p, group.generation)}
        if not present.issuperset(group.members):
            yield (who, NOTICES), scene.after(self._leaving(process))
        elif scene.glitches:
            yield (who, GIVES_UP), scene.after(self._leaving(process), glitches=scene.glitches - 1)

    def _has_left(self, process: Process, generation: int) -> bool:
        return process.phase == WAITING and process.generation == generation

    def _leaving(self, process: Process) -> Process:
        message = ("ready", process.generation, process.step is not None)
        return process._replace(phase=WAITING, passed=0, up=(*process.up, message))

    def _passed(self, scene: Scene, process: Process) -> Scene:
        said = [one[process.passed] for one in scene.group.said]
        if process.passed:
            assert all(step == process.step for step in said), "gradients of different steps are added up"
            step, trained = said[0] + 1, True
        else:
            known, trained = [step for step in said if step is not None], scene.trained
            assert known or not trained, "a generation starts from nothing after steps were made"
            step = max(known, default=0)
            assert step >= (process.step or 0), "work is lost"
        assert step <= self.steps, "a step too many"
        group = self._contributed(scene.group, process, step) if step < self.steps else scene.group
        return scene.after(process._replace(step=step, passed=process.passed + 1), group=group, trained=trained)

    def _contributed(self, group: Group, process: Process, what: int | None) -> Group:
        said = list(group.said)
        said[process.seat] += (what,)
        return group._replace(said=tuple(said))

    def _obeyed(self, scene: Scene, process: Process) -> Scene:
        kind, generation = process.down[0]
        process = process._replace(down=process.down[1:])
        if kind == "start":
            assert process.phase == WAITING and generation > process.generation, "in two groups"
            assert generation == scene.group.generation, "a group that was followed by another starts"
            group = self._contributed(scene.group, process, process.step)
            return scene.after(process._replace(phase=WORKING, generation=generation), group=group)
        if kind == "over":
            assert process.phase == DONE and generation == process.generation, "it is over for one who is not done"
            return scene._replace(processes=tuple(p for p in scene.processes if p.member != process.member))
        assert kind == "part"
        leaves = process.phase in (WORKING, DONE) and process.generation == generation
        return scene.after(self._leaving(process) if leaves else process)

    def _heard(self, scene: Scene, process: Process) -> Scene:
        message, *rest = process.up
        before = scene.driver
        driver, orders = self._decision(before, process, message)
        if message == GONE:
            scene = scene._replace(driver=driver, processes=tuple(p for p in scene.processes if p is not process))
            if process.seat in driver.free and not driver.orphaned:
                scene = scene.spawned(process.seat)
        else:
            scene = scene.after(process._replace(up=tuple(rest)), driver=driver)
        if message[0] == "done":
            seat, answers = process.seat, scene.answers
            scene = scene._replace(answers=(*answers[:seat], message[2], *answers[seat + 1 :]))
        if driver.finished:
            self._check_end(scene, orders)
        if any(order.kind == "start" for order in orders):
            scene = self._started(scene, before, [order for order in orders if order.kind == "start"])
        for order in orders:
            told = next((p for p in scene.processes if p.member == order.member), None)
            assert told is not None, "an order to one of whom the driver knows that it has gone"
            if told.phase != DEAD:
                scene = scene.after(told._replace(down=(*told.down, (order.kind, order.generation))))
        return scene

    def _decision(self, driver: Driver, process: Process, message: Message) -> tuple[Driver, list[Order]]:
        """What the real one decides; it is asked once."""
        key = driver.memory, process.member, message
        if key not in self._decided:
            membership: Membership = pickle.loads(driver.memory)
            kind, *told = message
            told = told[:1] if kind == "done" else told  # the answer itself is the board's
            orders = getattr(membership, kind)(process.seat, process.member, *told)
            self._decided[key] = Driver.of(membership), orders
        return self._decided[key]

    def _started(self, scene: Scene, before: Driver, orders: list[Order]) -> Scene:
        generation, members = scene.driver.generation, tuple(order.member for order in orders)
        assert generation > before.generation, "two groups of one generation"
        assert {order.generation for order in orders} == {generation}, "members of two generations in one group"
        assert [member // MOST for member in members] == list(range(self.world)), "not one member for each seat"
        for process in scene.processes:
            if process.phase != DEAD:
                assert process.phase == WAITING, "a group starts while one is still in the last"
                assert process.step is None or process.member in members, "one who has the model does not take part"
        return scene._replace(group=Group(generation, members, ((),) * self.world))

    def _check_end(self, scene: Scene, orders: list[Order]) -> None:
        assert [order.member // MOST for order in orders] == list(range(self.world)), "it is not over for all"
        assert scene.answers == (self.steps,) * self.world, "an answer of a model that is not trained to the end"
        told = {order.member for order in orders}
        for process in scene.processes:
            if process.phase != DEAD:
                assert process.phase == (DONE if process.member in told else WAITING), "one is not done"


def explored(gang: Gang, beginning: Scene) -> tuple[int, set[str]]:
    """How many states there are, and how the gang may end.

    Raises:
        AssertionError: something must not happen, with the shortest way there; or a run need not end.
    """
    way: dict[Scene, tuple[Scene, Move] | None] = {beginning: None}
    origins: dict[Scene, list[Scene]] = {}
    left: dict[Scene, int] = {}
    ends: deque[Scene] = deque()
    ahead = deque([beginning])
    while ahead:
        scene = ahead.popleft()
        try:
            over = gang.is_over(scene)
            moves = [] if over else list(gang.moves(scene))
            assert over or any(move[1] not in UNSURE for move, _ in moves), "all wait for each other"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_told(way, scene)}") from error
        if over:
            ends.append(scene)
        left[scene] = len(moves)
        for move, following in moves:
            origins.setdefault(following, []).append(scene)
            if following not in way:
                way[following] = scene, move
                ahead.append(following)
    kinds = {FINISHED if scene.driver.finished else ORPHANED for scene in ends}
    ended = 0
    while ends:  # backwards: a state from which every way ends
        ended += 1
        for scene in origins.get(ends.popleft(), ()):
            left[scene] -= 1
            if not left[scene]:
                ends.append(scene)
    assert ended == len(way), "a run goes round in circles"
    return ended, kinds


def _told(way: dict[Scene, tuple[Scene, Move] | None], scene: Scene) -> str:
    """The moves to a scene, and who is there; member ``1b`` is the second process for seat 1."""
    lines = [str(process) for process in reversed(scene.processes)]
    while (step := way[scene]) is not None:
        scene, (who, what) = step
        lines.append(f"{who // MOST}{chr(ord('a') + who % MOST)} {what}")
    return "\n".join(reversed(lines))


def try_out(world: int, steps: int, **failures: int) -> tuple[int, set[str]]:
    gang = Gang(world, steps)
    return explored(gang, gang.beginning(**failures))


# --- every order ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "world, steps, failures, least, ends",
    [
        (2, 2, {"deaths": 2, "glitches": 1}, 50_000, {FINISHED, ORPHANED}),
        (2, 2, {"deaths": 1, "twins": 1}, 10_000, {FINISHED}),
        pytest.param(
            2, 1, {"deaths": 1, "glitches": 1, "twins": 1}, 100_000, {FINISHED, ORPHANED}, marks=pytest.mark.exact
        ),
        (3, 2, {"deaths": 1}, 10_000, {FINISHED}),
        (3, 1, {"glitches": 1}, 3_000, {FINISHED}),
    ],
)
def test_a_gang_ends_well_whatever_happens_when(
    world: int, steps: int, failures: dict[str, int], least: int, ends: set[str]
) -> None:
    states, kinds = try_out(world, steps, **failures)
    assert states > least
    assert kinds == ends


# --- a broken membership is found out -------------------------------------------------------------------------------


def alter(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[..., list[Order]]) -> None:
    """Has `change`, which is given the method itself and its arguments, called in place of a method."""
    real = getattr(Membership, name)
    monkeypatch.setattr(Membership, name, lambda *told: change(real, *told))


def test_a_start_without_the_model_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(real: Any, self: Membership) -> list[Order]:
        trained, self._trained = self._trained, False
        orders = real(self)
        self._trained = trained
        return orders

    alter(monkeypatch, "_start", start)
    with pytest.raises(AssertionError, match="starts from nothing after steps were made"):
        try_out(2, 1, deaths=2)


def test_it_is_found_where_nobody_notes_that_all_who_knew_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Membership, "_knows", lambda self, seat: True)
    with pytest.raises(AssertionError, match="starts from nothing after steps were made"):
        try_out(2, 1, deaths=2)


def test_a_loss_that_is_overlooked_as_the_lost_one_was_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Membership, "_in_group", lambda self, seat: seat.state is State.WORKING)
    with pytest.raises(AssertionError, match="it is not over for all"):
        try_out(2, 1, deaths=1)


@pytest.mark.parametrize("name", ["gone", "ready"])
def test_a_group_that_is_not_told_to_part_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alter(monkeypatch, name, lambda real, *told: [order for order in real(*told) if order.kind != "part"])
    with pytest.raises(AssertionError, match="all wait for each other"):
        try_out(2, 1, deaths=1, glitches=1)


def test_a_standby_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(real: Any, self: Membership, seat: int, member: Member) -> list[Order]:
        place = self._seats[seat]
        place.standby = [(who, False) for who, _ in place.standby]
        return real(self, seat, member)

    alter(monkeypatch, "gone", gone)
    with pytest.raises(AssertionError, match="all wait for each other"):
        try_out(2, 1, deaths=1, twins=1)


def test_a_second_process_that_turns_the_first_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def arrived(real: Any, self: Membership, seat: int, member: Member) -> list[Order]:
        orders = self.gone(seat, self.on(seat)) if self.on(seat) is not None else []
        return orders + real(self, seat, member)

    alter(monkeypatch, "arrived", arrived)
    with pytest.raises(AssertionError):
        try_out(2, 1, twins=1)


def test_it_is_found_where_who_has_to_leave_counts_as_one_without_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(real: Any, self: Membership) -> list[Order]:
        orders = list(real(self))
        for seat in self._seats:
            seat.state = State.READY if seat.state is State.PARTING else seat.state
        return orders

    alter(monkeypatch, "_break", broken)
    with pytest.raises(AssertionError, match="one who has the model is left"):
        try_out(2, 1, deaths=1)


def test_an_end_before_all_are_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def done(real: Any, self: Membership, seat: int, member: Member, generation: int) -> list[Order]:
        real(self, seat, member, generation)
        self.finished = True
        return [Order("over", place.member, generation) for place in self._seats if place.member is not None]

    alter(monkeypatch, "done", done)
    with pytest.raises(AssertionError, match="not trained to the end"):
        try_out(2, 1)


def test_it_is_told_how_the_broken_one_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    alter(monkeypatch, "gone", lambda real, *told: [order for order in real(*told) if order.kind != "part"])
    with pytest.raises(AssertionError, match="0b 'ready' is heard"):
        try_out(2, 1, deaths=1)


# --- the protocol by example ----------------------------------------------------------------------------------------

ANN, BEN, CAT = 1, 2, 3


@pytest.fixture
def pair() -> Membership:
    """Of two seats, on which `ANN` and `BEN` have formed the first generation."""
    made = Membership(2)
    for seat, member in enumerate((ANN, BEN)):
        assert made.arrived(seat, member) == []
    assert made.ready(0, ANN, 0, False) == []
    assert made.ready(1, BEN, 0, False) == [Order("start", ANN, 1), Order("start", BEN, 1)]
    return made


def test_all_are_told_when_all_are_done(pair: Membership) -> None:
    assert pair.done(1, BEN, 1) == []
    assert not pair.finished
    assert pair.done(0, ANN, 1) == [Order("over", ANN, 1), Order("over", BEN, 1)]
    assert pair.finished


def test_a_rank_that_is_lost_is_replaced(pair: Membership) -> None:
    assert pair.gone(1, BEN) == [Order("part", ANN, 1)]
    assert pair.free == [1]
    assert pair.arrived(1, CAT) == []
    assert pair.ready(1, CAT, 0, False) == []
    assert pair.ready(0, ANN, 1, True) == [Order("start", ANN, 2), Order("start", CAT, 2)]


def test_who_has_handed_its_answer_over_meets_the_others_again_when_one_is_lost(pair: Membership) -> None:
    pair.done(0, ANN, 1)
    assert pair.gone(1, BEN) == [Order("part", ANN, 1)]
    assert pair.state(0) is State.PARTING


def test_a_second_process_stands_by_and_takes_over(pair: Membership) -> None:
    assert pair.arrived(1, CAT) == []
    assert pair.ready(1, CAT, 0, False) == []
    assert pair.on(1) == BEN
    assert pair.gone(1, BEN) == [Order("part", ANN, 1)]
    assert pair.on(1) == CAT
    assert pair.ready(0, ANN, 1, True) == [Order("start", ANN, 2), Order("start", CAT, 2)]


def test_a_second_process_that_goes_is_not_missed(pair: Membership) -> None:
    pair.arrived(1, CAT)
    assert pair.gone(1, CAT) == []
    assert pair.on(1) == BEN
    assert pair.state(0) is State.WORKING


def test_a_rank_that_leaves_by_itself_meets_the_others_again(pair: Membership) -> None:
    assert pair.ready(0, ANN, 1, True) == [Order("part", BEN, 1)]
    assert pair.done(1, BEN, 1) == []  # sent before it heard of that
    assert pair.ready(1, BEN, 1, True) == [Order("start", ANN, 2), Order("start", BEN, 2)]


def test_nothing_starts_when_all_who_may_have_the_model_have_gone(pair: Membership) -> None:
    pair.gone(0, ANN)
    assert not pair.orphaned  # Ben may have it
    pair.gone(1, BEN)
    assert pair.orphaned
    for seat, member in enumerate((3, 4)):
        assert pair.arrived(seat, member) == []
        assert pair.ready(seat, member, 0, False) == []


def test_a_gang_that_had_not_begun_starts_again(pair: Membership) -> None:
    pair.gone(1, BEN)
    pair.ready(0, ANN, 1, False)  # it would know
    pair.arrived(1, CAT)
    assert pair.ready(1, CAT, 0, False) == [Order("start", ANN, 2), Order("start", CAT, 2)]
