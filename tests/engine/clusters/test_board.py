"""How long the driver waits for its ranks to come."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from zoo.engine.clusters import crew
from zoo.engine.clusters.board import Board
from zoo.engine.clusters.channel import frame
from zoo.engine.clusters.crew import NoCrew
from zoo.engine.contracts import Terms
from zoo.engine.errors import RankLost
from zoo.engine.events.sinks import MemorySink


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A board that gives its one rank 0.3 s, and the rank's end of the connection."""
    monkeypatch.setattr(crew, "JOIN_SECONDS", 0.3)
    monkeypatch.setattr(crew, "_SIGN_SECONDS", 0.2)
    made = Board(1, MemorySink(), Terms(60.0))
    ours, theirs = socket.socketpair()
    yield made, ours, theirs
    made.close()
    theirs.close()
    ours.close()


class Waiting(NoCrew):
    """A crew for which something is at work."""

    def __init__(self, coming: Any) -> None:
        self.coming = coming


def test_a_rank_that_does_not_come_is_lost(hurried: Any) -> None:
    with pytest.raises(RankLost, match="did not report within"):
        hurried[0].run()


def test_a_rank_is_waited_for_while_what_comes_before_it_is_at_work(hurried: Any) -> None:
    made, ours, theirs = hurried
    asked = []

    def coming() -> bool:
        asked.append(True)
        if len(asked) == 3:
            made.attach(0, ours)
        return True

    theirs.sendall(frame(("ready", (0, ("127.0.0.1", 1), None, 0))) + frame(("done", (1, "answer"))))
    assert made.run(Waiting(coming)) == ["answer"]
    assert len(asked) == 3


def test_a_rank_that_comes_without_a_word_is_not_waited_for_longer(hurried: Any) -> None:
    made, ours, _ = hurried
    threading.Timer(0.1, lambda: made.attach(0, ours)).start()
    with pytest.raises(RankLost):
        made.run(Waiting(lambda: True))
