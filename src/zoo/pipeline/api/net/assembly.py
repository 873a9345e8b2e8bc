"""Makes a functional graph of Keras from the modules of a BigDL file.

Owns: names of layers, weights that stand in several places, containers, errors that name the module.
Leaves: single modules (plain, weighted, recurrent), the inputs' shapes (entries).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.faults import reason
from zoo.pipeline.api.keras.engine.graphs import keras_name
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net import containers
from zoo.pipeline.api.net.bounds import check_counts, check_features, check_rows
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.operations import flat
from zoo.pipeline.api.net.plain import PLAIN
from zoo.pipeline.api.net.recurrent import RECURRENT
from zoo.pipeline.api.net.steps import Step, operation
from zoo.pipeline.api.net.weighted import WEIGHTED

keras = library()

_STEPS = {**PLAIN, **WEIGHTED}
_CONTAINERS: Mapping[str, Callable[[Any, Module, Any], Any]] = {**containers.CONTAINERS, **RECURRENT}


def known_modules() -> list[str]:
    """The class names of all modules that can be read, sorted."""
    return sorted({*_STEPS, *_CONTAINERS})


class Assembly:
    """A graph that is being made."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._made: dict[tuple[int, str], list[Any]] = {}

    def apply(self, module: Module, x: Any, name: str | None = None) -> Any:
        """The output of a module.

        Args:
            module: what is applied.
            x: a symbolic tensor, or a list of them.
            name: of the layer, in place of the module's own.

        Raises:
            UsageError: the module is not known, or does not take `x`; names it.
        """
        if module.keras_style or ".internal." in module.class_name:
            return self._keras_style(module, x, name)
        container = _CONTAINERS.get(module.kind)
        if container is not None:
            result = container(self, module, x)
            return self.marked(module.given_name, result) if module.given_name and module.children else result
        if module.kind not in _STEPS:
            raise UsageError(
                f"{module} is of the class {module.class_name}, which is not known here. Known modules: "
                f"{', '.join(known_modules())}."
            )
        return self._single(module, x, name or module.name)

    def marked(self, name: str, x: Any) -> Any:
        """`x` behind a layer of this name, so that graphs can be cut there."""
        if len(flat(x)) > 1 or keras_name(name) in self._names:
            return x
        return self.steps([operation("identity")], x, name)

    def steps(self, steps: Sequence[Step], x: Any, name: str, key: tuple[int, str] | None = None) -> Any:
        """The output of layers in a row, the last of which is called `name`; made once for one `key`."""
        made = self._made.get(key) if key is not None else None
        if made is None:
            made = []
            for place, step in enumerate(steps):
                last = place == len(steps) - 1
                layer = step.make(name=self._free(name if last else f"{name}_{step.suffix or place}"))
                x = _applied(layer, step, x)
                check_rows(x, f"layer '{layer.name}'")
                made.append(layer)
            if key is not None:
                self._made[key] = made
            return x
        for layer in made:
            x = layer(x)
        return x

    def graph(self, module: Module, inputs: Sequence[Any]) -> Any:
        """A module as a graph of its own, from symbolic inputs."""
        given = inputs[0] if len(inputs) == 1 else list(inputs)
        outputs = flat(self.apply(module, given))
        return keras.Model(given, outputs[0] if len(outputs) == 1 else outputs, name=self._free(f"{module.name}_graph"))

    def _single(self, module: Module, x: Any, name: str) -> Any:
        shape = shape_of(x)
        key = (module.number or id(module), module.postfix) if module.weights else None
        check_counts(module)
        try:
            return self.steps(_STEPS[module.kind](module, shape), x, name, key)
        except Exception as error:  # each backend of Keras has errors of its own
            raise UsageError(f"{module} cannot take an input of shape {shape}: {reason(error)}") from error

    def _keras_style(self, module: Module, x: Any, name: str | None) -> Any:
        parts = module.children
        if not parts:
            if module.kind in ("Input", "InputLayer"):
                return x
            raise UsageError(f"{module} was saved before it was built; build the model, and save it again.")
        called = module.name if ".internal." not in module.class_name else name
        alone = called if _leaves(module) == 1 else None
        for part in parts:
            x = self.apply(part, x, alone)
        return x if alone or called is None or module.kind in _MODELS else self.marked(called, x)

    def _free(self, name: str) -> str:
        fitting = wanted = keras_name(name)
        count = 1
        while fitting in self._names:
            count += 1
            fitting = f"{wanted}_{count}"
        self._names.add(fitting)
        return fitting


_MODELS = ("Model", "Sequential")


def _applied(layer: Any, step: Step, x: Any) -> Any:
    if step.weights is None:
        return layer(x)
    shape = shape_of(x)
    if not layer.built:
        check_features(layer.name, shape, step.takes)
        layer.build(shape)
    have = [tuple(weight.shape) for weight in layer.weights]
    given = [tuple(weight.shape) for weight in step.weights]
    if have != given:
        raise UsageError(f"layer '{layer.name}' has weights of shape {have}; the file holds {given}.")
    layer.set_weights(step.weights)
    return layer(x)


def shape_of(x: Any) -> Any:
    """With the batch; a list of shapes for a table."""
    return [shape_of(one) for one in x] if isinstance(x, list | tuple) else tuple(x.shape)


def _leaves(module: Module) -> int:
    return sum(map(_leaves, module.children)) if module.children else 1
