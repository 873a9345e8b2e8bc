"""Penalties on weights: ``W_regularizer=l2(0.01)``.

Owns: their names, and what is taken for one.
Leaves: computing them (Keras).
"""

from __future__ import annotations

from typing import Any

from zoo.pipeline.api.keras.engine.words import by_name, refuse
from zoo.pipeline.api.library import library

__all__ = ["l1", "l1l2", "l2"]


def l1(l1: float = 0.01) -> Any:
    """``l1 * sum(abs(w))``."""
    return library().regularizers.L1(l1)


def l2(l2: float = 0.01) -> Any:
    """``l2 * sum(w^2)``."""
    return library().regularizers.L2(l2)


def l1l2(l1: float = 0.01, l2: float = 0.01) -> Any:
    """``l1 * sum(abs(w)) + l2 * sum(w^2)``."""
    return library().regularizers.L1L2(l1, l2)


def regularizer(given: Any) -> Any:
    """Keras' regularizer for what a program gives to a layer.

    BigDL's own objects (`zoo.bigdl.optim.optimizer.L2Regularizer`) mean ``l2 / 2 * sum(w^2)``: the gradient is l2 * w.

    Args:
        given: None, one of Keras, "l1", "l2" or "l1l2", an object with numbers `l1` and `l2` of BigDL's, or a function
            of a tensor.

    Raises:
        UsageError: something else.
    """
    if given is None or isinstance(given, library().regularizers.Regularizer):
        return given
    if isinstance(given, str):
        return by_name(given, {"l1": l1, "l2": l2, "l1l2": l1l2})()
    if hasattr(given, "l1") or hasattr(given, "l2"):
        return l1l2(float(getattr(given, "l1", 0) or 0), float(getattr(given, "l2", 0) or 0) / 2)
    if callable(given):
        return given
    raise refuse("a regularizer, as zoo.pipeline.api.keras.regularizers.l2(0.01)", given)
