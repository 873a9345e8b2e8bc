"""What a `TFDataset` is made from: the rows as the engine sees them, and which column is which part.

Owns: one function for each kind of data; dtype and shape of each part.
Leaves: reading the rows (zoo.engine.data), placeholders (tf_dataset).
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.engine.data import answers
from zoo.engine.data import columns as column_types
from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.data.shards import MemoryShards, table_of
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.tensorflow import pipelines
from zoo.engine.frameworks.tensorflow.process import eagerly
from zoo.engine.jobs import Columns
from zoo.tfpark import nests


@dataclass(frozen=True)
class TensorMeta:
    """One part of a row.

    Attributes:
        dtype: of TensorFlow.
        shape: without the rows' axis; None where only the rows tell.
        name: of its column.
    """

    dtype: Any
    shape: tuple[int | None, ...]
    name: str


@dataclass(frozen=True)
class Source:
    """Rows, and what their columns are.

    Attributes:
        adapted: the rows.
        names: nests of columns' names: (features, labels or None).
        kinds: name -> what it is.
    """

    adapted: Adapted
    names: tuple[Any, Any]
    kinds: Mapping[str, TensorMeta]


def of_arrays(tensors: Any) -> Source:
    """Features, or ``(features, labels)``: nests of arrays.

    Raises:
        UsageError: something that is no array, or arrays of different lengths.
    """
    pair = isinstance(tensors, tuple) and len(tensors) == 2
    features, labels = tensors if pair else (tensors, None)
    names = nests.pair(features, labels)
    arrays = nests.by_name(names[0], features) | ({} if names[1] is None else nests.by_name(names[1], labels))
    for name, array in arrays.items():
        if not hasattr(array, "__array__"):
            raise UsageError(
                f"from_ndarrays takes arrays, or nests of arrays. Received for {name}: {type(array).__name__}"
            )
    if not nests.leaves(names[0]):
        raise UsageError(f"from_ndarrays was given no arrays. Received: {tensors!r}")
    shards = MemoryShards(table_of({name: np.asarray(array) for name, array in arrays.items()}))
    return _typed(Adapted(shards, _columns(names)), names)


def of_frame(frame: Any, features: Any, labels: Any) -> Source:
    """Columns of a frame."""
    adapted = adapt(frame, features, labels)
    columns = adapted.columns
    names = (
        columns.features[0] if isinstance(features, str) or len(columns.features) == 1 else list(columns.features),
        None if not columns.labels else columns.labels[0] if len(columns.labels) == 1 else list(columns.labels),
    )
    return _typed(Adapted(adapted.shards, columns, _rows_of_frame, adapted.sources), names)


def of_rdd(rdd: Any, features: Any, labels: Any) -> Source:
    """An RDD whose elements are nests like `features` and `labels`, which say ``(dtype, shape)`` of each part."""
    _require_rdd(rdd, "from_rdd")
    if features is None:
        raise UsageError("from_rdd needs features=(dtype, shape), or a list or dict of such, as the elements are made.")
    names = nests.pair(features, labels)
    kinds = _kinds(names[0], features) | ({} if names[1] is None else _kinds(names[1], labels))
    wanted = {name: (_numpy(kind.dtype), kind.shape) for name, kind in kinds.items()}
    adapted = adapt(rdd.map(_flattening(names, wanted)))
    return Source(Adapted(adapted.shards, _columns(names), adapted.give_back), names, kinds)


def of_texts(rdd: Any) -> Source:
    """An RDD of str or bytes."""
    _require_rdd(rdd, "from_string_rdd, or from_bytes_rdd,")
    adapted = adapt(rdd)
    found = column_types.describe(adapted.shards.schema, adapted.columns.features)
    if adapted.columns != Columns(("x",)) or found[0].dtype.kind != "O":
        told = ", ".join(map(str, found))
        raise UsageError(f"elements of the RDD must be texts or bytes, one each. The first one is: {told}")
    return Source(adapted, ("x", None), {"x": TensorMeta(tf.string, (), "x")})


def of_tf_data(dataset: Any, *, checked: bool) -> Source:
    """A ``tf.data.Dataset``.

    Args:
        dataset: its elements are rows.
        checked: whether one that is batched or repeated is refused.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise UsageError(f"from_tf_data_dataset takes a tf.data.Dataset. Received: {type(dataset).__name__}")
    made = list(pipelines.operations(dataset))
    batched = pipelines.is_batched(dataset)
    if checked and (batched or any(name.startswith("Repeat") for name in made)):
        odd = next((name for name in made if name.startswith(("Repeat", "Batch", "PaddedBatch"))), "batch")
        raise UsageError(
            f"the dataset must be neither batched nor repeated: it has {odd}. Leave batch() and repeat() out: "
            "batch_size of TFDataset and the end trigger say what they said. Or give remove_checking=True."
        )
    spec = dataset.element_spec
    pair = isinstance(spec, tuple) and len(spec) in (2, 3)
    parts = (spec[0], spec[1]) if pair else (spec[0] if isinstance(spec, tuple) and len(spec) == 1 else spec, None)
    adapted = adapt(dataset, *(None if one is None else _top(stem, one) for stem, one in zip("xy", parts, strict=True)))
    columns = adapted.columns
    names = tuple(_as_adapted(*of) for of in zip(parts, (columns.features, columns.labels), strict=True))
    _refuse_deep(parts, columns)
    kinds = {}
    for nest, part in zip(names, parts, strict=True):
        for name, one in ({} if nest is None else nests.by_name(nest, part)).items():
            shape = tuple(one.shape.as_list())
            kinds[name] = TensorMeta(one.dtype, shape[1:] if batched else shape, name)
    return Source(adapted, (names[0], names[1]), kinds)


