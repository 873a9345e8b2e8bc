"""Keras, with the backend that a program has chosen, or the fastest that is installed.

Owns: which backend a program gets that has chosen none.
Leaves: importing Keras with it (engine.frameworks.keras.backends).
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

from zoo.engine.frameworks.keras import backends
from zoo.engine.optional import installed

FASTEST = ("tensorflow", "jax", "torch")
"""By the time of a training step of small CNNs on a CPU; see benchmarks/README.md."""


def library() -> ModuleType:
    """The module ``keras``.

    Raises:
        MissingDependency: neither Keras nor any of its backends is installed.
    """
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        return backends.begin(backends.current())
    return backends.begin(next(filter(installed, FASTEST), FASTEST[0]))
