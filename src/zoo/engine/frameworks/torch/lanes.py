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
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.engine.errors import UsageError


class Lanes:
    """Between the passes of a step.

    Args:
        model: whose buffers.
        statistics: those of them that are averaged (`buckets.statistics_of`).
        laned: whether the others are to be alike in all lanes.
    """

    def __init__(self, model: nn.Module, statistics: Iterable[tuple[nn.Module, Tensor]], laned: bool) -> None:
        averaged = {id(buffer) for _, buffer in statistics}
        self._laned = laned
        self._holders = [(name, module) for name, module in model.named_modules() if module._buffers]
        self._alike = {name for name, buffer in model.named_buffers() if id(buffer) not in averaged}
        self._before: Mapping[str, Tensor] = {}
        self._left: Mapping[str, Tensor] | None = None
        self._random: Tensor | None = None  # while a step has begun
        self._key: Sequence[int] | None = None

    def enter(self, key: Sequence[int] | None) -> None:
        """Begins a pass.

        Args:
            key: (seed, epoch, step, lane); None without lanes.
        """
        if self._random is None:
            self._before = self._copies()
            self._random, self._left = torch.get_rng_state(), None
        elif key is not None:
            self._restore(self._before)
        self._key = key
        if key is not None:
            _seed(_number(key))

    def leave(self) -> None:
        """Ends a pass that had rows.

        Raises:
            UsageError: two lanes have left other values in a buffer that is not averaged.
        """
        if self._key is None:
            return
        left = {name: buffer for name, buffer in self._copies().items() if name in self._alike}
        if self._left is None:
            self._left = left
            return
        for name, mine in left.items():
            if not torch.equal(mine, self._left[name]):
                raise _depends(name)

    def rewind(self) -> None:
        """Forgets the passes of a step."""
        if self._random is not None:
            self._restore(self._before)
            torch.set_rng_state(self._random)
        self._random = None

    def end(self) -> None:
        """Ends the step, on every rank alike, also on one without rows: its random numbers, and what is alike."""
        self._random = None
        if self._key is None:
            return
        _seed(_number(self._key[:-1]))
        self._restore({name: self._before[name] for name in self._alike} | dict(self._left or {}))

    @property
    def width(self) -> int:
        """Numbers of `changes`."""
        return sum(buffer.numel() for name, buffer in self._now().items() if self._moves(name, buffer))

    def changes(self) -> Tensor:
        """By how much this pass has changed the buffers that are not averaged."""
        moved = [(mine - self._before[name]).reshape(-1).float() for name, mine in self._moving()]
        return torch.cat(moved) if moved else torch.empty(0)

    def take(self, changes: Tensor) -> None:
        """Gives each of these buffers the change that all lanes agree on, also on a rank that had no rows.

        Args:
            changes: their average, which has the same bits on every rank.

        Raises:
            UsageError: it is not the change of this rank's own lanes.
        """
        start = 0
        for name, mine in self._moving():
            change = changes[start : start + mine.numel()].view_as(mine)
            if self._left is not None and not torch.allclose(change, (self._left[name] - self._before[name]).float()):
                raise _depends(name)
            mine.copy_(self._before[name] + (change if mine.is_floating_point() else change.round()).to(mine.dtype))
            start += mine.numel()

    def _moving(self) -> list[tuple[str, Tensor]]:
        return [(name, mine) for name, mine in self._now().items() if self._moves(name, mine)]

    def _moves(self, name: str, buffer: Tensor) -> bool:
        return self._laned and name in self._alike and (buffer.is_floating_point() or _counts(buffer))

    def _now(self) -> dict[str, Tensor]:
        """The buffers, asked anew: a module may have put other tensors in their place."""
        return {
            f"{holder}.{name}" if holder else name: buffer
            for holder, module in self._holders
            for name, buffer in module._buffers.items()
            if buffer is not None
        }

    def _copies(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self._now().items()}

    def _restore(self, values: Mapping[str, Tensor]) -> None:
        now = self._now()
        for name, value in values.items():
            now[name].copy_(value)


def _seed(number: int) -> None:
    """As `torch.manual_seed`, which takes most of a millisecond: it keeps the stack for devices that are not in use."""
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(number)


def _depends(name: str) -> UsageError:
    return UsageError(
        f"the buffer '{name}' of the model depends on the rows of a pass, and reproducible=True cannot "
        "tell how ranks would agree on it: only running statistics of torch.nn's normalisation layers "
        "are averaged. Keep such values out of buffers, or leave reproducible out."
    )


def _counts(buffer: Tensor) -> bool:
    return not buffer.is_floating_point() and not buffer.is_complex() and buffer.dtype != torch.bool


def _number(key: Sequence[int]) -> int:
    """64 bits that differ for different keys."""
    digest = hashlib.blake2b(repr(tuple(key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") - (1 << 63)
