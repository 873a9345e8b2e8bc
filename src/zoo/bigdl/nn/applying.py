"""Applying and measuring a layer: arrays in this process, other data on the current cluster.

Owns: batches of arrays.
Leaves: everything on a cluster (zoo.orca.learn.pytorch, zoo.engine).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from zoo.bigdl.nn import activities
from zoo.bigdl.nn.module import Layer
from zoo.bigdl.optim.validation import EvaluatedResult, methods_of
from zoo.engine.errors import UsageError


def predicted(model: Layer, features: Any, batch_size: int) -> Any:
    """The outputs of all rows; see `Layer.predict`."""
    if batch_size < 1:
        batch_size = 32  # BigDL's -1
    if not all(hasattr(one, "__array__") for one in activities.flat(features)) or hasattr(features, "columns"):
        from zoo.orca.learn.pytorch import Estimator

        return Estimator.from_torch(model=model).predict(features, batch_size=batch_size)
    tensors = activities.to_tensors(features)
    rows = {len(one) for one in activities.flat(tensors)}
    if len(rows) != 1 or 0 in rows:
        raise UsageError(f"predict takes arrays of the same number of rows, at least 1. Received: {sorted(rows)}")
    was_training = [one for one in model.modules() if one.training]
    model.eval()
    try:
        with torch.no_grad():
            found = [model(_rows(tensors, at, batch_size)) for at in range(0, rows.pop(), batch_size)]
    finally:
        for one in was_training:
            one.training = True
    return _joined([activities.to_arrays(one) for one in found])


def evaluated(model: Layer, dataset: Any, batch_size: int, val_methods: Any) -> list[EvaluatedResult]:
    """What the validation methods give; see `Layer.evaluate`."""
    from zoo.orca.learn.pytorch import Estimator

    methods = methods_of(val_methods)
    found = Estimator.from_torch(model=model, loss=_no_loss, metrics=methods).evaluate(dataset, batch_size=batch_size)
    rows = int(found.get("num_samples", 0))
    return [EvaluatedResult(float(found[one.name]), rows, one.name) for one in methods]


def _rows(tensors: Any, start: int, size: int) -> Any:
    return activities.mapped(lambda one: one[start : start + size], tensors)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], list):
        return [_joined(list(column)) for column in zip(*parts, strict=True)]
    return np.concatenate(parts)


def _no_loss(output: Any, target: Any) -> torch.Tensor:
    return torch.tensor(float("nan"))  # is not told
