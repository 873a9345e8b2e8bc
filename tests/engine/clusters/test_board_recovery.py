"""What the driver says to the members of a gang when some are lost: socket pairs, and members made by hand."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from zoo.engine.clusters import board
from zoo.engine.clusters.board import Board, NoCrew
from zoo.engine.clusters.channel import frame, receive
from zoo.engine.clusters.failures import Failure
from zoo.engine.contracts import Terms
from zoo.engine.errors import GangYielded, RankLost, RankStalled, WorkerFailed
from zoo.engine.events.events import RankLeft
from zoo.engine.events.sinks import MemorySink

SOON = 5.0
"""More than anything here takes, and less than what a test has turned off."""


class Member:
    """A process that a test plays: the rank's end of a connection."""

    def __init__(self, made: Board, seat: int, port: int = 1) -> None:
        ours, self.wire = socket.socketpair()
        self.wire.settimeout(SOON)
        self.seat, self.port, self.reference = seat, port, 1000 + port
        made.attach(seat, ours)

    def say(self, kind: str, payload: Any) -> None:
        self.wire.sendall(frame((kind, payload)))

    def ready(self, left: int = 0, step: int | None = None) -> Member:
        """Stands outside any group; with a step, it has the model of a training that has begun."""
        place = None if step is None else (0, step, 3, 0)
        self.say("ready", (left, (f"host{self.seat}", self.port), place, self.reference))
        return self

    def parts(self, left: int, step: int | None = None) -> Member:
        """Leaves its group once it is told to: said before, it has left by itself, and hears nothing of it."""
        assert self.hears("part") == left
        return self.ready(left, step)

    def hears(self, kind: str) -> Any:
        """The driver's next word, which must be this one."""
        heard, payload = receive(self.wire)
        assert heard == kind, (heard, payload)
        return payload

    def dies(self) -> None:
        self.wire.close()


class Crew(NoCrew):
    """Processes that are all replaced, unless `spare` runs out."""

    def __init__(self, spare: int = 100) -> None:
        self.spare, self.slots = spare, 0
        self.replaced: list[int] = []
        self.killed: list[tuple[int, int]] = []

    def replace(self, index: int) -> bool:
        self.replaced.append(index)
        return len(self.replaced) <= self.spare

    def wait(self, losses: int) -> None:
        """Until the board has noticed so many losses."""
        until = time.monotonic() + SOON
        while len(self.replaced) < losses:
            assert time.monotonic() < until, self.replaced
            time.sleep(0.005)

    def room(self) -> int:
        return self.slots

    def kill(self, index: int, reference: int) -> None:
        self.killed.append((index, reference))


