"""Passes of a step that must not hear of each other, whichever of them a rank computes; and a step that is forgotten.

A lane's pass draws its own random numbers, from (seed, epoch, step, lane), and finds the buffers as the step found
them. Of what it leaves there, running statistics are averaged with the gradients (buckets); everything else must come
out alike in all lanes, as a count of batches does. A rank without lanes has one pass a step, and its random numbers go
on.

Owns: random numbers and buffers between the passes of a step.
Leaves: gradients and statistics (buckets).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from zoo.engine.errors import UsageError


class Lanes:
    """Between the passes of a step.

    Args:
        model: whose buffers.
        statistics: those of them that are averaged.
    """

    def __init__(self, model: nn.Module, statistics: Iterable[Tensor]) -> None:
        averaged = {id(buffer) for buffer in statistics}
        named = [(name, buffer) for name, buffer in model.named_buffers() if buffer is not None]
        self._names = [name for name, buffer in named if id(buffer) not in averaged]
        self._buffers = [buffer for _, buffer in named]
        self._alike = [buffer for _, buffer in named if id(buffer) not in averaged]
        self._before: list[Tensor] = []
        self._left: list[Tensor] | None = None
        self._gained: list[Tensor] | None = None
        self._random: Tensor | None = None  # while a step has begun
        self._key: Sequence[int] | None = None

    def enter(self, key: Sequence[int] | None) -> None:
        """Begins a pass.

        Args:
            key: (seed, epoch, step, lane); None without lanes.
        """
        if self._random is None:
            self._before = [buffer.clone() for buffer in self._buffers]
            self._random, self._left = torch.get_rng_state(), None
        elif key is not None:
            _restore(self._buffers, self._before)
        self._key = key
        if key is not None:
            torch.manual_seed(_number(key))

    def leave(self) -> None:
        """Ends a pass that had rows.

        Raises:
            UsageError: two lanes have left other values in a buffer that is not averaged.
        """
        if self._key is None:
            return
        if self._left is None:
            self._left = [buffer.clone() for buffer in self._alike]
            return
        for name, mine, first in zip(self._names, self._alike, self._left, strict=True):
            if not torch.equal(mine, first):
                raise UsageError(
                    f"the buffer '{name}' of the model depends on the rows of a pass, and reproducible=True cannot "
                    "tell how ranks would agree on it: only running statistics of torch.nn's normalisation layers "
                    "are averaged. Keep such values out of buffers, or leave reproducible out."
                )

    def rewind(self) -> None:
        """Forgets the passes of a step."""
        if self._random is not None:
            _restore(self._buffers, self._before)
            torch.set_rng_state(self._random)
        self._random = None

    def end(self) -> None:
        """Ends the step, on every rank alike, also on one without rows: its random numbers, and what is alike."""
        self._random = None
        if self._key is None:
            return
        torch.manual_seed(_number(self._key[:-1]))
        before = {id(buffer): value for buffer, value in zip(self._buffers, self._before, strict=True)}
        if self._left is not None:
            _restore(self._alike, self._left)
            self._gained = [mine - before[id(mine)] if _counts(mine) else mine for mine in self._alike]
        else:
            for at, mine in enumerate(self._alike):
                mine.copy_(before[id(mine)])
                if _counts(mine):  # other ranks had rows
                    mine += self._gained[at] if self._gained is not None else self._names[at].endswith("_tracked")


def _counts(buffer: Tensor) -> bool:
    return not buffer.is_floating_point() and not buffer.is_complex() and buffer.dtype != torch.bool


def _restore(buffers: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def _number(key: Sequence[int]) -> int:
    """64 bits that differ for different keys."""
    digest = hashlib.blake2b(repr(tuple(key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") - (1 << 63)
