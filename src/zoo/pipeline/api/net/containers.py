"""Modules that hold modules: sequences, branches, graphs, and the tables between them.

Owns: how values flow through them.
Leaves: the modules in them (assembly).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.operations import flat
from zoo.pipeline.api.net.steps import axis_of, entry_of, operation


def _sequential(assembly: Any, module: Module, x: Any) -> Any:
    for child in module.children:
        x = assembly.apply(child, x)
    return x


def _concat_table(assembly: Any, module: Module, x: Any) -> list[Any]:
    return [assembly.apply(child, x) for child in module.children]


def _concat(assembly: Any, module: Module, x: Any) -> Any:
    branches = flat(_concat_table(assembly, module, x))
    axis = axis_of(module.get("dimension"), branches[0].shape)
    return assembly.steps([operation("join", axis=axis)], branches, module.name)


def _parallel_table(assembly: Any, module: Module, x: Any) -> list[Any]:
    table = _table(module, x)
    if len(table) != len(module.children):
        raise UsageError(f"{module} has {len(module.children)} modules, and its input {len(table)} tensors.")
    return [assembly.apply(child, part) for child, part in zip(module.children, table, strict=True)]


def _map_table(assembly: Any, module: Module, x: Any) -> list[Any]:
    held = module.children[0] if module.children else module.get("module")
    return [assembly.apply(held, part) for part in _table(module, x)]


def _select_table(assembly: Any, module: Module, x: Any) -> Any:
    table, index = _table(module, x), entry_of(module.get("index"))
    if not -len(table) <= index < len(table):
        raise UsageError(f"{module} selects entry {module.get('index')} of a table of {len(table)}.")
    return table[index]


def _narrow_table(assembly: Any, module: Module, x: Any) -> Any:
    start, length = entry_of(module.get("offset")), module.get("length", 1)
    table = _table(module, x)
    part = table[start : len(table) + length + 1 if length < 0 else start + length]
    return part[0] if length == 1 and len(part) == 1 else part


def _graph(assembly: Any, module: Module, x: Any) -> Any:
    inputs = module.get("inputNames")
    given = [x] if len(inputs) == 1 else _table(module, x)
    if len(given) != len(inputs):
        raise UsageError(f"{module} has the inputs {', '.join(inputs)}. Received {len(given)} tensors.")
    values = dict(zip(inputs, given, strict=True))
    nodes = {child.name: child for child in module.children}
    outputs = module.get("outputNames")
    for name in _in_order(module, nodes, outputs, values):
        values[name] = assembly.apply(nodes[name], _fed(module, nodes[name], values))
    found = [values[name] for name in outputs]
    return found[0] if len(found) == 1 else found


def _in_order(module: Module, nodes: Mapping[str, Module], outputs: Any, values: Mapping[str, Any]) -> list[str]:
    """All nodes that the outputs need, each behind those that feed it."""
    order: dict[str, None] = {}
    open_nodes: set[str] = set()
    stack = list(reversed(outputs))
    while stack:
        name = stack[-1]
        if name in values or name in order:
            stack.pop()
            continue
        if name not in nodes:
            raise UsageError(f"{module} names the node '{name}', which is not in it: the file is damaged.")
        waiting = [source for source in nodes[name].sources if source not in values and source not in order]
        if not waiting:
            order[stack.pop()] = None
            open_nodes.discard(name)
        elif name in open_nodes:
            raise UsageError(f"{module} has a cycle through the node '{name}'; loops are not known here.")
        else:
            open_nodes.add(name)
            stack += reversed(waiting)
    return list(order)


def _fed(graph: Module, node: Module, values: Mapping[str, Any]) -> Any:
    edges = graph.attributes.get(f"{node.name}_edges") or {}
    if not node.sources:
        raise UsageError(f"{node} has no input, and is no input of the graph.")
    fed = []
    for source in node.sources:
        place = edges.get(source) or -1  # which entry of a table, from 1; -1 is all of it
        fed.append(values[source] if place < 0 else values[source][place - 1])
    return fed[0] if len(fed) == 1 else fed


def _table(module: Module, x: Any) -> list[Any]:
    if not isinstance(x, list | tuple):
        raise UsageError(f"{module} takes several tensors. Received one of shape {tuple(x.shape)}.")
    return list(x)


CONTAINERS: Mapping[str, Callable[[Any, Module, Any], Any]] = {
    "Sequential": _sequential, "Concat": _concat, "ConcatTable": _concat_table, "ParallelTable": _parallel_table,
    "MapTable": _map_table, "SelectTable": _select_table, "NarrowTable": _narrow_table,
    "FlattenTable": lambda assembly, module, x: flat(x),
    "Graph": _graph, "StaticGraph": _graph, "DynamicGraph": _graph, "Model": _graph,
}  # fmt: skip
