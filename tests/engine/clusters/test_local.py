"""Gangs of local processes: answers, events, and every way to fail, each bounded and leaving nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Mapping
from typing import Any

import pytest

from zoo.engine.clusters import channel
from zoo.engine.clusters.board import Board
from zoo.engine.clusters.channel import Stranger, introduce
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.contracts import Rank, Shards, Sink, Terms
from zoo.engine.errors import DataError, NotEnoughSlots, RankLost, RankStalled, WorkerFailed
from zoo.engine.events.events import Event, Logged, Tick


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)


pytestmark = pytest.mark.usefixtures("fresh_ranks")


def gang(task: Any, world: int = 2, sink: Any = None, stall_timeout: float = 30.0) -> list[Any]:
    return LocalCluster(cores=4).gang(task, {}, world, sink or Heard(), Terms(stall_timeout))


def who(rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> tuple[int, int, int]:
    return rank.index, rank.world, os.getpid()


def test_answers_come_in_rank_order_from_other_processes() -> None:
    answers = gang(who, world=3)
    assert [answer[:2] for answer in answers] == [(0, 3), (1, 3), (2, 3)]
    assert len({answer[2] for answer in answers} | {os.getpid()}) == 4


def test_one_rank_runs_here() -> None:
    assert gang(who, world=1) == [(0, 1, os.getpid())]


def test_large_answers_arrive_whole() -> None:
    def large(rank: Rank, shards: Any, sink: Any) -> bytes:
        return bytes([rank.index]) * 5_000_000

    assert [len(set(answer)) * len(answer) for answer in gang(large)] == [5_000_000] * 2


def test_events_logs_warnings_and_prints_reach_the_driver() -> None:
    def talk(rank: Rank, shards: Any, sink: Sink) -> None:
        sink.put(Tick())
        if rank.index == 1:
            print("printed\nin two lines", end="")
            logging.getLogger("user").warning("logged %d", 7)
            warnings.warn("warned", stacklevel=1)

    heard = Heard()
    gang(talk, sink=heard)
    assert all(isinstance(event, Logged) and event.rank == 1 for event in heard.events)
    texts = [event.text for event in heard.events if isinstance(event, Logged)]
    assert texts[:2] == ["printed", "logged 7"] and "warned" in texts[2] and texts[3] == "in two lines"


def test_too_many_ranks_are_refused_before_a_process_starts() -> None:
    with pytest.raises(NotEnoughSlots, match="5 ranks need 5 cores, and this cluster has 4.*cores=5"):
        gang(who, world=5)


def broken(rank: Rank, shards: Any, sink: Any) -> None:
    raise KeyError("no such thing")


def test_equal_errors_are_folded_and_the_users_line_comes_first() -> None:
    with pytest.raises(WorkerFailed) as caught:
        gang(broken, world=3)
    lines = str(caught.value).splitlines()
    assert "test_local.py:" in lines[0] and lines[0].endswith("in broken: KeyError: 'no such thing' (on all 3 ranks)")
    assert lines[1] == '  raise KeyError("no such thing")'
    assert isinstance(caught.value.error, KeyError) and not caught.value.retryable


def test_an_error_on_one_rank_ends_the_others() -> None:
    def one_breaks(rank: Rank, shards: Any, sink: Any) -> None:
        if rank.index == 1:
            raise ValueError("only me")
        time.sleep(60)

    started = time.monotonic()
    with pytest.raises(WorkerFailed, match="in one_breaks: ValueError: only me \\(on rank 1 of 2\\)\n"):
        gang(one_breaks)
    assert time.monotonic() - started < 30  # not the minute that rank 0 sleeps


def test_our_own_errors_come_as_they_are() -> None:
    def bad_rows(rank: Rank, shards: Any, sink: Any) -> None:
        raise DataError("3 nulls in 'x'")

    with pytest.raises(DataError, match="3 nulls in 'x'"):
        gang(bad_rows)


def test_a_killed_rank_is_named_with_its_signal() -> None:
    def killed(rank: Rank, shards: Any, sink: Any) -> None:
        if rank.index == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RankLost, match="1 of 2 ranks were lost:\n  rank 0 .*SIGKILL") as caught:
        gang(killed)
    assert caught.value.retryable and caught.value.ranks == (0,)


def test_a_rank_that_exits_by_itself_is_as_lost_as_a_killed_one() -> None:
    def leaves(rank: Rank, shards: Any, sink: Any) -> None:
        os._exit(3)

    with pytest.raises(RankLost, match="2 of 2 ranks were lost:\n  rank 0 .*ended with exit status 3"):
        gang(leaves)


def test_a_stall_shows_every_ranks_stack() -> None:
    def stuck_here(rank: Rank, shards: Any, sink: Any) -> None:
        threading.Event().wait(60)

    with pytest.raises(RankStalled) as caught:
        gang(stuck_here, stall_timeout=1.5)
    assert str(caught.value).count("in stuck_here") == 2 and "rank 1:" in str(caught.value)


def test_a_stopped_process_counts_as_stalled() -> None:
    def stopped(rank: Rank, shards: Any, sink: Any) -> None:
        if rank.index == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)

    with pytest.raises(RankStalled, match="no answer: the process is stopped") as caught:
        gang(stopped, stall_timeout=1.5)
    assert caught.value.ranks == (1,)


def test_a_rank_that_moves_is_not_stalled() -> None:
    def busy(rank: Rank, shards: Any, sink: Sink) -> int:
        for _ in range(20):
            sink.put(Tick())
            time.sleep(0.1)
        return rank.index

    assert gang(busy, stall_timeout=1.5) == [0, 1]


def test_the_door_admits_only_who_proves_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_PAUSE_SECONDS", 0.01)
    board = Board(1, Heard(), Terms(5))
    try:
        address = board.listen("127.0.0.1")
        with pytest.raises(Stranger):
            introduce(address, "another token", 0)
        with socket.create_connection(address, timeout=5) as stranger:
            stranger.sendall(b"\0" * 200)  # neither a token nor a pickle is ever read from here
            challenge = stranger.recv(32)
            assert len(challenge) == 32
        introduce(address, board.token, 0).close()
        with pytest.raises(RankLost, match="rank 0"):
            board.run()
    finally:
        board.close()
