"""Optimizers and gradient clipping, in words: values that every framework translates into its own.

Owns: names, arguments, defaults and checks.
Leaves: the mathematics of an update (each framework's own `optim`), the rate of each step (schedules).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from zoo.engine.errors import UsageError
from zoo.engine.optim.arguments import (
    Absent,
    Count,
    Fraction,
    NotNegative,
    NotPositive,
    Number,
    Positive,
    check,
    is_number,
)
from zoo.engine.optim.schedules import Default, Schedule


@dataclass(frozen=True)
class ConstantClip:
    """Each element of the gradient is kept within [min, max]."""

    min: Number
    max: Number

    def __post_init__(self) -> None:
        check(self)
        if self.min > self.max:
            raise UsageError(f"ConstantClip: min must not be above max. Received: min={self.min}, max={self.max}")


@dataclass(frozen=True)
class NormClip:
    """The whole gradient is scaled down to the L2 norm `max_norm` where it is longer."""

    max_norm: Positive

    def __post_init__(self) -> None:
        check(self)


Clip: TypeAlias = ConstantClip | NormClip


class Optimizer:
    """What to do with gradients, in words. `learningrate_decay`: the rate of update n is lr / (1 + n * decay)."""

    def __post_init__(self) -> None:
        check(self)

    def get_optimizer(self) -> Optimizer:
        """This optimizer (the old API had another one underneath)."""
        return self

    def schedule(self) -> Schedule:
        """The schedule of its rate. Any but `Default()` takes the place of `learningrate_decay`."""
        given = getattr(self, "learningrate_schedule", None)
        if given is None or given == Default():
            return Default(getattr(self, "learningrate_decay", 0.0))
        return given  # type: ignore[no-any-return]  # checked by SGD


def check_schedule(given: object, optimizer: str) -> None:
    """Refuses what is neither None nor a schedule.

    Args:
        given: as `learningrate_schedule`.
        optimizer: its name, for the error.
    """
    if not isinstance(given, Schedule | None):
        raise UsageError(
            f"{optimizer}: learningrate_schedule must be one of zoo.orca.learn.optimizers.schedule. Received: {given!r}"
        )


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent.

    Args:
        learningrate: of the first step.
        weightdecay: factor of the L2 penalty.
        dampening: of the momentum: v = momentum * v + (1 - dampening) * g. None: equal to `momentum`, so that v is a
            running mean of gradients; with `nesterov`, which allows no dampening, 0.
        nesterov: needs a momentum above 0 and no dampening.
        learningrate_schedule: takes the place of `learningrate_decay`.
        learningrates, weightdecays: not supported; None.
    """

    learningrate: Positive = 1e-3
    learningrate_decay: NotNegative = 0.0
    weightdecay: NotNegative = 0.0
    momentum: NotNegative = 0.0
    dampening: float | None = None
    nesterov: bool = False
    learningrate_schedule: Schedule | None = None
    learningrates: Absent = None
    weightdecays: Absent = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dampening is not None and not is_number(self.dampening):
            raise UsageError(f"SGD: dampening must be a finite number or None. Received: {self.dampening!r}")
        if self.nesterov and (self.momentum == 0 or self.dampening):
            raise UsageError(
                "SGD: nesterov needs a momentum above 0 and no dampening (0 or None). "
                f"Received: momentum={self.momentum}, dampening={self.dampening}"
            )
        check_schedule(self.learningrate_schedule, "SGD")


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Source: Duchi et al., JMLR 2011."""

    learningrate: Positive = 1e-3
    learningrate_decay: NotNegative = 0.0
    weightdecay: NotNegative = 0.0


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS. It evaluates the loss several times a step, so few frameworks can run it in parallel."""

    max_iter: Count = 20
    max_eval: float = math.inf
    tolfun: NotNegative = 1e-5
    tolx: NotNegative = 1e-9
    ncorrection: Count = 100
    learningrate: Positive = 1.0
    verbose: bool = False
    linesearch: Any = None
    linesearch_options: Any = None


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """Source: Zeiler, arXiv:1212.5701. It has no learning rate (it is 1)."""

    decayrate: Fraction = 0.9
    epsilon: Positive = 1e-10


@dataclass(frozen=True)
class Adam(Optimizer):
    """Source: Kingma and Ba, ICLR 2015."""

    learningrate: Positive = 1e-3
    learningrate_decay: NotNegative = 0.0
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8


@dataclass(frozen=True)
class ScheduledAdam(Adam):
    """`Adam` with a schedule and an L2 penalty, which the Keras-style API gives it.

    Args:
        learningrate_schedule: takes the place of `learningrate_decay`.
        weightdecay: factor of the L2 penalty.
    """

    learningrate_schedule: Schedule | None = None
    weightdecay: NotNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule(self.learningrate_schedule, "Adam")


@dataclass(frozen=True)
class AdamWeightDecay(Optimizer):
    """Adam as BERT was trained with it: moments without bias correction, and decay beside the gradient.

    w' = w - lr * (m / (sqrt(v) + epsilon) + decay * w). Source: Devlin et al., NAACL 2019; Loshchilov and Hutter,
    ICLR 2019.

    Args:
        decay: the weights' share that is taken off, times the rate; no L2 penalty.
        learningrate_schedule: of the rate; see `WarmupDecay`.
    """

    learningrate: Positive = 1e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-6
    decay: NotNegative = 0.01
    learningrate_schedule: Schedule | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule(self.learningrate_schedule, "AdamWeightDecay")


@dataclass(frozen=True)
class ParallelAdam(Optimizer):
    """`Adam`. `parallel_num`, once its number of threads (-1: all cores), changes nothing: a rank has its threads."""

    learningrate: Positive = 1e-3
    learningrate_decay: NotNegative = 0.0
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    parallel_num: int = -1


@dataclass(frozen=True)
class Ftrl(Optimizer):
    """Follow the regularised leader. Source: McMahan et al., KDD 2013, with the L2 shrinkage of TensorFlow's."""

    learningrate: Positive = 1e-3
    learningrate_power: NotPositive = -0.5
    initial_accumulator_value: NotNegative = 0.1
    l1_regularization_strength: NotNegative = 0.0
    l2_regularization_strength: NotNegative = 0.0
    l2_shrinkage_regularization_strength: NotNegative = 0.0


@dataclass(frozen=True)
class Adamax(Optimizer):
    """Adam with the infinity norm. Source: Kingma and Ba, ICLR 2015, sec. 7.1."""

    learningrate: Positive = 2e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-38


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Source: Hinton, Coursera lecture 6e, 2012."""

    learningrate: Positive = 1e-2
    learningrate_decay: NotNegative = 0.0
    decayrate: Fraction = 0.99
    epsilon: Positive = 1e-8
