"""`forward`, `backward` and the gradients between them, for layers and models, on every backend.

Owns: what older programs ask of a layer outside of training.
Leaves: gradients (zoo.engine.frameworks.keras.derivatives), training (course).
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError


class Gradients:
    """What `backward` has added up: variable's id -> array."""

    def __init__(self) -> None:
        self.sums: dict[int, np.ndarray] = {}

    def add(self, variables: Any, arrays: Any) -> None:
        """Adds one gradient to each variable's."""
        for variable, array in zip(variables, arrays, strict=True):
            before = self.sums.get(id(variable))
            self.sums[id(variable)] = array if before is None else before + array

    def of(self, variable: Any) -> np.ndarray:
        """The sum for a variable, zeros where nothing was added."""
        found = self.sums.get(id(variable))
        return np.zeros(tuple(variable.shape), np.float32) if found is None else found


class Backprop:
    """Mixed into layers and models; see the module."""

    def is_training(self) -> bool:
        """Whether `forward` computes as in training (dropout, statistics of the batch); so it is at first."""
        return bool(self.__dict__.get("_zoo_training", True))

    def set_training_status(self) -> Any:
        """Has `forward` compute as in training."""
        self.__dict__["_zoo_training"] = True
        return self

    def set_evaluate_status(self) -> Any:
        """Has `forward` compute as in prediction."""
        self.__dict__["_zoo_training"] = False
        return self

    def forward(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """The outputs for arrays with the batch: an array, or a list of them."""
        if not _of_numbers(input):  # on its torch backend Keras calls layers so, with tensors
            return super().forward(input, *args, **kwargs)  # type: ignore[misc]
        from zoo.pipeline.api.library import library

        keras = library()
        found = self._applied(keras.tree.map_structure(keras.ops.convert_to_tensor, _listed(input)))
        return keras.tree.map_structure(lambda tensor: np.array(keras.ops.convert_to_numpy(tensor)), found)

    def backward(self, input: Any, grad_output: Any) -> Any:
        """The gradient by the input, for a gradient by the output; that by the weights is added up.

        It computes the outputs once more; random layers draw other numbers than in `forward`.

        Args:
            input: arrays, as for `forward`.
            grad_output: of the output's shape; a list for several outputs.

        Returns:
            an array, or a list of them, of the input's shape.
        """
        from zoo.engine.frameworks.keras.derivatives import gradients
        from zoo.pipeline.api.library import library

        keras = library()
        given = _listed(input)
        arrays = given if isinstance(given, list) else [given]
        if not self.built:  # type: ignore[attr-defined]
            self.forward(input)
        variables = list(self.trainable_variables)  # type: ignore[attr-defined]
        weights = [np.asarray(one, np.float32) for one in keras.tree.flatten(grad_output)]

        def total(*tensors: Any) -> Any:
            outputs = keras.tree.flatten(self._applied(list(tensors) if isinstance(given, list) else tensors[0]))
            _check_alike([tuple(one.shape) for one in outputs], [weight.shape for weight in weights])
            pairs = zip(outputs, map(keras.ops.convert_to_tensor, weights), strict=True)
            return sum(keras.ops.sum(keras.ops.cast(one, "float32") * weight) for one, weight in pairs)

        _, by_input, by_weight = gradients(total, arrays, variables)
        self._gradients().add(variables, by_weight)
        return by_input if isinstance(given, list) else by_input[0]

    def zero_grad_parameters(self) -> None:
        """Forgets the gradients that `backward` has added up."""
        self._gradients().sums.clear()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Torch's own word, on that backend: forgets the gradients of the step before."""
        for _, parameter in self.named_parameters():  # type: ignore[attr-defined]
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def parameters(self) -> dict[str, dict[str, np.ndarray]]:
        """Of each layer with weights: ``{"weight", "bias", "gradWeight", "gradBias"}``, in BigDL's layout."""
        held = self._gradients()
        found = {layer.name: _named(layer, held) for layer in _leaves(self)}
        return {name: arrays for name, arrays in found.items() if arrays}

    def _applied(self, inputs: Any) -> Any:
        takes = inspect.signature(self.call).parameters  # type: ignore[attr-defined]
        words = {"training": self.is_training()} if "training" in takes else {}
        return self(inputs, **words)  # type: ignore[operator]

    def _gradients(self) -> Gradients:
        held: Gradients = self.__dict__.setdefault("_zoo_gradients", Gradients())
        return held


def _check_alike(outputs: list[Any], given: list[Any]) -> None:
    if outputs != given:
        raise UsageError(f"grad_output must have the shape of the output, {outputs}. Received: {given}")


def _of_numbers(input: Any) -> bool:
    """Whether it is arrays or numbers, in lists or not, and no tensor of any library."""
    if isinstance(input, list | tuple):
        return all(map(_of_numbers, input))
    return isinstance(input, np.ndarray | np.generic | int | float)


def _listed(input: Any) -> Any:
    return [np.asarray(one) for one in input] if isinstance(input, list | tuple) else np.asarray(input)


def _leaves(layer: Any) -> list[Any]:
    """The layers below a layer that have weights of their own."""
    return [one for one in layer._flatten_layers() if one._trainable_variables or one._non_trainable_variables]


def _named(layer: Any, held: Gradients) -> dict[str, np.ndarray]:
    """Trained weights and their gradients by BigDL's names."""
    own = list(layer.weights)
    trained = [number for number, one in enumerate(own) if one.trainable]
    turn = getattr(layer, "to_bigdl", lambda arrays: arrays)
    weights, sums = layer.get_weights(), turn([held.of(one) for one in own])
    left_out = own[len(weights) :]  # a batch normalisation's statistics, which have no gradients
    if len(weights) > len(own) or any(one.trainable for one in left_out):
        raise UsageError(f"the layer '{layer.name}' keeps its weights in another number of arrays than BigDL's.")
    names = ["Weight", "Bias"] if len(trained) <= 2 else [own[number].name for number in trained]
    found = {}
    for name, number in zip(names, trained, strict=False):
        found[name[:1].lower() + name[1:]] = weights[number]
        found[f"grad{name[:1].upper()}{name[1:]}"] = sums[number]
    return found
