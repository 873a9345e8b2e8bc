"""`Variable`: a tensor of a graph of layers that is not computed yet, with arithmetic.

Owns: one symbolic tensor of Keras under Analytics Zoo's name, its operators.
Leaves: functions of variables (autograd), layers (keras.layers), computing (Keras).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.library import library


class Variable:
    """A symbolic tensor; axis 0 is the batch.

    Attributes:
        node: the ``keras.KerasTensor``.
    """

    def __init__(
        self, input_shape: Sequence[int | None] | int | None = None, node: Any = None, name: str | None = None
    ):
        """A new input of a graph, or a tensor that there is already.

        Args:
            input_shape: without the batch.
            node: a ``KerasTensor``, in place of a shape.
            name: of the input.
        """
        if node is None:
            shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape or ())
            node = library().Input(shape, name=name)
        self.node = node

    __array_ufunc__ = None  # else ``array * variable`` is an array of variables
    free = False
    """Whether it depends on no input, like an `autograd.Parameter`."""

    def at(self, anchor: Any) -> Any:
        """The tensor, in the graph that the tensor `anchor` is of."""
        return self.node

    @property
    def shape(self) -> tuple[int | None, ...]:
        """With the batch, which is None."""
        return tuple(self.node.shape)

    @property
    def name(self) -> str:
        """Of the tensor."""
        return str(self.node.name)

    def set_name(self, name: str) -> Variable:
        """Names it."""
        self.node.name = name
        return self

    @staticmethod
    def through(layer: Any, given: Any) -> Any:
        """What a layer of Keras makes of a variable, or of a list of them."""
        return wrapped(layer(unwrapped(given)))

    def get_input_shape(self) -> tuple[int | None, ...]:
        """As `shape`."""
        return self.shape

    def get_output_shape(self) -> tuple[int | None, ...]:
        """As `shape`."""
        return self.shape

    def add(self, other: Any) -> Variable:
        """``self + other``."""
        return self + other

    def sub(self, other: Any) -> Variable:
        """``self - other``."""
        return self - other

    def slice(self, dim: int, start_index: int, length: int) -> Variable:
        """`length` entries along axis `dim`, from `start_index` on; -1: to the end.

        Raises:
            UsageError: the batch, or entries beyond the axis.
        """
        axis, size = self._axis(dim, "slice")
        stop = size if length == -1 else start_index + length
        if size is not None and stop is not None and not 0 <= start_index < stop <= size:
            raise UsageError(
                f"slice of axis {dim}, which has {size} entries. Received: start_index={start_index}, length={length}"
            )
        return Variable(node=self.node[(slice(None),) * axis + (slice(start_index, stop),)])

    def index_select(self, dim: int, index: int) -> Variable:
        """Entry `index` along axis `dim`, which is gone from the result; negative ones count from the end.

        Raises:
            UsageError: the batch, or an entry beyond the axis.
        """
        axis, size = self._axis(dim, "index_select")
        if size is not None and not -size <= index < size:
            raise UsageError(f"index_select of axis {dim}, which has {size} entries. Received: index={index}")
        return Variable(node=self.node[(slice(None),) * axis + (index,)])

    def squeeze(self, dim: int | None = None) -> Variable:
        """Without axis `dim`, or all axes, of one entry; never without the batch.

        Raises:
            UsageError: the axis has more entries.
        """
        ops = library().ops
        if dim is None:
            axes = tuple(axis for axis, size in enumerate(self.shape) if axis and size == 1)
            return Variable(node=ops.squeeze(self.node, axes)) if axes else self
        axis, size = self._axis(dim, "squeeze")
        if size != 1:
            raise UsageError(f"squeeze of axis {dim}, which has {size} entries and not one.")
        return Variable(node=ops.squeeze(self.node, axis))

    def _axis(self, dim: int, what: str) -> tuple[int, int | None]:
        axes = len(self.shape)
        axis = dim + axes if dim < 0 else dim
        if not 0 < axis < axes:
            raise UsageError(f"{what} takes an axis of 1 ... {axes - 1}; 0 is the batch. Received: {dim}")
        return axis, self.shape[axis]

    def __add__(self, other: Any) -> Variable:
        return Variable(node=self.node + unwrapped(other, self.node))

    def __radd__(self, other: Any) -> Variable:
        return Variable(node=self.node.__radd__(unwrapped(other, self.node)))

    def __sub__(self, other: Any) -> Variable:
        return Variable(node=self.node - unwrapped(other, self.node))

    def __rsub__(self, other: Any) -> Variable:
        return Variable(node=self.node.__rsub__(unwrapped(other, self.node)))

    def __mul__(self, other: Any) -> Variable:
        return Variable(node=self.node * unwrapped(other, self.node))

    def __rmul__(self, other: Any) -> Variable:
        return Variable(node=self.node.__rmul__(unwrapped(other, self.node)))

    def __truediv__(self, other: Any) -> Variable:
        return Variable(node=self.node / unwrapped(other, self.node))

    def __rtruediv__(self, other: Any) -> Variable:
        return Variable(node=self.node.__rtruediv__(unwrapped(other, self.node)))

    def __pow__(self, other: Any) -> Variable:
        return Variable(node=self.node ** unwrapped(other, self.node))

    def __neg__(self) -> Variable:
        return Variable(node=-self.node)

    def __repr__(self) -> str:
        return f"Variable(shape={self.shape}, name='{self.name}')"


def unwrapped(value: Any, anchor: Any = None) -> Any:
    """A variable's tensor; lists and tuples of them likewise; anything else as it is.

    Args:
        value: to unwrap.
        anchor: a tensor of the graph, for variables that depend on no input; found in `value` where it is None.
    """
    anchor = anchor_of(value) if anchor is None else anchor
    if isinstance(value, Variable):
        return value.at(anchor)
    if type(value) in (list, tuple):
        return type(value)(unwrapped(one, anchor) for one in value)
    return value


def anchor_of(value: Any) -> Any:
    """The first tensor in `value` that depends on an input; None where there is none."""
    if isinstance(value, Variable):
        return None if value.free else value.node
    if type(value) in (list, tuple):
        return next((found for found in map(anchor_of, value) if found is not None), None)
    return None


def wrapped(value: Any) -> Any:
    """The way back, of symbolic tensors."""
    if type(value) in (list, tuple):
        return type(value)(wrapped(one) for one in value)
    return Variable(node=value) if isinstance(value, library().KerasTensor) else value


def is_symbolic(value: Any) -> bool:
    """Whether a variable is in it."""
    return isinstance(value, Variable) or (type(value) in (list, tuple) and any(map(is_symbolic, value)))
