"""Frames between the driver and its ranks, and the proof that both belong to the same gang.

Owns: framing, the handshake, which address of this machine a peer can reach, at which of its ports.
Leaves: what is said (board on the driver, seat on the rank).

Only a peer that proves the gang's token is ever unpickled. The token itself never crosses the wire: each side answers
the other's random challenge with an HMAC-SHA256.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import ipaddress
import pickle
import secrets
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from zoo.engine.errors import UsageError, ZooError

_LENGTH = struct.Struct("!Q")
_INDEX = struct.Struct("!I")
_CHALLENGE = 32
_PROOF = hashlib.sha256().digest_size
HANDSHAKE_SECONDS = 10.0
_TRIES, _PAUSE_SECONDS = 5, 2.0


LARGEST_FRAME = 1 << 36
"""Bytes of the largest message, 64 GiB: a length beyond it was not written by a rank."""


class Garbled(ZooError, ConnectionError):
    """Bytes that are no message."""


class Stranger(ZooError, ConnectionError):
    """A peer that could not prove the gang's token."""


class _BrokenOff(Stranger):
    """A peer that ended the handshake."""


def new_token() -> str:
    """A fresh secret for one gang."""
    return secrets.token_hex(32)


def frame(message: Any) -> bytes:
    """The message as it crosses the wire."""
    body = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(body)) + body


def receive(connection: socket.socket) -> Any:
    """The next message; blocks as long as the socket's time-out allows.

    Raises:
        EOFError: the peer has gone.
        Garbled: what it sent is no message.
    """
    length = _checked(_LENGTH.unpack(_exactly(connection, _LENGTH.size))[0])
    return _read(_exactly(connection, length))


class Frames:
    """Bytes as they arrive, cut into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Takes bytes; returns the messages that are complete now.

        Raises:
            Garbled: the bytes are no messages.
        """
        self._buffer += data
        messages = []
        while (end := self._end()) is not None:
            messages.append(_read(memoryview(self._buffer)[_LENGTH.size : end].tobytes()))
            del self._buffer[:end]
        return messages

    def _end(self) -> int | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        end = _LENGTH.size + _checked(_LENGTH.unpack_from(self._buffer)[0])
        return end if len(self._buffer) >= end else None


def _read(body: bytes) -> Any:
    try:
        return pickle.loads(body)  # noqa: S301  the peer has proven the gang's token
    except Exception as error:  # unpickling garbage raises anything
        raise Garbled(f"a message of {len(body)} bytes cannot be read: {type(error).__name__}") from error


def _checked(length: int) -> int:
    if length > LARGEST_FRAME:
        raise Garbled(f"a message of {length:,} bytes was announced; the largest has {LARGEST_FRAME:,}.")
    return length


def listener(host: str, ports: range | None = None) -> socket.socket:
    """A socket that listens on one address of this machine.

    Args:
        host: the address.
        ports: one of these; None for any.

    Raises:
        UsageError: all of them are taken.
    """
    for port in ports or (0,):
        try:
            return socket.create_server((host, port), backlog=64)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    assert ports is not None  # the system finds a free one
    raise UsageError(
        f"no port of {ports.start}-{ports.stop - 1} is free on {host}. "
        "Give a wider range: spark.zoo.ports=<first>-<last>."
    )


def welcome(connection: socket.socket, token: str) -> int:
    """Driver side: makes a peer prove the token, proves it in return, and returns the peer's rank.

    Raises:
        Stranger: the peer does not know the token, or says nothing for 10 s.
    """
    try:
        connection.settimeout(HANDSHAKE_SECONDS)
        challenge = secrets.token_bytes(_CHALLENGE)
        connection.sendall(challenge)
        index = _exactly(connection, _INDEX.size)
        theirs = _exactly(connection, _CHALLENGE)
        if not hmac.compare_digest(_exactly(connection, _PROOF), _proof(token, b"rank", index, challenge, theirs)):
            raise Stranger("a connection without the gang's token was refused.")
        connection.sendall(_proof(token, b"driver", index, theirs, challenge))
    except Stranger:
        raise
    except (OSError, EOFError) as error:
        raise Stranger(f"a connection was refused in its handshake: {type(error).__name__}") from error
    return int(_INDEX.unpack(index)[0])


def introduce(address: tuple[str, int], token: str, index: int) -> socket.socket:
    """Rank side: connects to the driver, proves the token, and checks that the driver knows it too.

    Raises:
        Stranger: the driver cannot be reached, breaks the handshake off again and again, or does not know the token.
    """
    for _ in range(_TRIES - 1):
        with suppress(_BrokenOff):
            return _introduced(address, token, index)
        time.sleep(_PAUSE_SECONDS)  # it may be besieged by others
    return _introduced(address, token, index)


def _introduced(address: tuple[str, int], token: str, index: int) -> socket.socket:
    where = f"the driver at {address[0]}:{address[1]}"
    try:
        connection = socket.create_connection(address, timeout=HANDSHAKE_SECONDS)
    except OSError as error:
        raise Stranger(f"{where} cannot be reached from {socket.gethostname()}: {error}") from error
    try:
        challenge = _exactly(connection, _CHALLENGE)
        mine, packed = secrets.token_bytes(_CHALLENGE), _INDEX.pack(index)
        connection.sendall(packed + mine + _proof(token, b"rank", packed, challenge, mine))
        if not hmac.compare_digest(_exactly(connection, _PROOF), _proof(token, b"driver", packed, mine, challenge)):
            raise Stranger(f"the process at {address[0]}:{address[1]} does not know the gang's token.")
    except Stranger:
        connection.close()
        raise
    except (OSError, EOFError) as error:
        connection.close()
        raise _BrokenOff(f"{where} broke off the handshake.") from error
    connection.settimeout(None)
    return connection


def own_address(peer: str) -> str:
    """The address of this machine's interface that leads to a host."""
    if ipaddress.ip_address(socket.gethostbyname(peer)).is_loopback:
        return "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 1))  # sends nothing
        return str(probe.getsockname()[0])


def _proof(token: str, role: bytes, index: bytes, *challenges: bytes) -> bytes:
    return hmac.digest(token.encode(), b"|".join((b"zoo-gang-1", role, index, *challenges)), "sha256")


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        received = connection.recv_into(view[got:])
        if not received:
            raise EOFError("the peer closed the connection.")
        got += received
    return bytes(data)
