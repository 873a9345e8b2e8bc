"""Adam as BERT was trained with it, which torch does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from zoo.engine import optim
from zoo.engine.frameworks.torch.each_weight import EachWeight


class BertAdam(EachWeight):
    """Adam without bias correction, with decay beside the gradient: `zoo.engine.optim.AdamWeightDecay`.

    Args:
        parameters: the weights.
        asked: learning rate, moments and decay.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], asked: optim.AdamWeightDecay) -> None:
        values = {
            "lr": asked.learningrate,
            "betas": (asked.beta1, asked.beta2),
            "eps": asked.epsilon,
            "weight_decay": asked.decay,
        }
        super().__init__(parameters, values)

    def _update(self, w: torch.Tensor, g: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[w]
        if not state:
            state["mean"], state["square"] = torch.zeros_like(w), torch.zeros_like(w)
        first, second = group["betas"]
        mean = state["mean"].mul_(first).add_(g, alpha=1 - first)
        square = state["square"].mul_(second).addcmul_(g, g, value=1 - second)
        step = mean / (square.sqrt() + group["eps"]) + group["weight_decay"] * w
        w.sub_(step, alpha=float(group["lr"]))
