"""How weights begin: ``init="glorot_uniform"``.

Owns: the names of Keras 1, its scales, and what is taken for an initialization.
Leaves: drawing numbers (Keras).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.pipeline.api.keras.engine.words import by_name, refuse
from zoo.pipeline.api.library import library

_SAME = ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "zeros", "ones",
         "random_uniform", "random_normal", "truncated_normal")  # fmt: skip

NAMES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "zero": ("Zeros", {}),
    "one": ("Ones", {}),
    "uniform": ("RandomUniform", {"minval": -0.05, "maxval": 0.05}),
    "normal": ("RandomNormal", {"stddev": 0.05}),
    "gaussian": ("RandomNormal", {"stddev": 0.05}),
    "identity": ("Identity", {}),
    "orthogonal": ("Orthogonal", {"gain": 1.1}),
    "xavier": ("GlorotUniform", {}),
    **{name: (name.title().replace("_", ""), {}) for name in _SAME},
}
"""Keras 1's names -> Keras 3's initializer, and its scale."""


def initializer(given: Any) -> Any:
    """Keras' initializer for what a program gives to a layer.

    Args:
        given: a name of `NAMES`, an initializer of Keras, or any function of a shape.

    Raises:
        UsageError: something else.
    """
    initializers = library().initializers
    if isinstance(given, str):
        kind, words = by_name(given, NAMES)
        return getattr(initializers, kind)(**words)
    if isinstance(given, initializers.Initializer) or callable(given):
        return given
    raise refuse("a name, an initializer of Keras, or a function of a shape", given)
