"""Who knocks at the driver's port without the gang's token: refused, counted, and harmless to those who have it."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.engine.clusters import channel
from zoo.engine.clusters import door as door_module
from zoo.engine.clusters.board import Board
from zoo.engine.clusters.channel import LARGEST_FRAME, Frames, Garbled, Stranger, frame, introduce, listener, receive
from zoo.engine.contracts import Terms
from zoo.engine.errors import RankLost, UsageError
from zoo.engine.events.events import Refused
from zoo.engine.events.sinks import MemorySink

LENGTH = struct.Struct("!Q")


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Board, MemorySink, tuple[str, int]]]:
    """A board that listens, for one rank."""
    monkeypatch.setattr(channel, "HANDSHAKE_SECONDS", 1.0)
    heard = MemorySink()
    board = Board(1, heard, Terms(20.0))
    yield board, heard, board.listen("127.0.0.1")
    board.close()


def answer(connection: socket.socket) -> None:
    """What a rank says from its coming to its end."""
    connection.sendall(frame(("ready", (0, ("127.0.0.1", 1), None, 0))))
    assert receive(connection)[0] == "start"
    connection.sendall(frame(("done", (1, "answer"))))
    assert receive(connection)[0] == "over"


def a_rank_still_gets_in(board: Board, address: tuple[str, int]) -> None:
    def be() -> None:
        with introduce(address, board.token, 0) as connection:
            answer(connection)

    rank = threading.Thread(target=be)
    rank.start()
    assert board.run() == ["answer"]
    rank.join(10)


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_whatever_a_stranger_says_it_is_refused_and_counted(said: list[bytes]) -> None:
    heard = MemorySink()
    with closing(Board(1, heard, Terms(20.0))) as board:
        address = board.listen("127.0.0.1")
        for words in said:
            with socket.create_connection(address, 5) as stranger:
                stranger.sendall(words)
        a_rank_still_gets_in(board, address)
        wait_for(lambda: board.refused == len(said))
    assert [event for event in heard.events if isinstance(event, Refused)] == [Refused(len(said), "127.0.0.1")]


def wait_for(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("it did not come to that in time")


def test_a_handshake_that_was_overheard_cannot_be_said_again(door: Any) -> None:
    board, _, address = door
    overheard: list[bytes] = []

    class Tapped:
        """A connection that notes what is sent."""

        def __init__(self, real: socket.socket) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def sendall(self, data: bytes) -> None:
            overheard.append(data)
            self.real.sendall(data)

    with pytest.MonkeyPatch.context() as patched:
        real = socket.create_connection
        patched.setattr(channel.socket, "create_connection", lambda *a, **k: Tapped(real(*a, **k)))
        introduce(address, board.token, 0).close()
    with socket.create_connection(address, 5) as stranger:
        stranger.recv(32)  # another challenge
        stranger.sendall(overheard[0])
        assert stranger.recv(100) == b""
    wait_for(lambda: board.refused == 1)


def test_the_token_of_another_gang_opens_nothing(door: Any) -> None:
    board, _, address = door
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(channel, "_PAUSE_SECONDS", 0.01)
        with pytest.raises(Stranger):
            introduce(address, "another gang's token", 0)
    wait_for(lambda: board.refused == 5)  # it has tried again
    a_rank_still_gets_in(board, address)


def test_who_says_nothing_keeps_no_rank_out(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    board, _, address = door
    monkeypatch.setattr(door_module, "AT_ONCE", 2)
    with ExitStack() as silent:
        for _ in range(70):
            silent.enter_context(socket.create_connection(address, 5))
        a_rank_still_gets_in(board, address)


def test_the_token_is_in_no_word_about_a_gang(door: Any) -> None:
    board, _, _ = door
    assert board.token not in repr(board) + repr(vars(board)["_door"])


# --- messages --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=300))), st.lists(st.integers(0, 2000)))
def test_messages_arrive_however_the_network_cuts_them(messages: list[tuple[str, bytes]], cuts: list[int]) -> None:
    data = b"".join(map(frame, messages))
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    frames = Frames()
    heard = [message for start, end in pairwise(borders) for message in frames.feed(data[start:end])]
    assert heard == messages


@given(st.binary(max_size=300).filter(lambda garbage: b"r" not in garbage))  # LONG_BINPUT asks for gigabytes
def test_bytes_that_are_no_message_are_told_as_such(garbage: bytes) -> None:
    try:
        Frames().feed(LENGTH.pack(len(garbage)) + garbage)
    except Garbled:
        return
    pickle.loads(garbage)  # a message after all


def test_a_message_too_large_to_be_one_is_not_waited_for() -> None:
    with pytest.raises(Garbled, match=r"a message of 68,719,476,737 bytes was announced"):
        Frames().feed(LENGTH.pack(LARGEST_FRAME + 1))


@pytest.mark.parametrize("said", [LENGTH.pack(LARGEST_FRAME + 1), LENGTH.pack(3) + b"\x80\x05x"])
def test_a_rank_that_sends_garbage_is_lost_and_nothing_else(door: Any, said: bytes) -> None:
    board, _, address = door

    def be() -> None:
        with introduce(address, board.token, 0) as connection:
            connection.sendall(said)
            connection.recv(100)

    rank = threading.Thread(target=be)
    rank.start()
    with pytest.raises(RankLost, match="sent what is no message"):
        board.run()
    board.close()
    rank.join(10)


def test_pickles_of_strangers_are_never_read(door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    board, _, address = door

    class Trap:
        def __reduce__(self) -> Any:
            return print, ("read",)

    with socket.create_connection(address, 5) as stranger:
        stranger.sendall(frame(Trap()))
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(1000):
            pass
    wait_for(lambda: board.refused == 1)
    assert capsys.readouterr().out == ""


# --- ports -----------------------------------------------------------------------------------------------------------


def test_a_listener_takes_a_free_port_of_its_range() -> None:
    with listener("127.0.0.1") as taken:
        port = taken.getsockname()[1]
        with listener("127.0.0.1", range(port, port + 20)) as other:
            assert port < other.getsockname()[1] < port + 20
        with pytest.raises(UsageError, match=rf"no port of {port}-{port} is free on 127.0.0.1.*spark.zoo.ports"):
            listener("127.0.0.1", range(port, port + 1))


def test_who_is_let_in_as_the_door_closes_is_not_kept_waiting(
    door: tuple[Board, MemorySink, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    board, _, address = door
    knocked, closed = threading.Event(), threading.Event()

    def slow(connection: socket.socket, token: str) -> int:
        index = channel.welcome(connection, token)
        knocked.set()
        assert closed.wait(10)
        return index

    monkeypatch.setattr(door_module, "welcome", slow)
    with introduce(address, board.token, 0) as connection:
        assert knocked.wait(10)
        board.close()
        closed.set()
        connection.settimeout(10)
        with pytest.raises((EOFError, ConnectionError)):
            receive(connection)
