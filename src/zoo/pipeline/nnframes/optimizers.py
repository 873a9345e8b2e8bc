"""The optimizer of a fit, with the rate that a stage's parameters give it.

Owns: names, rates that overrule an optimizer's own.
Leaves: what optimizers are (zoo.engine.optim, Keras, torch).
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from zoo.engine import optim
from zoo.engine.errors import UsageError
from zoo.pipeline.nnframes.criteria import is_of


def optimizer_of(given: Any, rate: float | None, decay: float | None) -> Any:
    """What to train with.

    Args:
        given: an optimizer of `zoo.orca.learn.optimizers`, its name, or one of the model's own framework.
        rate: in place of its own; None for its own.
        decay: of the rate at update n, lr / (1 + n * decay); likewise.

    Raises:
        UsageError: an unknown name, or a rate for an optimizer that takes none.
    """
    found = _named(given) if isinstance(given, str) else given
    if hasattr(found, "get_optimizer"):
        found = found.get_optimizer()
    if rate is None and decay is None:
        return found
    if isinstance(found, optim.Optimizer) and dataclasses.is_dataclass(found):
        return _replaced(found, {"learningrate": rate, "learningrate_decay": decay})
    if decay is not None:
        raise UsageError(
            f"setLearningRateDecay is for optimizers of zoo.orca.learn.optimizers, e.g. SGD(). Received: {found!r}"
        )
    if is_of(found, "keras."):
        made = type(found).from_config(found.get_config())
        made.learning_rate = rate
        return made
    if is_of(found, "torch.optim"):
        made = copy.copy(found)
        made.param_groups = [group | {"lr": rate} for group in found.param_groups]
        return made
    raise UsageError(f"setLearningRate cannot tell {found!r} its rate: give the rate to the optimizer itself.")


def _replaced(found: Any, changes: dict[str, float | None]) -> Any:
    asked = {name: value for name, value in changes.items() if value is not None}
    known = {field.name for field in dataclasses.fields(found)}
    if unknown := sorted(asked.keys() - known):
        raise UsageError(f"{type(found).__name__} has no {', '.join(unknown)}. Clear it, or give another optimizer.")
    return dataclasses.replace(found, **asked)


def _named(name: str) -> Any:
    kinds = {kind.__name__.lower(): kind for kind in vars(optim).values() if _is_kind(kind)}
    if name.lower() not in kinds:
        raise UsageError(f"no optimizer is called {name!r}. Known names: {', '.join(sorted(kinds))}")
    return kinds[name.lower()]()


def _is_kind(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, optim.Optimizer) and thing is not optim.Optimizer
