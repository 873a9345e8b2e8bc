"""From a program's own tensors to a `GraphSpec`.

Owns: nests of tensors as names, metrics of a program.
Leaves: whether they can be trained, or travel (spec, home).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import home as homes
from zoo.engine.frameworks.graph.home import Home, flat
from zoo.engine.frameworks.graph.metrics import PlacedMetric, TensorMetric
from zoo.engine.frameworks.graph.program import Program
from zoo.engine.frameworks.graph.spec import GraphSpec
from zoo.engine.metrics import Metric, metric_of


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """What a program says of its graph.

    Attributes:
        inputs: what features feed; a nest of tensors.
        outputs: what a prediction gives; a nest of tensors.
        labels: what targets feed; a nest of tensors.
        loss: a scalar tensor.
        metrics: name -> scalar tensor or `Measure`; or metrics.
        updates: operations or tensors that run with the gradients; None: see `GraphSpec`.
        feeds: tensor -> (value in training, value elsewhere).
    """

    inputs: Any
    outputs: Any = None
    labels: Any = None
    loss: Any = None
    metrics: Any = None
    updates: Sequence[Any] | None = None
    feeds: Mapping[Any, tuple[Any, Any]] = field(default_factory=dict)

    def graph(self) -> Any:
        """The one that they are all of.

        Raises:
            UsageError: something that is no tensor of a graph, or of another one; there are none.
        """
        nests = (self.inputs, self.labels, self.outputs, self.loss)
        measured = [one for one in _split(self.metrics)[0].values() if not isinstance(one, Measure)]
        found = homes.graph_of([tensor for nest in nests for _, tensor in flat(nest)] + measured + list(self.feeds))
        if found is None:
            raise UsageError("inputs is None: name the placeholders that the features feed.")
        return found


def graph_spec(given: Tensors, home: Home, **spec: Any) -> GraphSpec:
    """The spec of a program's tensors.

    Args:
        given: the tensors.
        home: their graph, and its session.
        **spec: further attributes of `GraphSpec`.

    Raises:
        UsageError: metrics or updates that are none.
    """
    named, others = _split(given.metrics)
    measured, measures = _measures(named, len(flat(given.outputs)))
    program = Program(
        inputs=tuple(home.port(tensor, key) for key, tensor in flat(given.inputs)),
        labels=tuple(home.port(tensor, key) for key, tensor in flat(given.labels)),
        loss="" if given.loss is None else given.loss.name,
        outputs=tuple(tensor.name for _, tensor in flat(given.outputs)),
        measured=measured,
        feeds={tensor.name: tuple(values) for tensor, values in given.feeds.items()},
    )
    updates = None if given.updates is None else tuple(_operation(update).name for update in given.updates)
    made = GraphSpec(home=home, program=program, updates=updates, **spec)
    made.measures = (*measures, *made.placed(others))
    return made


class Measure:
    """A metric on tensors that the program names itself.

    Args:
        metric: of the engine or of `zoo.orca.learn.metrics`.
        outputs: tensors that it takes for outputs.
        labels: tensors that it takes for targets.
    """

    def __init__(self, metric: Any, outputs: Any, labels: Any) -> None:
        self.metric, self.outputs, self.labels = metric, flat(outputs), flat(labels)


def engine_metric(metric: Any) -> Metric:
    """The engine's metric for a program's.

    Raises:
        UsageError: it is none.
    """
    own = metric_of(metric)
    if own is not None:
        return own
    raise UsageError(
        f"metrics are a dict from names to scalar tensors, or metrics of zoo.orca.learn.metrics. Received: {metric!r}"
    )


def _split(metrics: Any) -> tuple[dict[str, Any], list[Any]]:
    """(named tensors and measures, other metrics)."""
    if metrics is None:
        return {}, []
    if not isinstance(metrics, Mapping):
        return {}, list(metrics) if isinstance(metrics, list | tuple) else [metrics]
    named = {str(name): one for name, one in metrics.items() if isinstance(one, tf.Tensor | Measure)}
    return named, [one for name, one in metrics.items() if str(name) not in named]


def _measures(named: Mapping[str, Any], outputs: int) -> tuple[tuple[str, ...], tuple[Metric, ...]]:
    """(tensors that scoring gives beside the outputs, metrics that know where theirs are)."""
    tensors: list[str] = []
    made: list[Metric] = []

    def places(found: Sequence[Any]) -> tuple[int, ...]:
        first = outputs + len(tensors)
        tensors.extend(tensor.name for tensor in found)
        return tuple(range(first, first + len(found)))

    for name, one in named.items():
        if isinstance(one, Measure):
            outs, labels = (places([tensor for _, tensor in part]) for part in (one.outputs, one.labels))
            made.append(PlacedMetric(engine_metric(one.metric), outs, labels))
        else:
            made.append(TensorMetric(name, *places([one])))
    return tuple(tensors), tuple(made)


def _operation(update: Any) -> Any:
    found = getattr(update, "op", update)  # of a tensor, or of what assigning to a variable gives
    if isinstance(found, tf.Operation):
        return found
    raise UsageError(f"updates are operations of the graph, e.g. tf.assign(...). Received: {update!r}")
