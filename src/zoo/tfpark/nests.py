"""Nests of names: which column is which part of a data set's features and labels.

A nest is a leaf, or a list, tuple or dict of nests. Dicts are walked in the order of their keys, as ``tf.nest`` does.

Owns: naming the leaves of a nest, and putting others in their places.
Leaves: what the leaves are (tf_dataset).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


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
    return isinstance(part, tuple) and len(part) == 2 and not isinstance(part[0], list | tuple | Mapping) and (
        isinstance(part[1], list | tuple) and all(size is None or isinstance(size, int) for size in part[1])
    )  # fmt: skip


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
