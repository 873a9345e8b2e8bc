"""`sync="sharded"` and `sync="allreduce"`, in turns, on the same two processes: seconds of a step, optimizer's bytes.

Both are replicas of one model that train on the same rows through the same group, without feed and loop, which do not
know the difference. The bytes are those of the tensors in the optimizer's state, after a step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from measure import Row, compared
from models import CNN, MLP, NCF_1024, Setup, adam, creator
from torch import nn

from zoo.engine.clusters.local import LocalCluster
from zoo.engine.collectives import join
from zoo.engine.contracts import Batch, Collective, Rank, Replica, Shards, Sink
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.progress import Progress

STEPS = {"tiny": 1, "quick": 10, "full": 20}  # timed together
TURNS = {"tiny": 2, "quick": 11, "full": 41}  # the first one does not count
SETUPS = {"tiny": (MLP,), "quick": (MLP, NCF_1024, CNN), "full": (MLP, NCF_1024, CNN)}


@dataclass(frozen=True, slots=True)
class Found:
    """Of one rank: (seconds of a sharded step, of an all-reduced one) in each turn, and bytes of both optimizers."""

    seconds: tuple[tuple[float, float], ...]
    held: int
    whole: int


def rows(size: str) -> Iterator[Row]:
    """Two rows for each model."""
    for setup in SETUPS[size]:
        found = LocalCluster(2).gang(partial(_task, setup, size), {}, 2, MemorySink())
        slowest = [tuple(map(max, *pair)) for pair in zip(*(one.seconds for one in found), strict=True)]
        ours, theirs = zip(*slowest, strict=True)
        labels = (f"training step, 2 local ranks: {setup.name}", '`sync="sharded"`', '`sync="allreduce"`')
        yield compared(labels, ours, theirs, None)
        share = tuple(one.held / one.whole for one in found)
        yield Row(f"optimizer's bytes on a rank: {setup.name}", *labels[1:], share, 0.51, at_most=True)


def _task(setup: Setup, size: str, rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> Found:
    made: list[torch.optim.Optimizer] = []

    def optimizer(model: nn.Module, config: Any) -> torch.optim.Optimizer:
        made.append(adam(model))
        return made[-1]

    spec = TorchSpec(model=creator(setup), optimizer=optimizer, loss=nn.CrossEntropyLoss())
    features, labels = setup.data(setup.batch_size)
    mine = slice(rank.index, None, 2)
    batch = Batch(tuple(column[mine] for column in features), (labels[mine],), setup.batch_size // 2, setup.batch_size)
    with closing(join(rank, 60.0)) as group:
        replicas = spec.build(rank, group), spec.build(rank)
        turns = [_turn(group, replicas, batch, turn, STEPS[size]) for turn in range(TURNS[size])]
    return Found(tuple(turns[1:]), *map(_bytes, made))


def _turn(
    group: Collective, replicas: tuple[Replica, Replica], batch: Batch, turn: int, steps: int
) -> tuple[float, float]:  # fmt: skip
    first = turn % 2
    seconds = {which: _timed(group, replicas[which], batch, steps) for which in (first, 1 - first)}
    return seconds[0], seconds[1]


def _timed(group: Collective, replica: Replica, batch: Batch, steps: int) -> float:
    """Seconds of a step."""
    group.gather(None)  # both ranks start together
    began = time.perf_counter()
    for _ in range(steps):
        with group.average([0.5]) as (ready,):
            replica.backward(batch, ready)
        replica.update(Progress())
    return (time.perf_counter() - began) / steps


def _bytes(optimizer: torch.optim.Optimizer) -> int:
    tensors = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.numel() * value.element_size() for value in tensors)
