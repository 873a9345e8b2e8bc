"""What a local rank's process runs: read the task from the inherited socket, take a seat."""

from __future__ import annotations

import pickle
import socket
import sys

from zoo.engine.clusters.channel import receive
from zoo.engine.clusters.seat import sit


def main() -> None:
    """Entry point; ``sys.argv[1]`` is the inherited socket's number. Errors go to the driver, not to the console."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    rank, packed = pickle.loads(receive(connection))  # noqa: S301  from the parent, over its own socket pair
    try:
        sit(connection, rank, packed, {})
    except BaseException:  # noqa: BLE001  the driver has been told
        sys.exit(1)
