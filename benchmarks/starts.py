"""How long until something happens: to the first step on local processes, and until `import zoo` is done."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

from measure import Row, compared, in_turns
from places import folder
from spark_fit import SCRIPT, fit, write_ratings

from zoo.engine import session

TURNS = {"tiny": 1, "quick": 3, "full": 9}
IMPORT_SECONDS = 0.150


def first_step(size: str) -> Iterator[Row]:
    """`fit` on two local processes up to its first step, and the DDP program started by hand."""
    with folder() as place:
        path = str(place / "ratings.parquet")
        write_ratings(path, 20_000)
        session.begin_local(2)
        try:
            seconds = in_turns(lambda: fit(path, 1, 1), lambda: _by_hand(path), TURNS[size], 0)
        finally:
            session.end()
    labels = ("start to first step on 2 local processes", "`fit`", "two processes of a DDP script")
    yield compared(labels, *seconds, None)


def imports(size: str) -> Iterator[Row]:
    """`import zoo` beside an interpreter that imports nothing."""
    times = 3 * TURNS[size]
    with_zoo, bare = in_turns(lambda: _python("import zoo"), lambda: _python("pass"), times)
    costs = tuple(1000 * (one - other) for one, other in zip(with_zoo, bare, strict=True))
    yield Row("import zoo", "beyond the bare interpreter", "at most", costs, 1000 * IMPORT_SECONDS, "ms", at_most=True)


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def _by_hand(path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, SCRIPT, path, "1", "8192", "1"]
    started = [subprocess.Popen(command, env=os.environ | meeting | {"RANK": str(rank)}) for rank in range(2)]
    if sum(process.wait(300) for process in started):  # not any(): all must have ended
        raise RuntimeError("the DDP program failed")
