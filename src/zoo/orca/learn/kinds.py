"""Which framework an object is of, asked of its classes' names: nothing is imported for it.

Owns: that question for models, losses and optimizers.
Leaves: kinds of data (zoo.engine.data.adapters).
"""

from __future__ import annotations

from typing import Any


def is_of(thing: Any, *packages: str) -> bool:
    """Whether one of the classes of a thing comes from one of these packages."""
    return any(cls.__module__.startswith(packages) for cls in type(thing).__mro__)


def is_keras(thing: Any) -> bool:
    """Whether it is a model of Keras."""
    return _is_a(thing, "keras.src.models.model.Model")


def is_torch(thing: Any) -> bool:
    """Whether it is a module of torch, and no model of Keras, which on Keras' torch backend is one too."""
    return _is_a(thing, "torch.nn.modules.module.Module") and not is_keras(thing)


def _is_a(thing: Any, name: str) -> bool:
    return any(f"{cls.__module__}.{cls.__qualname__}" == name for cls in type(thing).__mro__)
