"""Padding that a layer puts around its input, by numbers of rows and columns.

Owns: the argument `pads`, what it makes of a layer's input.
Leaves: the layers (convolutional, pooling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.words import refuse
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.axes import spatial
from zoo.pipeline.api.library import library

ops = library().ops

Sides = tuple[tuple[int, int], ...]
_least_0 = to.whole(0, "whole numbers of at least 0")


def pads(value: Any) -> Sides | None:
    """(rows, columns) on each side, or ONNX' (top, left, bottom, right); an empty one or None: by `border_mode`."""
    if value is None or (isinstance(value, list | tuple) and not value):
        return None
    sizes = [value, value] if isinstance(value, int) else value
    if not isinstance(sizes, list | tuple) or len(sizes) not in (2, 4):
        raise refuse("(rows, columns) or (top, left, bottom, right)", value)
    numbers = [_least_0(size) for size in sizes]
    return tuple(zip(numbers[:2], numbers[-2:], strict=True))


class Padded:
    """Mixed into a layer of Keras: pads the input, then does what the layer does.

    Attributes:
        fill: of a class: what the padding holds.
    """

    fill = 0.0
    padding_sides: Sides | None = None

    def call(self, inputs: Any) -> Any:
        return super().call(self.padded(inputs))  # type: ignore[misc]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        shape = list(input_shape)
        for axis, (before, after) in self._widths(shape).items():
            size = shape[axis]
            shape[axis] = None if size is None else size + before + after
        return super().compute_output_shape(tuple(shape))  # type: ignore[misc,no-any-return]

    def padded(self, inputs: Any) -> Any:
        """The input with its padding."""
        widths = self._widths(inputs.shape)
        if not any(map(any, widths.values())):
            return inputs
        every = [widths.get(axis, (0, 0)) for axis in range(len(inputs.shape))]
        return ops.pad(inputs, every, constant_values=self.fill)

    def _widths(self, shape: Any) -> dict[int, tuple[int, int]]:
        sides = self.padding_sides or ()
        return dict(zip(spatial(shape, self.data_format), sides, strict=bool(sides)))  # type: ignore[attr-defined]


def fits(layer: str, sides: Sides | None, window: Sequence[int]) -> None:
    """Refuses padding as wide as a window: some windows would hold nothing else.

    Raises:
        UsageError: it is.
    """
    if sides is not None and any(max(side) >= size for side, size in zip(sides, window, strict=True)):
        raise UsageError(f"{layer}: the padding must be narrower than the window {tuple(window)}. Received: {sides}")
