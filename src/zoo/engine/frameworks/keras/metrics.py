"""What a Keras program calls metrics, as engine metrics.

The metrics of ``model.compile(metrics=...)`` become one engine metric whose state is the sums in their variables: the
sums of merged parts are the sums of the whole, as tf.distribute merges them too. A model without layers holds them, so
that Keras itself decides what ``"accuracy"`` means for a shape.

Owns: that, and names and functions as metrics.
Leaves: the engine's own metrics (zoo.engine.metrics).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import backends, travel
from zoo.engine.metrics import FunctionMetric, Metric, MetricState, Value, metric_of

Kinds: TypeAlias = "tuple[Any, ...]"
"""(shape of one row, dtype) of each array; a dict of them for a dict of arrays."""

_KEPT = 4
_holders: OrderedDict[bytes, Any] = OrderedDict()


@dataclass(frozen=True)
class CompiledMetrics:
    """The metrics that a model was compiled with. Its value is a dict, whose items are reported one by one.

    A state is (kinds of the outputs, kinds of the targets, sums...): the kinds let a process that has seen no rows
    compute the value.

    Attributes:
        backend: of Keras.
        payload: (metrics, weighted metrics, names of the outputs), packed.
        weighted: whether the last label is the weight of its row.
        name: empty, as for all metrics with several values.
    """

    backend: str
    payload: bytes = field(repr=False)
    weighted: bool = False
    name: str = ""

    @classmethod
    def of(cls, model: Any, backend: str, weighted: bool) -> CompiledMetrics | None:
        """Those of a model; None where it was compiled without."""
        config = model._compile_config.config if model.compiled else {}
        asked = (config.get("metrics"), config.get("weighted_metrics"))
        if not any(asked):
            return None
        names = list(getattr(model, "output_names", None) or ())
        return cls(backend, travel.pack((*asked, names), "metrics"), weighted)

    def start(self) -> MetricState:
        return ()

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        outputs, labels = _listed(output), _listed(target)
        if not len(outputs[0]):
            return state
        holder = self._holder()
        self._measure(holder, outputs, labels)
        return self.merge(state, (_kinds(outputs), _kinds(labels), *map(_array, holder.metrics_variables)))

    def merge(self, a: MetricState, b: MetricState) -> MetricState:
        if not a or not b:
            return a or b
        return (*a[:2], *(x + y for x, y in zip(a[2:], b[2:], strict=True)))

    def compute(self, state: MetricState) -> Value:
        if not state:
            return {}
        holder = self._holder()
        outputs, labels, *sums = state
        self._measure(holder, _zeros(outputs), _zeros(labels))  # every variable is there now
        for variable, value in zip(holder.metrics_variables, sums, strict=True):
            variable.assign(value)
        return {name: float(value) for name, value in holder.get_metrics_result().items() if name != "loss"}

    def _measure(self, holder: Any, outputs: Sequence[Any], labels: Sequence[Any]) -> None:
        """The holder's variables over these rows alone."""
        outputs, labels = _tensors(outputs), _tensors(labels)
        weights = labels.pop() if self.weighted else None
        holder.reset_metrics()
        holder.compute_metrics(None, _single(labels), _single(outputs), sample_weight=weights)

    def _holder(self) -> Any:
        """A model without layers, compiled with the metrics; this process's own."""
        if self.payload not in _holders:
            keras = backends.begin(self.backend)
            metrics, weighted, names = travel.unpack(self.payload)
            holder = keras.Model()
            if names:
                holder.output_names = names
            holder.compile(metrics=metrics, weighted_metrics=weighted)
            _holders[self.payload] = holder
        _holders.move_to_end(self.payload)
        while len(_holders) > _KEPT:
            _holders.popitem(last=False)
        return _holders[self.payload]


def adapt_all(metrics: Any) -> tuple[Metric, ...]:
    """The engine's metrics for a program's `metrics` argument: beside those that the model was compiled with.

    Args:
        metrics: None, one metric, or several: names, engine or Orca metrics, functions of (output, target) arrays that
            return the batch's mean.

    Raises:
        UsageError: something that is no metric, or a metric of Keras, which belongs into compile().
    """
    if metrics is None:
        return ()
    return tuple(_adapt(metric) for metric in (metrics if isinstance(metrics, list | tuple) else [metrics]))


def _adapt(metric: Any) -> Metric:
    own = metric_of(metric)
    if own is not None:
        return own
    if hasattr(metric, "update_state"):
        raise UsageError(f"{metric!r} is a metric of Keras: give it to model.compile(metrics=[...]).")
    if callable(metric) and not isinstance(metric, type):
        return FunctionMetric(getattr(metric, "__name__", "function"), metric)
    raise UsageError(
        f"a metric must be a metric of zoo.orca.learn.metrics, a name, or a function of (output, target). Received: "
        f"{metric!r}"
    )


def _array(variable: Any) -> np.ndarray:
    """A copy in float64, in which sums of many parts stay exact."""
    import keras

    return np.array(keras.ops.convert_to_numpy(variable.value), np.float64)


def _kinds(arrays: Sequence[Any]) -> Kinds:
    return tuple(_each(lambda array: (tuple(array.shape[1:]), str(array.dtype)), array) for array in arrays)


def _zeros(kinds: Kinds) -> list[np.ndarray]:
    return [_each(lambda kind: np.zeros((1, *kind[0]), kind[1]), kind) for kind in kinds]


def _listed(arrays: Any) -> list[Any]:
    return [_each(np.asarray, array) for array in (arrays if isinstance(arrays, tuple) else (arrays,))]


def _each(fn: Callable[[Any], Any], value: Any) -> Any:
    """`fn` of an array, or of each array of a dict."""
    return {key: fn(one) for key, one in value.items()} if isinstance(value, Mapping) else fn(value)


def _tensors(arrays: Sequence[Any]) -> list[Any]:
    import keras

    return [_each(keras.ops.convert_to_tensor, array) for array in arrays]


def _single(arrays: Sequence[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else list(arrays)
