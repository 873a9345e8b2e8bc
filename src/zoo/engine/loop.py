"""The rank's half: the only training loop in the code base.

    for batch in feed.epoch(progress.epoch):
        with collective.average([batch.weight / total]) as (ready,):
            replica.backward(batch, ready)      # hands over each bucket of gradients as soon as it is full
        progress = progress.after_step(replica.update(progress), total)

Owns: the order of things within a run: steps, borders, validation, checkpoints, the end; going on in a new group.
Leaves: the mathematics (replica), agreement (collective), rows (feed), what to do after a failure (run, clusters).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.engine import checkpoint
from zoo.engine.collectives import join
from zoo.engine.contracts import Batch, Collective, Feed, Rank, Replica, Seat, Shards, Sink, State
from zoo.engine.data.marks import rows_of_step, terms_of
from zoo.engine.errors import PeerLost, TrainingDiverged
from zoo.engine.events.events import Checkpointed, EpochEnded, Measured, Regrouped, RunStarted, Tick, Validated
from zoo.engine.feeding import feed_of
from zoo.engine.jobs import FitJob
from zoo.engine.meter import Meter
from zoo.engine.progress import Progress
from zoo.engine.scoring import Score, first_score, scored, stepwise
from zoo.engine.standing import Stage, Standing, followers, furthest
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
        standing: where it stood, if it had to leave before the end.
    """

    progress: Progress
    state: State | None
    epochs: tuple[Mapping[str, float], ...]
    standing: Standing | None = None


def fit(job: FitJob, rank: Rank, shards: Mapping[str, Shards], seat: Seat) -> Trained:
    """Trains as one rank of a gang. A `Task` once its job is bound."""
    rank, patience = _placed(job, rank), job.stall_timeout + BACKSTOP_SECONDS
    with ExitStack() as kept:
        group = kept.enter_context(ExitStack())
        run: _Run | None = None
        while True:
            lost = PeerLost("a peer was lost when all had ended.")
            try:
                collective = group.enter_context(closing(join(rank, patience, seat.guard)))
                if run is None:  # in a group: what a user's own code makes may ask for it
                    shared = collective if job.sharded and rank.world > 1 else None
                    replica = job.spec.build(rank, shared)
                    feeds = {
                        name: kept.enter_context(closing(feed_of(job, rank, shards[name], seat, name == VALID)))
                        for name in shards
                    }
                    run = _Run(job, rank, replica, feeds, seat)
                trained = run.to_the_end(collective, rank.generation)
                group.close()
                if seat.finished(trained):
                    return trained
            except PeerLost as error:
                lost = error
            group.close()
            again = seat.regroup(None, lambda: None) if run is None else seat.regroup(run.place, run.left)
            if again is None:
                raise lost
            rank = _placed(job, again)


def _placed(job: FitJob, rank: Rank) -> Rank:
    """The rank as the job wants it: for one order of all additions, one thread does them."""
    placed = job.spec.place(rank)
    return replace(placed, threads=1, inter_threads=1, lanes=job.virtual_ranks) if job.virtual_ranks else placed


