"""Old address of the triggers; they live in `zoo.engine.triggers`."""

from zoo.engine.triggers import EveryEpoch, SeveralIteration, Trigger

__all__ = ["EveryEpoch", "SeveralIteration", "Trigger"]
