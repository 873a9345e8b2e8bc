"""Losses made of losses.

Owns: which outputs and targets each of them gets, and their weights.
Leaves: the losses themselves (criterion).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.bigdl.nn.loss import Criterion, table
from zoo.engine.errors import UsageError


class _Weighted(Criterion):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        self.weights: list[float] = []

    def add(self, criterion: nn.Module, weight: float = 1.0) -> Any:
        """Appends a loss with its weight; returns self.

        Raises:
            UsageError: it is none.
        """
        if not isinstance(criterion, nn.Module):
            raise UsageError(
                f"{type(self).__name__}.add takes a criterion, or a loss of torch. Received: {criterion!r}"
            )
        self.parts.append(criterion)
        self.weights.append(float(weight))
        return self

    def total(self, losses: list[Tensor]) -> Tensor:
        """The weighted sum.

        Raises:
            UsageError: nothing was added.
        """
        if not losses:
            raise UsageError(f"{type(self).__name__} is empty: add(criterion, weight) first.")
        return torch.stack([weight * loss for weight, loss in zip(self.weights, losses, strict=True)]).sum()


class MultiCriterion(_Weighted):
    """The weighted sum of several losses of the same output and target."""

    def __init__(self, bigdl_type: str = "float") -> None:
        super().__init__()

    def loss(self, x: Any, target: Any) -> Tensor:
        return self.total([one(x, target) for one in self.parts])


class ParallelCriterion(_Weighted):
    """The weighted sum of losses, the i-th of the i-th output and the i-th target of tables.

    Args:
        repeat_target: whether there is one target for all.
    """

    def __init__(self, repeat_target: bool = False, bigdl_type: str = "float") -> None:
        super().__init__()
        self.arguments = {"repeat_target": repeat_target}

    def loss(self, x: Any, target: Any) -> Tensor:
        outputs = table(x, "ParallelCriterion", len(self.parts))
        targets = [target] * len(outputs)
        if not self.arguments["repeat_target"]:
            targets = table(target, "ParallelCriterion (targets)", len(self.parts))
        return self.total([one(*pair) for one, *pair in zip(self.parts, outputs, targets, strict=True)])


class TimeDistributedCriterion(Criterion):
    """The sum of a loss over the steps of (B, T, ...).

    Args:
        criterion: of one step.
        size_average: whether the sum is divided by the number of steps.
        dimension: the steps' axis, counted from 1.
    """

    def __init__(
        self, criterion: nn.Module, size_average: bool = False, dimension: int = 2, bigdl_type: str = "float"
    ) -> None:
        super().__init__()
        self.arguments = {"size_average": size_average, "dimension": dimension}
        self.criterion = criterion

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        axis = self.arguments["dimension"] - 1
        if x.ndim <= axis or target.ndim <= axis or x.shape[axis] != target.shape[axis]:
            raise UsageError(
                f"TimeDistributedCriterion: output {tuple(x.shape)} and target {tuple(target.shape)} have other steps "
                f"along axis {axis + 1}."
            )
        steps = zip(x.unbind(axis), target.unbind(axis), strict=True)
        total = torch.stack([self.criterion(*step) for step in steps]).sum()
        return total / x.shape[axis] if self.arguments["size_average"] else total


class TimeDistributedMaskCriterion(Criterion):
    """The mean of a loss over the steps of (B, T, ...) whose target is not `padding_value`.

    Args:
        criterion: of rows, and their mean.
        padding_value: a target that counts for nothing.
    """

    def __init__(self, criterion: nn.Module, padding_value: int = 0, bigdl_type: str = "float") -> None:
        super().__init__()
        self.arguments = {"padding_value": padding_value}
        self.criterion = criterion

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        if x.shape[:2] != target.shape[:2]:
            raise UsageError(
                f"TimeDistributedMaskCriterion: output {tuple(x.shape)} and target {tuple(target.shape)} differ in "
                "rows or steps."
            )
        counted = target != self.arguments["padding_value"]
        counted = counted.flatten(2).any(-1) if counted.ndim > 2 else counted
        return self.criterion(x[counted], target[counted]) if bool(counted.any()) else 0 * x.sum()
