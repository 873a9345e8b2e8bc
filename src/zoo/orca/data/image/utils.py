"""Old address of the schema's words, and of `chunks`."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from zoo.orca.data.image.schema import DType, FeatureType, SchemaField, ndarray_dtype_to_dtype

__all__ = ["DType", "FeatureType", "SchemaField", "chunks", "ndarray_dtype_to_dtype"]

T = TypeVar("T")


def chunks(iterable: Iterable[T], size: int = 10) -> Iterator[Iterator[T]]:
    """Cuts an iterable into iterators over `size` items each; read each to its end before the next."""
    items = iter(iterable)
    for first in items:
        rest = islice(items, size - 1)
        yield _with(first, rest)


def _with(first: T, rest: Iterator[T]) -> Iterator[T]:
    yield first
    yield from rest
