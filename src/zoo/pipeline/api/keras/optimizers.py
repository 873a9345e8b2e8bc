"""Optimizers of the Keras-style API.

Owns: their names and arguments, what ``compile`` takes for an optimizer.
Leaves: what they do (zoo.engine.optim).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zoo.engine import optim
from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.words import Unsupported

__all__ = ["Adam", "AdamWeightDecay", "PolyEpochDecay"]


def Adam(
    lr: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, decay: float = 0.0,
    schedule: optim.Schedule | None = None, weight_decay: float = 0.0,
) -> optim.ScheduledAdam:  # fmt: skip
    """Adam.

    Args:
        lr: the learning rate of the first step.
        beta_1: of the running mean of gradients.
        beta_2: of the running mean of their squares.
        epsilon: added to what the step is divided by.
        decay: the rate of step n is ``lr / (1 + n * decay)``, where there is no schedule.
        schedule: of the rate: of `zoo.orca.learn.optimizers.schedule`, or a `PolyEpochDecay`.
        weight_decay: factor of the L2 penalty.

    Raises:
        UsageError: an argument out of its range.
    """
    return optim.ScheduledAdam(lr, decay, beta_1, beta_2, epsilon, schedule, weight_decay)


def AdamWeightDecay(
    lr: float = 0.001, warmup_portion: float = -1.0, total: int = -1, schedule: str = "linear", beta1: float = 0.9,
    beta2: float = 0.999, epsilon: float = 1e-6, weight_decay: float = 0.01,
) -> optim.AdamWeightDecay:  # fmt: skip
    """Adam without bias correction and with decay beside the gradient, as BERT was trained with it.

    Args:
        lr: the highest learning rate.
        warmup_portion: the share of `total` over which the rate rises; -1 for none.
        total: steps of the training; -1: the rate stays.
        schedule: how it falls after the rise: ``"linear"``, ``"cosine"`` or ``"constant"``.
        beta1: of the running mean of gradients.
        beta2: of the running mean of their squares.
        epsilon: added to what the step is divided by.
        weight_decay: the share of the weights that a step takes off, times the rate.

    Raises:
        UsageError: an argument out of its range, or a warm-up without `total`.
    """
    if total == -1 and warmup_portion > 0:
        raise UsageError(f"AdamWeightDecay: warmup_portion={warmup_portion} is a share of total: give total, in steps.")
    rates = None if total == -1 else optim.WarmupDecay(max(warmup_portion, 0.0), total, schedule)
    return optim.AdamWeightDecay(lr, beta1, beta2, epsilon, weight_decay, rates)


def PolyEpochDecay(power: float, max_epochs: int) -> optim.PolyEpoch:
    """A schedule: ``lr * (1 - epochs done / max_epochs) ** power``.

    Args:
        power: of the fall.
        max_epochs: from which on the rate is 0.
    """
    return optim.PolyEpoch(power, max_epochs)


NAMES: Mapping[str, Callable[[], optim.Optimizer]] = {  # with the defaults of Keras 1
    "sgd": lambda: optim.SGD(0.01),
    "adam": optim.Adam,
    "adamax": lambda: optim.Adamax(0.002, epsilon=1e-8),
    "adagrad": lambda: optim.Adagrad(0.01),
    "adadelta": lambda: optim.Adadelta(0.95, 1e-8),
    "rmsprop": lambda: optim.RMSprop(0.001, decayrate=0.9),
}


def optim_method(given: Any) -> Any:
    """What trains a model: an optimizer of `zoo.engine.optim`, or one of Keras.

    Args:
        given: a name, or one of these.

    Raises:
        Unsupported: something else.
    """
    if isinstance(given, str):
        if given.lower() not in NAMES:
            raise Unsupported.among("optimizer", given, NAMES)
        return NAMES[given.lower()]()
    if isinstance(given, optim.Optimizer) or (hasattr(given, "apply_gradients") and not isinstance(given, type)):
        return given
    raise Unsupported.among("optimizer", given, NAMES)
