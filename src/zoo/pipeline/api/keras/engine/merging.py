"""Several tensors into one: `merge` and `Merge`.

Owns: the modes.
Leaves: graphs (topology).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError, did_you_mean
from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.library import library

keras = library()
ops = keras.ops


def _folded(function: Callable[[Any, Any], Any]) -> Callable[[Sequence[Any]], Any]:
    return lambda tensors: reduce(function, tensors)


def _dot(tensors: Sequence[Any]) -> Any:
    one, other = tensors
    return ops.sum(one * other, axis=-1, keepdims=True)


def _cosine(tensors: Sequence[Any]) -> Any:
    return _dot([ops.normalize(tensor, axis=-1, order=2) for tensor in tensors])


MODES: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "sum": _folded(ops.add),
    "mul": _folded(ops.multiply),
    "max": _folded(ops.maximum),
    "min": _folded(ops.minimum),
    "ave": lambda tensors: reduce(ops.add, tensors) / len(tensors),
    "sub": _folded(ops.subtract),
    "div": _folded(ops.divide),
    "dot": _dot,
    "cos": _cosine,
}
"""All but ``"concat"``, which needs an axis."""
PAIRS = ("sub", "div", "dot", "cos")
KNOWN = (*MODES, "concat")


@keras.saving.register_keras_serializable("zoo")
class Merge(ZooKerasLayer, keras.layers.Layer):
    """Several inputs into one: by entry, side by side, or the dot product or cosine of the rows of two.

    Args:
        layers: applied to the inputs first, one to each; None for none.
        mode: ``"sum"``, ``"mul"``, ``"ave"``, ``"max"``, ``"min"``; of two ``"sub"``, ``"div"``, ``"dot"``, ``"cos"``
            (rows, 1); ``"concat"``.
        concat_axis: of ``"concat"``; 0 is the batch.
        input_shape: of each input, without the batch, for the first layer of a `Sequential`.
        **words: of Keras' layers, e.g. name.

    Raises:
        UsageError: another mode, or inputs that do not fit it.
    """

    def __init__(
        self, layers: Sequence[Any] | None = None, mode: str = "sum", concat_axis: int = -1, input_shape: Any = None,
        **words: Any,
    ) -> None:  # fmt: skip
        super().__init__(**words)
        if mode not in KNOWN:
            raise UsageError(f"merge has no mode {mode!r}.{did_you_mean(str(mode), KNOWN)} Known: {', '.join(KNOWN)}")
        self.mode, self.concat_axis = mode, concat_axis
        self.branches = [
            keras.saving.deserialize_keras_object(one) if isinstance(one, dict) else one for one in layers or ()
        ]
        self.given_input_shape = [tuple(shape) for shape in input_shape] if input_shape else self._shapes()

    def build(self, input_shape: Any) -> None:
        """Checks that the inputs fit the mode."""
        shapes = list(input_shape)
        if len(shapes) < 2 or (self.branches and len(shapes) != len(self.branches)):
            wanted = f"{len(self.branches)} inputs" if self.branches else "a list of at least two inputs"
            raise UsageError(f"Merge '{self.name}' takes {wanted}. Received {len(shapes)}: {shapes}")
        if self.mode in PAIRS and len(shapes) != 2:
            raise UsageError(f"Merge '{self.name}' of mode '{self.mode}' takes two inputs. Received {len(shapes)}.")
        for branch, shape in zip(self.branches, shapes, strict=False):
            if not branch.built:
                branch.build(shape)
        ends = [branch.compute_output_shape(shape) for branch, shape in zip(self.branches, shapes, strict=False)]
        self._check([tuple(shape) for shape in ends or shapes])
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The merged tensor."""
        tensors = list(inputs)
        if self.branches:
            tensors = [branch(one) for branch, one in zip(self.branches, tensors, strict=True)]
        if self.mode == "concat":
            return ops.concatenate(tensors, axis=self.concat_axis)
        return MODES[self.mode](tensors)

    def _check(self, shapes: Sequence[tuple[int | None, ...]]) -> None:
        axes, aside = len(shapes[0]), None
        wanted = "of one shape"
        if self.mode in ("dot", "cos"):
            fits, wanted = axes == 2, "of one shape (rows, n)"
        elif self.mode == "concat":
            fits, wanted = -axes <= self.concat_axis < axes, f"of one shape, axis {self.concat_axis} aside"
            aside = self.concat_axis % axes
        else:
            fits = True
        fits = fits and all(len(shape) == axes for shape in shapes)
        for axis in range(axes if fits else 0):
            sizes = {shape[axis] for shape in shapes} - {None} - (set() if self.mode == "concat" else {1})
            fits = fits and (axis == aside or len(sizes) < 2)
        if not fits:
            told = ", ".join(map(str, shapes))
            raise UsageError(f"Merge '{self.name}' of mode '{self.mode}' takes inputs {wanted}. Received: {told}")

    def get_weights(self) -> list[np.ndarray]:
        """Those of its layers in turn, in BigDL's layout."""
        return [array for branch in self.branches for array in branch.get_weights()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes what `get_weights` gives.

        Raises:
            UsageError: another number of arrays.
        """
        left, sizes = list(weights), [len(branch.get_weights()) for branch in self.branches]
        if sum(sizes) != len(left):
            raise UsageError(f"Merge '{self.name}' has {sum(sizes)} arrays of weights. Received: {len(left)}")
        for branch, size in zip(self.branches, sizes, strict=True):
            branch.set_weights(left[:size])
            left = left[size:]

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        branches = [keras.saving.serialize_keras_object(branch) for branch in self.branches]
        own = {"layers": branches or None, "mode": self.mode, "concat_axis": self.concat_axis}
        return {**super().get_config(), **own, "input_shape": self.given_input_shape}

    def _shapes(self) -> Any:
        """What the layers say of their inputs."""
        found = [getattr(one, "given_input_shape", None) or _input_of(one) for one in self.branches]
        return found if found and all(found) else None


def merge(inputs: Sequence[Any], mode: str = "sum", concat_axis: int = -1, name: str | None = None) -> Any:
    """Several variables into one; arguments as in `Merge`."""
    return Merge(mode=mode, concat_axis=concat_axis, **({} if name is None else {"name": name}))(list(inputs))


def _input_of(layer: Any) -> Any:
    shape = getattr(layer, "input_shape", None) if isinstance(layer, keras.Model) and layer.built else None
    return None if shape is None else tuple(shape)[1:]
