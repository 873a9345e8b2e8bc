"""`Layer`: a module of torch with BigDL's words.

Owns: names, forward and backward on arrays, weights in BigDL's order, freezing, penalties on weights, modes.
Leaves: what a layer computes (`definition` and the modules that define layers), graphs (graph), files (saved).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from zoo.bigdl.nn import activities
from zoo.bigdl.nn.ledger import Parameters
from zoo.engine.errors import UsageError

_COUNTERS: dict[str, itertools.count[int]] = {}


class Layer(nn.Module):
    """A torch module that is also called with arrays, and with nodes of a graph.

    Attributes:
        training: whether it is in training mode, as of any torch module; `train()` and `evaluate()` change it.
        arguments: what the constructor was given, by name.
    """

    keeps_integers: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {}
        self._title = _unused_name(type(self).__name__)
        self._last: tuple[Any, Any] | None = None

    # --- computing ---------------------------------------------------------------------------------------------------

    def __call__(self, *inputs: Any) -> Any:
        """Of tensors: their result. Of nodes, a list of them, or nothing: a node of a graph (`Model`)."""
        from zoo.bigdl.nn.graph import joined, node_of

        parents = joined(inputs)
        return node_of(self, parents) if parents is not None else super().__call__(*inputs)

    def forward(self, *inputs: Any) -> Any:
        """The layer's output.

        Args:
            *inputs: a tensor, or a table: a list or tuple of them, or several arguments. Arrays give arrays back, and
                are remembered for `backward`.

        Raises:
            UsageError: something that is no array of numbers; a table of another length than the layer takes.
        """
        given = inputs[0] if len(inputs) == 1 else tuple(inputs)
        if activities.are_arrays(given):
            return self._on_arrays(given)
        try:
            return self.compute(given)
        except (RuntimeError, IndexError) as error:
            if not getattr(error, "__notes__", None):  # the innermost layer is the one that could not
                error.add_note(
                    f"This was {type(self).__name__} '{self.name()}', given the shape {activities.told(given)}."
                )
            raise

    def compute(self, x: Any) -> Any:
        """From tensors to tensors; each kind of layer says how."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it computes: define compute(self, x).")

    def backward(self, input: Any, grad_output: Any) -> Any:
        """The gradient with respect to `input`; those of the weights are added to what they have.

        Args:
            input: what `forward` was given last; of anything else the output is computed first.
            grad_output: the gradient with respect to the output, an array (list) of its shape.

        Returns:
            an array, or a list for a table; zeros where the output does not depend on the input.
        """
        if self._last is None or not _same(self._last[0], input):
            self._on_arrays(input)
        assert self._last is not None
        tensors, output = self._last
        outputs, grads = list(activities.flat(output)), list(activities.flat(activities.to_tensors(grad_output)))
        leaves = [one for one in activities.flat(tensors) if one.requires_grad]
        for one in leaves:
            one.grad = None
        torch.autograd.backward(outputs, grads, retain_graph=True)
        return activities.to_arrays(
            activities.mapped(lambda one: torch.zeros_like(one) if one.grad is None else one.grad, tensors)
        )

    def predict(self, features: Any, batch_size: int = 32) -> Any:
        """The outputs in evaluation mode.

        Args:
            features: an array, or a list of arrays, rows first: computed here. An RDD, a DataFrame, XShards:
                where they lie, on the current cluster.
            batch_size: rows at once.
        """
        from zoo.bigdl.nn.applying import predicted

        return predicted(self, features, batch_size)

    def predict_class(self, features: Any, batch_size: int = 32) -> Any:
        """The class with the highest output in each row, counted from 1: an array for arrays, an RDD for an RDD.

        Raises:
            UsageError: other data, or a model of several outputs.
        """
        found = self.predict(features, batch_size)
        if isinstance(found, np.ndarray):
            return np.asarray(np.argmax(found, axis=-1) + 1)
        if not hasattr(found, "map"):
            told = type(found).__name__
            raise UsageError(f"predict_class takes arrays or an RDD, of a model with one output. predict gave: {told}")
        return found.map(_class_of)

    def _on_arrays(self, given: Any) -> Any:
        tensors = activities.to_tensors(given)
        for one in activities.flat(tensors):
            one.requires_grad_(one.is_floating_point())
        output = self(tensors)
        self._last = (tensors, output)
        return activities.to_arrays(output)

    # --- modes and names ---------------------------------------------------------------------------------------------

    def name(self) -> str:
        """Its name, unique in the process unless `set_name` gave it another."""
        return self._title

    def set_name(self, name: str) -> Layer:
        """Names it; returns self."""
        self._title = name
        return self

    def _get_name(self) -> str:
        """What torch prints: the class, and the name where it is not one that was counted up."""
        kind = type(self).__name__
        return kind if re.fullmatch(rf"{kind}\d+", self._title) else f"{kind} '{self._title}'"

    def is_training(self) -> bool:
        """Whether it is in training mode."""
        return self.training

    def evaluate(self, dataset: Any = None, batch_size: int = 32, val_methods: Any = None) -> Any:
        """Without arguments: to evaluation mode; returns self. Else measures on the current cluster.

        Args:
            dataset: rows as for `Optimizer`.
            batch_size: rows scored at once.
            val_methods: validation methods, or their names.

        Returns:
            with arguments, a list of `EvaluatedResult`, in the order of the methods.

        Raises:
            UsageError: there is nothing to measure.
        """
        if dataset is None:
            return self.eval()
        from zoo.bigdl.nn.applying import evaluated

        return evaluated(self, dataset, batch_size, val_methods)

    # --- weights -----------------------------------------------------------------------------------------------------

    def own_weights(self) -> list[tuple[str, nn.Parameter]]:
        """(BigDL's name, parameter) of the layer itself, without its sub-layers, in BigDL's order."""
        return []

    def weighted_layers(self) -> Iterator[Layer]:
        """This layer and those in it that have weights of their own, each once, in order."""
        for module in self.modules():
            if isinstance(module, Layer) and module.own_weights():
                yield module

    def parameters(self, recurse: bool = True) -> Any:
        """Torch's iterator over parameters, which is also BigDL's dict: ``{layer: {"weight", "gradWeight", ...}}``."""
        return Parameters(super().parameters(recurse), tuple(self.weighted_layers()))

    def get_weights(self) -> list[np.ndarray]:
        """All weights, layer by layer, in BigDL's order and layout."""
        return [
            layer.to_bigdl(name, weight.detach().cpu().numpy().copy())
            for layer in self.weighted_layers()
            for name, weight in layer.own_weights()
        ]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Takes what `get_weights` gives, axes of one entry aside; the arrays are copied.

        Raises:
            UsageError: another number of arrays, or arrays of other shapes.
        """
        places = [(layer, *own) for layer in self.weighted_layers() for own in layer.own_weights()]
        if len(weights) != len(places):
            raise UsageError(f"{self.name()} has {len(places)} arrays of weights. Received: {len(weights)}")
        for (layer, name, weight), given in zip(places, weights, strict=True):
            layer._take(name, weight, given)

    def to_bigdl(self, name: str, array: np.ndarray) -> np.ndarray:
        """From torch's layout of a weight to BigDL's; a layer whose layouts differ says how."""
        return array

    def from_bigdl(self, name: str, array: np.ndarray) -> np.ndarray:
        """The way back."""
        return array

    def zero_grad_parameters(self) -> None:
        """Sets the gradients of all weights to 0."""
        for weight in self.parameters():
            weight.grad = torch.zeros_like(weight)

    def update_parameters(self, learning_rate: float) -> None:
        """Subtracts `learning_rate` times the gradient from each weight."""
        with torch.no_grad():
            for weight in self.parameters():
                if weight.grad is not None:
                    weight -= learning_rate * weight.grad

    def freeze(self, names: Sequence[str] | str | None = None) -> Layer:
        """Keeps the weights of the named layers, or all, as they are in training; returns self."""
        return self._train_weights(names, False)

    def unfreeze(self, names: Sequence[str] | str | None = None) -> Layer:
        """Trains them again; returns self."""
        return self._train_weights(names, True)

    def _train_weights(self, names: Sequence[str] | str | None, trained: bool) -> Layer:
        asked = [names] if isinstance(names, str) else names
        for layer in [self] if asked is None else [self.find(name) for name in asked]:
            layer.requires_grad_(trained)
        return self

    def find(self, name: str) -> Layer:
        """The layer of that name, itself or one in it.

        Raises:
            UsageError: there is none.
        """
        layers = {one.name(): one for one in self.modules() if isinstance(one, Layer)}
        if name not in layers:
            raise UsageError(f"no layer is called '{name}'. Layers: {', '.join(layers)}")
        return layers[name]

    def _take(self, name: str, weight: nn.Parameter, given: Any) -> None:
        array = np.asarray(given, dtype=np.float32)
        shape = self.to_bigdl(name, weight.detach().cpu().numpy()).shape
        if [size for size in array.shape if size != 1] != [size for size in shape if size != 1]:
            raise UsageError(f"{self.name()}: its {name} has the shape {shape}. Received: {array.shape}")
        with torch.no_grad():
            weight.copy_(torch.from_numpy(self.from_bigdl(name, array).reshape(weight.shape).copy()))

    # --- files -------------------------------------------------------------------------------------------------------

    def saveModel(self, modelPath: str, weightPath: str | None = None, over_write: bool = False) -> str:
        """Writes the layers and their weights: safetensors, with the layers as JSON in its head; no pickle.

        Args:
            modelPath: a path or fsspec URL.
            weightPath: where the weights go, if not into the same file.
            over_write: whether files there may be replaced.

        Raises:
            UsageError: a file is there already, or a module that is no layer of `zoo.bigdl.nn`.
        """
        from zoo.bigdl.nn.saved import write

        return write(self, modelPath, weightPath, over_write)

    def save(self, path: str, over_write: bool = False) -> str:
        """As `saveModel`, into one file."""
        return self.saveModel(path, over_write=over_write)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}


def _class_of(output: Any) -> int:
    return int(np.argmax(output)) + 1


def _unused_name(kind: str) -> str:
    return f"{kind}{next(_COUNTERS.setdefault(kind, itertools.count(1)))}"


def _same(tensors: Any, given: Any) -> bool:
    old, new = list(activities.flat(tensors)), list(activities.flat(activities.to_tensors(given)))
    return len(old) == len(new) and all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
