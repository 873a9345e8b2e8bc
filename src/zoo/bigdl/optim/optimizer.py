"""`zoo.bigdl.optim.optimizer`: the words that BigDL programs train with.

Owns: BigDL's own spellings.
Leaves: the optimizers, schedules and triggers themselves (zoo.engine), validation methods (validation), training
(training).
"""

from __future__ import annotations

import math
from typing import Any

from zoo.bigdl.optim.regularizers import L1L2Regularizer, L1Regularizer, L2Regularizer
from zoo.bigdl.optim.summary import TrainSummary, ValidationSummary
from zoo.bigdl.optim.training import DistriOptimizer, LocalOptimizer, Optimizer
from zoo.bigdl.optim.validation import MAE, MSE, EvaluatedResult, Loss, Top1Accuracy, Top5Accuracy
from zoo.engine import optim
from zoo.engine.optim import (
    LBFGS,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    Default,
    Exponential,
    Ftrl,
    MultiStep,
    ParallelAdam,
    Plateau,
    Poly,
    RMSprop,
    SequentialSchedule,
    Step,
    Warmup,
)
from zoo.engine.optim import Optimizer as OptimMethod
from zoo.engine.triggers import (
    EveryEpoch,
    MaxEpoch,
    MaxIteration,
    MaxScore,
    MinLoss,
    SeveralIteration,
    TriggerAnd,
    TriggerOr,
)

_NO_DAMPENING_GIVEN = 1.7976931348623157e308


def SGD(
    learningrate: float = 1e-3,
    learningrate_decay: float = 0.0,
    weightdecay: float = 0.0,
    momentum: float = 0.0,
    dampening: float | None = None,
    nesterov: bool = False,
    leaningrate_schedule: Any = None,
    learningrates: Any = None,
    weightdecays: Any = None,
    *,
    learningrate_schedule: Any = None,
    bigdl_type: str = "float",
) -> optim.SGD:
    """`zoo.engine.optim.SGD`, also by the name that BigDL misspells.

    Args:
        learningrate: of the first step.
        learningrate_decay: the rate of update n is lr / (1 + n * decay).
        weightdecay: factor of the L2 penalty.
        momentum: of the running mean of gradients.
        dampening: None, or the largest double, as BigDL's default is: equal to `momentum`.
        nesterov: needs a momentum above 0 and no dampening.
        leaningrate_schedule: as `learningrate_schedule`.
        learningrates: not supported; None.
        weightdecays: not supported; None.
        learningrate_schedule: takes the place of `learningrate_decay`.
        bigdl_type: accepted for older programs.
    """
    return optim.SGD(
        learningrate=learningrate,
        learningrate_decay=learningrate_decay,
        weightdecay=weightdecay,
        momentum=momentum,
        dampening=None if dampening is None or dampening >= _NO_DAMPENING_GIVEN else dampening,
        nesterov=nesterov,
        learningrate_schedule=leaningrate_schedule if learningrate_schedule is None else learningrate_schedule,
        learningrates=learningrates,
        weightdecays=weightdecays,
    )


def NaturalExp(decay_step: int, gamma: float) -> Exponential:
    """The rate lr * exp(-gamma * floor(i / decay_step))."""
    return Exponential(decay_step, math.exp(-gamma), stair_case=True)


__all__ = [
    "LBFGS", "MAE", "MSE", "SGD", "Adadelta", "Adagrad", "Adam", "Adamax", "Default", "DistriOptimizer",
    "EvaluatedResult", "EveryEpoch", "Exponential", "Ftrl", "L1L2Regularizer", "L1Regularizer", "L2Regularizer",
    "LocalOptimizer", "Loss", "MaxEpoch", "MaxIteration", "MaxScore", "MinLoss", "MultiStep", "NaturalExp",
    "OptimMethod", "Optimizer", "ParallelAdam", "Plateau", "Poly", "RMSprop", "SequentialSchedule", "SeveralIteration",
    "Step", "Top1Accuracy", "Top5Accuracy", "TrainSummary", "TriggerAnd", "TriggerOr",
    "ValidationSummary", "Warmup",
]  # fmt: skip
