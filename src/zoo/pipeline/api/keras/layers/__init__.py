"""Layers by their names in Keras 1.2, BigDL and Analytics Zoo."""

from __future__ import annotations

import importlib
from typing import Any

from zoo.pipeline.api.keras.layers import (
    advanced_activations,
    convolutional,
    convolutional_recurrent,
    core,
    embeddings,
    local,
    noise,
    normalization,
    pooling,
    recurrent,
    self_attention,
    torch,
    wrappers,
)
from zoo.pipeline.api.keras.layers.advanced_activations import *
from zoo.pipeline.api.keras.layers.convolutional import *
from zoo.pipeline.api.keras.layers.convolutional_recurrent import *
from zoo.pipeline.api.keras.layers.core import *
from zoo.pipeline.api.keras.layers.embeddings import *
from zoo.pipeline.api.keras.layers.local import *
from zoo.pipeline.api.keras.layers.noise import *
from zoo.pipeline.api.keras.layers.normalization import *
from zoo.pipeline.api.keras.layers.pooling import *
from zoo.pipeline.api.keras.layers.recurrent import *
from zoo.pipeline.api.keras.layers.self_attention import *
from zoo.pipeline.api.keras.layers.torch import *
from zoo.pipeline.api.keras.layers.wrappers import *

_TOPOLOGY = ("Input", "InputLayer", "Merge", "merge")

__all__ = sorted({
    *_TOPOLOGY, *advanced_activations.__all__, *convolutional.__all__, *convolutional_recurrent.__all__,
    *core.__all__, *embeddings.__all__, *local.__all__, *noise.__all__, *normalization.__all__, *pooling.__all__,
    *recurrent.__all__, *self_attention.__all__, *torch.__all__, *wrappers.__all__,
})  # fmt: skip


def __getattr__(name: str) -> Any:
    """What models are made of besides layers; topology imports layers, so it comes when it is asked for."""
    if name not in _TOPOLOGY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("zoo.pipeline.api.keras.engine.topology"), name)
