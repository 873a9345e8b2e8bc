"""Models of other libraries that only compute: TorchScript, ONNX, graphs of TensorFlow.

Owns: rows in batches, the words of the call.
Leaves: reading and computing (engine.frameworks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from zoo.engine.errors import UsageError


class Computing(Protocol):
    """What a framework's model does."""

    def compute(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one batch."""
        ...


class ComputingNet:
    """A model that predicts in this process.

    Args:
        model: of a framework.
        inputs: how many arrays it takes; None if it does not tell.
    """

    def __init__(self, model: Computing, inputs: int | None = None) -> None:
        self.model = model
        self._inputs = inputs

    def predict(self, x: Any, batch_per_thread: int = 32, distributed: bool = False) -> Any:
        """The outputs for many rows.

        Args:
            x: an array, or a list of arrays for several inputs; axis 0 is the rows.
            batch_per_thread: rows computed at once.
            distributed: accepted for older programs; this process computes.

        Returns:
            an array, or a list of them for several outputs.

        Raises:
            UsageError: another number of arrays, or one whose shape does not fit.
        """
        arrays = [np.asarray(one) for one in (x if isinstance(x, list | tuple) else [x])]
        self._check(arrays, batch_per_thread)
        rows = len(arrays[0])
        starts = range(0, max(rows, 1), batch_per_thread)
        parts = [self.model.compute([a[start : start + batch_per_thread] for a in arrays]) for start in starts]
        found = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return found[0] if len(found) == 1 else found

    def forward(self, x: Any) -> Any:
        """The outputs of one batch."""
        return self.predict(x, max(1, len(x[0]) if isinstance(x, list | tuple) else len(x)))

    def _check(self, arrays: Sequence[np.ndarray], batch: int) -> None:
        if batch < 1:
            raise UsageError(f"batch_per_thread must be at least 1 row. Received: {batch}")
        if self._inputs is not None and len(arrays) != self._inputs:
            raise UsageError(f"the model takes {self._inputs} arrays. Received: {len(arrays)}")
        if len({len(array) for array in arrays}) != 1:
            raise UsageError(f"arrays of different numbers of rows: {', '.join(str(len(a)) for a in arrays)}")
