"""What a loader's batch holds: inputs, targets, and the same as rows of columns.

Owns: the forms of a batch.
Leaves: where batches come from (feeds).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import torch

from zoo.engine.data.columns import from_array
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.tensors import arrays_of
from zoo.engine.jobs import Columns

Pair: TypeAlias = tuple[tuple[Any, ...], tuple[Any, ...]]


def divide(batch: Any, names: Columns | None) -> Pair:
    """(features, labels) of a loader's batch.

    Args:
        batch: ``(*features, target)``, ``{"x": ..., "y": ...}``, a dict with the names as keys, or the one feature.
        names: says how many parts are features, and how many labels; None: all but the last are features.

    Raises:
        UsageError: parts that are not there.
    """
    if isinstance(batch, Mapping):
        return _divide_mapping(batch, names)
    parts = tuple(batch) if isinstance(batch, list | tuple) else (batch,)
    if names is None:
        return (_spread(parts[:-1]), _spread(parts[-1:])) if len(parts) > 1 else (parts, ())
    inputs, targets = len(names.features), len(names.labels)
    if len(parts) == 2 and inputs > 1 and isinstance(parts[0], list | tuple):
        parts = (*parts[0], *_spread(parts[1:]))
    if len(parts) < inputs + targets:
        raise UsageError(
            f"a batch of the loader has {len(parts)} parts, and {inputs} features {list(names.features)} and {targets} "
            f"labels {list(names.labels)} were named. Batches are (*features, target)."
        )
    return parts[:inputs], parts[inputs : inputs + targets]


def _divide_mapping(batch: Mapping[Any, Any], names: Columns | None) -> Pair:
    if "x" in batch:
        return _spread((batch["x"],)), _spread((batch["y"],)) if "y" in batch else ()
    wanted = (*names.features, *names.labels) if names else ()
    missing = [name for name in wanted if name not in batch]
    if not wanted or missing:
        raise UsageError(
            f"a batch of the loader is a dict with keys {list(batch)}. Name its parts with feature_cols=[...] and "
            f"label_cols=[...]{f' (not there: {missing})' if missing else ''}, or call them 'x' and 'y'."
        )
    assert names is not None
    return tuple(batch[name] for name in names.features), tuple(batch[name] for name in names.labels)


def _spread(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(parts[0]) if len(parts) == 1 and isinstance(parts[0], list | tuple) else parts


def record_of(pair: Pair, columns: Columns) -> pa.RecordBatch:
    """The rows of a batch as columns; labels that have no name are let go.

    Raises:
        UsageError: other numbers of features or labels than names, or parts without an axis of rows.
    """
    features, labels = pair
    if len(features) != len(columns.features) or len(labels) < len(columns.labels):
        raise UsageError(
            f"a batch of the loader has {len(features)} features and {len(labels)} targets, not "
            f"{len(columns.features)} and {len(columns.labels)}. Name them with feature_cols=[...], label_cols=[...]."
        )
    made = [
        from_array(name, _column(name, part))
        for names, parts in ((columns.features, features), (columns.labels, labels))
        for name, part in zip(names, parts, strict=False)
    ]
    arrays = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for _, c in made]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([field for field, _ in made]))


def _column(name: str, part: Any) -> np.ndarray:
    arrays = arrays_of(part) if isinstance(part, torch.Tensor) else (np.asarray(part),)
    if arrays[0].ndim == 0:
        raise UsageError(f"'{name}' of a loader's batch has no axis of rows. Received: {part!r}")
    return arrays[0]
