"""Step overhead: epochs of `fit` and of the usual loop, in turns, in the same processes on the same rows.

Both live on the ranks of one gang: behind each epoch of ours the other loop does an epoch of its own, so that nothing
but the loop differs (not the processes, their threads, nor the minute). On one rank the other loop is the plain PyTorch
loop over the same batches, and both end with the same weights, which is checked. On two ranks it is
DistributedDataParallel on the gang's own gloo group, with its usual even share of the rows for each rank.

The other loop: ``x[i], y[i]`` gathered by index from tensors in memory, zero_grad, forward, loss, backward, step, and
``loss.item()`` to keep the mean loss of the epoch; the order of the rows is made beforehand.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from measure import Row, compared
from models import CNN, MLP, NCF_1024, NCF_8192, Setup, adam, creator, made
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from zoo.engine import loop
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.clusters.seat import Here
from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import Batch, Collective, FeedRequest, Rank, Shards, Sink
from zoo.engine.data.feed import RowFeed
from zoo.engine.data.plan import Plan
from zoo.engine.data.shards import from_arrays
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.jobs import FitJob
from zoo.engine.progress import Progress
from zoo.engine.triggers import MaxEpoch

STEPS = {"tiny": 3, "quick": 25, "full": 50}  # of an epoch: short ones, so that both sides see the same minute
EPOCHS = {"tiny": 2, "quick": 16, "full": 62}  # the first one does not count

SETUPS = {"tiny": (MLP,), "quick": (MLP, NCF_1024, NCF_8192, CNN), "full": (MLP, NCF_1024, NCF_8192, CNN)}


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each epoch on one rank, and how far the weights came apart."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    apart: float


def one_rank(size: str) -> Iterator[Row]:
    """`fit` on one rank against the plain loop."""
    for setup in SETUPS[size]:
        (times,) = _times(setup, size, world=1)
        assert times.apart < 1e-5, f"{setup.name}: the weights differ by {times.apart}"
        labels = (f"training step, 1 rank: {setup.name}", "`fit`", "plain PyTorch loop, same batches")
        yield compared(labels, times.ours, times.theirs, 0.97)


def two_ranks(size: str) -> Iterator[Row]:
    """`fit` on two local processes against DDP."""
    for setup in SETUPS[size]:
        first, second = _times(setup, size, world=2)
        ours = [max(pair) for pair in zip(first.ours, second.ours, strict=True)]
        theirs = [max(pair) for pair in zip(first.theirs, second.theirs, strict=True)]
        labels = (f"training step, 2 local ranks: {setup.name}", "`fit`", "DistributedDataParallel on gloo")
        yield compared(labels, ours, theirs, 0.97)


def _times(setup: Setup, size: str, world: int) -> list[Times]:
    features, labels = setup.data(STEPS[size] * setup.batch_size)
    shards, columns = from_arrays(features, labels)
    spec = TorchSpec(model=creator(setup), optimizer=adam, loss=nn.CrossEntropyLoss())
    job = FitJob(spec=spec, columns=columns, batch_size=setup.batch_size, end=MaxEpoch(EPOCHS[size]), start=Progress())
    task = partial(_in_turns, job, setup, EPOCHS[size])
    paired: Mapping[str, Shards] = {loop.TRAIN: shards}
    return LocalCluster(world).gang(task, paired, world, MemorySink())


def _in_turns(job: FitJob, setup: Setup, epochs: int, rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> Times:
    rivals: list[_Rival] = []
    paired = _Paired(shards[loop.TRAIN], setup, epochs, rivals)
    trained = loop.fit(job, rank, {loop.TRAIN: paired}, Here(sink))
    (rival,) = rivals
    return Times(tuple(rival.ours[1:]), tuple(rival.theirs[1:]), rival.apart(trained.state))


@dataclass(frozen=True)
class _Paired:
    """Shards whose feed lets the other loop run between two epochs."""

    shards: Shards
    setup: Setup
    epochs: int
    rivals: list[_Rival]

    def feed(self, request: FeedRequest) -> _Rival:
        """The feed, and beside it the other loop."""
        self.rivals.append(_Rival(self.shards.feed(request), self, request))
        return self.rivals[0]


class _Rival:
    """A feed that times the epochs of who reads it, and runs the other loop's epoch behind each."""

    def __init__(self, feed: RowFeed, paired: _Paired, request: FeedRequest) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._feed, self._request, self._setup, self._last = feed, request, paired.setup, paired.epochs - 1
        self._model = made(paired.setup)
        self._trained = DistributedDataParallel(self._model) if request.rank.world > 1 else self._model
        self._optimizer, self._loss = adam(self._model), nn.CrossEntropyLoss()

    def settle(self, group: Collective) -> None:
        """As the feed does; then the other loop takes the same rows."""
        self._feed.settle(group)
        self._group, self.extent, self._rows = group, self._feed.extent, _rows(self._feed)
        self._orders = _plan_orders(self._request, self._feed.plan) if self._request.rank.world == 1 else None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Our epoch; timed from the first batch that is asked for until there is no more."""
        order = next(self._orders) if self._orders else self._even_order()
        self._group.gather(None)  # both ranks start together
        began = time.perf_counter()
        yield from self._feed.epoch(epoch, start)
        self.ours.append(time.perf_counter() - began)
        self._group.gather(None)
        began = time.perf_counter()
        self._other_epoch(order)
        self.theirs.append(time.perf_counter() - began)
        if epoch == self._last:
            self._let_go()

    def close(self) -> None:
        """Gives back the rows."""
        self._feed.close()

    def _let_go(self) -> None:
        """Ends DistributedDataParallel before its group ends.

        As the last to hold it, it would end the group with Python's lock, which gloo's threads may need (torch 2.13).
        """
        self._trained = self._model
        gc.collect()

    def apart(self, state: Any) -> float:
        """The largest difference between the weights of both."""
        if state is None:
            return 0.0
        mine = {f"model/{name}": value.detach().numpy() for name, value in self._model.named_parameters()}
        return max(float(np.abs(state.arrays[name] - value).max()) for name, value in mine.items())

    def _other_epoch(self, order: list[torch.Tensor]) -> float:
        *features, labels = self._rows
        total = 0.0
        for chosen in order:
            inputs, target = [column[chosen] for column in features], labels[chosen]
            self._optimizer.zero_grad()
            loss = self._loss(self._trained(*inputs), target)
            loss.backward()
            self._optimizer.step()
            total += loss.item() * len(target)
        return total

    def _even_order(self) -> list[torch.Tensor]:
        """An even share of each step for each rank, as torch's DistributedSampler would give it."""
        rows = self.extent.rows // self._request.rank.world
        return list(torch.randperm(len(self._rows[0]))[:rows].split(self._setup.batch_size // self._request.rank.world))


def _rows(feed: RowFeed) -> list[torch.Tensor]:
    """This rank's rows, column by column, in the order of the first epoch."""
    batches = [(*batch.features, *batch.labels) for batch in feed.epoch(0) if batch.weight]
    return [torch.from_numpy(np.concatenate(column)) for column in zip(*batches, strict=True)]


def _plan_orders(request: FeedRequest, plan: Plan) -> Iterator[list[torch.Tensor]]:
    """For each epoch the rows of each step of the plan, counted in the order of the first epoch."""
    numbers, columns = from_arrays(np.arange(plan.rows))
    feed = numbers.feed(replace(request, features=columns.features, labels=()))
    feed.settle(Solo())
    place = torch.empty(plan.rows, dtype=torch.int64)
    place[torch.cat([torch.from_numpy(batch.features[0]) for batch in feed.epoch(0)])] = torch.arange(plan.rows)
    for epoch in itertools.count():
        yield [place[torch.from_numpy(batch.features[0])] for batch in feed.epoch(epoch)]
