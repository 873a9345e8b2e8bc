"""Transformers: blocks of attention and a network for each place.

Owns: TransformerLayer (GPT), BERT, layer_norm.
Leaves: tables of vectors (embeddings).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers import converters as to
from zoo.pipeline.api.keras.layers.words import REQUIRED, Given, Layer, Spelt, Word, keras, layers
from zoo.pipeline.api.variable import unwrapped, wrapped

ops = keras.ops


def layer_norm(x: Any, w: Any, b: Any, e: float = 1e-5) -> Any:
    """(x - mean) / sqrt(variance + e) w + b over the last axis; of variables or tensors."""
    x, w, b = (
        one if isinstance(one, keras.KerasTensor) else ops.convert_to_tensor(one) for one in unwrapped((x, w, b))
    )
    centred = x - ops.mean(x, -1, keepdims=True)
    return wrapped(centred / ops.sqrt(ops.mean(ops.square(centred), -1, keepdims=True) + e) * w + b)


class SummedEmbedding(Spelt, Layer):
    """The sum of one vector for each of several inputs of ids: n x (batch, length) -> (batch, length, hidden_size).

    `sizes` are those of the tables, one for each input. `normalize`: a layer normalization behind the sum.
    """

    arguments = {"sizes": REQUIRED, "hidden_size": REQUIRED, "drop": 0.0, "initializer_range": 0.02,
                 "normalize": False}  # fmt: skip
    words = {"sizes": Word("sizes", to.sizes), "hidden_size": Word("size", to.count), "drop": Word("drop", to.rate)}

    def build(self, input_shape: Sequence[Any]) -> None:
        given = self.given
        self.tables = [
            layers.Embedding(size, given.hidden_size, _normal(given.initializer_range)) for size in given.sizes
        ]
        for table, shape in zip(self.tables, input_shape, strict=True):
            table.build(shape)
        shape = (*input_shape[0], given.hidden_size)
        self.dropout = layers.Dropout(given.drop)
        if given.normalize:
            self.norm = layers.LayerNormalization(epsilon=1e-12)
            self.norm.build(shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        total = sum(table(ops.cast(ids, "int32")) for table, ids in zip(self.tables, inputs, strict=True))
        return self.dropout(self.norm(total) if self.given.normalize else total, training=training)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        return (*input_shape[0], self.given.hidden_size)


class _Block(Layer):
    """Attention, then a network for each place; each is added to what it got, and normalized."""

    def __init__(self, given: Given, hidden: int, epsilon: float, gelu: Any, causal: bool) -> None:
        super().__init__()
        first = {"kernel_initializer": _normal(given.initializer_range)}
        self.heads, self.hidden, self.causal = given.n_head, hidden, causal
        self.queries_keys_values = layers.Dense(3 * hidden, **first)
        self.projection = layers.Dense(hidden, **first)
        self.attention_norm = layers.LayerNormalization(epsilon=epsilon)
        self.inner = layers.Dense(given.intermediate_size or 4 * hidden, gelu, **first)
        self.outer = layers.Dense(hidden, **first)
        self.norm = layers.LayerNormalization(epsilon=epsilon)
        self.attention_dropout = layers.Dropout(given.attn_drop)
        self.dropout = layers.Dropout(given.hidden_drop)

    def build(self, input_shape: Sequence[int]) -> None:
        for layer in (self.queries_keys_values, self.projection, self.attention_norm, self.inner, self.norm):
            layer.build(input_shape)
        self.outer.build((*input_shape[:-1], self.inner.units))

    def call(self, inputs: Any, visible: Any = None, training: Any = None) -> Any:
        changed = self.projection(self._attention(inputs, visible, training))
        seen = self.attention_norm(inputs + self.dropout(changed, training=training))
        changed = self.outer(self.inner(seen))
        return self.norm(seen + self.dropout(changed, training=training))

    def _attention(self, inputs: Any, visible: Any, training: Any) -> Any:
        length, size = ops.shape(inputs)[1], self.hidden // self.heads
        parts = ops.reshape(self.queries_keys_values(inputs), (-1, length, 3, self.heads, size))
        queries, keys, values = (ops.transpose(parts[:, :, part], (0, 2, 1, 3)) for part in range(3))
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2))) / math.sqrt(size)
        if self.causal:
            places = ops.arange(length)
            scores = ops.where(places[:, None] >= places[None, :], scores, ops.full_like(scores, -1e9))
        if visible is not None:
            scores = scores + (1.0 - ops.cast(visible, scores.dtype)) * -10000.0
        shares = self.attention_dropout(ops.softmax(scores), training=training)
        mixed = ops.transpose(ops.matmul(shares, values), (0, 2, 1, 3))
        return ops.reshape(mixed, (-1, length, self.hidden))


_BLOCKS = {"n_block": REQUIRED, "hidden_drop": REQUIRED, "attn_drop": REQUIRED, "n_head": REQUIRED}
_WORDS = {
    "n_block": Word("n_block", to.count), "n_head": Word("n_head", to.count), "hidden_drop": Word("drop", to.rate),
    "attn_drop": Word("drop", to.rate), "embedding_layer": Word("layer", to.inner_layer),
    "intermediate_size": Word("size", to.whole(0, "a whole number of at least 0")),
}  # fmt: skip


class _Transformer(Spelt):
    """Blocks over an embedding; the first place's vector, through tanh, is the pooled output."""

    words = _WORDS
    epsilon = 1e-5
    inputs = 2

    def build(self, input_shape: Sequence[Any]) -> None:
        embedded = self._embedded_shape(input_shape)
        hidden, given = embedded[-1], self.given
        if hidden % given.n_head:
            raise UsageError(
                f"{type(self).__name__} '{self.name}': the hidden size must be a multiple of n_head. "
                f"Received: hidden size {hidden}, n_head={given.n_head}"
            )
        if not given.embedding_layer.built:
            given.embedding_layer.build(list(input_shape[: self._embeddings(input_shape)]))
        self.embedding_layer = given.embedding_layer
        self.blocks = [_Block(given, hidden, self.epsilon, self.gelu, self._causal()) for _ in range(given.n_block)]
        for block in self.blocks:
            block.build(embedded)
        self.pooler = layers.Dense(hidden, "tanh", kernel_initializer=_normal(given.initializer_range))
        self.pooler.build((embedded[0], hidden))

    def call(self, inputs: Any, training: Any = None) -> Any:
        number = self._embeddings(inputs)
        state = self.embedding_layer(list(inputs[:number]), training=training)
        visible = inputs[number] if len(inputs) > number else None
        states = []
        for block in self.blocks:
            state = block(state, visible=visible, training=training)
            states.append(state)
        return [*(states if self.given.output_all_block else states[-1:]), self.pooler(state[:, 0])]

    def compute_output_shape(self, input_shape: Sequence[Any]) -> list[tuple[int | None, ...]]:
        embedded = self._embedded_shape(input_shape)
        blocks = self.given.n_block if self.given.output_all_block else 1
        return [embedded] * blocks + [(embedded[0], embedded[-1])]

    def _embedded_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        return tuple(
            self.given.embedding_layer.compute_output_shape(list(input_shape[: self._embeddings(input_shape)]))
        )

    def _embeddings(self, inputs: Any) -> int:
        several = isinstance(inputs, list | tuple) and not any(isinstance(one, int | None) for one in inputs)
        if not several or len(inputs) != self.inputs:  # one input's shape is a tuple, too
            raise UsageError(f"{type(self).__name__} '{self.name}' takes {self.inputs} inputs: {self.expects}.")
        return min(self.inputs, 3)

    def _causal(self) -> bool:
        return False


