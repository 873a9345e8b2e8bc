"""The rank's half: the only training loop in the code base.

    for batch in feed.epoch(progress.epoch):
        with collective.average(batch.weight / total) as ready:
            replica.backward(batch, ready)      # hands over each bucket of gradients as soon as it is full
        progress = progress.after_step(replica.update(progress), total)

Owns: the order of things within a run: steps, borders, validation, checkpoints, the end.
Leaves: the mathematics (replica), agreement (collective), rows (feed), what to do after a failure (run).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from zoo.engine import checkpoint
from zoo.engine.collectives import join
from zoo.engine.contracts import Batch, Collective, Feed, FeedRequest, Rank, Replica, Shards, Sink, State, T
from zoo.engine.errors import TrainingDiverged
from zoo.engine.events.events import Checkpointed, EpochEnded, RunStarted, Tick, Validated
from zoo.engine.jobs import FitJob
from zoo.engine.meter import Meter
from zoo.engine.progress import Progress
from zoo.engine.scoring import Score
from zoo.engine.triggers import Trigger

TRAIN, VALID = "train", "valid"
BACKSTOP_SECONDS = 60.0
"""The driver finds a stall, and asks every rank where it is, before a rank's own patience with its peers ends."""
READING_SECONDS = 7 * 24 * 3600.0
"""How much longer than its peers a rank may read. Whether it moves is for the driver to see."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a rank leaves behind.

    Attributes:
        progress: how far it came.
        state: the trained state; only rank 0 sends it.
        epochs: the statistics of each epoch.
    """

    progress: Progress
    state: State | None
    epochs: tuple[Mapping[str, float], ...]


