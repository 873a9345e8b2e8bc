"""Feature columns (``tf.feature_column``) as terms of a linear model and as inputs of a network.

``tf.compat.v1.feature_column.linear_model`` still computes the same, but on what is left of Keras 2 inside TensorFlow,
with a warning for each column. So the linear terms are made here, with the variables' names of ``linear_model``.

Owns: which columns can be used where, which features they read, and both ways into a model.
Leaves: what a column does with a feature (TensorFlow).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.engine.frameworks.tensorflow import process

COMBINERS = ("sum", "mean", "sqrtn")


def listed(columns: Any) -> Any:
    """The columns as a tuple; what is no collection stays as it is, for `check` to refuse."""
    return tuple(columns) if isinstance(columns, Iterable) and not _is_column(columns) else columns


def check(columns: Any, argument: str, *, dense: bool) -> None:
    """Refuses what cannot be used as columns of a model.

    Args:
        columns: as `listed` gives them.
        argument: that they were given in.
        dense: whether each must be a dense column, for a network.

    Raises:
        UsageError: no columns, something else among them, two of one name, or categorical ones for a network.
    """
    if not isinstance(columns, tuple) or _is_column(columns) or not columns:
        raise UsageError(
            f"{argument} must be a list of at least one feature column. Received: {columns!r}. "
            "For example [tf.feature_column.numeric_column('age')]."
        )
    for column in columns:
        _check_one(column, argument, dense)
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{argument} has more than one column named {', '.join(twice)}. Leave each in once.")


def check_features(features: Any, columns: Sequence[Any]) -> None:
    """Refuses features that the columns cannot read.

    Raises:
        UsageError: they are no dict.
        ColumnNotFound: some are missing.
    """
    if not isinstance(features, Mapping):
        raise UsageError(
            f"features must be a dict of name -> tensor, as feature columns read them by name. Received: {features!r}. "
            "Let input_fn return ({'age': ages, ...}, labels)."
        )
    read = {key: column.name for column in columns for key in _spec(column)}
    missing = [f"'{key}' (column {name})" for key, name in read.items() if key not in features]
    if missing:
        raise ColumnNotFound(
            f"the feature columns read features that are not there: {', '.join(missing)}.\n"
            f"  Features: {', '.join(map(str, features)) or '(none)'}\n"
            "  Give them in the dict that input_fn returns, or leave the columns out."
        )


def dense_inputs(features: Mapping[str, Any], columns: Sequence[Any]) -> Any:
    """All dense columns side by side: (batch, width), in the order of their names."""
    return process.library().compat.v1.feature_column.input_layer(dict(features), list(columns))


def linear_logits(features: Mapping[str, Any], columns: Sequence[Any], units: int, combiner: str) -> Any:
    """The sum of all columns' linear terms and a bias: (batch, units). All weights begin at zero.

    Args:
        features: name -> tensor.
        columns: dense and categorical ones; one that is both counts as categorical.
        units: numbers for each example.
        combiner: what becomes of several categories in one example: one of `COMBINERS`.
    """
    tf = process.library()
    v1 = tf.compat.v1
    transformed = tf.__internal__.feature_column.FeatureTransformationCache(dict(features))
    terms = []
    with v1.variable_scope("linear_model"):
        for column in sorted(columns, key=lambda column: str(column.name)):
            with v1.variable_scope(column.name):
                if _is_categorical(column):
                    terms.append(_categorical_term(column, transformed, units, combiner))
                else:
                    values = dense_inputs(features, [column])
                    terms.append(tf.matmul(values, _zeros("weights", [int(values.shape[1]), units])))
        return tf.nn.bias_add(tf.add_n(terms), _zeros("bias_weights", [units]), name="weighted_sum")


def _categorical_term(column: Any, transformed: Any, units: int, combiner: str) -> Any:
    pair = column.get_sparse_tensors(transformed, None)
    weights = _zeros("weights", [column.num_buckets, units])
    # ids below zero, which stand for unknown words, add nothing
    return process.library().compat.v1.nn.safe_embedding_lookup_sparse(
        weights, pair.id_tensor, sparse_weights=pair.weight_tensor, combiner=combiner
    )


def _zeros(name: str, shape: Sequence[int]) -> Any:
    v1 = process.library().compat.v1
    return v1.get_variable(name, shape, initializer=v1.zeros_initializer())


def _check_one(column: Any, argument: str, dense: bool) -> None:
    if not _is_column(column):
        example = column if isinstance(column, str) else "age"
        raise UsageError(
            f"{argument} must hold columns of tf.feature_column. Received: {column!r}. "
            f"For example tf.feature_column.numeric_column({example!r})."
        )
    if dense and not _has(column, "get_dense_tensor"):
        raise UsageError(
            f"a network needs dense columns, and column '{column.name}' of {argument} is categorical. Wrap it: "
            "tf.feature_column.indicator_column(column), or tf.feature_column.embedding_column(column, dimension=8)."
        )


def _is_column(candidate: Any) -> bool:
    return _has(candidate, "get_dense_tensor") or _is_categorical(candidate)


def _is_categorical(candidate: Any) -> bool:
    return _has(candidate, "get_sparse_tensors")


def _has(column: Any, method: str) -> bool:
    # columns of tf.compat.v1 (shared_embedding_columns) have the methods under their older names only
    return hasattr(column, method) or hasattr(column, f"_{method}")


def _spec(column: Any) -> Mapping[str, Any]:
    name = "parse_example_spec" if hasattr(column, "parse_example_spec") else "_parse_example_spec"
    spec: Mapping[str, Any] = getattr(column, name)
    return spec
