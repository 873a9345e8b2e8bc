"""Averages whose last bit does not depend on the number of ranks: gradients of lanes, added up along one tree.

A rank adds up what it can by itself (`tree.subtrees`). Then each rank gets one slice of everybody's sums, finishes the
tree for that slice, and all slices go to all ranks: as many bytes on the wire as a ring all-reduce sends.

Owns: the passes of a step, the two messages of each bucket.
Leaves: the order of additions (tree), all other agreement (solo, torch_group).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from zoo.engine.collectives.solo import Solo
from zoo.engine.collectives.torch_group import TorchGroup
from zoo.engine.collectives.torch_slices import all_gather, bytes_of
from zoo.engine.collectives.tree import Pile, Span, additions, subtrees
from zoo.engine.contracts import Array, Guard, Rank, Ready
from zoo.engine.values import part_of


class LanedSolo(Solo):
    """The `Collective` of one rank that computes all lanes."""

    def __init__(self, rank: Rank) -> None:
        self._counts = _own_additions(rank)

    @contextmanager
    def average(self, shares: Sequence[float]) -> Iterator[Sequence[Ready]]:
        """As `Collective.average`, one pass a lane."""
        self._check()

        def keep(piled: torch.Tensor, bucket: torch.Tensor) -> None:
            bucket.copy_(piled[: bucket.numel()])

        yield _Step(self._counts, 1, lambda pile, bucket: keep(pile.sums[0], bucket)).passes(shares)


class LanedGroup(TorchGroup):
    """The `Collective` of more than one rank, each of which computes some lanes."""

    def __init__(self, rank: Rank, timeout: float, guard: Guard = lambda abort: None) -> None:
        super().__init__(rank, timeout, guard)
        world = range(rank.world)
        parts = [subtrees(part_of(range(rank.lanes), index, rank.world), rank.lanes) for index in world]
        self._own_counts = _own_additions(rank)
        self._sums = [len(each) for each in parts]
        self._counts = additions([span for each in parts for span in each], rank.lanes)

    @contextmanager
    def average(self, shares: Sequence[float]) -> Iterator[Sequence[Ready]]:
        """As `Collective.average`, one pass a lane.

        Raises:
            PeerLost: a rank left the gang.
        """
        waiting: list[tuple[_Exchange, torch.Tensor]] = []

        def start(pile: Pile, bucket: torch.Tensor) -> None:
            with self._watch("average"):
                exchange = _Exchange(pile.sums, self._sums, self._rank.index)
                self.moved += exchange.moved
                waiting.append((exchange, bucket))

        yield _Step(self._own_counts, self._rank.world, start).passes(shares)
        with self._watch("average"):
            for exchange, _ in waiting:
                exchange.share(self._counts)
            for exchange, bucket in waiting:
                exchange.finish(bucket)


class _Step:
    """The passes of one step: bucket by bucket, each onto its pile.

    Args:
        counts: additions behind each pass.
        slices: into how many equal ones a sum must be cut.
        finished: called with a pile that has all sums, and the bucket that is to hold the average.
    """

    def __init__(self, counts: Sequence[int], slices: int, finished: Callable[[Pile, torch.Tensor], None]) -> None:
        self._counts, self._slices, self._finished = counts, slices, finished
        self._piles: list[Pile] = []

    def passes(self, shares: Sequence[float]) -> list[Ready]:
        """What takes the buckets of each pass."""
        return [self._pass(share, last=at == len(shares) - 1) for at, share in enumerate(shares)]

    def _pass(self, share: float, *, last: bool) -> Ready:
        number = iter(range(1 << 30))

        def ready(bucket: Array, cut: bool = False) -> None:
            tensor = torch.from_numpy(bucket) if isinstance(bucket, np.ndarray) else bucket
            at = next(number)
            if at == len(self._piles):
                self._piles.append(Pile(self._counts))
            tensor.mul_(share)
            self._piles[at].push(tensor, self._cut)
            if last:
                self._finished(self._piles[at], tensor)

        return ready

    def _cut(self, bucket: torch.Tensor) -> torch.Tensor:
        """A copy with room for equal slices."""
        room = bucket.new_zeros(-(-bucket.numel() // self._slices) * self._slices)
        room[: bucket.numel()] = bucket
        return room


class _Exchange:
    """One bucket on its way: slices of sums to those who add them up, and sums of slices back to all.

    Attributes:
        moved: bytes that this rank sends to the others.
    """

    def __init__(self, sums: Sequence[torch.Tensor], counts: Sequence[int], own: int) -> None:
        world, size = len(counts), sums[0].numel() // len(counts)
        going = sums[0] if len(sums) == 1 else torch.stack([each.view(world, size) for each in sums], dim=1).view(-1)
        self._arrived = going.new_empty(sum(counts) * size)
        self._size, self._own = size, own
        self._work: Any = dist.all_to_all_single(
            bytes_of(self._arrived), bytes_of(going), [count * size * going.element_size() for count in counts],
            [len(sums) * size * going.element_size()] * world, async_op=True,
        )  # fmt: skip
        self._kept = going  # until it has gone
        self._whole = going.new_empty(world * size)
        self.moved = (world - 1) * (len(sums) + 1) * size * going.element_size()

    def share(self, counts: Sequence[int]) -> None:
        """Adds up this rank's slice, and sends it to all."""
        self._work.wait()
        pile = Pile(counts)
        for part in self._arrived.view(-1, self._size) if self._size else ():
            pile.push(part, lambda each: each)
        self._slice = pile.sums[0] if pile.sums else self._whole
        self._work = all_gather(bytes_of(self._whole), bytes_of(self._slice), async_op=True)

    def finish(self, bucket: torch.Tensor) -> None:
        """Puts the whole average where it belongs."""
        self._work.wait()
        bucket.copy_(self._whole[: bucket.numel()])


def _own_additions(rank: Rank) -> list[int]:
    lanes: list[Span] = [(lane, lane + 1) for lane in rank.own_lanes]
    return additions(lanes, rank.lanes)
