"""`TFDataset`: data of any kind, with placeholders for the graph that they feed.

Owns: the words of its factories, batch rules, placeholders.
Leaves: what the data is (sources), reading it (zoo.engine.data).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from zoo.engine import session
from zoo.engine.data.adapters import Adapted
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph.marks import ancestors
from zoo.engine.jobs import Columns
from zoo.tfpark import nests, sources
from zoo.tfpark.sizes import Sizes, advise
from zoo.tfpark.sources import Source

v1 = tf.compat.v1
ENDLESS_EPOCH = 1000
_WORDS = ("batch_size", "batch_per_thread", "hard_code_batch_size", "shuffle", "sequential_order", "memory_type")
_KEPT = "_zoo_placeholders"


class TFDataset:
    """A distributed data set and its placeholders. Made by the ``from_*`` functions.

    Keywords that all of them take:
        batch_size: rows of a training step over ALL ranks.
        batch_per_thread: for evaluation and prediction: rows at once.
        hard_code_batch_size: whether placeholders have the number of rows that a rank gets in their shape, instead of
            None. The rows must then divide evenly into batches.
        sequential_order: whether training reads the rows of each part in their order; `shuffle=False` says the same.
            Arrays are cut into 64 parts, which take turns; an RDD's or a DataFrame's are its partitions.
        shuffle: whether the rows of each part are permuted anew in each epoch. A ``tf.data.Dataset`` has an order of
            its own: shuffle it with ``dataset.shuffle(...)``.
        memory_type: accepted for older programs; see `memory` of fit.
    """

    def __init__(self, source: Source, validation: Source | None = None, **words: Any) -> None:
        """Wraps a source.

        Args:
            source: of the rows.
            validation: of those that are scored while training.
            **words: the common keywords.

        Raises:
            UsageError: an unknown keyword, or both sizes.
        """
        self._source, self._validation = source, validation
        self._sizes = Sizes.taken(words)
        sequential = words.pop("sequential_order", False)
        self.shuffle = bool(words.pop("shuffle", True)) and not sequential
        words.pop("memory_type", None)
        if words:
            raise UsageError.unknown_argument("TFDataset", list(words), _WORDS)
        if self.batch_size > 0:
            advise(self.batch_size)

    # --- what it is --------------------------------------------------------------------------------------------------

    @property
    def tensors(self) -> Any:
        """Placeholders in the current graph: ``(features, labels)`` where there are labels, else the features.

        Raises:
            UsageError: TensorFlow computes at once here, and has no graph.
        """
        features, labels = self._tensors()
        return features if labels is None else (features, labels)

    @property
    def feature_tensors(self) -> Any:
        """Those of the features."""
        return self._tensors()[0]

    @property
    def label_tensors(self) -> Any:
        """Those of the labels; None where there are none."""
        return self._tensors()[1]

    @property
    def tensor_structure(self) -> Any:
        """What the tensors are: nests of `TensorMeta`."""
        features, labels = (nests.filled(one, self._source.kinds.__getitem__) for one in self._source.names)
        return features if labels is None else (features, labels)

    @property
    def names(self) -> tuple[Any, Any]:
        """Nests of the columns' names: (features, labels or None)."""
        return self._source.names

    def require_alike(self, other: TFDataset) -> None:
        """Raises UsageError where data for validation have other parts than these."""
        _check_alike(self._source, other._source)

    @property
    def batch_size(self) -> int:
        """Rows of a training step over all ranks; -1 where none was given."""
        return self._sizes.batch_size

    @property
    def batch_per_thread(self) -> int:
        """Rows that are scored or predicted at once; -1 where none was given."""
        return self._sizes.batch_per_thread

    @property
    def has_batch(self) -> bool:
        """Whether one of the two was given."""
        return self._sizes.rows is not None

    @property
    def rows_at_once(self) -> int | None:
        """Whichever of the two was given."""
        return self._sizes.rows or getattr(self._source.adapted.shards, "batch_size", None)

    @property
    def steps_per_epoch(self) -> int | None:
        """Where the data never end: how many steps count as one epoch; else None."""
        return ENDLESS_EPOCH if getattr(self._source.adapted.shards, "endless", False) else None

    def get_num_partitions(self) -> int:
        """Independent pieces that the cluster works on at once."""
        return session.current().slots

    def get_training_data(self) -> Adapted:
        """The rows as the engine sees them."""
        return self._source.adapted

    def get_evaluation_data(self) -> Adapted:
        """The rows as the engine sees them."""
        return self._source.adapted

    def get_prediction_data(self) -> Adapted:
        """The rows as the engine sees them."""
        return self._source.adapted

    def get_validation_data(self) -> TFDataset | None:
        """Those that are scored while training; None where none were given."""
        if self._validation is None:
            return None
        made = TFDataset(self._validation)
        made._sizes = self._sizes
        return made

    def __zoo_shards__(self, columns: Columns) -> Adapted:
        """What estimators train on; the data set's own names hold."""
        return self._source.adapted

    def feeding(self, features: Any, labels: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Name of a column -> the tensor that it feeds.

        Args:
            features: a nest of tensors, as `feature_tensors`.
            labels: a nest of tensors, as `label_tensors`, or None.
        """
        of_features, of_labels = self._source.names
        try:
            fed = nests.by_name(of_features, features)
            return fed, {} if of_labels is None or labels is None else nests.by_name(of_labels, labels)
        except (KeyError, IndexError, TypeError) as error:
            raise UsageError(
                f"inputs= has other parts than the data set, whose tensors are {self.tensor_structure}. Received: "
                f"{features if labels is None else (features, labels)}"
            ) from error

    def _tensors(self) -> tuple[Any, Any]:
        if tf.executing_eagerly():
            raise UsageError(
                "TFDataset.tensors are placeholders of a graph, and TensorFlow computes at once here. Begin the "
                "program with: import tensorflow.compat.v1 as tf; tf.disable_eager_execution(), or use a graph: with "
                "tf.Graph().as_default(): ..."
            )
        graph = v1.get_default_graph()
        kept = _kept(graph)
        if self not in kept:
            features, labels = (nests.filled(names, self._placeholder) for names in self._source.names)
            kept[self] = features, labels
        return kept[self]

    def _placeholder(self, name: str) -> Any:
        kind = self._source.kinds[name]
        rows = self._sizes.coded()
        clean = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
        return v1.placeholder(kind.dtype, (rows, *kind.shape), f"zoo_{clean}")

    # --- from what ---------------------------------------------------------------------------------------------------

    @staticmethod
    def from_ndarrays(tensors: Any, *, val_tensors: Any = None, **words: Any) -> TFDataset:
        """Arrays on the driver.

        Args:
            tensors: features, or ``(features, labels)``: nests of arrays with as many rows.
            val_tensors: likewise, for validation.
            **words: the common keywords.
        """
        return TFDataset(*_both(sources.of_arrays, tensors, val_tensors), **words)

    @staticmethod
    def from_rdd(
        rdd: Any, features: Any = None, labels: Any = None, *, val_rdd: Any = None, names: Any = None,
        shapes: Any = None, types: Any = None, **words: Any,
    ) -> TFDataset:  # fmt: skip
        """An RDD of rows.

        Args:
            rdd: elements ``(features, labels)``, or features alone: nests of arrays or numbers.
            features: ``(dtype, shape)`` of each, in a nest like the elements'.
            labels: likewise; None where elements are features alone.
            val_rdd: likewise, for validation.
            names: of older programs, with `shapes` and `types`, in place of `features`.
            shapes: likewise.
            types: likewise.
            **words: the common keywords.
        """
        if features is None:
            features = sources.older_features(names, shapes, types)
        return TFDataset(*_both(lambda one: sources.of_rdd(one, features, labels), rdd, val_rdd), **words)

    @staticmethod
    def from_dataframe(
        df: Any, feature_cols: Any, labels_cols: Any = None, *, validation_df: Any = None, **words: Any
    ) -> TFDataset:
        """A Spark DataFrame, or any frame that estimators take.

        Args:
            df: the frame.
            feature_cols: columns of the features, a name or several.
            labels_cols: columns of the labels.
            validation_df: likewise, for validation.
            **words: the common keywords.
        """
        return TFDataset(
            *_both(lambda one: sources.of_frame(one, feature_cols, labels_cols), df, validation_df), **words
        )

    @staticmethod
    def from_tf_data_dataset(
        dataset: Any, *, validation_dataset: Any = None, remove_checking: bool = False, batch_outside: bool = False,
        inter_threads: int | None = None, intra_threads: int | None = None, auto_shard_files: bool = False,
        **words: Any,
    ) -> TFDataset:  # fmt: skip
        """A ``tf.data.Dataset`` of rows: not batched, not repeated.

        Args:
            dataset: elements ``(features, labels)``, or features.
            validation_dataset: likewise, for validation.
            remove_checking: whether batched and repeated ones are taken as they are.
            batch_outside: accepted for older programs, as the next three.
            inter_threads: see from_graph.
            intra_threads: see from_graph.
            auto_shard_files: each rank reads the pipeline and trains on its rows of each step.
            **words: the common keywords.
        """
        make: Callable[[Any], Source] = lambda one: sources.of_tf_data(one, checked=not remove_checking)  # noqa: E731
        return TFDataset(*_both(make, dataset, validation_dataset), **words)

    @staticmethod
    def from_string_rdd(rdd: Any, *, validation_string_rdd: Any = None, **words: Any) -> TFDataset:
        """An RDD of texts; the feature is a tensor of strings."""
        return TFDataset(*_both(sources.of_texts, rdd, validation_string_rdd), **words)

    @staticmethod
    def from_bytes_rdd(rdd: Any, *, validation_bytes_rdd: Any = None, **words: Any) -> TFDataset:
        """An RDD of bytes; the feature is a tensor of strings."""
        return TFDataset(*_both(sources.of_texts, rdd, validation_bytes_rdd), **words)

    @staticmethod
    def from_tfrecord_file(sc: Any, file_path: Any, *, validation_file_path: Any = None, **words: Any) -> TFDataset:
        """TFRecord files; the feature is a tensor of serialised records.

        Args:
            sc: accepted for older programs.
            file_path: a path, a directory, a pattern, or several of them.
            validation_file_path: likewise, for validation.
            **words: the common keywords.
        """
        return TFDataset(*_both(sources.of_tfrecords, file_path, validation_file_path), **words)

    @staticmethod
    def from_image_set(
        image_set: Any, image: Any, label: Any = None, *, validation_image_set: Any = None, **words: Any
    ) -> TFDataset:
        """A distributed set of images: XShards of ``{"x": images, "y": labels}``, or what else has rows of its own.

        Args:
            image_set: the images.
            image: ``(dtype, shape)`` of one.
            label: likewise; None where there is none.
            validation_image_set: likewise, for validation.
            **words: the common keywords.
        """
        make: Callable[[Any], Source] = lambda one: sources.of_own(one, image, label)  # noqa: E731
        return TFDataset(*_both(make, image_set, validation_image_set), **words)

    @staticmethod
    def from_text_set(
        text_set: Any, text: Any, label: Any = None, *, validation_image_set: Any = None, **words: Any
    ) -> TFDataset:
        """A distributed set of texts as numbers; arguments as in `from_image_set`."""
        return TFDataset.from_image_set(text_set, text, label, validation_image_set=validation_image_set, **words)

    @staticmethod
    def from_feature_set(
        dataset: Any, features: Any, labels: Any = None, *, validation_dataset: Any = None, **words: Any
    ) -> TFDataset:
        """Another distributed set; arguments as in `from_image_set`."""
        return TFDataset.from_image_set(dataset, features, labels, validation_image_set=validation_dataset, **words)


TFDataSet = TFDataset
"""The other spelling."""


def dataset_behind(tensors: Any) -> TFDataset | None:
    """The data set whose placeholders some tensors depend on; None where there is none.

    Raises:
        UsageError: there are several.
    """
    found = [tensor for tensor in nests.leaves(tensors) if isinstance(tensor, tf.Tensor)]
    if not found:
        return None
    reached = {op.name for op in ancestors(found)}
    known = _kept(found[0].graph).items()
    made = [one for one, own in known if any(placeholder.op.name in reached for placeholder in nests.leaves(list(own)))]
    if len(made) > 1:
        raise UsageError(f"the loss depends on the tensors of {len(made)} TFDatasets. Make one with all columns.")
    return made[0] if made else None


def _kept(graph: Any) -> dict[TFDataset, tuple[Any, Any]]:
    """Data set -> its placeholders in a graph. The graph itself holds them, for they end with it."""
    if not hasattr(graph, _KEPT):
        setattr(graph, _KEPT, {})
    kept: dict[TFDataset, tuple[Any, Any]] = getattr(graph, _KEPT)
    return kept


def _both(make: Callable[[Any], Source], data: Any, validation: Any) -> tuple[Source, Source | None]:
    source = make(data)
    if validation is None:
        return source, None
    other = make(validation)
    _check_alike(source, other)
    return source, other


def _check_alike(source: Source, other: Source) -> None:
    if other.names != source.names:
        raise UsageError(f"the validation data have other parts than the data: {other.names} and {source.names}")
    for name, kind in source.kinds.items():
        if not tf.TensorShape(kind.shape).is_compatible_with(other.kinds[name].shape):
            raise UsageError(
                f"the validation data do not fit the data: rows of '{name}' have the shape {other.kinds[name].shape} "
                f"there, and {kind.shape} in the data."
            )