class TransformerLayer(_Transformer, Layer):
    """GPT's blocks: [token ids, positions], each (batch, length) -> [states (batch, length, hidden), pooled].

    `bidirectional=False`: each place sees those before it only. `output_all_block`: the states of all blocks.
    `embedding_layer` makes (batch, length, hidden) of the inputs. `intermediate_size=0` is 4 x hidden.
    `TransformerLayer.init` makes it with an embedding of its own.
    """

    arguments = {**_BLOCKS, "initializer_range": REQUIRED, "bidirectional": REQUIRED, "output_all_block": REQUIRED,
                 "embedding_layer": REQUIRED, "input_shape": None, "intermediate_size": 0}  # fmt: skip
    expects = "token ids, positions"

    @staticmethod
    def gelu(x: Any) -> Any:
        """The approximation by tanh, as in GPT."""
        return ops.gelu(x, approximate=True)

    def _causal(self) -> bool:
        return not self.given.bidirectional

    @classmethod
    def init(
        cls, vocab: int = 40990, seq_len: int = 77, n_block: int = 12, hidden_drop: float = 0.1,
        attn_drop: float = 0.1, n_head: int = 12, hidden_size: int = 768, embedding_drop: float = 0.1,
        initializer_range: float = 0.02, bidirectional: bool = False, output_all_block: bool = False,
    ) -> TransformerLayer:  # fmt: skip
        """With tables of `vocab` tokens and `seq_len` positions."""
        embedding = SummedEmbedding((vocab, seq_len), hidden_size, embedding_drop, initializer_range)
        return cls(
            n_block, hidden_drop, attn_drop, n_head, initializer_range, bidirectional, output_all_block, embedding,
            input_shape=[(seq_len,)] * 2,
        )  # fmt: skip


