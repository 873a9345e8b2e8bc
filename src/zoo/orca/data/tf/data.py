"""`Dataset`: XShards with the words of tf.data.

Owns: the words of the calls.
Leaves: what functions make of elements (zoo.engine.frameworks.tensorflow.slices), shards (zoo.orca.data.shard).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from zoo.engine.data.adapters import Adapted
from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns
from zoo.orca.data.shard import XShards


class Dataset:
    """Elements of XShards: rows of their arrays, through functions; estimators take it for data.

    Made by `from_tensor_slices`. Functions run once, where the shards are, when the data are first used: the same
    elements in each epoch. For other ones in each (random crops, say) give a ``tf.data.Dataset``.
    """

    def __init__(self, xshards: XShards, functions: Sequence[Callable[..., Any]] = ()) -> None:
        """Wraps shards; programs use `from_tensor_slices`.

        Args:
            xshards: of arrays, or tuples, lists or dicts of arrays.
            functions: of `map`, in their order.
        """
        self._shards, self._functions = xshards, tuple(functions)

    @staticmethod
    def from_tensor_slices(xshards: XShards) -> Dataset:
        """Rows of the arrays in shards: elements have the form of a shard, ``(x, y)`` or ``{"x": x, "y": y}``, say.

        Raises:
            UsageError: something else than XShards.
        """
        if not isinstance(xshards, XShards):
            raise UsageError(f"from_tensor_slices takes XShards. Received: {type(xshards).__name__}")
        return Dataset(xshards)

    def map(self, map_func: Callable[..., Any]) -> Dataset:
        """Replaces each element by ``map_func`` of it, a function of TensorFlow as ``tf.data.Dataset.map`` takes it."""
        if not callable(map_func):
            raise UsageError(f"map takes a function. Received: {map_func!r}")
        return Dataset(self._shards, (*self._functions, map_func))

    def get_xshards(self) -> XShards:
        """The elements as XShards of ``{"x": arrays, "y": arrays}``."""
        return self._mapped

    def __zoo_shards__(self, columns: Columns) -> Adapted:
        """What estimators train on."""
        return self._mapped.__zoo_shards__(columns)

    @cached_property
    def _mapped(self) -> XShards:
        return self._shards.transform_shard(_elements, self._functions)


def _elements(shard: Any, functions: Sequence[Callable[..., Any]]) -> dict[str, Any]:
    from zoo.engine.frameworks.tensorflow.slices import mapped

    return mapped(shard, functions)
