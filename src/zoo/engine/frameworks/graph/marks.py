"""Gradients that the ranks average, marked in the graph itself.

A marked gradient is a tensor of its own between what computes it and what uses it. So one train operation serves both
kinds of rank: one that is alone runs it; one of several runs the marked gradients, and then the train operation with
their averages fed in their place. Marks are texts in two collections of the graph, and so travel with it.

Owns: the marks, the optimizer that sets them (`ZooOptimizer`), finding those behind a train operation.
Leaves: running them (replica), optimizers of ours (optim).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph.program import Gradient

v1 = tf.compat.v1
GRADIENTS, TRAINERS = "zoo_gradients", "zoo_trainers"


class ZooOptimizer(v1.train.Optimizer):  # type: ignore[misc, name-defined]  # TensorFlow has no types
    """An optimizer whose gradients are averaged over the ranks; elsewhere it does what the inner one does.

    Args:
        optimizer: a ``tf.compat.v1.train.Optimizer``.
        name: of the operations that it makes.
    """

    def __init__(self, optimizer: Any, name: str | None = None) -> None:
        if isinstance(optimizer, ZooOptimizer) or not isinstance(optimizer, v1.train.Optimizer):
            raise UsageError(f"ZooOptimizer wraps a tf.compat.v1.train.Optimizer. Received: {optimizer!r}")
        super().__init__(use_locking=False, name=name or f"Zoo{optimizer.get_name()}")
        self._optimizer = optimizer

    def compute_gradients(self, *args: Any, **words: Any) -> list[tuple[Any, Any]]:
        """(gradient, variable) pairs as those of the inner optimizer, marked."""
        return marked(self._optimizer.compute_gradients(*args, **words))

    def apply_gradients(self, grads_and_vars: Iterable[Any], global_step: Any = None, name: str | None = None) -> Any:
        """The operation that changes the variables.

        What it is made to wait for, with ``tf.control_dependencies``, runs with the gradients: a rank applies averages
        without rows at hand.
        """
        pairs = list(grads_and_vars)
        return trainer(lambda: self._optimizer.apply_gradients(pairs, global_step=global_step, name=name))

    def get_slot(self, var: Any, name: str) -> Any:
        """The inner optimizer's."""
        return self._optimizer.get_slot(var, name)

    def get_slot_names(self) -> list[str]:
        """The inner optimizer's."""
        names: list[str] = self._optimizer.get_slot_names()
        return names

    def variables(self) -> list[Any]:
        """The inner optimizer's."""
        found: list[Any] = self._optimizer.variables()
        return found


def marked(grads_and_vars: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The same pairs, through marked tensors; without the variables that have no gradient."""
    made = []
    for gradient, variable in grads_and_vars:
        if gradient is None:
            continue
        if isinstance(gradient, tf.IndexedSlices):
            values, indices = tf.identity(gradient.values), tf.identity(gradient.indices)
            _remember(Gradient(variable.name, values.name, indices.name), variable.graph)
            made.append((tf.IndexedSlices(values, indices, gradient.dense_shape), variable))
        else:
            values = tf.identity(gradient)
            _remember(Gradient(variable.name, values.name), variable.graph)
            made.append((values, variable))
    return made


def trainer(make: Any) -> Any:
    """An operation that changes variables, made by `make()` without what surrounds it, and marked.

    It waits for what `tf.control_dependencies` says around it; `untied` lets go of that on the ranks.
    """
    with tf.control_dependencies(None):
        apply = make()
    operation = tf.group(apply, name="zoo_train")
    entry = {"train": operation.name, "apply": apply.op.name if hasattr(apply, "op") else apply.name}
    operation.graph.add_to_collection(TRAINERS, json.dumps(entry))
    return operation


def gradients_behind(train: Any) -> tuple[Gradient, ...]:
    """The marked gradients that a train operation uses, in the order in which they were marked."""
    reached = {op.name for op in ancestors([train])}
    found = (Gradient(*json.loads(text)) for text in train.graph.get_collection(GRADIENTS))
    return tuple(one for one in found if one.values.partition(":")[0] in reached)


def updates_behind(train: Any) -> tuple[str, ...]:
    """Operations that train operations wait for, beside what they apply."""
    reached = {op.name: op for op in ancestors([train])}
    found = []
    for entry in _trainers(train.graph):
        if entry["train"] in reached:
            found += [op.name for op in reached[entry["train"]].control_inputs if op.name != entry["apply"]]
    return tuple(dict.fromkeys(found))


def untied(definition: Any, entries: Sequence[str]) -> None:
    """Has train operations of a ``GraphDef`` wait for nothing but what they apply."""
    alone = {entry["train"]: entry["apply"] for entry in map(json.loads, entries)}
    for node in definition.node:
        if node.name in alone:
            del node.input[:]
            node.input.append(f"^{alone[node.name]}")


def ancestors(fetches: Iterable[Any], fed: Iterable[str] = ()) -> Iterator[Any]:
    """Every operation that must run for `fetches`, themselves included, where tensors named `fed` are given."""
    given = set(fed)
    waiting = [fetch.op if isinstance(fetch, tf.Tensor) else fetch for fetch in fetches if not _is_fed(fetch, given)]
    seen = set()
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        yield op
        waiting += [tensor.op for tensor in op.inputs if tensor.name not in given]
        waiting += op.control_inputs


def _is_fed(fetch: Any, given: set[str]) -> bool:
    return isinstance(fetch, tf.Tensor) and fetch.name in given


def _remember(gradient: Gradient, graph: Any) -> None:
    graph.add_to_collection(GRADIENTS, json.dumps([gradient.variable, gradient.values, gradient.indices]))


def _trainers(graph: Any) -> list[Any]:
    return [json.loads(text) for text in graph.get_collection(TRAINERS)]
