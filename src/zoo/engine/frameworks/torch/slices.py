"""One rank's slice of the weights, and of what the optimizer remembers of them.

The buckets of gradients are cut into as many equal slices as there are ranks. A rank gets the sums of its slices,
updates the weights there, and all ranks give each other their slices of the weights. So each holds 1/N of the
optimizer's memory. A slice cuts through parameters: the optimizer is given the *pieces* that lie in it, 1-d parameters
over the very memory of the model's own.

Owns: the pieces, the optimizer's parameter groups while it is cut, putting its memory together again.
Leaves: which gradient lies where (buckets), messages (collectives), which optimizers can be cut (elementwise).

Source: Dai et al., "BigDL", SoCC 2019, sec. 3.3; Rajbhandari et al., "ZeRO", SC 2020, sec. 5.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from zoo.engine.contracts import Collective, Rank
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.buckets import Buckets, Slot

Memory: TypeAlias = dict[str, Any]
_BYTES = torch.uint8


@dataclass(frozen=True, slots=True)
class _Piece:
    """What lies in this rank's slice of one parameter.

    Attributes:
        number: of the parameter's slot.
        place: which elements, in the order of its memory.
        weights: those elements.
        gradient: theirs.
    """

    number: int
    place: slice
    weights: nn.Parameter
    gradient: Tensor


@dataclass(frozen=True, slots=True)
class _Told:
    """What a rank says of its part of one parameter's memory.

    Attributes:
        number: of the parameter's slot.
        place: which elements.
        cut: dtypes of what there is of each element, by name; their bytes follow, in this order.
        plain: what there is once for all elements.
    """

    number: int
    place: slice
    cut: Mapping[str, torch.dtype]
    plain: Memory


class Slices:
    """Cuts an optimizer, for as long as its parameters stay trained or frozen as they are.

    The weights of each bucket move into one flat array, of which the model's parameters are views from then on.

    Args:
        optimizer: updates each element by itself.
        buckets: cut into as many slices as there are ranks.
        group: the ranks.
        rank: this one.

    Raises:
        UsageError: the optimizer's memory cannot be cut.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, buckets: Buckets, group: Collective, rank: Rank) -> None:
        self._optimizer, self._slots = optimizer, buckets.slots
        self._group, self._rank = group, rank
        self._weights = [_flat_weights(buffer, self._slots, at) for at, buffer in enumerate(buckets.gradients)]
        self._pieces = list(self._cut(buckets.gradients))
        self._wholes = [list(group["params"]) for group in optimizer.param_groups]
        memory = {slot.parameter: dict(optimizer.state.pop(slot.parameter, {})) for slot in self._slots}
        self._take_pieces()
        for piece in self._pieces:
            if whole := memory[self._slots[piece.number].parameter]:
                optimizer.state[piece.weights] = {
                    name: self._part(name, value, piece) for name, value in whole.items()
                }  # fmt: skip
        buckets.targets = [(piece.weights, piece.gradient, piece.number) for piece in self._pieces]

    @property
    def weights(self) -> list[nn.Parameter]:
        """The pieces that this rank updates; after `Buckets.spread` they have their gradients."""
        return [piece.weights for piece in self._pieces]

    def total(self, number: float) -> float:
        """The sum of a number over the ranks."""
        return float(self._group.sum(np.array([number], np.float64))[0])

    def complete(self) -> None:
        """After the update: each rank gets the others' weights."""
        self._check_views()
        self._group.complete(self._weights)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All ranks at once: meanwhile the first rank's optimizer is as if it had never been cut, with all memory."""
        memory, cut = self._collected([0]), self._optimizer.state
        pieces = [list(group["params"]) for group in self._optimizer.param_groups]
        self._give(self._wholes, memory)
        try:
            yield
        finally:
            self._give(pieces, cut)

    def dissolve(self) -> None:
        """All ranks at once: from now on each rank's optimizer has all memory again."""
        self._give(self._wholes, self._collected(range(self._rank.world)))

    def _cut(self, buffers: Sequence[Tensor]) -> Iterator[_Piece]:
        for number, slot in enumerate(self._slots):
            size = buffers[slot.bucket].numel() // self._rank.world
            low = max(slot.start, self._rank.index * size)
            high = min(slot.start + slot.parameter.numel(), (self._rank.index + 1) * size)
            if low < high:
                shape = (high - low,) if slot.parameter.ndim else ()  # of a single number all memory is plain
                weights, gradient = (flats[slot.bucket][low:high].view(shape) for flats in (self._weights, buffers))
                place = slice(low - slot.start, high - slot.start)
                yield _Piece(number, place, nn.Parameter(weights), gradient)

    def _take_pieces(self) -> None:
        """In each group of the optimizer pieces stand for the parameters; those that are frozen stay."""
        cut: dict[int, list[nn.Parameter]] = {id(slot.parameter): [] for slot in self._slots}
        for piece in self._pieces:
            cut[id(self._slots[piece.number].parameter)].append(piece.weights)
        for group, wholes in zip(self._optimizer.param_groups, self._wholes, strict=True):
            group["params"] = [piece for whole in wholes for piece in cut.get(id(whole), [whole])]

    def _part(self, name: str, value: Any, piece: _Piece) -> Any:
        slot = self._slots[piece.number]
        if _is_plain(name, value):
            return value.clone() if isinstance(value, Tensor) else value
        if value.shape != slot.parameter.shape:
            raise UsageError(
                f"sync='sharded' cuts the optimizer's memory as it cuts the weights, and '{name}' of shape "
                f"{tuple(value.shape)} belongs to a weight of shape {tuple(slot.parameter.shape)}. Give an optimizer "
                "that keeps one number for each element, or leave sync out."
            )
        flat = value.new_empty(value.numel())
        _shaped(flat, slot).copy_(value)
        return flat[piece.place].clone()

    def _check_views(self) -> None:
        for slot in self._slots:
            flat = self._weights[slot.bucket]
            here = flat.data_ptr() + slot.start * flat.element_size()
            if slot.parameter.numel() and slot.parameter.data_ptr() != here:
                raise UsageError(
                    f"a weight of shape {tuple(slot.parameter.shape)} got another array as its .data while sync="
                    "'sharded' trained it. Change weights in place, e.g. with torch.no_grad(): weight.copy_(values)."
                )

    def _collected(self, receivers: Sequence[int]) -> dict[Tensor, Memory]:
        """What all ranks remember, put together, on the ranks that are to have it; on others what is not cut."""
        own = {slot.parameter for slot in self._slots} | set(self.weights)
        rest = {p: memory for p, memory in self._optimizer.state.items() if p not in own}
        told, sent = zip(*map(self._tell, self._pieces), strict=True) if self._pieces else ((), ())
        everything: list[Sequence[_Told]] = self._group.gather(told)
        flat = torch.cat([array for arrays in sent for array in arrays] or [torch.empty(0, dtype=_BYTES)]).numpy()
        worlds = range(self._rank.world)
        if not any(each.cut for tellings in everything for each in tellings):
            arrived = [flat[:0] for _ in worlds]
        else:
            arrived = self._group.exchange([flat if index in receivers else flat[:0] for index in worlds])
        if self._rank.index not in receivers:
            return rest
        return rest | self._joined(everything, arrived)

    def _tell(self, piece: _Piece) -> tuple[_Told, list[Tensor]]:
        memory = self._optimizer.state.get(piece.weights, {})
        cut = {name: value for name, value in memory.items() if not _is_plain(name, value)}
        plain = {name: value for name, value in memory.items() if name not in cut}
        if odd := [name for name, value in cut.items() if value.shape != piece.weights.shape]:
            raise UsageError(
                f"sync='sharded' needs an optimizer that remembers one number for each element of a weight. "
                f"{type(self._optimizer).__name__} remembers {', '.join(odd)} otherwise. Leave sync out."
            )
        told = _Told(piece.number, piece.place, {name: value.dtype for name, value in cut.items()}, plain)
        return told, [value.detach().cpu().contiguous().view(_BYTES) for value in cut.values()]

    def _joined(self, everything: Sequence[Sequence[_Told]], arrived: Sequence[np.ndarray]) -> dict[Tensor, Memory]:
        """The memory of whole parameters."""
        flats: dict[int, Memory] = defaultdict(dict)
        for tellings, payload in zip(everything, arrived, strict=True):
            at = 0
            for told in tellings:
                slot, made = self._slots[told.number], flats[told.number]
                made.update({name: value for name, value in told.plain.items() if name not in made})
                for name, dtype in told.cut.items():
                    flat = made.setdefault(name, torch.empty(slot.parameter.numel(), dtype=dtype))
                    part = flat[told.place].view(_BYTES)
                    part.copy_(torch.from_numpy(payload[at : at + part.numel()]))
                    at += part.numel()
        joined = {
            self._slots[number].parameter: {
                name: value if _is_plain(name, value) else self._restored(value, number) for name, value in made.items()
            }
            for number, made in flats.items()
        }
        return {p: joined[p] for wholes in self._wholes for p in wholes if joined.get(p)}

    def _restored(self, flat: Tensor, number: int) -> Tensor:
        slot = self._slots[number]
        return _shaped(flat.to(slot.parameter.device), slot)

    def _give(self, parameters: Sequence[Sequence[nn.Parameter]], memory: Mapping[Tensor, Memory]) -> None:
        self._optimizer.state = defaultdict(dict, memory)
        for group, params in zip(self._optimizer.param_groups, parameters, strict=True):
            group["params"] = list(params)


def _flat_weights(buffer: Tensor, slots: Sequence[Slot], number: int) -> Tensor:
    """The weights of a bucket where its gradients lie; the model's parameters become views of them."""
    flat = torch.zeros_like(buffer)
    with torch.no_grad():
        for slot in slots:
            if slot.bucket == number:
                view = flat.as_strided(slot.view.size(), slot.view.stride(), slot.start)
                view.copy_(slot.parameter)
                slot.parameter.data = view
    return flat


def _shaped(flat: Tensor, slot: Slot) -> Tensor:
    """A parameter's elements, in the order of its memory, in its shape."""
    return flat.as_strided(slot.view.size(), slot.view.stride())


def _is_plain(name: str, value: Any) -> bool:
    """Whether there is one of it for all elements of a parameter: a count of steps, say."""
    return not isinstance(value, Tensor) or value.ndim == 0 or name == "step"
