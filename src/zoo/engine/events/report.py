"""What a run was like, in numbers that were measured: text for a terminal, a table for a notebook, one line of advice.

Owns: collecting the numbers from a run's events (`Reporter`), saying them (`Report`).
Leaves: measuring (loop, meter), which run it is about (front ends).
"""

from __future__ import annotations

import html
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from zoo.engine.events.events import Event, LeftOut, Measured, RankLeft, Regrouped, Resumed, RunEnded, RunStarted

_OFTEN = 0.2  # a share of the time from which on something is worth a word
_UNEVEN = 1.5


@dataclass(frozen=True, slots=True)
class Recovery:
    """One loss, and how the run went on.

    Attributes:
        cause: how what was lost.
        step: the last one done, from which it went on; None where it did not.
        seconds: from the loss to the next group.
        way: a key of `_WAYS`; empty where it did not go on.
    """

    cause: str
    step: int | None = None
    seconds: float = 0.0
    way: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A run in numbers.

    Attributes:
        started: what was told at its beginning.
        steps: done in this run.
        rows: trained on in it, over all ranks.
        epochs: counted up.
        seconds: of these epochs.
        total: seconds of the whole run, with reading, validation, checkpoints and recoveries.
        ranks: of each rank what `events.Measured` says, added up.
        recoveries: in order.
        left_out: rows of images that could not be decoded: (purpose of the data, how many).
        error: the first line of what ended it; empty where it ended well.
    """

    started: RunStarted
    steps: int = 0
    rows: int = 0
    epochs: int = 0
    seconds: float = 0.0
    total: float = 0.0
    ranks: tuple[Mapping[str, float], ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    error: str = ""

    def share(self, name: str) -> float:
        """The part of the ranks' time in epochs that went into `name`, in [0, 1]."""
        whole = sum(rank["seconds"] for rank in self.ranks)
        return sum(rank[name] for rank in self.ranks) / whole if whole else 0.0

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(name, what there is to say), in order."""
        started, intra = self.started, self.started.threads[0]
        found = [
            ("run", f"{started.kind} on {started.place or 'this cluster'}: {_count(started.world, 'rank')}, "
                    f"{_count(intra, 'thread')} each{', ended by: ' + self.error if self.error else ''}"),
            ("steps", f"{self.steps:,} in {_count(self.epochs, 'epoch')}, {self.rows:,} rows, "
                      f"{self._speed():,.0f} rows/s"),
        ]  # fmt: skip
        found += [("data", source) for source in started.sources]
        found += [
            ("left out", f"{_count(rows, 'row')} of the {purpose} data, whose images cannot be decoded")
            for purpose, rows in self.left_out
        ]
        if self.ranks:
            found.append(("time", self._time()))
            found.append(("moved", self._moved()))
            found.append(("memory", "at most " + ", ".join(
                f"{_bytes(rank['memory'])} (rank {index})" for index, rank in enumerate(self.ranks))))  # fmt: skip
        found.append(("recovery", _RECOVERIES[started.recovery]))
        found += [("resized" if each.way == "resized" else "lost", _told(each)) for each in self.recoveries]
        found.append(("order", _order(started)))
        found.append(("advice", self.advice))
        return found

    @property
    def advice(self) -> str:
        """One line that follows from the measurements."""
        return next(filter(None, (advise(self) for advise in _ADVISORS)), "nothing stands out.")

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.lines)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in self.lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for name, text in self.lines
        )
        return f'<table class="zoo-report"><tbody>{rows}</tbody></table>'

    def _speed(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    def _time(self) -> str:
        shares = [
            ("computing", "computing"), ("syncing", "synchronising"), ("waiting", "waiting for data"),
        ]  # fmt: skip
        told = [f"{word} {self.share(name):.0%}" for name, word in shares]
        rest = max(0.0, 1 - sum(self.share(name) for name, _ in shares))
        return f"{', '.join(told)}, else {rest:.0%} of {self.seconds:.1f} s in epochs; {self.total:.1f} s in all"

    def _moved(self) -> str:
        most = max(rank["moved"] for rank in self.ranks)
        return (
            f"{_bytes(most)} from each rank to others, {_bytes(most / max(self.steps, 1))} a step"
            if most
            else "nothing"
        )


class Reporter:
    """A listener that makes a report of the last run.

    Attributes:
        report: so far; None before a run has begun.
    """

    def __init__(self) -> None:
        self.report: Report | None = None
        self._lost: list[tuple[str, float]] = []
        self._left_out: dict[tuple[str, int | None], int] = {}  # (purpose, rank) -> rows; a rank may read them again
        self._first_step = 0

    def put(self, event: Event) -> None:
        """Takes what it needs."""
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, LeftOut):
            self._left_out[event.purpose, event.rank] = event.rows
        elif self.report is None:
            return
        elif isinstance(event, Measured):
            self._measure(self.report, event)
        elif isinstance(event, RankLeft):
            self._lost.append((f"rank {event.rank} {event.reason}", time.monotonic()))
        elif isinstance(event, Regrouped):
            self._recovered(self.report, event.step, "peers")
        elif isinstance(event, Resumed):
            way = "checkpoint" if event.path else "handed over" if self._lost else "resized" if event.step else "anew"
            self._lost = self._lost or [(event.reason, time.monotonic())]
            self._left_out.clear()  # a new gang reads all rows again
            self._recovered(self.report, event.step, way)
        elif isinstance(event, RunEnded):
            self._end(self.report, event)

    def close(self) -> None:
        """Nothing is held."""

    def _start(self, event: RunStarted) -> None:
        """A run begins, or another gang goes on with it."""
        purposes = dict.fromkeys(purpose for purpose, _ in self._left_out)
        left_out = tuple((each, sum(n for (p, _), n in self._left_out.items() if p == each)) for each in purposes)
        self.report = replace(self.report or Report(event), started=event, left_out=left_out)

    def _measure(self, report: Report, event: Measured) -> None:
        before = report.ranks if len(report.ranks) == len(event.ranks) else ()
        ranks = tuple(_added(old, new) for old, new in zip(before, event.ranks, strict=True)) if before else event.ranks
        self.report = replace(
            report, steps=report.steps + event.steps, rows=report.rows + event.rows, epochs=report.epochs + 1,
            seconds=report.seconds + event.seconds, ranks=ranks,
        )  # fmt: skip

    def _recovered(self, report: Report, step: int, way: str) -> None:
        now = time.monotonic()
        found = [Recovery(cause, step, now - since, way) for cause, since in self._lost]
        self._lost = []
        self.report = replace(report, recoveries=(*report.recoveries, *found))

    def _end(self, report: Report, event: RunEnded) -> None:
        open_ = tuple(Recovery(cause) for cause, _ in self._lost)
        self.report = replace(
            report, total=event.seconds, error=event.error, recoveries=(*report.recoveries, *open_)
        )  # fmt: skip


_WAYS: Mapping[str, str] = {
    "peers": "went on from step {0.step:,}, {0.seconds:.1f} s later",
    "handed over": "went on from step {0.step:,} in a new gang, {0.seconds:.1f} s later",
    "checkpoint": "went on from step {0.step:,} of a checkpoint, in a new gang",
    "anew": "began anew, for there was no checkpoint",
    "resized": "went on from step {0.step:,} in another gang",
}
_RECOVERIES: Mapping[str, str] = {
    "peers": "peers: the ranks that are left go on from the same step",
    "checkpoint": "checkpoint: a new gang goes on from the last one",
    "none": "none: a lost rank ends the run",
    "": "none: a lost rank ends the run; give the estimator a model_dir for checkpoints",
}


def _slow_data(report: Report) -> str:
    share = report.share("waiting")
    if share < _OFTEN:
        return ""
    return (
        f"waiting for data takes {share:.0%} of the time: give memory= more, so that rows need not come from the disk, "
        "or a loader of your own more workers."
    )


def _uneven(report: Report) -> str:
    times = [rank["computing"] for rank in report.ranks]
    if len(times) < 2 or report.share("syncing") < _OFTEN or min(times) <= 0 or max(times) < _UNEVEN * min(times):
        return ""
    slow, fast = times.index(max(times)), times.index(min(times))
    return (
        f"rank {slow} computes {max(times) / min(times):.1f} times as long as rank {fast}, and the others wait for it: "
        "look for another load on its machine, or for rows that take longer."
    )


def _too_many(report: Report) -> str:
    """One rank would do all rows itself: as fast, at least, as all ranks' computing one after the other."""
    share = report.share("syncing")
    alone = sum(rank["computing"] + rank["waiting"] for rank in report.ranks)
    if len(report.ranks) < 2 or share < _OFTEN:
        return ""
    told = f"synchronising takes {share:.0%} of the time"
    if alone < report.seconds:
        return f"{told}: 1 rank would be {report.seconds / alone:.1f}x faster."
    return f"{told}: a larger batch_size makes fewer, larger steps of the same rows."


def _recovering(report: Report) -> str:
    lost = sum(each.seconds for each in report.recoveries)
    if not report.total or lost / report.total < _OFTEN:
        return ""
    losses = _count(len(report.recoveries), "loss", "losses")
    return f"{losses} took {lost / report.total:.0%} of the time: see the causes above."


def _computing(report: Report) -> str:
    share = report.share("computing")
    return f"computing takes {share:.0%} of the time: more ranks can help." if share > 1 - _OFTEN else ""


_ADVISORS = (_recovering, _slow_data, _uneven, _too_many, _computing)


def _added(old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
    return {name: max(old[name], value) if name == "memory" else old[name] + value for name, value in new.items()}


def _told(recovery: Recovery) -> str:
    if recovery.step is None:
        return f"{recovery.cause}; the run did not go on"
    return f"{recovery.cause}; {_WAYS[recovery.way].format(recovery)}"


def _order(started: RunStarted) -> str:
    virtual_ranks = started.virtual_ranks
    if started.rows is None:
        return "the data set's own"
    if virtual_ranks:
        return (
            f"by content, {_count(virtual_ranks, 'virtual rank')}: weights are equal to the bit on any number of ranks"
        )
    return "by place: the same rows make a step on any number of ranks"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
