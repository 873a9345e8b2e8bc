"""Gradients of one rank as a few flat buffers, handed over while the backward pass still runs.

Owns: which gradient lies where, when a buffer is full, and what a parameter without gradient means.
Leaves: scaling and summing (collectives), the pass itself (replica). One rank needs no buckets.

Layout of the buffers, equal on every rank: gradients in reverse order of registration, as backward makes them; behind
the last one a tail of float32: [loss, stop, apply, statistics of batch normalisation, one "was used" for each
parameter]. So the mean loss, a wish to stop and averaged statistics cost no message of their own. Where ranks take
slices of the gradients, the tail, which all need, is a buffer of its own.

Source: Li et al., "PyTorch Distributed", VLDB 2020, sec. 3.2 (bucketing, overlap, order).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.engine.contracts import Ready
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.lanes import Lanes

FIRST_BYTES = 1 << 20
"""The first bucket is small, so that communication starts early."""
BYTES = 25 << 20
ALIGNED = 64
"""Bytes to whose multiples torch aligns an array on the CPU; sums round otherwise elsewhere."""
LOSS, STOP, APPLY, FIXED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Notes:
    """What a rank tells beside its gradients.

    Attributes:
        loss: scalar tensor, the mean over this rank's rows.
        stop: whether this rank wishes to stop.
        apply: whether the weights shall change in this step.
    """

    loss: Tensor
    stop: bool = False
    apply: bool = True


@dataclass(slots=True)
class Slot:
    """Where one parameter's gradient lies."""

    parameter: nn.Parameter
    view: Tensor  # of the parameter's shape, in its bucket
    bucket: int
    filled: bool = False

    @property
    def start(self) -> int:
        """The first element within its bucket."""
        return int(self.view.storage_offset())


