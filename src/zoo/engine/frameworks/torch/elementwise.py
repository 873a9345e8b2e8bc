"""Whether an optimizer updates each element by itself, so that a slice of the weights can be updated alone.

Owns: which optimizers are known to do so, and finding out about a user's own.
Leaves: slices (slices).
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.ftrl import Ftrl

_KNOWN = {
    getattr(torch.optim, name)
    for name in (
        "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "Adadelta", "Adamax", "ASGD", "RMSprop", "Rprop",
    )
} | {Ftrl}  # fmt: skip
_SHAPE = (3, 4)
_STEPS = 3
_OWN = ("step", "state", "param_groups", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
"""Attributes that a copy does not share; schedulers put their own ``step`` on an optimizer."""


def check_elementwise(optimizer: torch.optim.Optimizer) -> None:
    """Refuses optimizers that look at more than one element at a time.

    Those of torch are known; a copy of another one updates twelve weights, once as one tensor and once cut in two.

    Raises:
        UsageError: with the reason.
    """
    if type(optimizer) in _KNOWN:
        return
    if any(isinstance(value, torch.optim.Optimizer) for value in vars(optimizer).values()):
        raise _refusal(optimizer, "it holds another optimizer")
    try:
        whole, pieces = _updated(optimizer, (0, 12)), _updated(optimizer, (0, 5, 12))
    except Exception as error:
        told = f"updating a part of a tensor ends with {type(error).__name__}: {error}"
        raise _refusal(optimizer, told) from error
    if torch.equal(whole, _start()):
        raise _refusal(optimizer, "its step() leaves the weights of its param_groups as they are")
    if not torch.allclose(whole, pieces, rtol=1e-5, atol=1e-7):
        raise _refusal(optimizer, "an element's update depends on other elements of its tensor, or on its shape")


def _updated(optimizer: torch.optim.Optimizer, borders: tuple[int, ...]) -> Tensor:
    """Twelve weights after a few updates by a copy of `optimizer`, cut at `borders`; whole they are a matrix."""
    flat = _start()
    cuts = list(pairwise(borders))
    tensors = [flat[low:high] if len(cuts) > 1 else flat.view(_SHAPE) for low, high in cuts]
    weights = [torch.nn.Parameter(tensor) for tensor in tensors]
    copy = _copy(optimizer, weights)
    random = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        for _ in range(_STEPS):
            gradients = torch.randn(flat.shape, generator=random) * torch.logspace(-1, 1, flat.numel())
            for weight, (low, high) in zip(weights, cuts, strict=True):
                weight.grad = gradients[low:high].view(weight.shape)
            copy.step()
    return flat


def _start() -> Tensor:
    return torch.randn(_SHAPE[0] * _SHAPE[1], generator=torch.Generator().manual_seed(0))


def _copy(optimizer: torch.optim.Optimizer, weights: list[torch.nn.Parameter]) -> Any:
    """A copy with other weights and no memory, at a rate that is not 0 (as it may be at the start of a schedule)."""
    copy = object.__new__(type(optimizer))
    copy.__dict__.update({name: value for name, value in vars(optimizer).items() if name not in _OWN})
    copy._optimizer_step_pre_hooks, copy._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
    copy.state = defaultdict(dict)
    rate = {"lr": 0.01} if "lr" in optimizer.param_groups[0] else {}
    copy.param_groups = [{**optimizer.param_groups[0], **rate, "params": weights}]
    return copy


def _refusal(optimizer: torch.optim.Optimizer, reason: str) -> UsageError:
    return UsageError(
        f"sync='sharded' has each rank update its slice of the weights alone, which {type(optimizer).__name__} cannot "
        f"do: {reason}. Give an optimizer that updates each element by itself (SGD, Adam, AdamW, RMSprop, ...), or "
        "leave sync out."
    )
