"""`Criterion`: a loss of torch with BigDL's words, and how one is defined.

    @criterion
    def MSECriterion(size_average=True):
        \"\"\"The mean of (x - y) ** 2.\"\"\"
        return nn.MSELoss()

Owns: forward and backward on arrays, arguments and errors, labels that count from 1.
Leaves: the losses (criterion).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.bigdl.nn import activities
from zoo.bigdl.nn.definition import bound
from zoo.engine.errors import DataError, UsageError


class Criterion(nn.Module):
    """A loss: ``criterion(output, target)`` of tensors is a scalar tensor, as torch and all estimators call it.

    Attributes:
        arguments: what the constructor was given, by name.
        one_based: whether targets are classes that count from 1.
    """

    one_based: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {}

    def forward(self, input: Any, target: Any) -> Any:
        """The loss.

        Args:
            input: the model's output: a tensor or array, or a table of them.
            target: what it should have been, likewise.

        Returns:
            a scalar tensor; a float where an array was given.

        Raises:
            UsageError: shapes that do not fit.
            DataError: a class that is none.
        """
        if activities.are_arrays(input) or activities.are_arrays(target):
            with torch.no_grad():
                return float(self.loss(_floats(input), activities.to_tensors(target)))
        return self.loss(input, target)

    def backward(self, input: Any, target: Any) -> Any:
        """The gradient of the loss with respect to `input`: an array, or a list of them for a table."""
        tensors = activities.mapped(lambda one: one.detach().requires_grad_(), _floats(input))
        with torch.enable_grad():
            self.loss(tensors, activities.to_tensors(target)).backward()
        return activities.to_arrays(
            activities.mapped(lambda one: torch.zeros_like(one) if one.grad is None else one.grad, tensors)
        )

    def loss(self, x: Any, target: Any) -> Tensor:
        """Of tensors; each criterion says how."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its loss is: define loss(self, x, target).")


class Defined(Criterion):
    """A criterion that one function of (output, target) computes."""

    definition: ClassVar[Callable[..., Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.arguments = bound(type(self).__name__, type(self).definition, args, kwargs)
        self.function = type(self).definition(**self.arguments)

    def loss(self, x: Any, target: Any) -> Tensor:
        return self.function(x, target)

    def extra_repr(self) -> str:
        """What torch prints of it."""
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items() if value is not None)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"function": None}  # made anew: functions do not pickle

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.function = type(self).definition(**self.arguments)


def criterion(function: Callable[..., Any] | None = None, *, one_based: bool = False) -> Any:
    """Makes a criterion's class of the function that defines it.

    Args:
        function: its name, signature and docstring are the class's; it returns a function of (output, target).
        one_based: whether targets are classes that count from 1.
    """
    if function is None:
        return functools.partial(criterion, one_based=one_based)
    members = {
        "definition": staticmethod(function),
        "one_based": one_based,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__name__,
        "__signature__": inspect.signature(function),
    }
    return type(function.__name__, (Defined,), members)


def classes(x: Tensor, target: Tensor, owner: str, ignored: float | None = None) -> Tensor:
    """Targets from 1 as torch's from 0, of one axis less than `x`; ignored ones are -100.

    Args:
        x: scores, (B, C, ...) or (C,).
        target: (B, ...), or with an axis of one entry: (B, 1).
        owner: the criterion, for the error.
        ignored: a target that counts for nothing.

    Raises:
        UsageError: another number of targets.
        DataError: a target that is none of 1 ... C.
    """
    axis = min(1, x.ndim - 1)
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    if target.numel() != x.numel() // max(x.shape[axis], 1):
        raise UsageError(f"{owner}: scores {tuple(x.shape)} take classes {shape}. Received: {tuple(target.shape)}")
    whole = target.reshape(shape).long()
    left_out = None if ignored is None else whole == int(ignored)
    counted = whole if left_out is None else whole[~left_out]
    if counted.numel() and not 1 <= int(counted.min()) <= int(counted.max()) <= x.shape[axis]:
        raise DataError(
            f"{owner}: classes count from 1, here to {x.shape[axis]}. Received classes from {int(counted.min())} to "
            f"{int(counted.max())}: add 1 to labels that count from 0."
        )
    return whole - 1 if left_out is None else torch.where(left_out, -100, whole - 1)


def alike(x: Tensor, target: Tensor, owner: str) -> Tensor:
    """The target in the shape and type of `x`.

    Raises:
        UsageError: it has another number of elements.
    """
    if target.numel() != x.numel():
        raise UsageError(f"{owner}: output {tuple(x.shape)} and target {tuple(target.shape)} differ in size.")
    return target.reshape(x.shape).to(x.dtype)


def table(x: Any, owner: str, count: int | None = None) -> Any:
    """`x`, checked to be a table.

    Raises:
        UsageError: it is none, or of another length.
    """
    if not isinstance(x, list | tuple) or (count is not None and len(x) != count):
        told = f"{len(x)} tensors" if isinstance(x, list | tuple) else "one tensor"
        raise UsageError(f"{owner} takes a table of {count or 'several'} tensors. Received: {told}")
    return x


def _floats(activity: Any) -> Any:
    return activities.mapped(
        lambda one: one if one.is_floating_point() else one.float(), activities.to_tensors(activity)
    )
