"""Weights that are frozen or trained again between two fits.

An optimizer has its memory by the places of the weights that it trains: of other weights it would be nonsense.

Owns: noticing, and optimizers without memory.
Leaves: freezing itself (Keras' `trainable`), what becomes of the memory that the estimator holds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zoo.engine.contracts import State


def trained_weights(model: Any) -> tuple[Any, ...]:
    """The variables that training changes; none of a model that has not been built, or of a function that makes one."""
    return tuple(model.trainable_variables) if getattr(model, "built", False) else ()


def differ(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether they are not the very same variables."""
    return [id(variable) for variable in before] != [id(variable) for variable in now]


def renew_optimizer(model: Any) -> None:
    """Gives the model an optimizer without memory, where its own was built for other weights than it trains now."""
    optimizer = getattr(model, "optimizer", None)
    known = tuple(getattr(optimizer, "_trainable_variables", ()))
    if optimizer is not None and known and differ(known, trained_weights(model)):
        model.optimizer = type(optimizer).from_config(optimizer.get_config())


def without_optimizer(state: State) -> State:
    """The weights and random numbers alone."""
    return replace(state, arrays={name: a for name, a in state.arrays.items() if not name.startswith("optimizer/")})
