"""PyTorch's own modules, losses and optimizers where BigDL's are expected.

Owns: wrapping them, and giving them back.
Leaves: BigDL's words for layers and criteria (zoo.bigdl.nn), training (zoo.engine).
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import cloudpickle
import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from zoo.bigdl.nn.loss import Criterion
from zoo.bigdl.nn.module import Layer
from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch import weights

zoo_pickle_module = SimpleNamespace(
    __name__="zoo_pickle_module", Pickler=cloudpickle.Pickler, Unpickler=pickle.Unpickler, dump=cloudpickle.dump,
    dumps=cloudpickle.dumps, load=pickle.load, loads=pickle.loads,
)  # fmt: skip
"""For ``torch.save(..., pickle_module=zoo_pickle_module)``: functions and classes of a program go along by value."""

DECAYS = {"EpochDecay": "epoch", "IterationDecay": "batch", "EpochDecayByScore": "epoch"}


class TorchModel(Layer):
    """A torch module as a layer of BigDL: in `Sequential`, `NNEstimator`, `Optimizer`.

    Attributes:
        module: the user's own; training changes its weights.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        if not isinstance(module, torch.nn.Module):
            raise UsageError(f"TorchModel is made of a torch.nn.Module. Received: {module!r}")
        self.module = module

    @staticmethod
    def from_pytorch(model: Any) -> TorchModel:
        """Of a module, or of what makes one: a class or function without arguments.

        Raises:
            UsageError: something else, or a function that made something else.
        """
        return TorchModel(_made(model, "TorchModel"))

    def to_pytorch(self) -> torch.nn.Module:
        """The module, with the newest weights."""
        return self.module

    def compute(self, x: Any) -> Any:
        return self.module(*x) if isinstance(x, list | tuple) else self.module(x)

    def own_weights(self) -> list[tuple[str, torch.nn.Parameter]]:
        return list(self.module.named_parameters())

    def saveModel(self, modelPath: str, weightPath: str | None = None, over_write: bool = False) -> str:
        """Writes the module's weights, a ``state_dict``: its code goes into no file.

        Raises:
            UsageError: a file is there already; a path for weights beside it.
        """
        if weightPath is not None:
            raise UsageError(f"a TorchModel is saved as one file of weights. Received: weightPath={weightPath!r}")
        if not over_write and storage.exists(modelPath):
            raise UsageError(f"{storage.masked(modelPath)} is there already. Say over_write=True to replace it.")
        return weights.save(self.module, modelPath)

    def load(self, path: str) -> TorchModel:
        """Reads weights that `saveModel` has written; returns self."""
        weights.load(self.module, path)
        return self


class TorchLoss(Criterion):
    """A loss of torch as a criterion: ``forward(output, target)``, ``backward(output, target)`` on arrays, too."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function

    @staticmethod
    def from_pytorch(criterion: Any) -> TorchLoss:
        """Of a loss module or class, or of a function of (output, target).

        Raises:
            UsageError: something else.
        """
        made = criterion() if isinstance(criterion, type) else criterion
        if not callable(made):
            raise UsageError(f"TorchLoss is made of a loss of torch, or a function. Received: {criterion!r}")
        return TorchLoss(made)

    def loss(self, x: Any, target: Any) -> Any:
        return self.function(x, target)


class TorchOptim:
    """A torch optimizer, or a scheduler with its optimizer, for a model that is trained elsewhere.

    It is called as an optimizer creator, ``(model, config)``.

    Attributes:
        scheduler_step_freq: when the scheduler steps: ``"epoch"`` or ``"batch"``.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scheduler: Any = None, step_freq: str = "epoch") -> None:
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_step_freq = step_freq

    @staticmethod
    def from_pytorch(optim: Any, decayType: str = "EpochDecay") -> TorchOptim:
        """Of an optimizer, or of a scheduler.

        Args:
            optim: made from the model's parameters, or, with one group of parameters, from any.
            decayType: when a scheduler steps: ``"EpochDecay"``, ``"IterationDecay"``, or ``"EpochDecayByScore"``, which
                is told the validation score.

        Raises:
            UsageError: something else; another decay.
        """
        if decayType not in DECAYS:
            raise UsageError(f"decayType is one of {', '.join(DECAYS)}. Received: {decayType!r}")
        if isinstance(optim, torch.optim.Optimizer):
            return TorchOptim(optim)
        if isinstance(optim, LRScheduler):
            return TorchOptim(optim.optimizer, optim, DECAYS[decayType])
        raise UsageError(f"TorchOptim is made of a torch optimizer or scheduler. Received: {optim!r}")

    def __call__(self, model: torch.nn.Module, config: Mapping[str, Any] | None = None) -> torch.optim.Optimizer:
        """The optimizer, over the parameters of `model`: itself, where it is theirs already.

        Raises:
            UsageError: it has several groups of other parameters.
        """
        groups = self.optimizer.param_groups
        theirs = {id(parameter) for parameter in model.parameters()}
        if all(id(parameter) in theirs for group in groups for parameter in group["params"]):
            return self.optimizer
        if len(groups) != 1:
            raise UsageError(
                f"{type(self.optimizer).__name__} has {len(groups)} groups of parameters, and none are the model's: "
                "make it from the parameters of the model that is trained."
            )
        known = {name: groups[0][name] for name in self.optimizer.defaults}
        return type(self.optimizer)(model.parameters(), **known)

    @property
    def scheduler_creator(self) -> Callable[..., Any] | None:
        """``f(optimizer, config)`` -> the scheduler over another optimizer; None where there is no scheduler."""
        return None if self.scheduler is None else self._over

    def _over(self, optimizer: torch.optim.Optimizer, config: Mapping[str, Any]) -> Any:
        LambdaLR(optimizer, _unchanged)  # prepares the optimizer as a scheduler's constructor does
        made = copy.copy(self.scheduler)
        kept = {name: value for name, value in vars(self.scheduler).items() if name != "optimizer"}
        vars(made).update(copy.deepcopy(kept))
        made.optimizer = optimizer
        return made

    def __repr__(self) -> str:
        return f"TorchOptim({type(self.scheduler or self.optimizer).__name__})"


def _made(model: Any, owner: str) -> torch.nn.Module:
    made = model if isinstance(model, torch.nn.Module) or not callable(model) else model()
    if not isinstance(made, torch.nn.Module):
        raise UsageError(f"{owner} is made of a torch.nn.Module, or what makes one. Received: {model!r}")
    return made


def _unchanged(epoch: int) -> float:
    return 1.0


__all__ = ["TorchLoss", "TorchModel", "TorchOptim", "zoo_pickle_module"]
