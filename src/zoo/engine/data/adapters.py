"""What is this data? Asked here and nowhere else.

Data that knows zoo brings itself, as numpy's ``__array__`` taught: a method ``__zoo_shards__(columns: Columns) ->
Adapted`` (`columns.features` is empty where the caller named none). Other types are recognised by the name of their
class or of one of its bases, without importing anything.

Owns: the table of types, the adapters of plain Python's, numpy's, pandas' and Arrow's.
Leaves: the adapters of other libraries (their rooms), columns -> arrays (columns).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
import pyarrow as pa

from zoo.engine.contracts import Shards
from zoo.engine.data import answers
from zoo.engine.data import columns as column_types
from zoo.engine.data.columns import from_array
from zoo.engine.data.shards import MemoryShards, from_arrays, named, table_of
from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.engine.jobs import Columns
from zoo.engine.values import Source

if TYPE_CHECKING:
    from zoo.engine.data.files import FileShards

Names: TypeAlias = "tuple[str, ...] | None"

_HERE = "zoo.engine.data.adapters"
_LOADERS = "zoo.engine.frameworks.torch.loaders"
_CREATORS = "zoo.engine.data.creators"
_CREATOR = "adapt_creator"

ADAPTERS: Mapping[str, str] = {  # a class, or the module it comes from -> its adapter
    "pyspark.core.rdd": "zoo.engine.clusters.spark.rdds:adapt_rdd",
    "pyspark.sql": "zoo.engine.clusters.spark.frames:adapt_frame",
    "pandas": f"{_HERE}:adapt_pandas",
    "pyarrow.lib.Table": f"{_HERE}:adapt_arrow",
    "pyarrow.lib.RecordBatch": f"{_HERE}:adapt_arrow",
    "pyarrow.lib.RecordBatchReader": f"{_HERE}:adapt_arrow",
    "pyarrow._dataset.InMemoryDataset": f"{_HERE}:adapt_in_memory",
    "pyarrow._dataset.Dataset": f"{_HERE}:adapt_files",
    "deltalake": f"{_HERE}:adapt_delta",
    "torch.utils.data": f"{_LOADERS}:adapt_loader",
    "tensorflow.python.data": "zoo.engine.frameworks.tensorflow.datasets:adapt_dataset",
    "numpy.ndarray": f"{_HERE}:adapt_arrays",
    "builtins.dict": f"{_HERE}:adapt_arrays",
    "builtins.tuple": f"{_HERE}:adapt_arrays",
    "builtins.list": f"{_HERE}:adapt_arrays",
    "builtins.str": f"{_HERE}:adapt_files",
    "builtins.function": f"{_CREATORS}:{_CREATOR}",
    "builtins.method": f"{_CREATORS}:{_CREATOR}",
    "functools.partial": f"{_CREATORS}:{_CREATOR}",
}

PROTOCOLS: Mapping[str, str] = {  # a method that any type may have -> its adapter
    "__arrow_c_stream__": f"{_HERE}:adapt_arrow",
    "__fspath__": f"{_HERE}:adapt_files",
}

ACCEPTED = (
    "a Spark DataFrame, an RDD of rows, a pandas DataFrame, an Arrow table, reader or Parquet dataset, any frame with "
    "__arrow_c_stream__ (Polars, DuckDB, ...), XShards, numpy arrays as x, (x, y), [x0, x1] or {'x': x, 'y': y}, "
    "a Parquet path or URL, a Delta table or its path, a torch DataLoader, a tf.data.Dataset, or a function that "
    "creates one"
)


@dataclass(frozen=True, slots=True)
class Adapted:
    """Data as the engine sees it.

    Attributes:
        shards: the rows.
        columns: inputs and targets, with names given to arrays that had none.
        give_back: from what `Cluster.extend` makes of `shards` to the user's own kind of data.
        sources: finds out where the rows come from, and in which version; empty where there is nothing to tell.
    """

    shards: Shards
    columns: Columns
    give_back: answers.GiveBack = field(default=answers.to_arrays, compare=False)
    sources: Callable[[], tuple[Source, ...]] = field(default=tuple, compare=False)


class Adapter(Protocol):
    """What the table's names lead to."""

    def __call__(self, data: Any, features: Names, labels: Names, /) -> Adapted:
        """Raises UsageError for every mistake that can be seen before rows are read."""


