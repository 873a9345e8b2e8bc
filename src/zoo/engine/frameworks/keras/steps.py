"""What each backend does for a replica: one small contract, three fulfilments.

Owns: the contract, and which module fulfils it for a backend.
Leaves: the order of things (replica).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np

from zoo.engine.contracts import Array
from zoo.engine.frameworks.keras.passes import Passes
from zoo.engine.frameworks.keras.structures import Data
from zoo.engine.optional import require

ALL, METRICS, OTHER = "all", "metrics", "other"
"""Groups of variables; `OTHER` are those of the model that are never trained."""

_HOMES = {
    "tensorflow": "zoo.engine.frameworks.keras.steps_tensorflow",
    "jax": "zoo.engine.frameworks.keras.steps_jax",
    "torch": "zoo.engine.frameworks.keras.steps_torch",
}


class Steps(Protocol):
    """Compiled passes over a model that is built, whose metrics and optimizer have their variables."""

    def train(self, data: Data) -> tuple[float, float]:
        """One whole step of a rank that is alone: (mean loss of the rows, the learning rate that was used)."""

    def gradients(self, data: Data | None) -> Array:
        """The rank's flat buffer (`Layout`), which may be changed in place; without data (None) all zeros."""

    def apply(self, flat: Array) -> float:
        """Changes weights and statistics by the averaged buffer of `gradients`; the learning rate that was used."""

    def score(self, data: Data) -> tuple[float, tuple[np.ndarray, ...]]:
        """(mean loss, outputs) in inference mode; the loss is NaN without labels or without a loss."""

    def predict(self, x: Any) -> tuple[np.ndarray, ...]:
        """The outputs in inference mode."""

    def values(self, group: str) -> list[Any]:
        """The variables of a group (`METRICS`, `OTHER`) as they are now."""

    def assign(self, group: str, values: Sequence[Any]) -> None:
        """Sets them."""

    def seed(self, number: int) -> None:
        """Sets the random numbers that no variable of the model holds."""

    def pull(self, group: str = ALL) -> None:
        """Brings what has changed (all of it, or `METRICS`) into the Keras variables."""

    def push(self, group: str = ALL) -> None:
        """Takes the Keras variables over (all of them, or those of `METRICS`), which others may have changed."""


def variables_of(passes: Passes, group: str) -> list[Any]:
    """The Keras variables of a group."""
    model = passes.model
    found: list[Any] = model.metrics_variables if group == METRICS else model.non_trainable_variables
    return found


def shared(array: Any) -> Any:
    """A torch tensor over the memory of another library's array (DLPack).

    Raises:
        MissingDependency: torch, through which ranks average gradients, is not installed.
    """
    dlpack = require("torch.utils.dlpack", extra="torch", because="ranks average their gradients with it")
    return dlpack.from_dlpack(array)


def steps_of(backend: str, passes: Passes) -> Steps:
    """The passes of a model, compiled for a backend."""
    return cast("Steps", importlib.import_module(_HOMES[backend]).CompiledSteps(passes))