def of_tfrecords(paths: Any) -> Source:
    """TFRecord files: a path, a directory, a pattern, or several of them."""
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found = sorted({file for path in given for file in _files(str(path))})
    if not found:
        raise UsageError(f"no TFRecord files at {', '.join(map(str, given))}.")
    with eagerly():
        dataset = tf.data.TFRecordDataset(found)
        return of_tf_data(dataset, checked=False)


def of_own(data: Any, features: Any, labels: Any) -> Source:
    """Data that brings its rows itself (``__zoo_shards__``), such as XShards.

    Args:
        data: the rows.
        features: ``(dtype, shape)`` of each part, in a nest.
        labels: likewise, or None.
    """
    if not hasattr(data, "__zoo_shards__"):
        raise UsageError(
            f"give XShards of {{'x': ..., 'y': ...}}, or data with rows of its own. Received: {type(data).__name__}"
        )
    adapted = adapt(data)
    wanted = len(nests.leaves(features)), len(nests.leaves(labels))
    columns = adapted.columns
    if wanted[0] != len(columns.features) or wanted[1] > len(columns.labels):
        raise UsageError(
            f"the data have {len(columns.features)} feature(s) and {len(columns.labels)} label(s), and {wanted[0]} and "
            f"{wanted[1]} are described."
        )
    columns = Columns(columns.features, columns.labels[: wanted[1]])
    given = iter((*columns.features, *columns.labels))
    names = nests.filled(features, lambda _: next(given)), nests.filled(labels, lambda _: next(given))
    kinds = _kinds(names[0], features) | ({} if names[1] is None else _kinds(names[1], labels))
    return Source(Adapted(adapted.shards, columns, adapted.give_back), names, kinds)


def older_features(names: Any, shapes: Any, types: Any) -> Any:
    """``features`` of an older program's lists.

    Raises:
        UsageError: one of them is missing.
    """
    if names is None and shapes is None and types is None:
        return None
    if shapes is None:
        raise UsageError("from_rdd with names= needs shapes= too; or say features=[(dtype, shape), ...].")
    kinds = [tf.float32] * len(shapes) if types is None else list(types)
    counts = [len(given) for given in (names, shapes, kinds) if given is not None]
    if len(set(counts)) > 1:
        raise UsageError(
            f"names, shapes and types say one thing of each part: give them as many items each. Received: "
            f"{', '.join(map(str, counts))} items."
        )
    return [(kind, tuple(shape)) for kind, shape in zip(kinds, shapes, strict=True)]


def _columns(names: tuple[Any, Any]) -> Columns:
    return Columns(tuple(nests.leaves(names[0])), tuple(nests.leaves(names[1])))


def _typed(adapted: Adapted, names: tuple[Any, Any]) -> Source:
    """With what the columns' own types say."""
    columns = adapted.columns
    specs = column_types.describe(adapted.shards.schema, (*columns.features, *columns.labels))
    kinds = {spec.name: TensorMeta(_tensorflow(spec.dtype), spec.shape, spec.name) for spec in specs}
    return Source(adapted, names, kinds)


def _kinds(names: Any, described: Any) -> dict[str, TensorMeta]:
    made = {}
    for name, one in nests.by_name(names, described).items():
        told = f"describe each part as (dtype, shape), e.g. (tf.float32, [28, 28]). Received: {one!r}"
        if not nests.is_leaf(one):
            raise UsageError(told)
        try:
            made[name] = TensorMeta(tf.as_dtype(one[0]), tuple(tf.TensorShape(one[1]).as_list()), name)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{told}, which is no dtype, or no shape: {error}") from error
    return made