class Buckets:
    """The gradient buckets of a model.

    Args:
        parameters: in order of registration; the frozen ones among them get no room.
        statistics: buffers that all ranks shall agree on: their average, weighted by rows (see `statistics_of`).
        lanes: what keeps the passes of a step apart, where there are several.
        slices: into how many equal ones each buffer of gradients is cut; 1 where each rank needs them all.

    Attributes:
        targets: (what gets a gradient, the gradient, number of its slot) for each `spread`.

    Raises:
        UsageError: a parameter is complex, which cannot be summed over ranks.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], statistics: Sequence[tuple[nn.Module, Tensor]] = (),
        lanes: Lanes | None = None, slices: int = 1,
    ) -> None:  # fmt: skip
        self._all = tuple(parameters)
        self._trained = tuple(parameter.requires_grad for parameter in self._all)
        self._statistics = tuple(statistics)
        self._lanes = lanes
        self._slices = slices
        self._ready: Ready | None = None
        self._build(_grouped([p for p in reversed(self._all) if p.requires_grad]))
        self._hooks = [
            slot.parameter.register_post_accumulate_grad_hook(self._hook(slot))  # type: ignore[no-untyped-call]
            for slot in self.slots
        ]
        self.targets = [(slot.parameter, slot.view, number) for number, slot in enumerate(self.slots)]

    @property
    def gradients(self) -> list[Tensor]:
        """The buffers that hold gradients; where they are cut, the tail is none of them."""
        return self._buffers[:-1] if self._slices > 1 else self._buffers

    def matches(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Whether the buckets are (still) those of `parameters`, none frozen or thawed since they were made."""
        return self._trained == tuple(p.requires_grad for p in parameters) and self._all == tuple(parameters)

    def open(self, ready: Ready | None) -> None:
        """Begins a step. Full buckets go to `ready` during backward; with None all of them wait for `close`."""
        self._ready = ready
        self._next = 0
        self._pending = list(self._sizes)
        for slot in self.slots:
            slot.filled = False

    def close(self, ready: Ready, notes: Notes) -> None:
        """Ends the backward pass: hands over what is left."""
        early, self._ready = self._ready, None
        for slot in self.slots:
            if early is None and slot.parameter.grad is not None:
                _store(slot)
            elif not slot.filled:
                slot.view.zero_()
        self._write_tail(notes)
        self._hand_over(ready, len(self._buffers))

    def skip(self, ready: Ready) -> None:
        """A step without rows: zeros everywhere, and no say in what the others do."""
        self.open(None)
        for buffer in self._buffers:
            buffer.zero_()
        self._hand_over(ready, len(self._buffers))

    def spread(self) -> None:
        """After the sums have arrived: each target's ``grad`` is its gradient, or None where no rank used it."""
        used = None
        if not all(slot.filled for slot in self.slots):  # what this rank used, all together used: then no need to look
            used = self._tail[FIXED + self._width :].tolist()
        if self._slices > 1:
            for slot in self.slots:
                slot.parameter.grad = None  # of this rank's rows alone
        for target, gradient, number in self.targets:
            target.grad = gradient if used is None or used[number] > 0 else None
        start = FIXED
        for module, buffer in self._statistics:
            if module.training:  # statistics at rest are equal already, and must not gather rounding errors
                buffer.copy_(self._tail[start : start + buffer.numel()].view_as(buffer))
            start += buffer.numel()
        if self._lanes is not None:
            self._lanes.take(self._tail[start : FIXED + self._width])

    def loss(self) -> float:
        """The step's mean loss over all ranks."""
        return float(self._tail[LOSS])

    def stop(self) -> bool:
        """Whether any rank with rows wished to stop when it closed this step."""
        return float(self._tail[STOP]) > 0

    def apply(self) -> bool:
        """Whether the ranks with rows want the weights changed."""
        return float(self._tail[APPLY]) > 0

    def remove(self) -> None:
        """Takes the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def _build(self, groups: list[list[nn.Parameter]]) -> None:
        self._width = sum(buffer.numel() for _, buffer in self._statistics)
        self._width += 0 if self._lanes is None else self._lanes.width
        if self._slices > 1 or not groups or groups[-1][0].dtype != torch.float32:
            groups.append([])  # the tail needs a float32 bucket
        tail = FIXED + self._width + sum(len(group) for group in groups)
        device = self._all[0].device if self._all else torch.device("cpu")
        self.slots: list[Slot] = []
        self._buffers: list[Tensor] = []
        self._sizes = [len(group) for group in groups]
        for number, group in enumerate(groups):
            size = sum(self._room(parameter) for parameter in group) + (tail if number == len(groups) - 1 else 0)
            size = size if not group else -(-size // self._slices) * self._slices
            dtype = group[0].dtype if group else torch.float32
            buffer = torch.zeros(size, dtype=dtype, device=group[0].device if group else device)
            self._buffers.append(buffer)
            self.slots += self._lay_out(group, buffer, number)
        self._tail = self._buffers[-1][-tail:]

    def _room(self, parameter: nn.Parameter) -> int:
        """Elements that it takes. Where buckets are cut, weights lie in such arrays too, each aligned as if alone."""
        step = 1 if self._slices == 1 else max(1, ALIGNED // parameter.element_size())
        return -(-parameter.numel() // step) * step

    def _lay_out(self, group: list[nn.Parameter], buffer: Tensor, number: int) -> list[Slot]:
        slots, start = [], 0
        for parameter in group:
            # The gradient's memory order is the parameter's own (channels_last), so that optimizers stay on fast paths.
            strides = torch.empty_like(parameter, device="meta").stride()
            slots.append(Slot(parameter, buffer.as_strided(parameter.size(), strides, start), number))
            start += self._room(parameter)
        return slots

    def _hook(self, slot: Slot):  # type: ignore[no-untyped-def]  # torch types the hook no closer than Callable
        def arrived(parameter: Tensor) -> None:
            if self._ready is None:
                return
            if slot.filled:
                if slot.bucket < self._next:
                    raise UsageError(
                        "a second backward pass in one step reached a gradient that is already on its way to the other "
                        "ranks. Call backward once a step, or do it in a MainCallback's on_iter_backward."
                    )
                slot.view.copy_(parameter.grad)  # type: ignore[arg-type]
                return
            _store(slot)
            self._pending[slot.bucket] -= 1
            if self._pending[slot.bucket] == 0:
                self._hand_over(self._ready, len(self._buffers) - 1)  # the last one waits for its tail

        return arrived

    def _hand_over(self, ready: Ready, end: int) -> None:
        """In the same order on every rank: buckets before `end`, up to the first that is not full (all, on close)."""
        closing = end == len(self._buffers)
        while self._next < end and (closing or self._pending[self._next] == 0):
            self._next += 1
            cut = self._slices > 1 and self._next < len(self._buffers)
            ready(self._buffers[self._next - 1], **{"cut": True} if cut else {})

    def _write_tail(self, notes: Notes) -> None:
        self._tail[LOSS] = notes.loss.detach()
        self._tail[STOP] = float(notes.stop)
        self._tail[APPLY] = float(notes.apply)
        start = FIXED
        for _, buffer in self._statistics:
            self._tail[start : start + buffer.numel()] = buffer.reshape(-1)
            start += buffer.numel()
        if self._lanes is not None:
            self._tail[start : FIXED + self._width] = self._lanes.changes()
            start = FIXED + self._width
        if all(slot.filled for slot in self.slots):
            self._tail[start:] = 1.0
        else:
            self._tail[start:] = torch.tensor([float(slot.filled) for slot in self.slots])


def statistics_of(model: nn.Module) -> list[tuple[nn.Module, Tensor]]:
    """Running means and variances of normalisation layers, which each pass computes from its own rows."""
    found: list[tuple[nn.Module, Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            found += [(module, buffer) for buffer in (module.running_mean, module.running_var) if buffer is not None]
    return found


def _grouped(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters in buckets of one dtype and device, in the order in which the buckets fill; float32 last."""
    open_: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    groups: list[list[nn.Parameter]] = []
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    for parameter in parameters:
        if parameter.is_complex():
            raise UsageError(
                f"complex parameters cannot be averaged over ranks. Received: one of {parameter.dtype}, shape "
                f"{tuple(parameter.shape)}. Train on one rank, or keep real and imaginary parts as two parameters."
            )
        key = (parameter.dtype, parameter.device)
        open_.setdefault(key, []).append(parameter)
        sizes[key] = sizes.get(key, 0) + parameter.numel() * parameter.element_size()
        if sizes[key] >= (BYTES if groups else FIRST_BYTES):
            groups.append(open_.pop(key))
            del sizes[key]
    rest = sorted(open_.values(), key=lambda group: group[0].dtype == torch.float32)
    return groups + rest


def _store(slot: Slot) -> None:
    gradient = slot.parameter.grad
    assert gradient is not None
    if gradient.layout != torch.strided:
        raise UsageError(
            f"a sparse gradient of shape {tuple(gradient.shape)} cannot be averaged over ranks. "
            "Make the embedding with sparse=False, or train on one rank."
        )
    if gradient is not slot.view:
        slot.view.copy_(gradient)
    slot.filled = True
