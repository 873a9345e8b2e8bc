"""What the optimizers that torch does not have share: a step that takes one weight after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch


class EachWeight(torch.optim.Optimizer):
    """An optimizer that is defined by what it does to one weight."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates all weights that have a gradient; returns what the closure does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    @abstractmethod
    def _update(self, w: torch.Tensor, g: torch.Tensor, group: dict[str, Any]) -> None:
        """Changes a weight in place, given its gradient and the values of its group; `self.state[w]` is its memory."""
