"""Meters, timers and a free port, for programs that import them from here. Nothing of ours needs more than the timers.

Owns: small sums over what the user hands in.
Leaves: the statistics of a run (engine events), where ranks meet (clusters).
"""

from __future__ import annotations

import socket
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self


class AverageMeter:
    """A running mean.

    Attributes:
        val: the last value.
        avg: the mean, weighted by `n`.
        sum: of all values times their `n`.
        count: of all `n`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all values."""
        self.val = self.avg = self.sum = 0.0
        self.count = 0

    def update(self, val: float, n: int = 1) -> None:
        """Adds a value that is the mean over `n` rows."""
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count


class AverageMeterCollection:
    """Running means by name."""

    def __init__(self) -> None:
        self.n = self._batches = 0
        self._meters: dict[str, AverageMeter] = defaultdict(AverageMeter)

    def update(self, metrics: Mapping[str, float], n: int = 1) -> None:
        """Adds the values of one batch of `n` rows."""
        self._batches += 1
        self.n += n
        for name, value in metrics.items():
            self._meters[name].update(value, n=n)

    def summary(self) -> dict[str, float]:
        """``"batch_count"``, ``"num_samples"``, and each name's mean and, as ``"last_<name>"``, its last value."""
        stats: dict[str, float] = {"batch_count": self._batches, "num_samples": self.n}
        for name, meter in self._meters.items():
            stats[name], stats[f"last_{name}"] = meter.avg, meter.val
        return stats


class TimerStat:
    """Seconds of the last calls; ``with timer:`` measures one.

    Args:
        window_size: of how many calls.
    """

    def __init__(self, window_size: int = 10) -> None:
        self._window = window_size
        self.count = 0
        self.reset()

    def reset(self) -> None:
        """Forgets the times; `count` stays."""
        self._seconds: deque[float] = deque(maxlen=self._window)
        self._units: deque[float] = deque(maxlen=self._window)
        self._since: float | None = None

    def __enter__(self) -> Self:
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._since is not None:
            self.push(time.perf_counter() - self._since)
        self._since = None

    def push(self, time_delta: float) -> None:
        """Adds the seconds of one call."""
        self._seconds.append(time_delta)
        self.count += 1

    def push_units_processed(self, n: float) -> None:
        """Adds what one call has done, e.g. rows."""
        self._units.append(n)

    @property
    def mean(self) -> float:
        """Seconds a call; 0 before the first, as all of these."""
        return statistics.fmean(self._seconds) if self._seconds else 0.0

    @property
    def median(self) -> float:
        """The median call."""
        return statistics.median(self._seconds) if self._seconds else 0.0

    @property
    def sum(self) -> float:
        """Of the window."""
        return sum(self._seconds)

    @property
    def max(self) -> float:
        """The longest call."""
        return max(self._seconds, default=0.0)

    @property
    def first(self) -> float:
        """The oldest call of the window."""
        return self._seconds[0] if self._seconds else 0.0

    @property
    def last(self) -> float:
        """The newest call."""
        return self._seconds[-1] if self._seconds else 0.0

    @property
    def size(self) -> int:
        """Calls in the window."""
        return len(self._seconds)

    @property
    def mean_units_processed(self) -> float:
        """Units a call."""
        return statistics.fmean(self._units) if self._units else 0.0

    @property
    def mean_throughput(self) -> float:
        """Units a second."""
        return sum(self._units) / self.sum if self.sum else 0.0


class TimerCollection:
    """Timers by name."""

    def __init__(self) -> None:
        self._enabled = True
        self.reset()

    def disable(self) -> None:
        """`record` measures nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """It does again."""
        self._enabled = True

    def reset(self) -> None:
        """Forgets all timers."""
        self._timers: dict[str, TimerStat] = defaultdict(TimerStat)

    @contextmanager
    def record(self, key: str) -> Iterator[None]:
        """Measures the block."""
        if not self._enabled:
            yield
            return
        with self._timers[key]:
            yield

    def stats(self, mean: bool = True, last: bool = False) -> dict[str, float]:
        """``"mean_<key>_s"`` and ``"last_<key>_s"``, in seconds, as asked for."""
        found = {}
        for key, timer in self._timers.items():
            if mean:
                found[f"mean_{key}_s"] = timer.mean
            if last:
                found[f"last_{key}_s"] = timer.last
        return found


def find_free_port() -> int:
    """A TCP port that was free on all addresses of this machine a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])
