"""Averaging gradients: `Collective.average` and gloo's own all_reduce, in turns, on the same two processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import torch
import torch.distributed as dist
from measure import Row, compared

from zoo.engine.clusters.local import LocalCluster
from zoo.engine.collectives import join
from zoo.engine.contracts import Collective, Rank, Shards, Sink
from zoo.engine.events.sinks import MemorySink

BYTES = {"100 KB": 100_000, "4 MB": 4_000_000, "40 MB": 40_000_000}
CALLS = {"tiny": 1, "quick": 10, "full": 20}  # timed together, for buffers of 4 MB
TURNS = {"tiny": 2, "quick": 11, "full": 41}

Turns = list[tuple[float, float]]


def rows(size: str) -> Iterator[Row]:
    """One row for each size of a buffer."""

    def task(rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> list[Turns]:
        with closing(join(rank, 60.0)) as collective:
            return [_turns(collective, count, size) for count in BYTES.values()]

    first, second = LocalCluster(2).gang(task, {}, 2, MemorySink())
    for name, mine, other in zip(BYTES, first, second, strict=True):
        slowest = [(max(a, c), max(b, d)) for (a, b), (c, d) in zip(mine, other, strict=True)]
        ours, theirs = zip(*slowest, strict=True)
        labels = (f"all-reduce of {name}, 2 local ranks", "`Collective.average`", "scaling, then gloo `all_reduce`")
        yield compared(labels, ours, theirs, 0.97)


def _turns(collective: Collective, size_bytes: int, size: str) -> Turns:
    """Seconds of (ours, gloo's) in each turn."""
    calls = max(1, CALLS[size] * 4_000_000 // size_bytes) if size != "tiny" else 1
    buffer = torch.ones(size_bytes // 4)

    def average() -> None:
        with collective.average([0.5]) as (ready,):
            ready(buffer)

    def plain() -> None:
        buffer.mul_(0.5)
        dist.all_reduce(buffer)

    found = []
    for turn in range(TURNS[size]):
        pair = [_timed(call, calls) for call in ((average, plain) if turn % 2 else (plain, average))]
        found.append((pair[0], pair[1]) if turn % 2 else (pair[1], pair[0]))
    return found[1:]


def _timed(call: Callable[[], None], calls: int) -> float:
    dist.barrier()
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls
