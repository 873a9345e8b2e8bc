"""How a model was compiled, as plain values in its file: the engine's optimizers, schedules and metrics.

Owns: dataclasses of a fixed list of classes -> JSON values, and back.
Leaves: what Keras describes itself (its optimizers, losses and metrics).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from zoo.engine import metrics, optim
from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.metrics import TreeNNAccuracy

_OPTIM = {name: getattr(optim, name) for name in optim.__all__}
_CLASSES: dict[str, Any] = {
    **{f"metrics.{made.__name__}": made for made in (*metrics.CLASSES, TreeNNAccuracy)},
    **{f"optim.{name}": made for name, made in _OPTIM.items() if dataclasses.is_dataclass(made)},
}
_NAMES = {made: name for name, made in _CLASSES.items()}


def described(value: Any) -> Any:
    """JSON values of an optimizer, a schedule or a metric; None for what has no description (a user's function)."""
    if isinstance(value, optim.SequentialSchedule):
        stages = [[described(schedule), length] for schedule, length in value.stages]
        return {"class": "optim.SequentialSchedule", "per_epoch": value.iteration_per_epoch, "stages": stages}
    kind = next((cls for cls in type(value).__mro__ if cls in _NAMES), None)
    if kind is not None:
        fields = {item.name: getattr(value, item.name) for item in dataclasses.fields(kind) if item.init}
        return {"class": _NAMES[kind], **{name: described(one) for name, one in fields.items()}}
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    return value if isinstance(value, bool | int | float | str | None) else None


def made(description: Any) -> Any:
    """The inverse of `described`.

    Raises:
        UsageError: a class that this version does not know.
    """
    if isinstance(description, list):
        return [made(one) for one in description]
    if not isinstance(description, dict):
        return description
    given = dict(description)
    name = given.pop("class", "")
    if name == "optim.SequentialSchedule":
        found = optim.SequentialSchedule(given["per_epoch"])
        for schedule, length in given["stages"]:
            found.add(made(schedule), length)
        return found
    if name not in _CLASSES:
        raise UsageError(f"the model was compiled with '{name}', which this version does not know; it may be newer.")
    return _CLASSES[name](**{key: made(one) for key, one in given.items()})