class _Run:
    """One rank's run, which can go on in another group: where it stands is in `at`, at every moment."""

    def __init__(self, job: FitJob, rank: Rank, replica: Replica, feeds: Mapping[str, Feed], seat: Seat) -> None:
        self.job, self.rank, self.replica, self.seat = job, rank, replica, seat
        self.train, self.valid = feeds[TRAIN], feeds.get(VALID)
        self.at = Standing(job.start)
        self.collective: Collective
        self._meter: Meter | None = None
        self._wish = False
        self._moved = 0

    def to_the_end(self, collective: Collective, generation: int) -> Trained:
        """Trains with the ranks of a group, from where the one stands that came furthest."""
        self.collective, self._generation, self._moved = collective, generation, collective.moved
        self._meet()
        if self.at.stage is Stage.NEW:
            self._tell_beginning()
            self._move(Stage.CLOSED, stop=self._heard("before_run"))
            if self.job.came is not None:
                self._follow(self.job.came)
        while not self._over():
            self._epoch()
        self._hear("after_run")
        return Trained(self.at.progress, self._state(), self.at.epochs)

    def _meet(self) -> None:
        """All ranks stand where the first stands, with its model, and hold the rows of all parts."""
        begun = self.at.stage is not Stage.NEW
        if begun:
            self.replica.rewind()
        standings = self.collective.gather(self.at if begun else None, READING_SECONDS)
        leader = furthest(standings)
        if leader is None and self.job.state is not None:
            self.replica.load(self.job.state)
        source = leader or 0
        if self.rank.world > 1:
            own = self.replica.state() if source == self.rank.index else None
            self.replica.load(self.collective.broadcast(own, source))
        if leader is not None and leader != self.rank.index:  # at once: from here on the model is the leader's
            if not begun:
                self.replica.notice("before_run", standings[leader].progress, {})
            self._follow(standings[leader])
        for feed in (self.train, self.valid):
            if feed is not None:
                feed.settle(self.collective)
        if leader is not None:
            self._tell(Regrouped(self._generation, self.at.progress.step, followers(standings)))

    @property
    def place(self) -> tuple[int, ...] | None:
        """Where this rank stands, comparable; None before it has begun."""
        return None if self.at.stage is Stage.NEW else self.at.place

    def left(self) -> Trained:
        """Everything from which another gang can go on."""
        self.replica.rewind()
        return Trained(self.at.progress, self.replica.state(), self.at.epochs, self.at)

    def _follow(self, standing: Standing) -> None:
        """Takes another rank's standing over; who has just come is told where the run is."""
        meter, self._meter = self._meter, None
        opened = meter is not None and self.at.progress.epoch == standing.progress.epoch
        self.at = standing
        if standing.stage >= Stage.STEPPED:
            self._meter = Meter(standing.progress, self._listener(), standing.sums)
            self._meter.usage.update(meter.usage if meter is not None and opened else {})
            if not opened:
                self.replica.notice("before_train_epoch", standing.progress, {})

    def _over(self) -> bool:
        return self.at.stop or self.job.end(self.at.progress)

    def _epoch(self) -> None:
        """One epoch, or what is left of it."""
        if self.at.stage is Stage.CLOSED:
            self._meter = Meter(self.at.progress, self._listener())
            self._move(Stage.OPEN, stop=self._heard("before_train_epoch"), sums=self._meter.sums)
        assert self._meter is not None
        ended = self.at.stage < Stage.COUNTED and self._ends_within(self._meter)
        if self.at.stage < Stage.COUNTED:
            self._count_up()
        if ended:
            self._pass_border(Stage.ENDED, self.at.progress)
        else:
            self._epoch_border(self._meter)

    def _ends_within(self, meter: Meter) -> bool:
        """Does the steps of an epoch; whether the run is over before the last one."""
        for batches, total in self._steps(meter):
            if self.at.stage is Stage.STEPPED:
                self._step_border()
            if meter.sums.steps and self._over():
                return True
            self._step(batches, total, meter)
        return False

    def _step(self, batches: tuple[Batch, ...], total: int, meter: Meter) -> None:
        began = time.perf_counter()
        with self.collective.average([batch.weight / total for batch in batches]) as passes:
            for batch, ready in zip(batches, passes, strict=True):
                self.replica.backward(batch, ready)
            computed = time.perf_counter()
        arrived = time.perf_counter()
        progress = self.at.progress
        progress = progress.after_step(self.replica.update(progress), total)
        meter.usage["syncing"] += arrived - computed
        meter.usage["computing"] += time.perf_counter() - began - (arrived - computed)
        self._check(progress)
        meter.add(progress, self.replica.readings, sum(batch.weight for batch in batches), total)
        stop = self.at.stop
        if self.job.asks_to_stop:  # the replica's ranks have agreed on it with their gradients
            stop = self.replica.notice("after_step", progress, {}) or stop
        self.at = self.at.after_step(progress, stop=stop)
        self.seat.put(Tick())

    def _steps(self, meter: Meter) -> Iterator[tuple[tuple[Batch, ...], int]]:
        """(a batch for each pass, rows of the step over all ranks), until every rank has run out."""
        done = self.at.progress.step_in_epoch
        steps = stepwise(self.train.epoch(self.at.progress.epoch, done), self.rank)
        most = self.job.steps_per_epoch
        for _ in itertools.count() if most is None else range(most - done):
            asked = time.perf_counter()
            batches = next(steps, ())
            meter.waiting += time.perf_counter() - asked
            if not batches:
                return
            total = batches[0].total
            if total is None:
                total = rows_of_step(self.collective.sum(terms_of(batches[0])), self.rank.world)
            if total == 0:
                return
            yield batches, total

    def _step_border(self) -> None:
        """What is due behind a step: validation first, so that a checkpoint knows its score."""
        progress = self.at.progress
        if scored := _due(self.job.validate, progress):
            progress, _ = self._scored(progress)
        if saved := _due(self.job.checkpoint, progress):
            self._checkpoint(progress)
        if scored or saved:
            self._move(Stage.OPEN, progress)

    def _count_up(self) -> None:
        """The epoch in numbers: steps, loss, and what the replicas have measured while they trained."""
        assert self._meter is not None
        self._meter.tell()
        measured = {f"train_{name}": value for name, value in self.replica.tally(self.collective.sum).items()}
        moved, self._moved = self.collective.moved - self._moved, self.collective.moved
        ranks = tuple(self.collective.gather(self._meter.measured(moved)))
        sums, epoch = self._meter.sums, self.at.progress.epoch
        self._tell(Measured(epoch, sums.steps, sums.rows, self._meter.seconds(), ranks))
        share = tuple(int(rank["rows"]) for rank in ranks)
        self._move(Stage.COUNTED, stats=sums.stats(epoch) | measured, share=share)

    def _epoch_border(self, meter: Meter) -> None:
        """What is due behind an epoch, or behind its last step: once, and on this side of the border."""
        step, progress, stats = self.at.progress, self.at.progress.after_epoch(), dict(self.at.stats)
        if _due(self.job.validate, step, progress):
            progress, results = self._scored(progress)
            stats |= {f"val_{name}": value for name, value in results.items()}
        self._tell(EpochEnded(progress.epoch, progress.step, stats, meter.seconds(), self.at.share))
        self._move(Stage.COUNTED, stop=self._heard("after_train_epoch", progress, stats))
        if _due(self.job.checkpoint, step, progress):  # last: it shall know the next epoch's learning rate
            self._checkpoint(progress)
        self._pass_border(Stage.CLOSED, progress, stats)

    def _pass_border(self, stage: Stage, progress: Progress, stats: Mapping[str, float] | None = None) -> None:
        self._meter = None
        self._move(stage, progress, epochs=(*self.at.epochs, stats or self.at.stats), stats={})

    def _scored(self, progress: Progress) -> tuple[Progress, Mapping[str, float]]:
        """The progress with a new score, and all results."""
        assert self.valid is not None and self._meter is not None  # a job validates only where there are data for it
        self._meter.tell()
        self._heard("before_val_epoch", progress)
        steps = itertools.islice(stepwise(self.valid.epoch(0), self.rank), self.job.validation_steps)
        scores = scored(steps, self.replica, self.job.metrics, self.seat)
        merged = Score.merged([score for each in self.collective.gather(scores) for score in each], self.job.metrics)
        results = merged.results(self.job.metrics)
        self._tell(Validated(progress.epoch, progress.step, results))
        self._heard("after_val_epoch", progress, results)
        return progress.scored(first_score(results)), results

    def _checkpoint(self, progress: Progress) -> None:
        assert self._meter is not None
        self._meter.tell()
        state = self._state()
        if state is not None:
            path = checkpoint.save(self.job.checkpoint_dir, state, progress, self.job.position(progress))
            self._tell(Checkpointed(path, progress.step))
        self.seat.put(Tick())

    def _state(self) -> State | None:
        """On rank 0 everything to remember; where ranks share it, all take part."""
        state = self.replica.state() if self.rank.index == 0 or self.job.sharded else None
        return None if self.rank.index else state

    def _check(self, progress: Progress) -> None:
        if self.job.stop_on_nan and not math.isfinite(progress.loss):
            raise TrainingDiverged(
                f"the loss is {progress.loss} at step {progress.step} (epoch {progress.epoch + 1}). Try a smaller "
                "learning rate, gradient clipping, or look in the columns for NaN and for class numbers that the model "
                "does not have; stop_on_nan=False goes on anyway."
            )

    def _heard(self, moment: str, progress: Progress | None = None, stats: Mapping[str, float] | None = None) -> bool:
        """Tells the replica of a moment, once; whether any rank's callbacks, now or before, ask to stop.

        All ranks must leave the loop at the same step.
        """
        self._hear(moment, progress, stats)
        if not self.job.asks_to_stop:
            return self.at.stop
        return bool(self.collective.sum(np.array([float(self._wish)]))[0]) or self.at.stop

    def _hear(self, moment: str, progress: Progress | None = None, stats: Mapping[str, float] | None = None) -> None:
        progress = progress or self.at.progress
        told = (moment, progress.epoch, progress.step)
        if told not in self.at.told:
            self._wish = self.replica.notice(moment, progress, stats or {})
            self.at = replace(self.at, heard=self.at.heard + 1, told=(*self.at.told, told))

    def _move(self, stage: Stage, progress: Progress | None = None, **changes: Any) -> None:
        told = self.at.told if stage is self.at.stage else ()
        self.at = replace(self.at, stage=stage, progress=progress or self.at.progress, told=told, **changes)

    def _tell_beginning(self) -> None:
        extent, rank, progress, job = self.train.extent, self.rank, self.at.progress, self.job
        rows, steps = (extent.rows, extent.steps) if extent is not None else (None, None)
        threads = rank.threads, rank.inter_threads
        recovery = job.recovery if job.recovery != "checkpoint" or (job.checkpoint_dir and job.checkpoint) else ""
        self._tell(
            RunStarted(
                "fit", rank.world, rows, steps, progress.epoch, self.job.epochs, threads=threads,
                recovery=recovery, virtual_ranks=job.virtual_ranks, sources=tuple(map(str, job.sources)),
            )
        )  # fmt: skip

    def _listener(self) -> Sink | None:
        return self.seat if self.rank.index == 0 else None

    def _tell(self, event: Any) -> None:
        if self.rank.index == 0:
            self.seat.put(event)


def _due(trigger: Trigger | None, *moments: Progress) -> bool:
    return trigger is not None and any(trigger(moment) for moment in moments)
