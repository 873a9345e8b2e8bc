"""`Sequential` and `Model`: models of Keras 3 with the words of older programs.

Owns: how the two are made and changed, reading them from files.
Leaves: what both can do (engine.topology).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import reduce
from typing import Any, Self

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import files
from zoo.orca.learn.kinds import is_torch
from zoo.pipeline.api.keras.engine import graphs
from zoo.pipeline.api.keras.engine.topology import OURS, KerasNet
from zoo.pipeline.api.library import library
from zoo.pipeline.api.variable import Variable, unwrapped

__all__ = ["Model", "Sequential", "load_model"]

keras = library()


def _functional() -> type:
    """Keras' class of models of a graph."""
    tensor = keras.Input((1,))
    return type(keras.Model(tensor, tensor))


@keras.saving.register_keras_serializable("zoo")
class Model(KerasNet, _functional()):  # type: ignore[misc]
    """A model of a graph: ``Model(input, output)``.

    Args:
        input: a `Variable` made by `Input`, or several.
        output: a `Variable`, or several.
        name: of the model.

    Raises:
        UsageError: something else than variables.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        words = inspect.signature(_made).bind(*args, **kwargs).arguments
        given = words.pop("words", {})
        ends = [words.pop("input", given.pop("inputs", None)), words.pop("output", given.pop("outputs", None))]
        if ends[0] is None or ends[1] is None:
            raise UsageError("Model takes the beginning and the end of a graph: Model(input=..., output=...).")
        anchor = unwrapped(ends[0])
        tensors = unwrapped(ends[1], _first(anchor))
        for one in keras.tree.flatten([anchor, tensors]):
            if not isinstance(one, keras.KerasTensor):
                raise UsageError(f"Model takes what Input(...) gives, and layers applied to it. Received: {one!r}")
        try:
            super().__init__(anchor, tensors, **words, **given)
        except ValueError as error:
            if "not connected" not in str(error):
                raise
            raise UsageError(
                f"an output of the model needs an input that the model was not given. Inputs: {ends[0]!r}"
            ) from error

    def get_compile_config(self) -> dict[str, Any]:
        """For Keras' files and ``clone_model``."""
        config = super().get_compile_config()
        return config and {**config, OURS: self._described()}

    def new_graph(self, outputs: Any) -> Self:
        """A model of the same layers, with their weights, that ends at the outputs of those named.

        It has the inputs that these need.

        Args:
            outputs: a layer's name, the layer, or its output; or a list of them.

        Raises:
            UsageError: no layer has such a name.
        """
        return type(self)(*graphs.ending_at(self, outputs))

    def freeze_up_to(self, names: Any) -> Self:
        """Keeps the weights of the layers named, and of all that lies before them, as they are in training.

        Args:
            names: as in `new_graph`.

        Raises:
            UsageError: no layer has such a name.
        """
        for layer in graphs.upstream(self, names):
            layer.trainable = False
        return self

    def node(self, name: str) -> Any:
        """The output of the layer of that name, as a `Variable`.

        Raises:
            UsageError: no layer has that name.
        """
        found = graphs.tensor_named(self, name)
        return [Variable(node=one) for one in found] if isinstance(found, list) else Variable(node=found)

    def to_model(self) -> Model:
        """The model itself."""
        return self


