"""Questions to the graph of a functional model: by name, upstream of a name, and as a picture for TensorBoard.

Owns: walking the graph.
Leaves: models (topology), writing event files (zoo.engine.events.tensorboard).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from zoo.engine.errors import UsageError, did_you_mean

T = TypeVar("T")


def nodes_of(model: Any) -> list[Any]:
    """The nodes of a functional model, inputs first."""
    return [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]


def keras_name(name: str) -> str:
    """The name of a layer in Keras and its backends, which allow fewer characters: no ``/``, no ``.``."""
    fitting = re.sub(r"[^A-Za-z0-9_\-]", "_", name.replace("/", "-"))
    return fitting if fitting[:1].isalnum() else f"layer{fitting}"


def listed(asked: Any) -> list[Any]:
    """One name, layer or variable, or several, as a list."""
    return list(asked) if isinstance(asked, list | tuple) else [asked]


def among(known: Mapping[str, T], asked: Any) -> T:
    """What belongs to a layer.

    Args:
        known: by the layers' names.
        asked: the layer's name, as it is or as it was before `keras_name`; or the layer; or its output.

    Raises:
        UsageError: none of that name.
    """
    made_by = getattr(getattr(asked, "node", asked), "_keras_history", None)
    name = asked if isinstance(asked, str) else (made_by.operation if made_by else asked).name
    for spelling in (name, keras_name(name)):
        if spelling in known:
            return known[spelling]
    raise unknown(name, known)


def tensor_named(model: Any, name: Any) -> Any:
    """The output of a layer of the graph, that of its last use where it has several.

    Args:
        model: a functional model.
        name: as in `among`.

    Raises:
        UsageError: no layer has that name.
    """
    outputs = among({node.operation.name: node for node in nodes_of(model)}, name).outputs
    return outputs[0] if len(outputs) == 1 else list(outputs)


def unknown(name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that no layer has."""
    names = list(dict.fromkeys(known))
    return UsageError(f"the model has no layer '{name}'.{did_you_mean(str(name), names)}\n  Layers: {', '.join(names)}")


def upstream(model: Any, names: Any) -> list[Any]:
    """The layers named, and all that their inputs come through; names as in `among`, one or several.

    Raises:
        UsageError: no layer has such a name.
    """
    tensors = [one for name in listed(names) for one in listed(tensor_named(model, name))]
    own = {id(node) for node in nodes_of(model)}
    found: dict[int, Any] = {}
    stack = [tensor._keras_history for tensor in tensors]
    while stack:
        operation, number, _ = stack.pop()
        node = operation._inbound_nodes[number]
        if id(node) in found or id(node) not in own:
            continue
        found[id(node)] = node
        stack.extend(tensor._keras_history for tensor in node.input_tensors)
    return list({id(node.operation): node.operation for node in found.values()}.values())


def ending_at(model: Any, names: Any) -> tuple[Any, Any]:
    """The inputs and outputs of the part of a graph that ends at the layers named: tensors, or lists of them.

    Raises:
        UsageError: no layer has such a name.
    """
    tensors = [one for name in listed(names) for one in listed(tensor_named(model, name))]
    needed = {id(layer) for layer in upstream(model, names)}
    inputs = [tensor for tensor in model.inputs if id(tensor._keras_history.operation) in needed]
    return _alone(inputs), _alone(tensors)


def drawn(model: Any) -> Iterator[tuple[str, str, list[str]]]:
    """(name, kind, names of what it takes) of each node, for a picture; a layer's further uses are numbered."""
    names: dict[int, str] = {}
    used: dict[str, int] = {}
    for node in nodes_of(model):
        name = node.operation.name
        count = used[name] = used.get(name, 0) + 1
        names[id(node)] = name if count == 1 else f"{name}_{count - 1}"
        sources = [tensor._keras_history for tensor in node.input_tensors]
        taken = [names[id(operation._inbound_nodes[number])] for operation, number, _ in sources]
        yield names[id(node)], type(node.operation).__name__, taken


def _alone(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors
