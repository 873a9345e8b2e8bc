"""Recurrence over time, (batch, time, features) -> (batch, time, units).

A `Recurrent` holds a cell. Known cells become Keras' own layers; of any other the file holds the graph of one step,
which becomes a cell of `keras.layers.RNN`.

Owns: the order of gates, which BigDL has as input, new, forget, output (LSTM) and reset, update, new (GRU).
Leaves: graphs (assembly).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers.converters import hard_sigmoid
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net.layers import GraphCell, OverTime
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.steps import Step, operation
from zoo.pipeline.api.net.weighted import linear_step

keras = library()

_ACTIVATIONS: Mapping[str, Any] = {
    "Tanh": "tanh", "Sigmoid": "sigmoid", "ReLU": "relu", "HardSigmoid": hard_sigmoid, "SoftPlus": "softplus",
    "SoftSign": "softsign", "Identity": "linear",
}  # fmt: skip


def _recurrent(assembly: Any, module: Module, x: Any, name: str | None = None) -> Any:
    if module.get("bnorm", False):
        raise UsageError(f"{module} normalises batches at each step (bnorm), which is not known here.")
    cell = _cell_of(module)
    called = name or module.name
    step = _KNOWN[cell.kind](cell) if cell.kind in _KNOWN and _is_plain(cell) else None
    if step is not None:
        return assembly.steps([step], x, called, (cell.number, called) if cell.number else None)
    return _by_graph(assembly, cell, x, called)


def _cell_of(module: Module) -> Module:
    cell = module.get("topology", None) or next(iter(module.children), None)
    if not isinstance(cell, Module):
        raise UsageError(f"{module} has no cell in this file.")
    return cell


def _is_plain(cell: Module) -> bool:
    """Whether Keras' layer computes the same: no dropout of its own for each gate, activations that have a name."""
    kinds = [_activation(cell, "activation", "Tanh"), _activation(cell, "innerActivation", "Sigmoid")]
    return not cell.get("p", 0.0) and None not in kinds and cell.get("preTopology", None) is not None


def _activation(cell: Module, attribute: str, otherwise: str) -> Any:
    found = cell.get(attribute, None)
    while isinstance(found, Module) and found.kind not in _ACTIVATIONS and len(found.children) == 1:
        found = found.children[0]  # of the Keras-style API
    return _ACTIVATIONS.get(found.kind if isinstance(found, Module) else otherwise)


def _lstm(cell: Module) -> Step:
    weight, bias = _input_part(cell)
    (hidden,) = _hidden_part(cell)
    return _gated(cell, keras.layers.LSTM, [weight, hidden, bias], [0, 2, 1, 3], unit_forget_bias=False)


def _gru(cell: Module) -> Step:
    weight, bias = _input_part(cell)
    gates, new = sorted(_hidden_part(cell), key=len, reverse=True)
    weights = [weight, np.concatenate([gates, new]), bias]
    return _gated(cell, keras.layers.GRU, weights, [1, 0, 2], reset_after=False)


def _gated(cell: Module, layer: Any, weights: Sequence[np.ndarray], order: Sequence[int], **words: Any) -> Step:
    """A layer of Keras whose gates are BigDL's in another order."""
    units = weights[1].shape[1]
    rows = np.arange(len(order) * units).reshape(-1, units)[list(order)].ravel()
    make = partial(
        layer, units, _activation(cell, "activation", "Tanh"), _activation(cell, "innerActivation", "Sigmoid"),
        return_sequences=True, **words,
    )  # fmt: skip
    return Step(make, [array[rows].T for array in weights], takes=(-1, weights[0].shape[-1]))


def _simple(cell: Module) -> Step:
    weight, bias = _input_part(cell)
    hidden = [array for array in _weights_below(cell.get("cell")) if array.ndim == 2]
    biases = [array for array in _weights_below(cell.get("cell")) if array.ndim == 1]
    units = len(weight)
    make = partial(keras.layers.SimpleRNN, units, _activation(cell, "activation", "Tanh"), return_sequences=True)
    return Step(make, [weight.T, hidden[0].T, sum(biases, bias)], takes=(-1, weight.shape[-1]))


