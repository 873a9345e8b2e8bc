"""Loaded models: `Net` reads them, `GraphNet` is a graph of named layers.

Importing this loads no framework; `GraphNet` imports Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.pipeline.api.net.net_load import Net

if TYPE_CHECKING:
    from zoo.pipeline.api.net.graph_net import GraphNet

__all__ = ["Net", "GraphNet"]


def __getattr__(name: str) -> Any:
    if name == "GraphNet":
        from zoo.pipeline.api.net.graph_net import GraphNet

        return GraphNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
