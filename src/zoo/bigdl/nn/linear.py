"""Layers with weights for rows of features, and embeddings.

Owns: their formulas and layouts.
Leaves: images (spatial), sequences (recurrent).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bigdl.nn.definition import layer
from zoo.engine.errors import DataError, UsageError

DOUBLE_MAX = 1.7976931348623157e308
"""What BigDL programs pass where there is no limit."""


@layer
def Linear(
    input_size, output_size, with_bias=True, wRegularizer=None, bRegularizer=None,
    init_weight=None, init_bias=None, init_grad_weight=None, init_grad_bias=None,
):  # fmt: skip
    """X W' + b: (..., input_size) -> (..., output_size); weight (output_size, input_size).

    Args:
        input_size: features of a row.
        output_size: of the result.
        with_bias: whether b is added.
        wRegularizer: a penalty on the weight, of `zoo.bigdl.optim.optimizer`.
        bRegularizer: likewise on the bias.
        init_weight: first weights.
        init_bias: likewise.
        init_grad_weight: first gradients.
        init_grad_bias: likewise.
    """
    return nn.Linear(input_size, output_size, bias=with_bias)


@layer
def Bilinear(input_size1, input_size2, output_size, bias_res=True, wRegularizer=None, bRegularizer=None):
    """Of a table of two, (B, input_size1) and (B, input_size2): x1' W_k x2 + b_k -> (B, output_size)."""
    return _Pair(input_size1, input_size2, output_size, bias=bias_res)


@layer
def Add(input_size):
    """X + bias, with a bias of input_size numbers."""
    return _Affine((), (input_size,), bound=1 / math.sqrt(input_size))


@layer
def Mul():
    """X * weight, with one number."""
    return _Affine((1,), (), bound=1.0)


@layer
def CMul(size, wRegularizer=None, init_weight=None):
    """X * weight, with a weight of this shape that stretches over the batch."""
    return _Affine(tuple(size), (), bound=1 / math.sqrt(math.prod(size)))


@layer
def CAdd(size, bRegularizer=None, init_bias=None):
    """X + bias, with a bias of this shape that stretches over the batch."""
    return _Affine((), tuple(size), bound=1 / math.sqrt(math.prod(size)))


@layer
def Scale(size):
    """X * weight + bias, of this shape."""
    return _Affine(tuple(size), tuple(size), bound=1 / math.sqrt(math.prod(size)))


@layer
def Cosine(input_size, output_size, init_weight=None):
    """The cosine of x and each row of the weight: (B, input_size) -> (B, output_size)."""
    return _Rows(input_size, output_size, _cosine)


@layer
def Euclidean(input_size, output_size, fast_backward=True, init_weight=None):
    """The distance of x to each row of the weight: (B, input_size) -> (B, output_size)."""
    return _Rows(input_size, output_size, _distance)


@layer
def Maxout(input_size, output_size, maxout_number, with_bias=True, w_regularizer=None, b_regularizer=None):
    """The largest of maxout_number linear maps: (B, input_size) -> (B, output_size)."""
    return _Maxout(input_size, output_size * maxout_number, maxout_number, with_bias)


@layer
def Highway(size, with_bias=True, activation=None, wRegularizer=None, bRegularizer=None):
    """T * a(W x) + (1 - t) * x with the gate t = sigmoid(W_t x). Source: Srivastava et al., arXiv:1505.00387.

    Args:
        size: of x.
        with_bias: whether both maps have a bias; the gate's begins at -1.
        activation: a layer; None for none.
        wRegularizer: a penalty on W.
        bRegularizer: likewise on its bias.
    """
    return _Highway(size, with_bias, activation)


