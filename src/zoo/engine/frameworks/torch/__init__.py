"""PyTorch: its model spec, replica, optimizers, metrics and loaders. The only room that imports torch.

Importing this room loads torch, or raises `MissingDependency`.
"""

from __future__ import annotations

from zoo.engine.optional import require

require("torch", extra="torch", because="the model is a PyTorch model")
