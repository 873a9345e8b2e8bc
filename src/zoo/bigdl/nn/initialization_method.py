"""How weights begin: values for `set_init_method`.

Owns: the distributions and their scales.
Leaves: which weights a layer has (definition).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.engine.errors import UsageError


class InitializationMethod(ABC):
    """Fills a weight, by the layer's numbers of inputs and outputs."""

    def fill(self, weight: Tensor, fans: tuple[int, int]) -> None:
        """Changes `weight` in place; `fans` are (fan_in, fan_out) of its layer."""
        with torch.no_grad():
            self.draw(weight, fans)

    @abstractmethod
    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        """As `fill`, outside of autograd."""


@dataclass(frozen=True)
class Zeros(InitializationMethod):
    """All 0."""

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        weight.zero_()


@dataclass(frozen=True)
class Ones(InitializationMethod):
    """All 1."""

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        weight.fill_(1)


@dataclass(frozen=True)
class ConstInitMethod(InitializationMethod):
    """All `value`."""

    value: float

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        weight.fill_(self.value)


@dataclass(frozen=True)
class RandomUniform(InitializationMethod):
    """Uniform between the two bounds, in any order; by default within 1 / sqrt(fan_in) of 0."""

    upper: float | None = None
    lower: float | None = None

    def __post_init__(self) -> None:
        if (self.upper is None) != (self.lower is None):
            raise UsageError(f"RandomUniform takes both bounds or none. Received: {self.upper}, {self.lower}")

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        bound = 1 / math.sqrt(max(fans[0], 1))
        one, other = (-bound, bound) if self.upper is None or self.lower is None else (self.upper, self.lower)
        weight.uniform_(min(one, other), max(one, other))


@dataclass(frozen=True)
class RandomNormal(InitializationMethod):
    """Normal, with this mean and standard deviation."""

    mean: float
    stdv: float

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        weight.normal_(self.mean, self.stdv)


@dataclass(frozen=True)
class Xavier(InitializationMethod):
    """Uniform within sqrt(6 / (fan_in + fan_out)) of 0. Source: Glorot and Bengio, AISTATS 2010."""

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        bound = math.sqrt(6 / max(sum(fans), 1))
        weight.uniform_(-bound, bound)


@dataclass(frozen=True)
class MsraFiller(InitializationMethod):
    """Normal with variance 2 / n. Source: He et al., ICCV 2015.

    Attributes:
        variance_norm_average: n is the mean of fan_in and fan_out; else fan_in.
    """

    variance_norm_average: bool = True

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        n = sum(fans) / 2 if self.variance_norm_average else fans[0]
        weight.normal_(0, math.sqrt(2 / max(n, 1)))


@dataclass(frozen=True)
class BilinearFiller(InitializationMethod):
    """Kernels (..., k, k) that enlarge by bilinear interpolation, for `SpatialFullConvolution`."""

    def draw(self, weight: Tensor, fans: tuple[int, int]) -> None:
        height, width = weight.shape[-2:] if weight.ndim >= 2 else (0, 1)
        if height != width:
            raise UsageError(f"BilinearFiller fills square kernels. Received a weight of {tuple(weight.shape)}")
        factor = math.ceil(width / 2)
        centre = (2 * factor - 1 - factor % 2) / (2 * factor)
        ramp = 1 - (torch.arange(width) / factor - centre).abs()
        weight.copy_(torch.outer(ramp, ramp).expand_as(weight))


__all__ = [
    "BilinearFiller", "ConstInitMethod", "InitializationMethod", "MsraFiller", "Ones", "RandomNormal", "RandomUniform",
    "Xavier", "Zeros",
]  # fmt: skip
