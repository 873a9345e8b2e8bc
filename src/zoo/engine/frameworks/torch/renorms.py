"""Layers that change their weights as they are used: ``Embedding`` and ``EmbeddingBag`` with ``max_norm``.

torch shortens, in place, the rows of the weight that a forward pass looks up. Ranks look up different rows, so their
weights would part, and only the gradients are averaged.

Owns: finding such layers and saying so.
Leaves: when they are refused (spec).
"""

from __future__ import annotations

from torch import nn

from zoo.engine.errors import UsageError


def check_renorms(model: nn.Module) -> None:
    """Refuses what cannot be trained on several ranks, or in virtual ones.

    Raises:
        UsageError: a layer shortens rows of its weight as it looks them up.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
            raise UsageError(
                f"{type(layer).__name__} {f'{name!r} ' if name else ''}has max_norm={layer.max_norm:g}: torch shortens "
                "the weight's rows where they are looked up, each rank others, and the ranks' weights would differ. "
                "Train with one rank (workers_per_node=1 on one node) and without reproducible=True, or leave max_norm "
                "out and scale the layer's output in forward."
            )
