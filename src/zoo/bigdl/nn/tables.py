"""Layers between tensors and tables, and layers that compute with several tensors.

Owns: which tensors of a table are put together, and how.
Leaves: layers made of layers (containers).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.bigdl.nn.activities import axis_of, flat
from zoo.bigdl.nn.definition import layer
from zoo.engine.errors import UsageError


@layer
def CAddTable(inplace=False):
    """The sum of a table's tensors."""
    return _folded(torch.add, "CAddTable")


@layer
def CSubTable():
    """The first of two tensors less the second."""
    return _folded(torch.sub, "CSubTable")


@layer
def CMulTable():
    """The product of a table's tensors, element by element."""
    return _folded(torch.mul, "CMulTable")


@layer
def CDivTable():
    """The first of two tensors divided by the second."""
    return _folded(torch.div, "CDivTable")


@layer
def CMaxTable():
    """The largest of a table's tensors, element by element."""
    return _folded(torch.maximum, "CMaxTable")


@layer
def CMinTable():
    """The smallest of a table's tensors, element by element."""
    return _folded(torch.minimum, "CMinTable")


@layer
def CAveTable(inplace=False):
    """The mean of a table's tensors."""
    added = _folded(torch.add, "CAveTable")
    return lambda x: added(x) / len(x)


@layer(integers=True)
def JoinTable(dimension, n_input_dims=0):
    """A table's tensors behind each other along an axis.

    Args:
        dimension: counted from 1.
        n_input_dims: axes of a row; where the tensors have one more, `dimension` does not count the batch.
    """

    def join(x: Any) -> Tensor:
        axes = _table(x, "JoinTable")[0].ndim
        return torch.cat(tuple(x), axis_of(dimension, axes, "JoinTable", int(0 < n_input_dims == axes - 1)))

    return join


@layer(integers=True)
def SplitTable(dimension, n_input_dims=-1):
    """The entries along an axis, as a table; n_input_dims as of `JoinTable`."""
    return lambda x: x.unbind(axis_of(dimension, x.ndim, "SplitTable", int(0 < n_input_dims == x.ndim - 1)))


@layer(integers=True)
def Pack(dimension):
    """A table's tensors as the entries of a new axis."""

    def pack(x: Any) -> Tensor:
        tensors = tuple(x) if isinstance(x, list | tuple) else (x,)
        return torch.stack(tensors, axis_of(dimension, tensors[0].ndim + 1, "Pack"))

    return pack


@layer(integers=True)
def SelectTable(index):
    """The tensor of this number, from 1, or from the end."""
    return lambda x: x[axis_of(index, len(_table(x, "SelectTable")), "SelectTable")]


@layer(integers=True)
def NarrowTable(offset, length=1):
    """`length` tensors from number `offset` on; a negative length counts from the end."""

    def narrow(x: Any) -> Any:
        count = len(_table(x, "NarrowTable"))
        taken = length if length > 0 else count - offset + length + 2
        if not 0 < offset <= offset + taken - 1 <= count:
            raise UsageError(f"NarrowTable: a table of {count} tensors. Received: {offset=}, {length=}")
        return tuple(x[offset - 1 : offset - 1 + taken])

    return narrow


@layer(integers=True)
def FlattenTable():
    """A table of tables as one table."""
    return lambda x: tuple(flat(x))


@layer(integers=True)
def Index(dimension):
    """Of a table (tensor, numbers from 1): the entries of these numbers along an axis."""

    def indexed(x: Any) -> Tensor:
        values, numbers = _table(x, "Index", 2)
        return values.index_select(axis_of(dimension, values.ndim, "Index"), numbers.long().flatten() - 1)

    return indexed


@layer(integers=True)
def MaskedSelect():
    """Of a table (tensor, mask of 0 and 1): the elements where the mask is 1, as one axis."""
    return lambda x: torch.masked_select(_table(x, "MaskedSelect", 2)[0], x[1].bool())


@layer
def MM(trans_a=False, trans_b=False):
    """The product of two matrices, or of two batches of them.

    Args:
        trans_a: whether the first is transposed before.
        trans_b: likewise the second.
    """

    def multiplied(x: Any) -> Tensor:
        a, b = _table(x, "MM", 2)
        return (a.mT if trans_a else a) @ (b.mT if trans_b else b)

    return multiplied


@layer
def MV(trans=False):
    """The product of a matrix, transposed before if asked for, and a vector, or of two batches of them."""

    def multiplied(x: Any) -> Tensor:
        a, v = _table(x, "MV", 2)
        return ((a.mT if trans else a) @ v.unsqueeze(-1)).squeeze(-1)

    return multiplied


@layer
def DotProduct():
    """The sum of products of two tensors, row by row: (B, F), (B, F) -> (B,)."""
    return lambda x: (_table(x, "DotProduct", 2)[0] * x[1]).sum(-1)


@layer
def CosineDistance():
    """The cosine of two tensors, row by row: (B, F), (B, F) -> (B,)."""
    return lambda x: F.cosine_similarity(*_table(x, "CosineDistance", 2), dim=-1, eps=1e-12)


@layer
def PairwiseDistance(norm=2):
    """The distance of two tensors, row by row: (B, F), (B, F) -> (B,)."""
    return lambda x: torch.linalg.vector_norm(_table(x, "PairwiseDistance", 2)[0] - x[1], norm, dim=-1)


@layer
def CrossProduct():
    """The dot product of each pair of a table's tensors: (1, 2), (1, 3), ..., (n - 1, n) -> (B, pairs)."""

    def products(x: Any) -> Tensor:
        table = _table(x, "CrossProduct")
        pairs = [(a, b) for number, a in enumerate(table) for b in table[number + 1 :]]
        return torch.stack([(a * b).sum(-1) for a, b in pairs], -1)

    return products


@layer
def GaussianSampler():
    """Of a table (mean, log of the variance): a draw of that normal distribution, with a gradient."""
    return lambda x: _table(x, "GaussianSampler", 2)[0] + torch.exp(0.5 * x[1]) * torch.randn_like(x[0])


# --- what they are made of -------------------------------------------------------------------------------------------


def _folded(operation: Callable[[Any, Any], Any], owner: str) -> Callable[[Any], Tensor]:
    return lambda x: functools.reduce(operation, _table(x, owner))


def _table(x: Any, owner: str, count: int | None = None) -> Any:
    if not isinstance(x, list | tuple) or (count is not None and len(x) != count):
        told = f"{len(x)} tensors" if isinstance(x, list | tuple) else "one tensor"
        raise UsageError(f"{owner} takes a table of {count or 'several'} tensors. Received: {told}")
    return x
