"""The driver's open door: who proves the gang's token is let in, all others are refused and counted.

Owns: accepting connections, how many handshakes there may be at once.
Leaves: the handshake itself (channel), what is done with who is let in (board).
"""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import suppress

from zoo.engine.clusters.channel import Stranger, welcome

AT_ONCE = 64  # handshakes
_PATIENCE_SECONDS = 3.0


class Door:
    """A listening socket that lets in whoever proves the token, and counts all others.

    Attributes:
        address: where it listens.
        refused: connections that were not let in.
        last: where the last of them came from.
    """

    def __init__(
        self, server: socket.socket, token: str, arrivals: queue.SimpleQueue[tuple[int, socket.socket]]
    ) -> None:  # fmt: skip
        self._server = server
        self.address: tuple[str, int] = server.getsockname()[:2]
        self.refused, self.last, self.closed = 0, "", False
        self._token, self._arrivals = token, arrivals
        self._busy = threading.BoundedSemaphore(AT_ONCE)
        self._counting, self._knowing = threading.Lock(), threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="zoo-door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Lets nobody in any more. Idempotent."""
        with self._knowing:
            self.closed = True  # from here on nobody is among the arrivals who was not before
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._server.close()
        self._thread.join(_PATIENCE_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                connection, peer = self._server.accept()
            except OSError:
                return
            if not self._busy.acquire(timeout=_PATIENCE_SECONDS):  # so many say nothing: a rank comes again
                self._refuse(connection, peer[0])
                continue
            threading.Thread(target=self._admit, args=(connection, peer[0]), name="zoo-welcome", daemon=True).start()

    def _admit(self, connection: socket.socket, peer: str) -> None:
        try:
            index = welcome(connection, self._token)
        except Stranger:
            self._refuse(connection, peer)
        else:
            self._let_in(index, connection)
        finally:
            self._busy.release()

    def _let_in(self, index: int, connection: socket.socket) -> None:
        with self._knowing:
            if not self.closed:
                self._arrivals.put((index, connection))
                return
        connection.close()

    def _refuse(self, connection: socket.socket, peer: str) -> None:
        connection.close()
        with self._counting:
            self.refused += 1
            self.last = peer
