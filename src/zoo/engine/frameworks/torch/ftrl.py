"""The FTRL-proximal optimizer, which torch does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from zoo.engine import optim
from zoo.engine.frameworks.torch.each_weight import EachWeight


class Ftrl(EachWeight):
    """Follow the regularised leader, per coordinate.

    With gradient g, weight w, accumulator n and linear term z of each coordinate, p = -power, one update is

        n' = n + g^2
        z' = z + (g + 2 * shrinkage * w) - (n'^p - n^p) / lr * w
        w' = (clamp(z', -l1, l1) - z') / (n'^p / lr + 2 * l2)

    so that |z'| <= l1 gives a weight of exactly 0. Gradients must be dense.

    A weight whose gradients have all been 0 becomes 0 too, as in TensorFlow: z does not know where it started.
    At a learning rate of 0 nothing changes.

    Args:
        parameters: the weights.
        asked: learning rate, power and penalties.
    Source: McMahan et al., "Ad click prediction", KDD 2013, alg. 1; shrinkage as in TensorFlow's ApplyFtrlV2.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], asked: optim.Ftrl) -> None:
        values = {
            "lr": asked.learningrate,
            "power": asked.learningrate_power,
            "accumulator": asked.initial_accumulator_value,
            "l1": asked.l1_regularization_strength,
            "l2": asked.l2_regularization_strength,
            "shrinkage": asked.l2_shrinkage_regularization_strength,
        }
        super().__init__(parameters, values)

    def _update(self, w: torch.Tensor, g: torch.Tensor, group: dict[str, Any]) -> None:
        if group["lr"] == 0:
            return
        state = self.state[w]
        if not state:
            state["n"] = torch.full_like(w, group["accumulator"])
            state["z"] = torch.zeros_like(w)
        n, z, lr = state["n"], state["z"], float(group["lr"])
        before = n.pow(-group["power"])
        n.addcmul_(g, g)
        after = n.pow(-group["power"])
        z.add_(g).add_(w, alpha=2 * group["shrinkage"]).sub_((after - before).div_(lr).mul_(w))
        pull = z.clamp(-group["l1"], group["l1"]) - z
        # an accumulator of 0 and no gradient so far: 0 / 0 is 0 here
        w.copy_(torch.where(pull == 0, pull, pull / after.div_(lr).add_(2 * group["l2"])))
