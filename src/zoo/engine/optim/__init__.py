"""How weights are changed, in words: optimizers, schedules of the learning rate, gradient clipping. No framework here.

rates = SequentialSchedule(100).add(Warmup(0.01), 500).add(Poly(2, 9500), 9500)
SGD(0.1, momentum=0.9, learningrate_schedule=rates)
"""

from zoo.engine.optim.optimizers import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamWeightDecay,
    Clip,
    ConstantClip,
    Ftrl,
    NormClip,
    Optimizer,
    ParallelAdam,
    RMSprop,
    ScheduledAdam,
)
from zoo.engine.optim.rates import RateControl
from zoo.engine.optim.schedules import (
    Default,
    Exponential,
    MultiStep,
    Plateau,
    Poly,
    PolyEpoch,
    Schedule,
    Scheduler,
    SequentialSchedule,
    Step,
    Warmup,
    WarmupDecay,
)

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamWeightDecay",
    "Adamax",
    "Clip",
    "ConstantClip",
    "Default",
    "Exponential",
    "Ftrl",
    "LBFGS",
    "MultiStep",
    "NormClip",
    "Optimizer",
    "ParallelAdam",
    "Plateau",
    "Poly",
    "PolyEpoch",
    "RMSprop",
    "RateControl",
    "SGD",
    "Schedule",
    "ScheduledAdam",
    "Scheduler",
    "SequentialSchedule",
    "Step",
    "Warmup",
    "WarmupDecay",
]
