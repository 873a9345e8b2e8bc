"""How weights begin: ``init="glorot_uniform"``.

Owns: the names of Keras 1, and its scales.
Leaves: drawing numbers (Keras).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from zoo.engine.errors import UsageError
from zoo.pipeline.api.library import library

NAMES: Mapping[str, Callable[[Any], Any]] = {
    "glorot_uniform": lambda keras: keras.GlorotUniform(),
    "glorot_normal": lambda keras: keras.GlorotNormal(),
    "xavier": lambda keras: keras.GlorotUniform(),
    "he_uniform": lambda keras: keras.HeUniform(),
    "he_normal": lambda keras: keras.HeNormal(),
    "lecun_uniform": lambda keras: keras.LecunUniform(),
    "lecun_normal": lambda keras: keras.LecunNormal(),
    "uniform": lambda keras: keras.RandomUniform(-0.05, 0.05),
    "normal": lambda keras: keras.RandomNormal(0.0, 0.05),
    "zero": lambda keras: keras.Zeros(),
    "zeros": lambda keras: keras.Zeros(),
    "one": lambda keras: keras.Ones(),
    "ones": lambda keras: keras.Ones(),
    "identity": lambda keras: keras.Identity(),
    "orthogonal": lambda keras: keras.Orthogonal(1.1),
}
"""Keras 1's names -> its initializations, with its scales."""


def initialization(given: Any) -> Any:
    """Keras' initializer for what a program gives to a layer.

    Args:
        given: a name of Keras 1, or an initializer of Keras.

    Raises:
        UsageError: something else.
    """
    initializers = library().initializers
    if isinstance(given, str) and given.lower() in NAMES:
        return NAMES[given.lower()](initializers)
    try:
        return initializers.get(given)
    except (ValueError, TypeError) as error:
        near = difflib.get_close_matches(str(given).lower(), NAMES, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"not an initialization: {given!r}.{hint}\n  Known names: {', '.join(NAMES)}") from error
