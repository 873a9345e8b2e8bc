"""What a run says to a person.

Owns: the words: one line an epoch, one for an evaluation, warnings, and where a run stands now.
Leaves: drawing a moving line (live).
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import IO, Protocol

from zoo.engine.events.events import (
    EpochEnded,
    Event,
    LeftOut,
    Logged,
    RankLeft,
    Refused,
    Regrouped,
    Resumed,
    RunEnded,
    RunStarted,
    StepsEnded,
    Validated,
)
from zoo.engine.events.live import LiveView, Now
from zoo.engine.optional import installed


class View(Protocol):
    """Where words go; `LiveView` and `PlainView`."""

    def line(self, text: str, style: str = "") -> None:
        """Prints a line that stays."""

    def show(self, now: Now) -> None:
        """Shows where the run stands, if it can."""

    def hide(self) -> None:
        """Shows it no longer. Idempotent."""


class PlainView:
    """Lines only: for files, pipes, notebooks, and terminals without rich."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def line(self, text: str, style: str = "") -> None:
        """Writes `text`; plain lines have no style."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def show(self, now: Now) -> None:
        """Is silent: a line here could not move."""

    def hide(self) -> None:
        """Has nothing to take away."""


class ConsoleSink:
    """Tells a person how the run goes.

    On a terminal one line moves (epoch, bar over its steps, loss, rows per second, time left) and each finished epoch
    leaves a line above it. Elsewhere there is just that line an epoch::

        epoch 2/5  loss 0.1234  12,345 rows/s  val_Accuracy 0.98

    Args:
        stream: where to write; by default standard error, in a notebook standard output: a notebook paints what comes
            from standard error as if it were wrong.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        stream = _screen() if stream is None else stream
        self._view: View = LiveView(stream) if _can_move(stream) else PlainView(stream)
        self._run = RunStarted("fit", 1, None, None, 0, None)
        self._epoch = _Epoch(None)
        self._validated: dict[str, float] = {}
        self._warned_of_share = False
        self._lost_at = 0.0

    def put(self, event: Event) -> None:
        """Says what is to be said of `event`."""
        match event:
            case RunStarted():
                self._started(event)
            case StepsEnded():
                self._epoch.add(event)
                self._view.show(self._now(event))
            case Validated():
                self._validated = {f"val_{name}": value for name, value in event.results.items()}
            case EpochEnded():
                self._epoch_ended(event)
            case Resumed():
                self._resumed(event)
            case RankLeft():
                self._lost_at = time.monotonic()
                self._view.line(
                    f"rank {event.rank} {event.reason}; the others wait for another in its place", "warning"
                )
            case LeftOut():
                self._view.line(_left_out_text(event), "warning")
            case Refused():
                self._view.line(
                    f"{event.count} connections without the job's token were refused ({event.last})", "warning"
                )
            case Regrouped():
                later = time.monotonic() - self._lost_at
                self._view.line(f"training goes on from step {event.step:,}, {later:.1f} s later", "warning")
            case Logged():
                self._logged(event)
            case RunEnded():
                self._ended(event)

    def close(self) -> None:
        """Gives the terminal back."""
        self._view.hide()

    def _started(self, event: RunStarted) -> None:
        self._run = event
        self._epoch = _Epoch(event.steps)
        self._validated = {}
        self._warned_of_share = False
        if event.kind == "fit":
            self._view.show(Now(self._title(event.epoch + 1), 0, event.steps, "starting"))

    def _now(self, event: StepsEnded) -> Now:
        told = f"loss {_number(self._epoch.loss)}  {self._epoch.rows_per_second:,.0f} rows/s"
        left = self._epoch.seconds_left(event, self._run.epochs)
        if left is not None:
            told += f"  {_clock(left)} left"
        return Now(self._title(event.epoch + 1), event.step_in_epoch, self._epoch.steps, told)

    def _epoch_ended(self, event: EpochEnded) -> None:
        idle = [rank for rank, rows in enumerate(event.share) if rows == 0]
        if idle and not self._warned_of_share:
            self._warned_of_share = True
            self._view.line(_idle_text(idle, event), "warning")
        speed = event.stats.get("num_samples", 0) / event.seconds if event.seconds > 0 else 0.0
        trained = {
            name.removeprefix("train_"): value
            for name, value in event.stats.items()
            if name.startswith("train_") and name != "train_loss"
        }
        measured = (
            trained | self._validated | {name: value for name, value in event.stats.items() if name.startswith("val_")}
        )
        loss = event.stats.get("train_loss", self._epoch.loss)
        self._move_on(event)
        self._result(self._title(event.epoch), loss, speed, measured)
        self._epoch = _Epoch(self._epoch.steps_done or self._epoch.steps)
        self._validated = {}

    def _move_on(self, event: EpochEnded) -> None:
        """The moving line stands at the next epoch, or goes with the last one."""
        if event.epoch == self._run.epochs:
            self._view.hide()
        else:
            steps = self._epoch.steps_done or self._epoch.steps
            self._view.show(Now(self._title(event.epoch + 1), 0, steps, ""))

    def _resumed(self, event: Resumed) -> None:
        place = f"step {event.step:,}" if event.step else "the beginning"
        place += f" ({event.path})" if event.path else ""
        self._view.line(f"attempt {event.attempt} goes on from {place} after: {event.reason}", "warning")
        self._epoch = _Epoch(self._epoch.steps)

    def _logged(self, event: Logged) -> None:
        level = "" if event.level == "PRINT" else f"{event.level} "
        style = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}.get(event.level, "")
        self._view.line(f"[rank {event.rank}] {level}{event.text}", style)

    def _ended(self, event: RunEnded) -> None:
        if event.kind == "fit" and not event.error and self._epoch.steps_done:
            title = f"{self._title(self._epoch.number)} stopped after {self._epoch.steps_done:,} steps"
            measured = self._epoch.named_losses | self._validated
            self._result(title, self._epoch.loss, self._epoch.rows_per_second, measured)
        if event.kind == "evaluate" and not event.error:
            self._view.line("  ".join(["evaluate", *_named(event.results), f"in {_clock(event.seconds)}"]), "result")
        self._view.hide()
        self._epoch = _Epoch(None)

    def _result(self, title: str, loss: float, speed: float, measured: Mapping[str, float]) -> None:
        parts = [title, f"loss {_number(loss)}", f"{speed:,.0f} rows/s", *_named(measured)]
        self._view.line("  ".join(parts), "result")

    def _title(self, number: int) -> str:
        return f"epoch {number}" if self._run.epochs is None else f"epoch {number}/{self._run.epochs}"


