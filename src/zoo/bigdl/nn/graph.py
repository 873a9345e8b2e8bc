"""Graphs of layers: `Linear(2, 2)(Input())`, and the `Model` between nodes.

Owns: nodes, their order, computing along it.
Leaves: layers (module and its kin), files (saved).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.bigdl.nn.containers import Container
from zoo.bigdl.nn.definition import layer
from zoo.bigdl.nn.module import Layer
from zoo.engine.errors import UsageError


class Node:
    """A layer's place in a graph.

    Attributes:
        layer: which computes it.
        parents: whose outputs it gets, as a table where there are several.
    """

    def __init__(self, layer: Layer, parents: Sequence[Node] = ()) -> None:
        self.layer = layer
        self.parents = tuple(parents)

    def element(self) -> Layer:
        """Its layer."""
        return self.layer

    def set_name(self, name: str) -> Node:
        """Names its layer; returns self."""
        self.layer.set_name(name)
        return self

    def __repr__(self) -> str:
        return f"Node({self.layer.name()})"


def joined(inputs: tuple[Any, ...]) -> tuple[Node, ...] | None:
    """The nodes among a call's arguments; None where it is a call with tensors.

    Raises:
        UsageError: nodes beside something else.
    """
    given = tuple(inputs[0]) if len(inputs) == 1 and type(inputs[0]) in (list, tuple) else inputs
    nodes = [isinstance(one, Node) for one in given]
    if not any(nodes) and inputs:
        return None
    if not all(nodes):
        raise UsageError(f"a layer is called with nodes or with tensors, not both. Received: {given!r}")
    return given


def node_of(layer: Layer, parents: tuple[Node, ...]) -> Node:
    """A new node of that layer."""
    return Node(layer, parents)


@layer(integers=True)
def Identity():
    """The input itself; also what `Input()` is made of."""
    return lambda x: x


def Input(name: str | None = None, bigdl_type: str = "float") -> Node:
    """A node that a `Model` is given its input at."""
    node = Node(Identity())
    return node if name is None else node.set_name(name)


class Model(Container):
    """The graph between nodes.

    Attributes:
        inputs: nodes that are given the model's inputs, in order.
        outputs: nodes whose outputs are the model's.

    Raises:
        UsageError: no nodes; an input that no output depends on, or a node without parents that is no input.
    """

    def __init__(self, inputs: Any, outputs: Any, bigdl_type: str = "float") -> None:
        super().__init__()
        self.inputs, self.outputs = _listed(inputs, "inputs"), _listed(outputs, "outputs")
        self.order = _ordered(self.outputs)
        _check(self.inputs, self.order)
        for one in self.order:
            if all(one.layer is not other for other in self.children()):
                self.add(one.layer)

    def compute(self, x: Any) -> Any:
        given = x if isinstance(x, list | tuple) and len(self.inputs) > 1 else (x,)
        if len(given) != len(self.inputs):
            raise UsageError(f"{self.name()} has {len(self.inputs)} inputs. Received: {len(given)}")
        values = {}
        for node, value in zip(self.inputs, given, strict=True):
            values[id(node)] = node.layer(value)
        for node in self.order:
            if id(node) not in values:
                table = tuple(values[id(parent)] for parent in node.parents)
                values[id(node)] = node.layer(table[0] if len(table) == 1 else table)
        outputs = tuple(values[id(node)] for node in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def node(self, name: str) -> Node:
        """The node of the layer of that name.

        Raises:
            UsageError: there is none.
        """
        found = next((one for one in self.order if one.layer.name() == name), None)
        if found is None:
            raise UsageError(f"no node is called '{name}'. Nodes: {', '.join(n.layer.name() for n in self.order)}")
        return found

    @staticmethod
    def load(path: str, weightPath: str | None = None, bigdl_type: str = "float") -> Layer:
        """The layer, of any kind, that `saveModel` has written.

        Raises:
            UsageError: the file is something else, or from a newer version.
        """
        from zoo.bigdl.nn.saved import read

        return read(path, weightPath)

    @staticmethod
    def loadModel(modelPath: str, weightPath: str | None = None, bigdl_type: str = "float") -> Layer:
        """As `load`."""
        return Model.load(modelPath, weightPath)


def _listed(nodes: Any, what: str) -> tuple[Node, ...]:
    found = tuple(nodes) if isinstance(nodes, list | tuple) else (nodes,)
    if not found or not all(isinstance(one, Node) for one in found):
        raise UsageError(f"Model's {what} are nodes, as Input() and layer(node) give them. Received: {nodes!r}")
    return found


def _ordered(outputs: tuple[Node, ...]) -> tuple[Node, ...]:
    """All nodes that the outputs depend on, each behind its parents."""
    order: dict[int, Node] = {}
    waiting = list(reversed(outputs))
    while waiting:
        node = waiting[-1]
        missing = [parent for parent in reversed(node.parents) if id(parent) not in order]
        if missing:
            waiting.extend(missing)
            continue
        order.setdefault(id(waiting.pop()), node)
    return tuple(order.values())


def _check(inputs: tuple[Node, ...], order: tuple[Node, ...]) -> None:
    reached = {id(node) for node in order}
    if idle := [one.layer.name() for one in inputs if id(one) not in reached]:
        raise UsageError(f"no output of the Model depends on its input {', '.join(idle)}.")
    known = {id(node) for node in inputs}
    if loose := [one.layer.name() for one in order if not one.parents and id(one) not in known]:
        raise UsageError(f"{', '.join(loose)} has no input and is none of the Model's inputs: add it to `inputs`.")