@layer(integers=True)
def LookupTable(
    n_index, n_output, padding_value=0.0, max_norm=DOUBLE_MAX, norm_type=2.0, should_scale_grad_by_freq=False,
    wRegularizer=None,
):  # fmt: skip
    """Rows of the weight (n_index, n_output), by numbers from 1: (B, T) -> (B, T, n_output).

    Args:
        n_index: how many rows.
        n_output: of each row.
        padding_value: the number whose row is 0 and not trained; 0 for none.
        max_norm: longer rows are scaled to it when they are used; the weight itself stays as it is.
        norm_type: which norm.
        should_scale_grad_by_freq: whether gradients are divided by how often a row is in the batch.
        wRegularizer: a penalty on the weight.
    """
    limit = None if max_norm >= DOUBLE_MAX else max_norm
    padding = int(padding_value)
    if not 0 <= padding <= n_index:
        raise UsageError(f"LookupTable: padding_value is 0 or one of 1 ... {n_index}. Received: {padding_value}")
    return _Lookup(n_index, n_output, padding - 1 if padding else None, limit, norm_type, should_scale_grad_by_freq)


# --- what they are made of -------------------------------------------------------------------------------------------


class _Pair(nn.Bilinear):
    """Of a table."""

    def forward(self, x: Any) -> Tensor:  # type: ignore[override]
        return super().forward(*x)


class _Affine(nn.Module):
    def __init__(self, weight: tuple[int, ...], bias: tuple[int, ...], bound: float) -> None:
        super().__init__()
        for name, shape in (("weight", weight), ("bias", bias)):
            value = nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) if shape else None
            self.register_parameter(name, value)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.weight is None else x * self.weight
        return x if self.bias is None else x + self.bias


class _Rows(nn.Module):
    """A function of x and all rows of a weight."""

    def __init__(self, inputs: int, outputs: int, function: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-1, 1) / math.sqrt(inputs))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight) if x.ndim > 1 else self.function(x[None], self.weight)[0]


class _Maxout(nn.Linear):
    def __init__(self, inputs: int, outputs: int, maps: int, bias: bool) -> None:
        super().__init__(inputs, outputs, bias)
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).unflatten(-1, (self.maps, -1)).amax(-2)


class _Highway(nn.Module):
    def __init__(self, size: int, with_bias: bool, activation: nn.Module | None) -> None:
        super().__init__()
        plain, gate = nn.Linear(size, size, with_bias), nn.Linear(size, size, with_bias)
        self.weight, self.gate_weight = plain.weight, gate.weight
        self.bias, self.gate_bias = plain.bias, gate.bias
        self.activation = activation
        if with_bias:
            nn.init.constant_(gate.bias, -1.0)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(F.linear(x, self.gate_weight, self.gate_bias))
        y = F.linear(x, self.weight, self.bias)
        y = y if self.activation is None else self.activation(y)
        return gate * y + (1 - gate) * x


class _Lookup(nn.Embedding):
    """Rows by numbers from 1.

    Rows beyond the limit are scaled in the output, not in the weight as torch does: a rank sees only its own rows, and
    their weights would part. Their gradient is that of the scaled row, as in BigDL.
    """

    def __init__(
        self, rows: int, size: int, padding: int | None, limit: float | None, norm: float, by_frequency: bool
    ) -> None:
        super().__init__(rows, size, padding, scale_grad_by_freq=by_frequency)
        self.limit, self.norm = limit, norm

    def forward(self, x: Tensor) -> Tensor:
        rows = x.long() - 1
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < self.num_embeddings:
            raise DataError(
                f"LookupTable has the rows 1 ... {self.num_embeddings}. Received numbers from {int(rows.min()) + 1} to "
                f"{int(rows.max()) + 1}."
            )
        found = super().forward(rows)
        return found if self.limit is None else found + self._beyond(found.detach(), self.limit)

    def _beyond(self, found: Tensor, limit: float) -> Tensor:
        """What is added to rows so that none is longer than `limit`."""
        lengths = torch.linalg.vector_norm(found, self.norm, dim=-1, keepdim=True)
        return torch.where(lengths > limit, found * (limit / lengths - 1), 0.0)


def _cosine(x: Tensor, rows: Tensor) -> Tensor:
    return F.cosine_similarity(x[:, None], rows, dim=-1, eps=1e-12)


def _distance(x: Tensor, rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[:, None] - rows, dim=-1)