def fit(job: FitJob, rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> Trained:
    """Trains as one rank of a gang. A `Task` once its job is bound."""
    rank = job.spec.place(rank)
    with closing(join(rank, job.stall_timeout + BACKSTOP_SECONDS)) as collective:
        replica = job.spec.build(rank)
        if job.state is not None:
            replica.load(job.state)
        if rank.world > 1:
            replica.load(collective.broadcast(replica.state()))
        with closing(_feed(job, rank, shards[TRAIN], collective, sink)) as train:
            if VALID not in shards:
                return _Run(job, rank, collective, replica, sink, train, None).to_the_end()
            with closing(_feed(job, rank, shards[VALID], collective, sink, validation=True)) as valid:
                return _Run(job, rank, collective, replica, sink, train, valid).to_the_end()


def _feed(
    job: FitJob, rank: Rank, shards: Shards, collective: Collective, sink: Sink, *, validation: bool = False
) -> Feed:
    return shards.feed(
        FeedRequest(
            rank=rank,
            gather=partial(collective.gather, patience=READING_SECONDS),
            exchange=collective.exchange,
            features=job.columns.features,
            labels=job.columns.labels,
            batch_size=job.batch_size,
            seed=job.seed,
            shuffle=job.shuffle and not validation,
            memory=job.memory,
            steps=job.validation_steps if validation else job.steps_per_epoch,
            purpose="validation" if validation else "training",
            sink=sink,
        )
    )


@dataclass
class _Run:
    """One rank's run, with everything that it needs in place."""

    job: FitJob
    rank: Rank
    collective: Collective
    replica: Replica
    sink: Sink
    train: Feed
    valid: Feed | None
    epochs: list[dict[str, float]] = field(default_factory=list)

    def to_the_end(self) -> Trained:
        progress = self.job.start
        extent = self.train.extent
        rows, steps = (extent.rows, extent.steps) if extent is not None else (None, None)
        threads = self.rank.threads, self.rank.inter_threads
        self._tell(RunStarted("fit", self.rank.world, rows, steps, progress.epoch, self.job.epochs, threads=threads))
        stop = self._notice("before_run", progress)
        while not stop and not self.job.end(progress):
            progress, stop = self._epoch(progress)
        self._notice("after_run", progress)
        state = self.replica.state() if self.rank.index == 0 else None
        return Trained(progress, state, tuple(self.epochs))

    def _epoch(self, progress: Progress) -> tuple[Progress, bool]:
        """One epoch, or what is left of it; True where the run is over within it."""
        meter = Meter(progress, self.sink if self.rank.index == 0 else None)
        stop = self._notice("before_train_epoch", progress)
        for (batch, total), last in _marking_last(self._batches(progress, meter)):
            with self.collective.average(batch.weight / total) as ready:
                self.replica.backward(batch, ready)
            progress = progress.after_step(self.replica.update(progress), total)
            self._check(progress)
            meter.add(progress, self.replica.readings, batch.weight, total)
            self.sink.put(Tick())
            if self.job.asks_to_stop:  # the replica's ranks have agreed on it with their gradients
                stop = self.replica.notice("after_step", progress, {}) or stop
            if last:
                break
            progress = self._step_border(progress, meter)
            if stop or self.job.end(progress):
                meter.tell()
                self.epochs.append(self._stats(progress, meter))
                return progress, True
        return self._epoch_border(progress, meter, stop)

    def _batches(self, progress: Progress, meter: Meter) -> Iterator[tuple[Batch, int]]:
        """(batch, rows of the step over all ranks), until every rank has run out."""
        batches = iter(self.train.epoch(progress.epoch, progress.step_in_epoch))
        most = self.job.steps_per_epoch
        for _ in itertools.count() if most is None else range(most - progress.step_in_epoch):
            asked = time.perf_counter()
            batch = next(batches, None)
            meter.waiting += time.perf_counter() - asked
            if batch is None:
                return
            total = batch.total
            if total is None:
                total = int(self.collective.sum(np.array([batch.weight], dtype=np.float64))[0])
            if total == 0:
                return
            yield batch, total

    def _step_border(self, progress: Progress, meter: Meter) -> Progress:
        """What is due behind a step: validation first, so that a checkpoint knows its score."""
        if _due(self.job.validate, progress):
            progress = self._scored(progress, meter, {})
        if _due(self.job.checkpoint, progress):
            self._checkpoint(progress, meter)
        return progress

    def _epoch_border(self, progress: Progress, meter: Meter, stop: bool) -> tuple[Progress, bool]:
        """What is due behind an epoch, or behind its last step: once, and on this side of the border."""
        meter.tell()
        stats = self._stats(progress, meter)
        step, progress = progress, progress.after_epoch()
        if _due(self.job.validate, step, progress):
            progress = self._scored(progress, meter, stats)
        self.epochs.append(stats)
        share = tuple(self.collective.gather(meter.own_rows))
        self._tell(EpochEnded(progress.epoch, progress.step, stats, meter.seconds(), share))
        stop = self._notice("after_train_epoch", progress, stats) or stop
        if _due(self.job.checkpoint, step, progress):  # last: it shall know the next epoch's learning rate
            self._checkpoint(progress, meter)
        return progress, stop

    def _stats(self, progress: Progress, meter: Meter) -> dict[str, float]:
        """The epoch in numbers: steps, loss, and what the replicas have measured while they trained."""
        measured = self.replica.tally(self.collective.sum)
        return meter.stats(progress) | {f"train_{name}": value for name, value in measured.items()}

    def _scored(self, progress: Progress, meter: Meter, stats: dict[str, float]) -> Progress:
        """The progress with a new score; its results also go into `stats`."""
        meter.tell()
        results = self._validate(progress)
        stats.update({f"val_{name}": value for name, value in results.items()})
        return progress.scored(_first_score(results))

    def _validate(self, progress: Progress) -> dict[str, float]:
        assert self.valid is not None  # a job validates only where there are data for it
        self._notice("before_val_epoch", progress)
        score = Score.empty(self.job.metrics)
        for batch in itertools.islice(self.valid.epoch(0), self.job.validation_steps):
            if batch.weight == 0 and batch.total is None:
                break  # a user's own loader has run out
            if batch.weight:
                score = score.plus(self.replica, batch, self.job.metrics)
            self.sink.put(Tick())
        merged = Score.merged(self.collective.gather(score), self.job.metrics)
        results = merged.results(self.job.metrics)
        self._tell(Validated(progress.epoch, progress.step, results))
        self._notice("after_val_epoch", progress, results)
        return results

    def _checkpoint(self, progress: Progress, meter: Meter) -> None:
        meter.tell()
        if self.rank.index == 0:
            path = checkpoint.save(self.job.checkpoint_dir, self.replica.state(), progress, self.job.position(progress))
            self._tell(Checkpointed(path, progress.step))
        self.sink.put(Tick())

    def _check(self, progress: Progress) -> None:
        if self.job.stop_on_nan and not math.isfinite(progress.loss):
            raise TrainingDiverged(
                f"the loss is {progress.loss} at step {progress.step} (epoch {progress.epoch + 1}). Try a smaller "
                "learning rate, gradient clipping, or look for NaN in the columns; stop_on_nan=False goes on anyway."
            )

    def _notice(self, moment: str, progress: Progress, stats: Mapping[str, float] | None = None) -> bool:
        return self._agreed(self.replica.notice(moment, progress, stats or {}))

    def _agreed(self, stop: bool) -> bool:
        """Whether any rank's callbacks ask to stop: all ranks must leave the loop at the same step."""
        if not self.job.asks_to_stop:
            return False
        return bool(self.collective.sum(np.array([float(stop)]))[0])

    def _tell(self, event: Any) -> None:
        if self.rank.index == 0:
            self.sink.put(event)


def _due(trigger: Trigger | None, *moments: Progress) -> bool:
    return trigger is not None and any(trigger(moment) for moment in moments)


def _marking_last(items: Iterator[T]) -> Iterator[tuple[T, bool]]:
    """(item, whether it is the last one): looks one item ahead."""
    held = next(items, None)
    while held is not None:
        following = next(items, None)
        yield held, following is None
        held = following


def _first_score(results: Mapping[str, float]) -> float:
    """The first metric's value; the loss's negative where there is no metric, so that more is always better."""
    numbers = [value for name, value in results.items() if name != "loss" and isinstance(value, int | float)]
    return float(numbers[0]) if numbers else -float(results.get("loss", "nan"))