@keras.saving.register_keras_serializable("zoo")
class Sequential(KerasNet, keras.Sequential):
    """Layers one after the other: ``Sequential().add(Dense(8, input_shape=(4,))).add(Dense(2))``.

    The first layer says the shape of a row with `input_shape`, or is an `InputLayer`.

    Args:
        layers: of the model.
        name: of the model.
    """

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None, **words: Any) -> None:
        super().__init__(None, name=name, **words)
        for layer in layers or ():
            self.add(layer)

    def add(self, model: Any, rebuild: bool = True) -> Sequential:
        """Appends a layer, or a model; returns the model.

        Raises:
            UsageError: it is no layer, or does not take what the layer before it gives; the model is as it was.
        """
        layer = unwrapped(model)
        if not isinstance(layer, keras.layers.Layer) and hasattr(layer, "to_keras"):
            layer = layer.to_keras()  # a TFNet
        if not isinstance(layer, keras.layers.Layer) and not hasattr(layer, "_keras_history"):
            hint = " Torch modules, and layers of zoo.bigdl, go into zoo.bigdl.nn.layer.Sequential." * is_torch(layer)
            raise UsageError(f"Sequential.add takes a layer or a model of Keras.{hint} Received: {model!r}")
        before = list(self._layers)
        shape = getattr(layer, "given_input_shape", None)
        try:
            if not self._layers and shape is not None and not isinstance(shape, list):
                super().add(keras.Input(shape))
            super().add(layer, rebuild)
        except Exception:  # Keras would keep the layer, and fail at each one after it
            self._layers = before
            if before:
                self._maybe_rebuild()
            raise
        return self

    def get_config(self) -> dict[str, Any]:
        """For Keras' files. What Keras has no words for is here: ``clone_model`` makes a ``keras.Sequential``."""
        graph, self._functional = self._functional, None if self._begins_with_several() else self._functional
        try:  # with a graph, Keras asks the first layer for its one shape
            config = super().get_config()
        finally:
            self._functional = graph
        return {**config, OURS: self._described()} if self.compiled else config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Sequential:
        """The inverse of `get_config`."""
        given = dict(config)
        ours = given.pop(OURS, {})
        made: Sequential = super().from_config(given, custom_objects)
        made.__dict__[OURS] = ours
        return made

    def to_model(self) -> Model:
        """The same layers as a `Model`.

        Raises:
            UsageError: the shape of a row is not known yet.
        """
        if not self.built or not self.inputs:
            raise UsageError(
                "the shape of a row is not known yet: give the first layer an input_shape, or build the model."
            )
        return Model(_alone(self.inputs), _alone(self.outputs))

    def new_graph(self, outputs: Any) -> Model:
        """As `Model.new_graph`."""
        return self.to_model().new_graph(outputs)

    def freeze_up_to(self, names: Any) -> Sequential:
        """As `Model.freeze_up_to`."""
        self.to_model().freeze_up_to(names)
        return self

    def node(self, name: str) -> Any:
        """As `Model.node`."""
        return self.to_model().node(name)

    def _graph(self) -> Any:
        return self.to_model()

    def _begins_with_several(self) -> bool:
        return bool(self._layers) and isinstance(getattr(self._layers[0], "given_input_shape", None), list)

    def _maybe_rebuild(self) -> None:
        """Keras makes no graph of a first layer with several inputs, such as a `Merge`."""
        super()._maybe_rebuild()
        if not self._begins_with_several():
            return
        ends: Any = [keras.Input(shape) for shape in self._layers[0].given_input_shape]
        graph = _functional()(ends, reduce(lambda tensors, layer: layer(tensors), self._layers, ends))
        self._functional, self.built = graph, True


def load_model(path: str, weight_path: str | None = None, trust: bool = False) -> Any:
    """Reads a model that `save_model` has written.

    Args:
        path: of the file, or a URL.
        weight_path: of a file with other weights.
        trust: whether code of the user's that the file holds may run; see docs/keras_style.md.

    Raises:
        UsageError: it is no file of a model, or holds code.
    """
    import zoo.pipeline.api.keras.layers  # noqa: F401  a file names activations without their modules

    model = files.load_model(path, safe_mode=not trust)
    if weight_path is not None:
        files.load_weights(model, weight_path)
    return model


def _made(input: Any = None, output: Any = None, name: str | None = None, **words: Any) -> None:
    """What `Model` takes; Keras needs ``*args, **kwargs`` to see that a class is made like its own."""


def _alone(tensors: Sequence[Any]) -> Any:
    """The tensor, where it is one."""
    return tensors[0] if len(tensors) == 1 else list(tensors)


def _first(tensors: Any) -> Any:
    return tensors[0] if isinstance(tensors, list | tuple) else tensors
