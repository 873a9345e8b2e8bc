"""An epoch in numbers, while it runs.

Owns: summing up steps, and telling of them some times a second instead of at each one.
Leaves: steps themselves (loop), who listens (events.sinks).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

from zoo.engine.contracts import Sink
from zoo.engine.events.events import StepsEnded
from zoo.engine.progress import Progress

TELL_SECONDS = 0.25
RATE = "LearningRate"


@dataclass(slots=True)
class Sums:
    """What the steps of an epoch add up to, over all ranks.

    Attributes:
        steps: how many there were.
        rows: of all of them.
        loss: sum over their rows.
        last: the mean loss of the last one.
    """

    steps: int = 0
    rows: int = 0
    loss: float = 0.0
    last: float = 0.0

    def stats(self, epoch: int) -> dict[str, float]:
        """In the words of a history.

        Args:
            epoch: epochs completed before.
        """
        return {
            "epoch": epoch + 1,
            "batch_count": self.steps,
            "num_samples": self.rows,
            "train_loss": self.loss / self.rows if self.rows else nan,
            "last_train_loss": self.last,
        }


class Meter:
    """Sums up an epoch's steps and tells of them some times a second.

    Attributes:
        sums: of the epoch so far.
        waiting: seconds blocked on data since the last word.
        usage: what this rank has done in the epoch: ``rows``, and the seconds ``computing``, ``waiting``, ``syncing``.
    """

    def __init__(self, progress: Progress, sink: Sink | None, sums: Sums | None = None) -> None:
        self.sums = sums or Sums()
        self.waiting = 0.0
        self.usage = dict.fromkeys(("rows", "computing", "waiting", "syncing"), 0.0)
        self._sink = sink
        self._epoch, self._first = progress.epoch, progress.step + 1
        self._losses: list[float] = []
        self._readings: list[Mapping[str, float]] = []
        self._rows = 0
        self._began = self._told = time.perf_counter()
        self._in_epoch = progress.step_in_epoch

    def add(self, progress: Progress, readings: Mapping[str, float], own: int, total: int) -> None:
        """One more step.

        Args:
            progress: behind it.
            readings: of the replica.
            own: its rows on this rank.
            total: its rows on all ranks.
        """
        self._losses.append(progress.loss)
        self._readings.append(readings)
        self._rows += total
        self.usage["rows"] += own
        sums = self.sums
        sums.steps += 1
        sums.rows += total
        sums.loss += progress.loss * total
        sums.last = progress.loss
        self._in_epoch = progress.step_in_epoch
        if time.perf_counter() - self._told > TELL_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Tells what happened since the last word."""
        now = time.perf_counter()
        if self._sink is not None and self._losses:
            read = {tag: tuple(one.get(tag, nan) for one in self._readings) for tag in self._readings[-1]}
            event = StepsEnded(
                self._first, tuple(self._losses), read.pop(RATE), self._rows, now - self._told, self.waiting,
                self._epoch, self._in_epoch, read,
            )  # fmt: skip
            self._sink.put(event)
        self.usage["waiting"] += self.waiting
        self._first += len(self._losses)
        self._losses, self._readings, self._rows, self.waiting, self._told = [], [], 0, 0.0, now

    def measured(self, moved: int) -> dict[str, float]:
        """What this rank has done in the epoch so far, after `tell`.

        Args:
            moved: bytes that it has sent to other ranks meanwhile.
        """
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {**self.usage, "seconds": self.seconds(), "moved": float(moved), "memory": float(memory)}

    def seconds(self) -> float:
        """Since the epoch began."""
        return time.perf_counter() - self._began
