from __future__ import annotations

import socket
import threading

import pytest

from zoo.engine.clusters.channel import Stranger, introduce, own_address


def test_a_driver_that_cannot_be_reached_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with pytest.raises(
        Stranger, match=rf"the driver at 127\.0\.0\.1:{address[1]} cannot be reached from \S+: .*refused"
    ):
        introduce(address, "a token", 0)


def test_this_machine_reaches_itself_by_loopback() -> None:
    assert own_address("localhost") == own_address("127.0.0.2") == "127.0.0.1"


def test_a_process_that_is_not_the_driver_is_found_out() -> None:
    def pretend(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(bytes(32))  # a challenge
            connection.recv(1000)
            connection.sendall(bytes(32))  # no proof

    with socket.create_server(("127.0.0.1", 0)) as server:
        other = threading.Thread(target=pretend, args=(server,))
        other.start()
        with pytest.raises(Stranger, match=r"the process at 127\.0\.0\.1:\d+ does not know the gang's token"):
            introduce(server.getsockname(), "a token", 0)
        other.join(10)