def _require_rdd(given: Any, what: str) -> None:
    if not hasattr(given, "mapPartitionsWithIndex"):
        raise UsageError(
            f"{what} takes an RDD. Received: {type(given).__name__}. For other data there are from_ndarrays, "
            "from_dataframe, from_tf_data_dataset."
        )


def _rows_of_frame(extended: Any) -> Any:
    """What a model adds to a frame: an RDD of it for Spark's, else arrays."""
    made = getattr(extended, "made", None)
    return answers.to_arrays(extended) if made is None else extended.frame.select(*made)


def _flattening(
    names: tuple[Any, Any], wanted: Mapping[str, tuple[Any, tuple[int | None, ...]]]
) -> Callable[[Any], Any]:
    """(for the executors) From an element to ``({name: array}, {name: array} or None)``."""
    of_features, of_labels = names

    def side(nest: Any, part: Any) -> dict[str, Any]:
        return {name: _cell(name, leaf, *wanted[name]) for name, leaf in nests.by_name(nest, part).items()}

    def flat(element: Any) -> Any:
        try:
            if of_labels is None:
                return side(of_features, element), None
            return side(of_features, element[0]), side(of_labels, element[1])
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"an element of the RDD is not made as features and labels say ({type(error).__name__}: {error}). "
                f"It is: {_short(element)}"
            ) from error

    return flat


def _cell(name: str, leaf: Any, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> Any:
    """(on an executor) One part of an element, of its dtype and shape."""
    if dtype.kind == "O":
        if not isinstance(leaf, str | bytes):
            raise DataError(f"an element's '{name}' is no string, and was described as one. It is: {_short(leaf)}")
        return leaf
    array = _of_dtype(leaf, dtype)
    if array is None:
        raise DataError(f"an element's '{name}' is no {dtype}, and was described as one. It is: {_short(leaf)}")
    wrong = len(array.shape) != len(shape) or any(
        size is not None and size != own for size, own in zip(shape, array.shape, strict=True)
    )
    if wrong:
        raise DataError(f"an element's '{name}' has the shape {array.shape}, and was described as {list(shape)}.")
    return array


def _of_dtype(leaf: Any, dtype: np.dtype[Any]) -> np.ndarray | None:
    """None where it is no number, or would lose what it says."""
    try:
        given = np.asarray(leaf)
    except ValueError:  # a ragged list
        return None
    if given.dtype.kind not in "biuf":
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        array = given.astype(dtype)
    if dtype.kind == "f" or np.can_cast(given.dtype, dtype) or np.array_equal(array, given):
        return array
    return None


def _short(value: Any) -> str:
    told = repr(value)
    return f"{told if len(told) < 200 else told[:200] + '...'} ({type(value).__name__})"


def _refuse_deep(parts: Sequence[Any], columns: Columns) -> None:
    both = sorted(set(columns.features) & set(columns.labels))
    if both:
        raise UsageError(
            f"features and labels of the tf.data.Dataset both have parts named {both}. Rename one of each."
        )
    flat = [list(one.values()) if isinstance(one, Mapping) else one for one in parts]
    for one in flat:
        deep = [
            part for part in (one if isinstance(one, list | tuple) else ()) if isinstance(part, Mapping | list | tuple)
        ]
        if deep:
            raise UsageError(
                "features, or labels, of a tf.data.Dataset are a tensor, or a tuple or dict of tensors, no deeper. "
                f"Received in them: {deep[0]}. Flatten them first: dataset.map(lambda ...: ...)."
            )


def _top(stem: str, part: Any) -> list[str]:
    """Names as of arrays."""
    return [f"{stem}{place}" for place in range(len(part))] if isinstance(part, list | tuple) else [stem]


def _as_adapted(part: Any, own: Sequence[str]) -> Any:
    """A nest of the columns' names."""
    if part is None:
        return None
    if isinstance(part, Mapping):
        return {key: str(key) for key in part}
    return list(own) if isinstance(part, list | tuple) else own[0]


def _files(path: str) -> list[str]:
    found = Path(path)
    if found.is_dir():
        return [str(file) for file in found.iterdir() if file.is_file() and not file.name.startswith(("_", "."))]
    return glob.glob(path)


def _numpy(dtype: Any) -> Any:
    return np.dtype(object) if dtype == tf.string else np.dtype(dtype.as_numpy_dtype)


def _tensorflow(dtype: np.dtype[Any]) -> Any:
    return tf.string if dtype.kind == "O" else tf.as_dtype(dtype)
