"""A Keras model's forward pass, loss and metrics, and what becomes of its gradients: the same on every backend.

Only words that Keras documents: ``model(x)``, ``compute_loss``, ``compute_metrics``, ``keras.ops``.

Owns: what a pass is, which variables are statistics, clipping, the layout of a flat buffer of gradients.
Leaves: compiling a pass, differentiating it, and where variables live (the backends' steps).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from zoo.engine.frameworks.keras.structures import Data
from zoo.engine.optim import Clip, NormClip

TINY = 1e-6
"""Added to a norm before it divides, as torch does."""


@dataclass(frozen=True)
class Passes:
    """A model and how it is trained.

    Attributes:
        model: compiled, with a loss, if it is trained or scored.
        optimizer: Keras' own; None for a model that only predicts.
        clip: of the averaged gradients, before the optimizer's own clipping.
        decay: factor of an L2 penalty that is added to the gradients, before they are clipped.
        laned: whether what is computed of some rows may depend on nothing else, not even on how many came before.
        slices: equal ones that the gradients are cut into; 1 where each rank needs them all.
    """

    model: Any
    optimizer: Any = None
    clip: Clip | None = None
    decay: float = 0.0
    laned: bool = False
    slices: int = 1

    @cached_property
    def _training(self) -> bool:
        return "training" in inspect.signature(self.model.call).parameters

    @cached_property
    def _loss_training(self) -> bool:
        return "training" in inspect.signature(self.model.compute_loss).parameters

    @property
    def has_loss(self) -> bool:
        """Whether the model can say how wrong it is."""
        return bool(self.model.compiled and self.model.loss is not None) or (
            type(self.model).compute_loss is not keras.Model.compute_loss
        )

    def outputs(self, x: Any, *, training: bool) -> Any:
        """``model(x)``."""
        return self.model(x, training=training) if self._training else self.model(x)

    def loss(self, data: Data, outputs: Any, *, training: bool) -> Any:
        """The mean loss of the rows, penalties included."""
        words = {"training": training} if self._loss_training else {}
        return self.model.compute_loss(x=data.x, y=data.y, y_pred=outputs, sample_weight=data.weights, **words)

    def measure(self, data: Data, outputs: Any) -> None:
        """Updates the variables of the model's metrics."""
        self.model.compute_metrics(data.x, data.y, outputs, sample_weight=data.weights)

    def shaped(self, gradients: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """Averaged gradients with the penalty's part, clipped.

        Args:
            gradients: one a trainable variable; none is None where there is a penalty or a clip.
            values: of the variables.
        """
        made = list(gradients)
        if self.decay:
            made = [gradient + self.decay * value for gradient, value in zip(made, values, strict=True)]
        if self.clip is None:
            return made
        if not isinstance(self.clip, NormClip):
            return [keras.ops.clip(gradient, self.clip.min, self.clip.max) for gradient in made]
        norm = keras.ops.sqrt(sum(keras.ops.sum(keras.ops.square(gradient)) for gradient in made))
        scale = keras.ops.minimum(self.clip.max_norm / (norm + TINY), 1.0)
        return [gradient * scale for gradient in made]

    @property
    def shapes(self) -> bool:
        """Whether `shaped` changes anything."""
        return bool(self.decay) or self.clip is not None

    @cached_property
    def statistics(self) -> list[Any]:
        """Variables that each rank computes from its own rows, like the moving mean of a batch normalisation.

        They are float variables that are never trained; those of frozen layers and those that data were adapted to
        stay as they are.
        """
        layers = list(self.model._flatten_layers())
        resting = {id(v) for layer in layers if _rests(layer) for v in layer.weights}
        found = [v for v in self.model.non_trainable_weights if id(v) not in resting]
        return [v for v in found if keras.backend.standardize_dtype(v.dtype).startswith(("float", "bfloat"))]

    @cached_property
    def layout(self) -> Layout:
        """Of the flat buffer; the model must have been built."""
        trained = [_shape(v) for v in self.model.trainable_variables]
        dtypes = {keras.backend.standardize_dtype(v.dtype) for v in self.model.trainable_variables}
        wide = "float64" if "float64" in dtypes else "float32"
        return Layout(tuple(trained), tuple(_shape(v) for v in self.statistics), wide, self.slices)


@dataclass(frozen=True, slots=True)
class Layout:
    """What lies where in a rank's flat buffer: gradients, padding up to whole slices, [loss, stop], statistics.

    So the mean loss, a wish to stop and the mean of the statistics cost no message of their own.

    Attributes:
        gradients: shapes of the trainable variables, in order.
        statistics: shapes of what is averaged beside them.
        dtype: of the buffer.
        slices: equal ones that gradients and padding are cut into.
    """

    gradients: tuple[tuple[int, ...], ...]
    statistics: tuple[tuple[int, ...], ...]
    dtype: str
    slices: int = 1

    @property
    def padding(self) -> int:
        """Elements without meaning behind the gradients."""
        return -sum(self.sizes) % self.slices

    @property
    def cut(self) -> int:
        """Elements that are cut into slices: gradients and padding."""
        return sum(self.sizes) + self.padding

    @property
    def loss(self) -> int:
        """The place of the loss; behind it is the wish to stop."""
        return self.cut

    @property
    def stop(self) -> int:
        """The place of the wish to stop."""
        return self.loss + 1

    @property
    def size(self) -> int:
        """Elements of the whole buffer."""
        return self.loss + 2 + sum(math.prod(shape) for shape in self.statistics)

    @property
    def sizes(self) -> list[int]:
        """Elements of each gradient."""
        return [math.prod(shape) for shape in self.gradients]

    def pieces(self, flat: Any) -> tuple[list[Any], list[Any]]:
        """(gradients, statistics) as slices of the buffer in their shapes."""
        return self._divided(flat, keras.ops.reshape)

    def arrays(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """As `pieces`, of an array of numpy; one that ends behind the padding has no statistics."""
        return self._divided(flat, np.reshape)

    def _divided(self, flat: Any, shaped: Callable[[Any, tuple[int, ...]], Any]) -> tuple[list[Any], list[Any]]:
        made, start = [], 0
        shapes = (*self.gradients, (self.padding + 2,), *self.statistics)
        for shape in shapes if flat.shape[0] > self.cut else self.gradients:
            size = math.prod(shape)
            made.append(shaped(flat[start : start + size], shape))
            start += size
        trained = len(self.gradients)
        return made[:trained], made[trained + 1 :]


def array_of(value: Any) -> np.ndarray:
    """An output on the host; bfloat16 becomes float32."""
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def arrays_of(outputs: Any) -> tuple[np.ndarray, ...]:
    """A model's outputs in order."""
    return tuple(array_of(value) for value in keras.tree.flatten(outputs))


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in variable.shape)


def _rests(layer: Any) -> bool:
    return not layer.trainable or isinstance(layer, keras.layers.Normalization)
