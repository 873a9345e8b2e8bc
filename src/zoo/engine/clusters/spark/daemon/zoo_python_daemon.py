"""pyspark's daemon, whose workers end in silence once the JVM has closed their socket.

That is how an idle worker is told to end. It answers with an exception, which TCP takes and forgets, and a Unix socket
refuses; pyspark prints the refusal as a traceback, from each worker, after a minute without work.

This folder is on the daemon's path by itself, so that it starts where zoo cannot be imported.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from pyspark import daemon

_ENDED = 1  # the daemon's word for a worker that takes no further task


def silent(worker: Callable[[socket.socket, bool], int]) -> Callable[[socket.socket, bool], int]:
    """`pyspark.daemon.worker`, for which a closed socket is an end like another."""

    def run(sock: socket.socket, authenticated: bool) -> int:
        try:
            return worker(sock, authenticated)
        except BrokenPipeError:
            return _ENDED

    return run


def main() -> None:
    """Runs the daemon."""
    daemon.worker = silent(daemon.worker)  # type: ignore[assignment]
    daemon.manager()


if __name__ == "__main__":
    main()
