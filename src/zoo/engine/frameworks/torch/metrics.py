"""Whatever a PyTorch program calls a metric, as an engine metric.

Owns: names, torchmetrics objects and plain functions as `Metric`s; numbering metrics of one name.
Leaves: the engine's own metrics (zoo.engine.metrics), the mean loss (loop).
"""

from __future__ import annotations

import copy
import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.tensors import arrays_of, tensor_of
from zoo.engine.metrics import FunctionMetric, Metric, MetricState, Value, by_name


def adapt_all(metrics: Any) -> tuple[Metric, ...]:
    """The engine's metrics for a program's `metrics` argument.

    Args:
        metrics: None, one metric of any kind that `adapt` takes, a list or tuple of them, or a torchmetrics
            `MetricCollection`.

    Returns:
        In the given order, with different names: of several ``Accuracy`` the second is ``Accuracy_2``.

    Raises:
        UsageError: something that is no metric.
    """
    return tuple(_numbered([adapt(metric) for metric in _each(metrics)]))


def adapt(metric: Any) -> Metric:
    """The engine's metric for one metric of a program.

    Args:
        metric: an engine or Orca metric; a name (``"accuracy"``, ``"mse"``, ...); a torchmetrics metric, which is
            copied and stays as it is; or a function of (output, target) tensors that returns the batch's mean as a
            number (exact only for means over rows, see `FunctionMetric`).

    Raises:
        UsageError: anything else; an unknown name.
    """
    if isinstance(metric, str):
        return by_name(metric)
    if isinstance(metric, type):
        raise UsageError(
            f"metrics must be objects. Received the class {metric.__name__}: call it, {metric.__name__}()."
        )
    if isinstance(metric, Metric):
        return metric
    if hasattr(metric, "to_engine"):
        own: Metric = metric.to_engine()
        return own
    if _is_torchmetrics(metric, "Metric"):
        return TorchMetric.of(metric)
    if callable(metric) and not _is_torchmetrics(metric, "MetricCollection"):
        return FunctionMetric(_name_of(metric), OnTensors(metric))
    raise UsageError(
        f"a metric must be a metric of zoo.orca.learn.metrics, a name, a torchmetrics metric, or a function of "
        f"(output, target). Received: {metric!r}"
    )


@dataclass(frozen=True)
class OnTensors:
    """Calls a function of tensors with arrays, outside of autograd; returns a number or an array."""

    fn: Callable[[Any, Any], Any]

    def __call__(self, output: Any, target: Any) -> Any:
        with torch.no_grad():
            value = self.fn(_tensors(output), _tensors(target))
        return arrays_of(value)[0] if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class TorchMetric:
    """A torchmetrics metric. Merging does what torchmetrics does between processes, so it is as exact as theirs.

    The state is a tuple of parts, each a dict of the metric's own states (tensors, or lists of them). Parts are joined
    at once where every state is a sum, a maximum, a minimum or a list; otherwise each merge adds one.

    Attributes:
        metric: a private copy on the CPU, without rows; never changed.
        name: the key in the results.
    """

    metric: Any
    name: str

    @classmethod
    def of(cls, metric: Any) -> TorchMetric:
        """Takes the user's object, which is not changed.

        Raises:
            UsageError: it has no state of its own, as wrappers around other metrics.
        """
        own = copy.deepcopy(metric).cpu()
        own.reset()
        if not own.metric_state:
            raise UsageError(
                f"{type(metric).__name__} keeps its rows in other metrics, so it can't be merged over ranks. "
                f"Give the metric inside it."
            )
        return cls(own, type(metric).__name__)

    def start(self) -> MetricState:
        return ()

    def update(self, state: MetricState, output: Any, target: Any) -> MetricState:
        outputs, targets = _aligned(_tensors(output), _tensors(target))
        if not _rows(outputs):
            return state
        live = self._holding(state[-1]) if state else self._holding(self.metric.metric_state)
        live.update(outputs, targets)
        return (*state[:-1], dict(live.metric_state))

    def merge(self, a: MetricState, b: MetricState) -> MetricState:
        parts = a + b
        return (self._joined(parts),) if len(parts) > 1 and self._folds() else parts

    def compute(self, state: MetricState) -> Value:
        if not state:
            return math.nan
        live = self._holding(self._joined(state) if len(state) > 1 else state[0])
        # The class's own compute: the object's one would gather over torch.distributed, and merge does that here.
        return _plain(type(live).compute(live))

    def _holding(self, part: Mapping[str, Any]) -> Any:
        live = copy.copy(self.metric)
        for attribute, value in part.items():
            setattr(live, attribute, value.clone() if isinstance(value, Tensor) else list(value))
        return live

    def _joined(self, parts: MetricState) -> dict[str, Any]:
        return {name: _reduced([part[name] for part in parts], fx) for name, fx in self.metric._reductions.items()}

    def _folds(self) -> bool:
        from torchmetrics.utilities import data

        nested = (data.dim_zero_sum, data.dim_zero_max, data.dim_zero_min)
        listed = (data.dim_zero_cat, None)
        states, reductions = self.metric.metric_state, self.metric._reductions
        return all(fx in (listed if isinstance(states[name], list) else nested) for name, fx in reductions.items())