class _Epoch:
    """What has been told of the epoch that is under way.

    Attributes:
        steps: how many it has; None where nobody knows yet.
        number: counted from 1.
        steps_done: of this epoch; 0 before the first word.
    """

    def __init__(self, steps: int | None) -> None:
        self.steps = steps
        self.number = 0
        self.steps_done = 0
        self._losses, self._loss_sum = 0, 0.0
        self._named: dict[str, float] = {}
        self._recent: deque[StepsEnded] = deque(maxlen=10)  # some seconds, so that a slow first step is forgotten

    def add(self, event: StepsEnded) -> None:
        self.number = event.epoch + 1
        self.steps_done = event.step_in_epoch
        self._losses += len(event.losses)
        self._loss_sum += sum(event.losses)
        for name, losses in event.named_losses.items():
            self._named[name] = self._named.get(name, 0.0) + sum(losses)
        self._recent.append(event)

    @property
    def loss(self) -> float:
        """Mean over the steps told of; NaN before the first."""
        return self._loss_sum / self._losses if self._losses else float("nan")

    @property
    def named_losses(self) -> dict[str, float]:
        """Means of each of several losses."""
        return {name: total / self._losses for name, total in self._named.items()}

    @property
    def rows_per_second(self) -> float:
        """Of late."""
        seconds = sum(event.seconds for event in self._recent)
        return sum(event.rows for event in self._recent) / seconds if seconds > 0 else 0.0

    def seconds_left(self, event: StepsEnded, epochs: int | None) -> float | None:
        """To the end of the run; None where nobody knows."""
        if self.steps is None or epochs is None:
            return None
        step_seconds = sum(each.seconds for each in self._recent) / sum(len(each.losses) for each in self._recent)
        return max(0.0, ((epochs - event.epoch) * self.steps - event.step_in_epoch) * step_seconds)


def _screen() -> IO[str]:
    """Where a person looks: a notebook's kernel (ipykernel) has streams of its own."""
    notebook = all(type(stream).__module__.startswith("ipykernel.") for stream in (sys.stdout, sys.stderr))
    return sys.stdout if notebook else sys.stderr


def _can_move(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown") and installed("rich")


def _named(values: Mapping[str, float]) -> list[str]:
    return [f"{name} {_number(value)}" for name, value in values.items()]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _left_out_text(event: LeftOut) -> str:
    rows = "1 row" if event.rows == 1 else f"{event.rows:,} rows"
    where = "" if event.rank is None else f" on rank {event.rank}"
    more = event.rows - len(event.causes)
    causes = "; ".join(event.causes) + (f"; and {more:,} more" if more else "")
    return f"{rows} of the {event.purpose} data left out{where}: {causes}"


def _idle_text(idle: list[int], event: EpochEnded) -> str:
    ranks = f"rank {idle[0]}" if len(idle) == 1 else f"ranks {', '.join(map(str, idle))}"
    return (
        f"WARNING {ranks} of {len(event.share)} got no rows in epoch {event.epoch} ({sum(event.share):,} rows in all). "
        "Use fewer workers, or data in more parts (repartition)."
    )
