"""What is run of a graph, by names, and the graph as it travels: plain values, without TensorFlow.

Owns: their fields and what each means.
Leaves: making them (home, copies), running them (replica).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.engine.frameworks.graph.ports import Port


@dataclass(frozen=True, slots=True)
class Gradient:
    """A marked gradient.

    Attributes:
        variable: whose.
        values: a tensor: of the variable's shape, or of some of its rows.
        indices: a tensor: which rows; empty for all.
    """

    variable: str
    values: str
    indices: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind of step: which loss, and what changes by it.

    Attributes:
        name: of its loss, where there are several kinds; else empty.
        loss: a tensor.
        train: an operation.
        gradients: marked ones, which `train` uses.
        updates: operations that run with the gradients.
        rate: the learning rate: a tensor or a number.
        count: steps of this kind in a row.
    """

    name: str
    loss: str
    train: str
    gradients: tuple[Gradient, ...]
    updates: tuple[str, ...] = ()
    rate: str | float = float("nan")
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run of a graph, by names.

    Attributes:
        inputs: what the features feed.
        labels: what the targets feed.
        loss: a scalar tensor; empty for none.
        outputs: tensors, rows first.
        measured: further tensors, which only metrics see.
        turns: kinds of steps, in their order; empty for a graph that is not trained.
        feeds: tensor -> (its value in training, its value elsewhere).
    """

    inputs: tuple[Port, ...]
    labels: tuple[Port, ...] = ()
    loss: str = ""
    outputs: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    feeds: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def answers(self) -> tuple[str, ...]:
        """Everything that is wanted of the graph when it is not trained."""
        return tuple(name for name in (self.loss, *self.outputs, *self.measured) if name)


@dataclass(frozen=True, slots=True)
class Copy:
    """A graph with the values of its variables, as it travels.

    Attributes:
        meta: a serialised ``MetaGraphDef``.
        values: variable -> value.
        model: those of the variables that the outputs or the losses depend on; training alone needs the others.
    """

    meta: bytes = field(repr=False)
    values: Mapping[str, np.ndarray] = field(repr=False)
    model: frozenset[str] = frozenset()
