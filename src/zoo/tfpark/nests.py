"""Nests of names: which column is which part of a data set's features and labels.

A nest is a leaf, or a list, tuple or dict of nests. Dicts are walked in the order of their keys, as ``tf.nest`` does.

Owns: naming the leaves of a nest, and putting others in their places.
Leaves: what the leaves are (tf_dataset).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any


def pair(features: Any, labels: Any) -> tuple[Any, Any]:
    """The nests with a name for each leaf (see `named`), no name twice; None for no labels."""
    taken: set[str] = set()

    def fresh(name: str) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    return filled(named("x", features), fresh), None if labels is None else filled(named("y", labels), fresh)


def named(stem: str, nest: Any) -> Any:
    """The nest with a name for each leaf: `stem` for a single one, else `stem` and its place, or the keys to it."""

    def walk(part: Any, name: str, top: bool) -> Any:
        if isinstance(part, Mapping):
            return {key: walk(part[key], str(key) if top else f"{name}_{key}", False) for key in sorted(part)}
        if isinstance(part, list | tuple) and not is_leaf(part):
            return [walk(one, f"{name}{i}" if top else f"{name}_{i}", False) for i, one in enumerate(part)]
        return name

    return walk(nest, stem, True)


def is_leaf(part: Any) -> bool:
    """Whether a tuple describes one tensor, ``(dtype, shape)``, and is no nest."""
    if not isinstance(part, tuple) or len(part) != 2 or isinstance(part[0], list | tuple | Mapping):
        return False
    shape = part[1]
    if hasattr(shape, "as_list"):  # tf.TensorShape
        return True
    return isinstance(shape, list | tuple) and all(size is None or isinstance(size, Integral) for size in shape)


def leaves(nest: Any) -> list[Any]:
    """In order."""
    if nest is None:
        return []
    if isinstance(nest, Mapping):
        return [leaf for key in sorted(nest) for leaf in leaves(nest[key])]
    if isinstance(nest, list | tuple) and not is_leaf(nest):
        return [leaf for part in nest for leaf in leaves(part)]
    return [nest]


def filled(nest: Any, value: Callable[[Any], Any]) -> Any:
    """The nest with `value` of each leaf in its place."""
    if nest is None:
        return None
    if isinstance(nest, Mapping):
        return {key: filled(part, value) for key, part in nest.items()}
    if isinstance(nest, list | tuple) and not is_leaf(nest):
        return [filled(part, value) for part in nest]
    return value(nest)


def by_name(names: Any, values: Any) -> dict[str, Any]:
    """Name -> the leaf at its place.

    Raises:
        KeyError, IndexError, TypeError: `values` is no nest like `names`.
    """
    if isinstance(names, Mapping):
        found = [by_name(part, values[key]) for key, part in names.items()]
    elif isinstance(names, list):
        found = [by_name(part, values[place]) for place, part in enumerate(names)]
    else:
        return {names: values}
    return {name: leaf for part in found for name, leaf in part.items()}
