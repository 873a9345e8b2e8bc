"""Who listens: the fan that hands each event to every listener, and the simplest listener.

Owns: that listening never harms a run: a listener that raises is dropped with one warning.
Leaves: what a listener makes of events (console, jsonl, tensorboard), how events cross processes (clusters).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable
from typing import Protocol

from zoo.engine.events.events import Event, Tick

_LOG = logging.getLogger(__name__)


class Listener(Protocol):
    """A sink that holds something (a file, a terminal) which it gives back when closed."""

    def put(self, event: Event, /) -> None:
        """Takes one event."""

    def close(self) -> None:
        """Gives back what it holds. Idempotent."""


class Fan:
    """Hands each event to every listener, one event at a time whatever the thread; `Tick` goes to none."""

    def __init__(self, sinks: Iterable[Listener]) -> None:
        self._sinks = list(sinks)
        self._turn = threading.RLock()  # events come from several threads; a listener may log, which may be an event

    def put(self, event: Event) -> None:
        """Takes one event; never raises an `Exception`."""
        if isinstance(event, Tick):
            return
        with self._turn:
            for sink in tuple(self._sinks):
                try:
                    sink.put(event)
                except Exception as error:  # noqa: BLE001  # whatever it is, the run is worth more
                    self._drop(sink, error)

    def close(self) -> None:
        """Closes every listener; never raises an `Exception`."""
        with self._turn:
            for sink in tuple(self._sinks):
                try:
                    sink.close()
                except Exception as error:  # noqa: BLE001
                    self._drop(sink, error)
            self._sinks.clear()

    def _drop(self, sink: Listener, error: Exception) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)
        _LOG.warning(
            "%s failed and hears nothing more of this run, which goes on: %s: %s",
            type(sink).__name__, type(error).__name__, error,
        )  # fmt: skip
        with contextlib.suppress(Exception):
            sink.close()


class MemorySink:
    """Keeps every event.

    Attributes:
        events: in the order of their arrival.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        """Appends `event`."""
        self.events.append(event)

    def close(self) -> None:
        """Does nothing: a list holds no file."""