_KNOWN: Mapping[str, Callable[[Module], Step]] = {"LSTM": _lstm, "GRU": _gru, "RnnCell": _simple}


def _input_part(cell: Module) -> tuple[np.ndarray, np.ndarray]:
    weight, *bias = _weights_below(cell.get("preTopology"))
    return weight, bias[0] if bias else np.zeros(len(weight), weight.dtype)


def _hidden_part(cell: Module) -> list[np.ndarray]:
    return _weights_below(cell.get("cell"))


def _weights_below(module: Module) -> list[np.ndarray]:
    below = [array for child in module.children for array in _weights_below(child)]
    return [*module.weights, *below]


def _by_graph(assembly: Any, cell: Module, x: Any, name: str) -> Any:
    """The step's graph from the file, under `keras.layers.RNN`."""
    step, units = cell.get("cell"), cell.get("hiddenSize", None) or cell.get("outputSize")
    before = cell.get("preTopology", None)
    if before is not None and not cell.get("includePreTopology", False):
        x = _over_time(assembly, before, x, f"{name}_input")
    states = [units] * (2 if cell.kind.startswith("LSTM") else 1)
    inputs = [keras.Input((x.shape[-1],)), *(keras.Input((size,)) for size in states)]
    hidden = inputs[1] if len(states) == 1 else inputs[1:]
    graph = keras.Model(inputs, _flat(assembly.apply(step, [inputs[0], hidden])), name=f"{name}_step")
    make = partial(keras.layers.RNN, GraphCell(graph, states), return_sequences=True)
    return assembly.steps([Step(make)], x, name)


def _flat(value: Any) -> list[Any]:
    return [one for part in value for one in _flat(part)] if isinstance(value, list) else [value]


def _time_distributed(assembly: Any, module: Module, x: Any, name: str | None = None) -> Any:
    held = module.get("layer", None) or next(iter(module.children), None)
    if not isinstance(held, Module):
        raise UsageError(f"{module} has no layer in this file.")
    return _over_time(assembly, held, x, name or module.name)


def _over_time(assembly: Any, held: Module, x: Any, name: str) -> Any:
    if held.kind == "Linear":
        return assembly.steps([linear_step(held)], x, name)  # Dense takes any axes before the last
    graph = assembly.graph(held, [keras.Input(x.shape[2:])])
    return assembly.steps([Step(partial(OverTime, graph))], x, name)


def _bi_recurrent(assembly: Any, module: Module, x: Any) -> Any:
    """Forwards, and backwards over the reversed steps; the results are added, or merged by a module of the file's."""
    whole = module.get("birnn", None)
    if isinstance(whole, Module):
        return assembly.apply(whole, x)
    if module.get("isSplitInput", False):
        raise UsageError(f"{module} splits its input between directions (isSplitInput), which is not known here.")
    there, back = (module.get(side, None) for side in ("layer", "revLayer"))
    if there is None or back is None:
        there, back = _two(module)
    turned = assembly.steps([operation("flip", axis=1)], x, f"{module.name}_turned")
    forwards = assembly.apply(there, x)
    backwards = assembly.steps([operation("flip", axis=1)], assembly.apply(back, turned), f"{module.name}_back")
    merge = module.get("merge", None)
    if merge is not None:
        return assembly.apply(merge, [forwards, backwards])
    return assembly.steps([operation("add")], [forwards, backwards], module.name)


def _two(module: Module) -> Sequence[Module]:
    if len(module.children) != 2:
        raise UsageError(f"{module} does not hold its two directions in this file.")
    return module.children


RECURRENT: Mapping[str, Callable[[Any, Module, Any], Any]] = {
    "Recurrent": _recurrent, "TimeDistributed": _time_distributed, "BiRecurrent": _bi_recurrent,
}  # fmt: skip
