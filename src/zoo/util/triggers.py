"""Old address of the triggers; they live in `zoo.engine.triggers`."""

from zoo.engine.triggers import (
    EveryEpoch,
    MaxEpoch,
    MaxIteration,
    MaxScore,
    MinLoss,
    Never,
    SeveralIteration,
    Trigger,
    TriggerAnd,
    TriggerOr,
)

__all__ = [
    "EveryEpoch",
    "MaxEpoch",
    "MaxIteration",
    "MaxScore",
    "MinLoss",
    "Never",
    "SeveralIteration",
    "Trigger",
    "TriggerAnd",
    "TriggerOr",
]
