"""Events as lines of JSON, for programs to read.

Owns: how an event looks as JSON.
Leaves: which events there are (events).
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.engine.events.events import Event


class JsonlSink:
    """Appends one JSON object per event to a local file, each line there as soon as `put` returns.

    An object holds the event's fields, its class name as ``"event"`` and the Unix time in seconds as ``"time"``.
    NaN and infinities, which JSON lacks, become null.

    Args:
        path: a local file; made where needed, appended to where it is there.
        clock: seconds since 1970.

    Raises:
        UsageError: `path` is not local; object stores cannot append.
        StorageFailed: it cannot be opened.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        if not storage.is_local(path):
            raise UsageError(f"an event log is appended to, so it needs a local path. Received: {storage.masked(path)}")
        with storage.explained(path, "write"):
            place = storage.local_path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            torn = _ends_within_a_line(place)
            self._file = open(place, "a", encoding="utf-8")  # noqa: SIM115  # open as long as the sink
        if torn:
            self._file.write("\n")
        self._path = path
        self._clock = clock

    def put(self, event: Event) -> None:
        """Appends one line."""
        fields = {field.name: _plain(getattr(event, field.name)) for field in dataclasses.fields(event)}
        line = json.dumps({"event": type(event).__name__, "time": self._clock()} | fields, allow_nan=False)
        with storage.explained(self._path, "write"):
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _ends_within_a_line(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with open(path, "rb") as file:
        file.seek(-1, 2)
        return file.read() != b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    return value
