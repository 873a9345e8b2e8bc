"""`zoo.pipeline.api.autograd`: functions of variables, weights and constants among them, losses of one's own.

Every function is one of ``keras.ops``; axis 0 is the batch. What is written with them becomes part of the Keras graph:
it is saved and sent as a graph, not as Python code.

Owns: the functions' names and axes, `Parameter`, `Constant`, `Lambda`, `CustomLoss` under their old address.
Leaves: operators (variable), weights of a graph (free), tracing (tracing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.free import Constant, Parameter, applied
from zoo.pipeline.api.library import library
from zoo.pipeline.api.tracing import CustomLoss, Lambda
from zoo.pipeline.api.variable import Variable

__all__ = [
    "Constant", "CustomLoss", "Lambda", "Parameter", "Variable",
    "abs", "batch_dot", "clip", "contiguous", "epsilon", "erf", "exp", "expand_dims", "l2_normalize", "log", "maximum",
    "mean", "mm", "neg", "pow", "softplus", "softsign", "sqrt", "square", "stack", "sum",
]  # fmt: skip


def _ops() -> Any:
    return library().ops


def mean(x: Any, axis: int = 0, keepDims: bool = False) -> Variable:
    """The mean along an axis; `keepDims` keeps it, with one entry."""
    return applied(lambda t: _ops().mean(t, axis, keepdims=keepDims), x)


def sum(x: Any, axis: int = 0, keepDims: bool = False) -> Variable:
    """The sum along an axis; `keepDims` keeps it, with one entry."""
    return applied(lambda t: _ops().sum(t, axis, keepdims=keepDims), x)


def abs(x: Any) -> Variable:
    """The absolute value of each entry."""
    return applied(lambda t: _ops().absolute(t), x)


def square(x: Any) -> Variable:
    """The square of each entry."""
    return applied(lambda t: _ops().square(t), x)


def sqrt(x: Any) -> Variable:
    """The square root of each entry."""
    return applied(lambda t: _ops().sqrt(t), x)


def exp(x: Any) -> Variable:
    """E to the power of each entry."""
    return applied(lambda t: _ops().exp(t), x)


def log(x: Any) -> Variable:
    """The natural logarithm of each entry."""
    return applied(lambda t: _ops().log(t), x)


def pow(x: Any, a: float) -> Variable:
    """Each entry to the power of `a`."""
    return applied(lambda t: _ops().power(t, a), x)


def neg(x: Any) -> Variable:
    """Minus each entry."""
    return applied(lambda t: _ops().negative(t), x)


def erf(x: Any) -> Variable:
    """The Gauss error function of each entry."""
    return applied(lambda t: _ops().erf(t), x)


def softsign(x: Any) -> Variable:
    """X / (1 + abs(x)) of each entry."""
    return applied(lambda t: _ops().softsign(t), x)


def softplus(x: Any) -> Variable:
    """log(1 + exp(x)) of each entry."""
    return applied(lambda t: _ops().softplus(t), x)


def contiguous(x: Any) -> Variable:
    """`x` as it is; kept for older programs."""
    return applied(lambda t: t, x)


def clip(x: Any, min: float, max: float) -> Variable:
    """Each entry kept within [min, max]."""
    return applied(lambda t: _ops().clip(t, min, max), x)


def maximum(x: Any, y: Any) -> Variable:
    """The larger of the entries of two variables, or of a variable and a number."""
    return applied(lambda a, b: _ops().maximum(a, b), x, y)


def epsilon() -> float:
    """The small number that Keras adds to what it divides by: 1e-7."""
    return float(library().config.epsilon())


def stack(inputs: Sequence[Any], axis: int = 1) -> Variable:
    """Variables of one shape, side by side along a new axis."""
    return applied(lambda tensors: _ops().stack(tensors, axis), list(inputs))


def expand_dims(x: Any, axis: int) -> Variable:
    """With a further axis of one entry."""
    return applied(lambda t: _ops().expand_dims(t, axis), x)


def l2_normalize(x: Any, axis: int) -> Variable:
    """Divided by its L2 norm along an axis."""
    return applied(lambda t: _ops().normalize(t, axis=axis, order=2), x)


def batch_dot(x: Any, y: Any, axes: int | Sequence[int] = 1, normalize: bool = False) -> Variable:
    """The dot product of each row of `x` with that of `y`, along an axis of each; as ``keras.layers.Dot``.

    Args:
        x: (rows, ...).
        y: (rows, ...).
        axes: of both, or (of x, of y).
        normalize: whether each is divided by its L2 norm along the axis first: the cosine.
    """
    pair = axes if isinstance(axes, int) else tuple(axes)
    return applied(lambda both: library().layers.Dot(pair, normalize)(both), [x, y])


def mm(x: Any, y: Any, axes: Sequence[int] | None = None) -> Variable:
    """The matrix product, for each row of the batch where both have one.

    Args:
        x: (rows, n, k) or (rows, k).
        y: (rows, k, m), or a `Parameter` or `Constant` (k, m).
        axes: (of x, of y) that are summed over; by default the last of x and the last but one of y.

    Raises:
        UsageError: axes that are not two.
    """
    if axes is not None and len(axes) != 2:
        raise UsageError(f"mm: axes must be two, of x and of y. Received: {axes!r}")
    return applied(lambda a, b: _product(a, b, axes), x, y)


def _product(a: Any, b: Any, axes: Sequence[int] | None) -> Any:
    ops = _ops()
    if axes is not None:
        a = ops.moveaxis(a, axes[0], -1)
        b = ops.moveaxis(b, axes[1], -2)
    return ops.matmul(a, b)