def adapt(
    data: Any,
    features: str | Sequence[str] | None = None,
    labels: str | Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Adapted:
    """Finds out what `data` is.

    Args:
        data: see `ACCEPTED`.
        features: the input columns, in the order of the model's inputs; None where the data tell.
        labels: the target columns; None where the data tell, or there are none.
        config: the first argument of a creator ``f(config, batch_size)``.

    Raises:
        UsageError: data of another kind, columns that are needed and None, columns that make no array.
        ColumnNotFound: columns that the data do not have.
        MissingDependency: the library that the data need is not installed.
    """
    inputs, targets = _names(features), _names(labels)
    if hasattr(data, "__zoo_shards__"):
        adapted: Adapted = data.__zoo_shards__(Columns(inputs or (), targets or ()))
        return adapted
    target = _target(type(data))
    if target is None:
        raise UsageError(f"data must be {ACCEPTED}. Received: {type(data).__module__}.{type(data).__qualname__}")
    module, _, name = target.partition(":")
    adapter: Adapter = getattr(importlib.import_module(module), name)
    if name == _CREATOR:  # the one adapter that needs to know more than the data
        adapter = partial(cast("Callable[..., Adapted]", adapter), config=dict(config or {}))
    return adapter(data, inputs, targets)


def choose(available: Sequence[str], features: Names, labels: Names) -> Columns:
    """The columns of a frame that are asked for; every adapter of frames checks them here.

    Raises:
        UsageError: no features were named.
        ColumnNotFound: names that the frame does not have.
    """
    if features is None:
        raise UsageError(
            "feature columns is None; it should not be None in training/prediction. "
            f"Name them with feature_cols=[...]. Columns: {', '.join(available)}"
        )
    if not features:
        raise UsageError(f"feature_cols is empty. Name at least one of: {', '.join(available)}")
    missing = []
    for argument, names in (("feature_cols", features), ("label_cols", labels or ())):
        unknown = [name for name in names if name not in available]
        if unknown:
            missing.append(str(ColumnNotFound.among(unknown, available, argument)))
    if missing:
        raise ColumnNotFound.listing(missing)
    return Columns(features, labels or ())


def needed(columns: Columns) -> list[str]:
    """All columns asked for, each once."""
    return list(dict.fromkeys(columns.features + columns.labels))


def adapt_arrays(data: Any, features: Names, labels: Names) -> Adapted:
    """Arrays: x, (x, y), [x0, x1, ...], {"x": x, "y": y}, or other dicts of arrays with `features` named.

    x and y may be an array, a tuple or list of arrays, or a dict of arrays.
    """
    if isinstance(data, Mapping) and not ("x" in data and set(data) <= {"x", "y"}):
        arrays = named("x", data)
        columns = choose(list(arrays), features, labels)
        return _held(table_of({name: arrays[name] for name in needed(columns)}), columns)
    shards, columns = from_arrays(*_pair(data))
    if features is not None:
        columns = choose(shards.schema.names, features, labels)
    return _checked(shards, columns)


def adapt_arrow(data: Any, features: Names, labels: Names) -> Adapted:
    """An Arrow table, batch, reader, or anything with ``__arrow_c_stream__``; other columns are let go."""
    try:
        reader = pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise UsageError(f"data must be rows of named columns. Received: {type(data).__name__} ({error})") from error
    columns = choose(reader.schema.names, features, labels)
    column_types.describe(reader.schema, needed(columns))
    schema = pa.schema([reader.schema.field(name) for name in needed(columns)])
    table = pa.Table.from_batches((batch.select(schema.names) for batch in reader), schema)
    return _held(table, columns, answers.to_table(data, table))


def adapt_in_memory(data: Any, features: Names, labels: Names) -> Adapted:
    """An Arrow dataset that has no files."""
    return adapt_arrow(data.to_table(), features, labels)


def adapt_files(data: Any, features: Names, labels: Names) -> Adapted:
    """A Parquet file, directory, glob or dataset, or a Delta table's directory, which the ranks read themselves."""
    from zoo.engine.data import delta  # pyarrow's datasets import pandas
    from zoo.engine.data.files import FileShards

    if isinstance(data, str | os.PathLike) and delta.is_table(os.fspath(data)):
        return adapt_delta(delta.opened(os.fspath(data)), features, labels)
    shards = FileShards(data)
    return _of_files(shards, features, labels, shards.sources)


def adapt_delta(data: Any, features: Names, labels: Names) -> Adapted:
    """A `deltalake.DeltaTable`: the files of its version, which the ranks read themselves."""
    from zoo.engine.data import delta
    from zoo.engine.data.files import FileShards

    listing, source = delta.listed(data)
    return _of_files(FileShards(listing), features, labels, lambda: (source,))


def _of_files(
    shards: FileShards, features: Names, labels: Names, sources: Callable[[], tuple[Source, ...]]
) -> Adapted:  # fmt: skip
    columns = choose(shards.schema.names, features, labels)
    column_types.describe(shards.schema, needed(columns))
    return Adapted(shards.with_columns(needed(columns)), columns, answers.to_table_of(shards), sources)


def adapt_pandas(data: Any, features: Names, labels: Names) -> Adapted:
    """A pandas DataFrame; its index is ignored."""
    if getattr(data, "ndim", 0) != 2:
        raise UsageError(f"data must be {ACCEPTED}. Received: {type(data).__name__}; give a DataFrame: data.to_frame()")
    columns = choose([str(name) for name in data.columns], features, labels)
    made = [_series(name, data.loc[:, [str(other) == name for other in data.columns]]) for name in needed(columns)]
    table = pa.Table.from_arrays([column for _, column in made], schema=pa.schema([field for field, _ in made]))
    return _held(table, columns, answers.to_pandas(data))


def _series(name: str, found: Any) -> tuple[pa.Field, Any]:
    """The column of a DataFrame's only column."""
    if found.shape[1] != 1:
        raise UsageError(f"the data have {found.shape[1]} columns named '{name}'. Rename all but one of them.")
    series = found.iloc[:, 0]
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biufM":
        column = pa.array(series.to_numpy())  # NaN is a number here, not a null
        return pa.field(name, column.type), column
    rows = list(series) if series.dtype == object else []
    if rows and all(isinstance(row, np.ndarray) for row in rows) and len({(row.shape, row.dtype) for row in rows}) == 1:
        return from_array(name, np.stack(rows))
    try:
        column = pa.array(_plain(rows), from_pandas=True) if rows else pa.Array.from_pandas(series)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"column '{name}' mixes objects that make no column ({error}). "
            "Give numbers, str, bytes, or lists of numbers, one kind in all rows."
        ) from error
    return pa.field(name, column.type), column


