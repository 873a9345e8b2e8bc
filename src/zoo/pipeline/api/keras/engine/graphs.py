"""Questions to the graph of a functional model: by name, upstream of a name, and as a picture for TensorBoard.

Owns: walking the graph.
Leaves: models (topology), writing event files (zoo.engine.events.tensorboard).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from zoo.engine.errors import UsageError, did_you_mean


def nodes_of(model: Any) -> list[Any]:
    """The nodes of a functional model, inputs first."""
    return [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]


def tensor_named(model: Any, name: str) -> Any:
    """The output of a layer of the graph, that of its last use where it has several.

    Raises:
        UsageError: no layer has that name.
    """
    found = [node for node in nodes_of(model) if node.operation.name == name]
    if not found:
        raise unknown(name, [node.operation.name for node in nodes_of(model)])
    outputs = found[-1].outputs
    return outputs[0] if len(outputs) == 1 else list(outputs)


def unknown(name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that no layer has."""
    names = list(dict.fromkeys(known))
    return UsageError(f"the model has no layer '{name}'.{did_you_mean(str(name), names)}\n  Layers: {', '.join(names)}")


def upstream(model: Any, names: Sequence[str]) -> list[Any]:
    """The layers named, and all that their inputs come through.

    Raises:
        UsageError: no layer has such a name.
    """
    tensors = [one for name in names for one in _flat(tensor_named(model, name))]
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


def _flat(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list) else [tensors]
