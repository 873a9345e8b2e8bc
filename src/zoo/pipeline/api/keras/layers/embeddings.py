"""Vectors of words and other numbered things.

Owns: tables of vectors and how ids look them up.
Leaves: reading vectors from files (glove).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.engine.words import refuse
from zoo.pipeline.api.keras.initializations import initializer
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.glove import prepare_embedding, word_index_of
from zoo.pipeline.api.keras.layers.words import REQUIRED, Given, Layer, Renamed, Spelt, Word, keras, layers
from zoo.pipeline.api.keras.regularizers import regularizer

ops = keras.ops

_INDEX = Word("index", to.index)
_TABLE = {
    "output_dim": Word("output_dim", to.count),
    "input_dim": Word("input_dim", to.count),
    "init": Word("embeddings_initializer", initializer),
    "W_regularizer": Word("embeddings_regularizer", regularizer),
}


class Embedding(Renamed, layers.Embedding):
    """Row `id` of a table: (batch, length) of ids -> (batch, length, output_dim).

    `weights`: the table's first value, (input_dim, output_dim). `zero_based_id=False`: ids count from 1.
    `mask_zero`: `padding_value` stands for nothing: its vector is 0 and not trained, and layers behind that know of
    masks leave it out. Weights: (input_dim, output_dim).
    """

    arguments = {"input_dim": REQUIRED, "output_dim": REQUIRED, "init": "uniform", "weights": None, "trainable": True,
                 "input_length": None, "W_regularizer": None, "input_shape": None, "mask_zero": False,
                 "padding_value": 0, "zero_based_id": True}  # fmt: skip
    words = {**_TABLE, "padding_value": _INDEX}
    kept = ("weights", "padding_value", "zero_based_id")
    unsaved = ("weights",)

    @classmethod
    def checked(cls, given: Given) -> None:
        if given.weights is None:
            return
        table = np.asarray(given.weights[0] if isinstance(given.weights, list | tuple) else given.weights)
        if table.shape != (given.input_dim, given.output_dim):
            raise UsageError(
                f"Embedding: weights must have the shape (input_dim, output_dim), {given.input_dim, given.output_dim}. "
                f"Received: an array of the shape {table.shape}"
            )
        given.weights = table

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if self.given.weights is not None:
            self.set_weights([self.given.weights])

    def call(self, inputs: Any) -> Any:
        ids = ops.cast(inputs, "int32")
        rows = ids if self.given.zero_based_id else ops.maximum(ids - 1, 0)
        vectors = super().call(rows)
        return vectors * ops.cast(self.compute_mask(inputs), vectors.dtype)[..., None] if self.mask_zero else vectors

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.not_equal(ops.cast(inputs, "int32"), self.given.padding_value) if self.mask_zero else None


def _file_or_shape(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(to.count, value))
    if not hasattr(value, "__fspath__") and not isinstance(value, str):
        raise refuse("the path of a file of vectors", value)
    return str(value)


class WordEmbedding(Renamed, layers.Embedding):
    """Vectors of words from a file: (batch, length) of ids -> (batch, length, size of a vector).

    `embedding_file` has a word and its numbers in each line, as GloVe's. `word_index` is word -> id, from 1 on; None:
    the words of the file in its order. 0, and words that the file has not, have the vector 0.
    In the config of a saved model the table's shape stands in place of the file.
    """

    arguments = {"embedding_file": REQUIRED, "word_index": None, "trainable": False, "input_length": None}
    words = {"embedding_file": Word("embedding_file", _file_or_shape)}

    @classmethod
    def passed_on(cls, given: Given) -> dict[str, Any]:
        if isinstance(given.embedding_file, str):
            given.table = prepare_embedding(given.embedding_file, given.word_index)
            shape = given.table.shape
        else:
            given.table, shape = None, given.embedding_file
        return {"input_dim": shape[0], "output_dim": shape[1], "trainable": given.trainable}

    @staticmethod
    def get_word_index(embedding_file: Any) -> dict[str, int]:
        """The words of a file, numbered from 1 in its order."""
        return word_index_of(embedding_file)

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if self.given.table is not None:
            self.set_weights([self.given.table])
            self.given.table = None

    def get_config(self) -> dict[str, Any]:
        """The table's shape in place of the file, for its values are weights."""
        return super().get_config() | {"embedding_file": [self.input_dim, self.output_dim], "word_index": None}


class SparseEmbedding(Spelt, Layer):
    """Vectors of several ids as one: (batch, at most so many) of ids -> (batch, output_dim).

    Ids count from 1; 0 stands for none. `combiner`: 'sum', 'mean' or 'sqrtn' (the sum over the root of how many).
    `max_norm` above 0 bounds the length of each vector. Weights: (input_dim, output_dim).
    """

    arguments = {"input_dim": REQUIRED, "output_dim": REQUIRED, "combiner": "sum", "max_norm": -1.0, "init": "uniform",
                 "W_regularizer": None}  # fmt: skip
    words = _TABLE
    axes = ("batch", "ids")

    @classmethod
    def checked(cls, given: Given) -> None:
        if given.combiner not in ("sum", "mean", "sqrtn"):
            raise UsageError(
                f"SparseEmbedding: combiner must be 'sum', 'mean' or 'sqrtn'. Received: {given.combiner!r}"
            )

    def build(self, input_shape: Sequence[int]) -> None:
        shape = (self.given.input_dim, self.given.output_dim)
        self.table = self.add_weight(shape, self.given.init, name="table", regularizer=self.given.W_regularizer)

    def call(self, inputs: Any) -> Any:
        ids = ops.cast(inputs, "int32")
        vectors = ops.take(ops.convert_to_tensor(self.table), ops.maximum(ids - 1, 0), axis=0)
        if self.given.max_norm > 0:
            length = ops.sqrt(ops.maximum(ops.sum(ops.square(vectors), -1, keepdims=True), 1e-12))
            vectors = vectors * ops.minimum(1.0, self.given.max_norm / length)
        there = ops.cast(ids > 0, vectors.dtype)[..., None]
        total, number = ops.sum(vectors * there, 1), ops.maximum(ops.sum(there, 1), 1.0)
        return total / {"sum": 1.0, "mean": number, "sqrtn": ops.sqrt(number)}[self.given.combiner]

    def compute_output_shape(self, input_shape: Sequence[int]) -> tuple[int | None, ...]:
        return input_shape[0], self.given.output_dim


__all__ = ["Embedding", "SparseEmbedding", "WordEmbedding", "prepare_embedding"]
