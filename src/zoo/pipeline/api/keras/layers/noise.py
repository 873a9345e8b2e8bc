"""Noise in training, and random layers.

Owns: Gaussian noise and dropout, sampling from a normal distribution.
Leaves: dropout (core).
"""

from __future__ import annotations

from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers.words import REQUIRED, Layer, Renamed, Spelt, keras, layers

ops = keras.ops


class GaussianNoise(Renamed, layers.GaussianNoise):
    """In training, adds noise with the standard deviation `sigma`."""

    arguments = {"sigma": REQUIRED}


class GaussianDropout(Renamed, layers.GaussianDropout):
    """In training, multiplies by noise with the mean 1 and the standard deviation sqrt(p / (1 - p))."""

    arguments = {"p": REQUIRED}


class GaussianSampler(Spelt, Layer):
    """[mean, log of the variance] -> a sample of that normal distribution, of their shape, in each pass."""

    arguments: dict[str, Any] = {}

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list | tuple) or len(input_shape) != 2 or input_shape[0] != input_shape[1]:
            raise UsageError(
                f"GaussianSampler '{self.name}' takes two tensors of one shape: mean, log of the variance. "
                f"Received: {input_shape}"
            )
        self.seeds = keras.random.SeedGenerator()

    def call(self, inputs: Any) -> Any:
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), dtype=self.compute_dtype, seed=self.seeds)
        return mean + ops.exp(log_variance / 2) * noise

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape[0])


__all__ = ["GaussianDropout", "GaussianNoise", "GaussianSampler"]
