"""Which axis a number means.

Owns: axes of tensors with a batch, counted as BigDL's layers in Python count them.
"""

from __future__ import annotations

from typing import Any

from zoo.engine.errors import UsageError


def axis_of(layer: Any, dim: int, axes: int) -> int:
    """The axis that `dim` means among so many; negative ones count from the end.

    Raises:
        UsageError: it is the batch, or beyond the last.
    """
    axis = dim + axes if dim < 0 else dim
    if not 0 < axis < axes:
        raise UsageError(
            f"{type(layer).__name__} '{layer.name}' takes an axis of 1 ... {axes - 1}; 0 is the batch. Received: {dim}"
        )
    return axis


def channels_axis(data_format: str) -> int:
    """Of a tensor with a batch."""
    return 1 if data_format == "channels_first" else -1


def spatial(shape: Any, data_format: str) -> tuple[int, ...]:
    """The axes that are neither batch nor channels."""
    axes = tuple(range(1, len(shape)))
    return axes[1:] if data_format == "channels_first" else axes[:-1]