def _plain(rows: Iterable[Any]) -> list[Any]:
    """Rows with arrays of several axes as nested lists, which Arrow understands."""
    return [row.tolist() if isinstance(row, np.ndarray) and row.ndim != 1 else row for row in rows]


def _pair(data: Any) -> tuple[Any, Any]:
    """(x, y or None)."""
    if isinstance(data, Mapping):
        return data["x"], data.get("y")
    if isinstance(data, tuple) and len(data) == 2:
        return data
    if isinstance(data, tuple) and len(data) > 2:
        raise UsageError(f"a tuple of {len(data)} arrays could mean many things. Give ((x0, x1, ...), y) or [x0, x1].")
    return data, None


def _held(table: pa.Table, columns: Columns, give_back: answers.GiveBack = answers.to_arrays) -> Adapted:
    return _checked(MemoryShards(table), columns, give_back)


def _checked(shards: Shards, columns: Columns, give_back: answers.GiveBack = answers.to_arrays) -> Adapted:
    column_types.describe(shards.schema, needed(columns))
    return Adapted(shards, columns, give_back)


def _names(names: str | Sequence[str] | None) -> Names:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)


def _target(kind: type) -> str | None:
    """The adapter of a type: by its own name, then its bases', then by what it can do."""
    for base in kind.__mro__:
        full = f"{base.__module__}.{base.__qualname__}"
        for prefix, target in ADAPTERS.items():
            if full == prefix or full.startswith(prefix + "."):
                return target
    return next((target for method, target in PROTOCOLS.items() if hasattr(kind, method)), None)