def _reduced(values: list[Any], fx: Callable[[Tensor], Tensor] | None) -> Any:
    """As `torchmetrics.Metric._sync_dist`: lists are put one behind another, tensors stacked and reduced."""
    if isinstance(values[0], list):
        return [item for value in values for item in value]
    stacked = torch.stack(values)
    return stacked if fx is None else fx(stacked)


def _plain(value: Any) -> Value:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if not isinstance(value, Tensor):
        return value
    return float(value) if value.numel() == 1 else arrays_of(value)[0]


def _tensors(values: Any) -> Any:
    if isinstance(values, list | tuple):
        parts = tuple(_tensors(value) for value in values)
        return parts[0] if len(parts) == 1 else parts
    return values.detach().cpu() if isinstance(values, Tensor) else tensor_of(np.asarray(values))


def _aligned(output: Any, target: Any) -> tuple[Any, Any]:
    """A column (n, 1) loses its axis against (n,), and as labels against (n, classes)."""
    if isinstance(output, Tensor) and isinstance(target, Tensor):
        if output.shape == (*target.shape, 1):
            return output[..., 0], target
        if target.ndim >= 2 and target.shape[-1] == 1 and output.shape != target.shape:
            return output, target[..., 0]
    return output, target


def _rows(values: Any) -> int:
    return len(values[0] if isinstance(values, tuple) else values)


def _each(metrics: Any) -> Iterator[Any]:
    if _is_torchmetrics(metrics, "MetricCollection"):
        for name, metric in metrics.items():
            yield dataclasses.replace(TorchMetric.of(metric), name=name)
    elif isinstance(metrics, list | tuple):
        for metric in metrics:
            yield from _each(metric)
    elif metrics is not None:
        yield metrics


def _numbered(metrics: list[Metric]) -> Iterator[Metric]:
    taken = Counter(metric.name for metric in metrics)
    seen: Counter[str] = Counter()
    for metric in metrics:
        seen[metric.name] += 1
        number, name = seen[metric.name], metric.name
        if number > 1:
            while f"{metric.name}_{number}" in taken:
                number += 1
            name = f"{metric.name}_{number}"
            taken[name] += 1
        yield metric if name == metric.name else _renamed(metric, name)


def _renamed(metric: Metric, name: str) -> Metric:
    renamed = copy.copy(metric)
    object.__setattr__(renamed, "name", name)  # a fresh copy, nobody else has it yet
    return renamed


def _is_torchmetrics(metric: Any, kind: str) -> bool:
    # Who holds such an object has imported the library, so it need not be imported to recognise it.
    library = sys.modules.get("torchmetrics")
    return library is not None and isinstance(metric, getattr(library, kind))


def _name_of(function: Any) -> str:
    inner = getattr(function, "func", function)  # functools.partial
    name = getattr(inner, "__name__", type(inner).__name__)
    return "function" if name == "<lambda>" else str(name)