class BERT(_Transformer, Layer):
    """BERT: [token ids, token types, positions, mask] -> [states (batch, length, hidden) ..., pooled (batch, hidden)].

    The first three are (batch, length), the mask (batch, 1, 1, length): 1 where there is a token, 0 behind the end.
    `output_all_block=False` gives the last block's states only. `BERT.init` makes it with an embedding of its own.
    """

    arguments = {"n_block": REQUIRED, "n_head": REQUIRED, "intermediate_size": REQUIRED, "hidden_drop": REQUIRED,
                 "attn_drop": REQUIRED, "initializer_range": REQUIRED, "output_all_block": REQUIRED,
                 "embedding_layer": REQUIRED}  # fmt: skip
    epsilon = 1e-12
    inputs = 4
    expects = "token ids, token types, positions, mask"

    @staticmethod
    def gelu(x: Any) -> Any:
        """By the error function, as in BERT."""
        return ops.gelu(x, approximate=False)

    @classmethod
    def init(
        cls, vocab: int = 40990, hidden_size: int = 768, n_block: int = 12, n_head: int = 12, seq_len: int = 512,
        intermediate_size: int = 3072, hidden_drop: float = 0.1, attn_drop: float = 0.1,
        initializer_range: float = 0.02, output_all_block: bool = True, bigdl_type: str = "float",
    ) -> BERT:  # fmt: skip
        """With tables of `vocab` tokens, 2 token types and `seq_len` positions."""
        embedding = SummedEmbedding((vocab, 2, seq_len), hidden_size, hidden_drop, initializer_range, normalize=True)
        return cls(
            n_block, n_head, intermediate_size, hidden_drop, attn_drop, initializer_range, output_all_block, embedding,
            input_shape=[(seq_len,)] * 3 + [(1, 1, seq_len)],
        )  # fmt: skip

    @staticmethod
    def init_from_existing_model(
        path: Any, weight_path: Any = None, input_seq_len: float = -1.0, hidden_drop: float = -1.0,
        attn_drop: float = -1.0, output_all_block: bool = True, bigdl_type: str = "float",
    ) -> BERT:  # fmt: skip
        """The BERT of a model that was saved as a .keras file, with its weights.

        Args:
            path: of the file.
            weight_path: None: a .keras file holds its weights.
            input_seq_len: accepted for older programs; inputs may be as long as the table of positions.
            hidden_drop: in place of the saved one; -1 keeps it.
            attn_drop: in place of the saved one; -1 keeps it.
            output_all_block: whether all blocks' states are given.
            bigdl_type: accepted for older programs.

        Raises:
            UsageError: the model has no BERT, or `weight_path` is given.
        """
        if weight_path is not None:
            raise UsageError(f"a .keras file holds its weights; leave weight_path out. Received: {weight_path!r}")
        model = keras.models.load_model(path, compile=False)
        found = next((layer for layer in model._flatten_layers() if isinstance(layer, BERT)), None)
        if found is None:
            raise UsageError(f"the model in {str(path)!r} has no layer of the class BERT.")
        rates: Mapping[str, float] = {"hidden_drop": hidden_drop, "attn_drop": attn_drop}
        config = found.get_config() | {name: rate for name, rate in rates.items() if rate >= 0}
        again = BERT.from_config(config | {"output_all_block": output_all_block})
        again.build_from_config(found.get_build_config())
        again.set_weights(found.get_weights())
        return again


def _normal(deviation: float) -> Any:
    return keras.initializers.RandomNormal(stddev=deviation)


__all__ = ["BERT", "SummedEmbedding", "TransformerLayer", "layer_norm"]
