"""Loaded models: `Net` reads them; `GraphNet`, `TFNet` and `TorchNet` are what it gives.

Importing this loads no framework: names are looked up when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zoo.pipeline.api.net.net_load import Net

if TYPE_CHECKING:
    from zoo.pipeline.api.net.graph_net import GraphNet
    from zoo.pipeline.api.net.tfnet import TFNet
    from zoo.pipeline.api.net.torch_criterion import TorchCriterion
    from zoo.pipeline.api.net.torch_net import TorchNet

_ROOMS = {"GraphNet": "graph_net", "TFNet": "tfnet", "TorchNet": "torch_net", "TorchCriterion": "torch_criterion"}

__all__ = ["Net", "GraphNet", "TFNet", "TorchCriterion", "TorchNet"]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
