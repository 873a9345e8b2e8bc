"""Whose memory a checkpoint holds.

Owns: the optimizer's name among a state's values, refusing that of another one.
Leaves: the memory itself (frameworks), which could not tell: other optimizers may remember arrays of equal shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.engine.errors import UsageError

KIND = "optimizer_kind"
"""The value that names the optimizer's class. States of an older zoo lack it."""


def kind_of(optimizer: Any) -> dict[str, str]:
    """The value of an optimizer; empty for none."""
    return {} if optimizer is None else {KIND: type(optimizer).__name__}


def check_kind(values: Mapping[str, Any], optimizer: Any) -> None:
    """Refuses the memory of another optimizer.

    Args:
        values: of the state.
        optimizer: the framework's own, which would get it.

    Raises:
        UsageError: the state names another class.
    """
    before, now = values.get(KIND), type(optimizer).__name__
    if before is not None and before != now:
        raise UsageError(
            f"the checkpoint holds the memory of {before}, and the optimizer is now {now}. Go on with the optimizer "
            "and the arguments of then; to change it, begin with the trained model in place of the checkpoint."
        )
