"""Penalties on weights, as values.

Owns: their factors.
Leaves: adding them to gradients (zoo.bigdl.nn.definition), Keras' own regularizers (zoo.pipeline.api.keras).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class L1L2Regularizer:
    """Adds ``l1 * sign(w) + l2 * w`` to the gradient of a weight: the penalty is l1 * |w| + l2 / 2 * w ** 2.

    Attributes:
        l1: factor of the first.
        l2: factor of the second.
    """

    l1: float = 0.0
    l2: float = 0.0


@dataclass(frozen=True)
class L1Regularizer(L1L2Regularizer):
    """The penalty l1 * |w|."""

    def __init__(self, l1: float, bigdl_type: str = "float") -> None:
        super().__init__(l1, 0.0)


@dataclass(frozen=True)
class L2Regularizer(L1L2Regularizer):
    """The penalty l2 / 2 * w ** 2."""

    def __init__(self, l2: float, bigdl_type: str = "float") -> None:
        super().__init__(0.0, l2)
