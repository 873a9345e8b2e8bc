"""Where windows lie: SAME padding, channels first and last.

Owns: the arithmetic.
Leaves: layers (spatial, pooling).
"""

from __future__ import annotations

from torch import Tensor

from zoo.engine.errors import UsageError


def same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Entries in front and behind, so that there are ceil(size / stride) windows; the odd one is behind."""
    missing = max((-(-size // stride) - 1) * stride + window - size, 0)
    return missing // 2, missing - missing // 2


def checked_format(data_format: str, owner: str) -> bool:
    """Whether channels are last.

    Raises:
        UsageError: neither ``"NCHW"`` nor ``"NHWC"``.
    """
    if data_format not in ("NCHW", "NHWC"):
        raise UsageError(f"{owner}: the format is 'NCHW' or 'NHWC'. Received: {data_format!r}")
    return data_format == "NHWC"


def first(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W), and without B."""
    return x.movedim(-1, -3)


def last(x: Tensor) -> Tensor:
    """The way back."""
    return x.movedim(-3, -1)
