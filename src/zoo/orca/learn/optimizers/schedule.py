"""Old address of the schedules; they live in `zoo.engine.optim`."""

from zoo.engine.optim import Default, Exponential, MultiStep, Plateau, Poly, Scheduler, SequentialSchedule, Step, Warmup

__all__ = [
    "Default",
    "Exponential",
    "MultiStep",
    "Plateau",
    "Poly",
    "Scheduler",
    "SequentialSchedule",
    "Step",
    "Warmup",
]
