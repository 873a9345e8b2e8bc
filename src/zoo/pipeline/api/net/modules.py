"""What a BigDL file says: a tree of modules, as plain values.

Owns: `Module`, and the names by which its attributes are asked for.
Leaves: bytes (bigdl_file), tensors in storages (storages), Keras (assembly).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError

_REQUIRED = object()


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """One module of a file.

    Attributes:
        kind: simple name of its class, e.g. ``"SpatialConvolution"``.
        class_name: the whole name, e.g. ``"com.intel.analytics.bigdl.nn.SpatialConvolution"``.
        given_name: that the user gave it; empty where he gave none.
        postfix: what BigDL appends to `kind` where there is no name.
        number: equal for one module that stands in several places, which share its weights; 0 in older files.
        attributes: by name; numbers, texts, lists, modules, arrays, shapes.
        weights: in BigDL's order and layout.
        children: sub-modules in order.
        sources: names of the modules of a graph that feed this one, in order.
        input_shape: of Keras-style modules; without the batch.
    """

    kind: str
    class_name: str
    given_name: str = ""
    postfix: str = ""
    number: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[np.ndarray, ...] = ()
    children: tuple[Module, ...] = ()
    sources: tuple[str, ...] = ()
    input_shape: Any = None

    @property
    def name(self) -> str:
        """By which graphs and users call it."""
        return self.given_name or f"{self.kind}{self.postfix}"

    @property
    def keras_style(self) -> bool:
        """Whether it is of the Keras-style API: then its sub-modules compute."""
        return ".keras." in self.class_name or bool(self.attributes.get("is_keras_module"))

    def get(self, name: str, otherwise: Any = _REQUIRED) -> Any:
        """An attribute; `otherwise` where the file has none, or has null.

        Raises:
            UsageError: there is none, and nothing to take instead.
        """
        value = self.attributes.get(name)
        if value is not None:
            return value
        if otherwise is _REQUIRED:
            raise UsageError(
                f"{self} has no attribute '{name}' in this file. Attributes there: {', '.join(self.attributes)}"
            )
        return otherwise

    def __str__(self) -> str:
        return f"layer '{self.name}' ({self.kind})"
