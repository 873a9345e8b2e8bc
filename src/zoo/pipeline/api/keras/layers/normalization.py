"""Normalization over a batch.

Owns: BatchNormalization, its running statistics.
Leaves: normalization within one image (torch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers.words import Given, Renamed, Word, layers


class BatchNormalization(Renamed, layers.BatchNormalization):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta for each channel, with statistics over the batch.

    In prediction the statistics are running ones: `momentum` is the share of the old value in each step.
    `axis` is the channels': 1 for 'th', -1 for 'tf' (where the default, 1, means it too).
    Weights: gamma, beta, each (channels,); `set_weights` also takes the running mean and variance behind them.
    """

    arguments = {"epsilon": 0.001, "mode": 0, "axis": 1, "momentum": 0.99, "beta_init": "zero", "gamma_init": "one",
                 "dim_ordering": "th"}  # fmt: skip
    words = {"epsilon": Word("epsilon", float), "momentum": Word("momentum", float)}
    kept = ("mode", "dim_ordering")

    @classmethod
    def checked(cls, given: Given) -> None:
        if given.mode != 0:
            raise UsageError(
                f"BatchNormalization: mode must be 0, statistics for each channel. Received: {given.mode!r}"
            )
        if given.axis not in ((1,) if given.dim_ordering == "channels_first" else (1, 2, 3, 4, -1)):
            raise UsageError(
                "BatchNormalization: axis must be that of the channels: 1 with dim_ordering='th', -1 with 'tf'. "
                f"Received: {given.axis!r}"
            )

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        return super().passed_on(given) | {"axis": 1 if given.dim_ordering == "channels_first" else -1}

    def to_bigdl(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        return weights[:2]

    def from_bigdl(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        return [*weights, self.get_running_mean(), self.get_running_std()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Takes gamma and beta, and, behind them, the running mean and variance, if they shall change."""
        if len(weights) == 4:
            self.set_running_mean(weights[2])
            self.set_running_std(weights[3])
        super().set_weights(weights[:2])

    def get_running_mean(self) -> np.ndarray:
        """(channels,)."""
        return np.asarray(self.moving_mean.numpy())

    def get_running_std(self) -> np.ndarray:
        """The running variance, (channels,): BigDL calls it so."""
        return np.asarray(self.moving_variance.numpy())

    def set_running_mean(self, running_mean: Any) -> BatchNormalization:
        """(channels,)."""
        self.moving_mean.assign(np.asarray(running_mean))
        return self

    def set_running_std(self, running_std: Any) -> BatchNormalization:
        """The running variance, (channels,)."""
        self.moving_variance.assign(np.asarray(running_std))
        return self


__all__ = ["BatchNormalization"]