class Gang:
    """A board at work in a thread, with the members that have come."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.members: list[Member] = []
        self.heard = MemorySink()
        self.crew = Crew()

    def begin(self, world: int = 2, spare: int = 100, **terms: Any) -> list[Member]:
        """All sit, and have heard the first start."""
        self.crew = Crew(spare)
        self.board = Board(world, self.heard, Terms(**{"stall_timeout": 60.0, "peers": True} | terms))
        self.ended: Future[list[Any]] = self._pool.submit(self.board.run, self.crew)
        seated = [self.comes(seat) for seat in range(world)]
        for member in seated:
            assert member.hears("start")[0] == 1
        return seated

    def comes(self, seat: int) -> Member:
        """Another process comes for a seat."""
        self.members.append(Member(self.board, seat, len(self.members) + 1))
        return self.members[-1].ready()

    def end(self) -> None:
        for member in self.members:
            member.dies()
        with suppress(Exception):  # whatever the test left it in
            self.ended.result(SOON)
        self.board.close()


@pytest.fixture
def gang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gang]:
    """Ends whatever the test has left of it. How a process ended is not known here: it is not waited for long."""
    monkeypatch.setattr(board, "EXIT_SECONDS", 0.02)
    monkeypatch.setattr(board, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(board, "GIVE_SECONDS", 2 * SOON)
    monkeypatch.setattr(board, "_LOOK_SECONDS", 0.02)
    with ThreadPoolExecutor(1) as pool:
        made = Gang(pool)
        yield made
        made.end()


def test_the_others_part_and_start_again_with_a_newcomer(gang: Gang) -> None:
    ann, ben = gang.begin()
    ben.say("beat", (7, "mine.py:3 in forward"))
    ben.dies()
    assert ann.hears("part") == 1
    cat = gang.comes(1)
    ann.ready(left=1, step=4)
    assert ann.hears("start") == cat.hears("start") == (2, "tcp://host0:1", True)
    ann.say("done", (2, "a"))
    cat.say("done", (2, "c"))
    assert ann.hears("over") == cat.hears("over") == 2
    assert gang.ended.result(SOON) == ["a", "c"]
    assert gang.crew.replaced == [1]
    (left,) = [event for event in gang.heard.events if isinstance(event, RankLeft)]
    assert (left.rank, left.line) == (1, "mine.py:3 in forward")
    assert "its connection broke" in left.reason


def test_the_loss_of_rank_0_moves_the_meeting_to_the_newcomer(gang: Gang) -> None:
    ann, ben = gang.begin()
    ann.dies()
    ben.parts(left=1, step=4)
    cat = gang.comes(0)
    assert ben.hears("start") == cat.hears("start") == (2, f"tcp://host0:{cat.port}", True)


def test_who_has_answered_meets_the_others_again_and_answers_anew(gang: Gang) -> None:
    ann, ben = gang.begin()
    ann.say("done", (1, "early"))
    ben.dies()
    ann.parts(left=1, step=9)
    cat = gang.comes(1)
    assert ann.hears("start")[0] == cat.hears("start")[0] == 2
    ann.say("done", (2, "late"))
    cat.say("done", (2, "c"))
    assert gang.ended.result(SOON) == ["late", "c"]


def test_a_rank_that_lost_a_message_has_all_meet_again_without_another_process(gang: Gang) -> None:
    ann, ben = gang.begin()
    ann.ready(left=1, step=2)
    ben.parts(left=1, step=2)
    assert ann.hears("start")[0] == ben.hears("start")[0] == 2
    assert gang.crew.replaced == []


def test_a_second_process_for_a_seat_stands_by_and_takes_over(gang: Gang) -> None:
    ann, ben = gang.begin()
    twin = gang.comes(1)
    ann.ready(left=1, step=2)  # the twin was heard of by the time that all have started again
    ben.parts(left=1, step=2)
    assert ann.hears("start")[0] == ben.hears("start")[0] == 2
    ben.dies()
    ann.parts(left=2, step=3)
    assert ann.hears("start")[0] == twin.hears("start")[0] == 3
    assert gang.crew.replaced == []


def test_a_second_process_that_goes_is_not_missed(gang: Gang) -> None:
    ann, ben = gang.begin()
    gang.comes(1).dies()
    for member in (ann, ben):
        member.say("done", (1, member.seat))
    assert gang.ended.result(SOON) == [0, 1]
    assert gang.heard.events == []


def test_two_that_are_lost_one_after_the_other_are_replaced_in_one_group(gang: Gang) -> None:
    ann, ben, cat = gang.begin(3)
    ben.dies()
    assert ann.hears("part") == cat.hears("part") == 1
    cat.dies()
    gang.crew.wait(2)  # who came for her seat before that would stand by
    ann.ready(left=1, step=4)
    newcomers = [gang.comes(1), gang.comes(2)]
    assert [member.hears("start")[0] for member in (ann, *newcomers)] == [2, 2, 2]
    assert sorted(gang.crew.replaced) == [1, 2]


def test_a_gang_of_which_nobody_is_left_can_be_tried_again(gang: Gang) -> None:
    ann, ben = gang.begin()
    ann.dies()
    ben.dies()
    with pytest.raises(RankLost, match="^2 of 2 ranks were lost:\n  rank 0 ended.*\n  rank 1 ended") as caught:
        gang.ended.result(SOON)
    assert caught.value.retryable
    assert caught.value.handed is None


def test_a_gang_whose_last_model_has_gone_ends_when_the_others_say_that_they_have_none(gang: Gang) -> None:
    ann, ben = gang.begin()
    ben.dies()
    ann.parts(left=1, step=1)
    cat = gang.comes(1)
    assert ann.hears("start")[0] == cat.hears("start")[0] == 2
    ann.dies()  # before it has given its model away
    assert cat.hears("part") == 2
    gang.comes(0)
    cat.ready(left=2)
    with pytest.raises(RankLost, match="1 of 2 ranks were lost:\n  rank 0 ended without a word") as caught:
        gang.ended.result(SOON)
    assert caught.value.retryable


def test_where_no_rank_can_come_the_furthest_hands_its_state_over(gang: Gang) -> None:
    ann, ben, cat = gang.begin(3, spare=0)
    cat.dies()
    ann.parts(left=1, step=4)
    ben.parts(left=1, step=5)
    ben.hears("give")
    ben.say("given", "the model")
    with pytest.raises(RankLost, match="^1 of 3 ranks was lost:\n  rank 2 ended without a word") as caught:
        gang.ended.result(SOON)
    assert (caught.value.handed, caught.value.retryable, caught.value.ranks) == ("the model", True, (2,))
    gang.board.close()
    ann.hears("abort")


def test_where_the_furthest_dies_before_it_has_handed_its_state_over_the_next_one_does(gang: Gang) -> None:
    ann, ben, cat = gang.begin(3, spare=0)
    cat.dies()
    ann.parts(left=1, step=4)
    ben.parts(left=1, step=5)
    ben.hears("give")
    ben.dies()
    ann.hears("give")
    ann.say("given", "the older model")
    with pytest.raises(RankLost) as caught:
        gang.ended.result(SOON)
    assert caught.value.handed == "the older model"


def test_where_no_rank_can_come_and_nobody_had_begun_nothing_is_handed_over(gang: Gang) -> None:
    ann, ben = gang.begin(spare=0)
    ben.dies()
    ann.parts(left=1)
    with pytest.raises(RankLost) as caught:
        gang.ended.result(SOON)
    assert (caught.value.handed, caught.value.retryable) == (None, True)


def test_where_no_rank_comes_for_long_what_is_left_is_handed_over(gang: Gang) -> None:
    ann, ben = gang.begin(patience=0.2)
    ben.dies()
    ann.parts(left=1, step=4)
    ann.hears("give")
    ann.say("given", "the model")
    with pytest.raises(RankLost, match=r"^no rank came in place of rank 1 within 0\.2 s") as caught:
        gang.ended.result(SOON)
    assert (caught.value.handed, caught.value.retryable) == ("the model", True)


def test_where_there_is_room_for_more_ranks_the_gang_yields_with_its_model(gang: Gang) -> None:
    ann, ben = gang.begin(most=3)
    gang.crew.slots = 3
    assert ann.hears("part") == ben.hears("part") == 1
    ann.ready(left=1, step=4)
    ben.ready(left=1, step=4)
    ann.hears("give")
    ann.say("given", "the model")
    with pytest.raises(GangYielded) as caught:
        gang.ended.result(SOON)
    assert caught.value.handed == "the model"


def test_losses_at_the_same_step_end_after_so_many_attempts(gang: Gang) -> None:
    ann, ben = gang.begin(attempts=3)
    for generation in (1, 2, 3):
        ben.say("beat", (generation, "mine.py:7 in forward"))
        ben.dies()
        ann.parts(left=generation, step=5)
        ben = gang.comes(1)
        if generation < 3:
            assert ann.hears("start")[0] == ben.hears("start")[0] == generation + 1
    with pytest.raises(
        RankLost, match=r"^3 times a rank was lost at step 6 \(attempts=3\), the last time: rank 1 "
    ) as it:
        gang.ended.result(SOON)
    assert str(it.value).endswith("\n  It was last seen at mine.py:7 in forward")
    assert (it.value.retryable, it.value.ranks) == (False, (1,))


def test_losses_before_the_first_step_are_counted_too(gang: Gang) -> None:
    ann, ben = gang.begin(attempts=1)
    ben.dies()
    ann.parts(left=1)
    gang.comes(1)
    with pytest.raises(RankLost, match=r"^1 times a rank was lost before the first step \(attempts=1\)"):
        gang.ended.result(SOON)


def test_losses_at_growing_steps_end_nothing(gang: Gang) -> None:
    ann, ben = gang.begin(attempts=2)
    for generation in range(1, 6):
        ben.dies()
        ann.parts(left=generation, step=generation)
        ben = gang.comes(1)
        assert ann.hears("start")[0] == ben.hears("start")[0] == generation + 1
    for member in (ann, ben):
        member.say("done", (6, member.seat))
    assert gang.ended.result(SOON) == [0, 1]


def test_a_users_own_error_is_told_although_the_others_wait_for_another_group(
    gang: Gang, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "GRACE_SECONDS", 10 * SOON)
    ann, ben, cat = gang.begin(3)
    ben.say("failed", Failure.of(1, ValueError("my own mistake")))
    ben.dies()
    ann.ready(left=1, step=4)
    cat.ready(left=1, step=4)
    with pytest.raises(WorkerFailed, match=r"ValueError: my own mistake \(on rank 1 of 3\)") as caught:
        gang.ended.result(SOON)
    assert (caught.value.retryable, caught.value.ranks) == (False, (1,))
    assert gang.crew.replaced == []


def test_a_rank_that_does_not_answer_at_a_stall_is_killed_and_replaced(
    gang: Gang, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "GRACE_SECONDS", 0.2)
    ann, ben = gang.begin(stall_timeout=0.2)
    ann.hears("stacks")
    ann.say("stacks", "in step()")
    assert ann.hears("part") == 1
    assert gang.crew.killed == [(1, ben.reference)]
    ann.ready(left=1, step=4)
    cat = gang.comes(1)
    assert ann.hears("start")[0] == cat.hears("start")[0] == 2
    for member in (ann, cat):
        member.say("done", (2, member.seat))
    assert gang.ended.result(SOON) == [0, 1]
    (left,) = [event for event in gang.heard.events if isinstance(event, RankLeft)]
    assert (left.rank, left.reason[:29]) == (1, "did not answer for 0.2 s (sta")


def test_who_waits_for_a_newcomer_does_not_stall(gang: Gang) -> None:
    ann, ben = gang.begin(stall_timeout=0.2)
    ben.dies()
    ann.parts(left=1, step=4)
    time.sleep(0.4)
    cat = Member(gang.board, 1)  # a process that is there, and reads nothing yet: it imports a large library
    gang.members.append(cat)
    time.sleep(0.4)
    cat.ready()
    assert ann.hears("start")[0] == cat.hears("start")[0] == 2
    assert gang.crew.killed == []


def test_a_newcomer_that_says_nothing_is_not_waited_for_longer_than_one_that_does_not_come(gang: Gang) -> None:
    ann, ben = gang.begin(patience=0.3)
    ben.dies()
    ann.parts(left=1, step=4)
    gang.members.append(Member(gang.board, 1))
    ann.hears("give")
    ann.say("given", "the model")
    with pytest.raises(RankLost, match=r"^no rank came in place of rank 1 within 0\.3 s") as caught:
        gang.ended.result(SOON)
    assert caught.value.handed == "the model"


def test_where_all_answer_at_a_stall_their_own_code_is_to_blame(gang: Gang) -> None:
    members = gang.begin(stall_timeout=0.2)
    for member in members:
        member.hears("stacks")
        member.say("stacks", f"in rank_{member.seat}()")
    with pytest.raises(
        RankStalled, match=r"(?s)no rank has moved for 0\.2 s.*rank 0:\nin rank_0.*rank 1:\nin rank_1"
    ) as it:
        gang.ended.result(SOON)
    assert not it.value.retryable
    assert gang.crew.killed == []


def test_where_none_answers_at_a_stall_all_are_lost(gang: Gang, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "GRACE_SECONDS", 0.1)
    gang.begin(stall_timeout=0.2)
    with pytest.raises(RankStalled, match="no answer: the process is stopped") as caught:
        gang.ended.result(SOON)
    assert (caught.value.retryable, caught.value.ranks) == (True, (0, 1))


def test_without_peers_nobody_comes_for_a_seat_twice(gang: Gang) -> None:
    _, ben = gang.begin(peers=False)
    twin = gang.comes(1)
    with pytest.raises((EOFError, ConnectionError)):
        receive(twin.wire)
    ben.dies()
    with pytest.raises(RankLost, match="of 2 ranks were lost"):
        gang.ended.result(SOON)


@pytest.mark.parametrize(("dies", "end"), [(False, GangYielded), (True, RankLost)])
def test_a_rank_that_is_lost_while_its_gang_makes_room_is_no_new_beginning(dies: bool, end: type[Exception]) -> None:
    class Room(NoCrew):
        def room(self) -> int:
            return 2

    made = Board(1, MemorySink(), Terms(20.0, peers=True, most=2))
    ours, theirs = socket.socketpair()
    made.attach(0, ours)

    def be() -> None:
        theirs.sendall(frame(("ready", (0, ("h", 1), None, 0))))
        assert [receive(theirs)[0] for _ in range(2)] == ["start", "part"]
        if not dies:
            theirs.sendall(frame(("ready", (1, ("h", 1), (0, 3, 2, 1), 0))))
            assert receive(theirs)[0] == "give"
            theirs.sendall(frame(("given", "state")))
            receive(theirs)
        theirs.close()

    rank = threading.Thread(target=be)
    rank.start()
    with pytest.raises(end) as caught:
        made.run(Room())
    made.close()
    rank.join(10)
    assert dies or caught.value.handed == "state"  # type: ignore[attr-defined]
