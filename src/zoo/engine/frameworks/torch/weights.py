"""Weights in files of torch's own format, for `save` and `load`.

Owns: reading and writing them at any URL.
Leaves: checkpoints, which hold more and no pickle (checkpoint).
"""

from __future__ import annotations

import io
import pickle

import torch
from torch import nn

from zoo.engine import storage
from zoo.engine.errors import UsageError


def save(model: nn.Module, url: str, *, entire: bool = False) -> str:
    """Writes the model's ``state_dict``, or the whole pickled module, atomically; returns the URL."""
    buffer = io.BytesIO()
    torch.save(model if entire else model.state_dict(), buffer)
    storage.write_atomically(url, buffer.getvalue())
    return url


def load(model: nn.Module, url: str) -> None:
    """Reads a ``state_dict`` into the model. Nothing but tensors is unpickled.

    Raises:
        UsageError: the file holds something else, or another model's weights.
    """
    try:
        weights = torch.load(io.BytesIO(storage.read_bytes(url)), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{storage.masked(url)} is not a file of weights (a state_dict). A module saved with entire=True holds "
            "code: read it with torch.load(path, weights_only=False), if you trust it, and give it to from_torch."
        ) from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"the weights in {storage.masked(url)} are another model's: {error}") from error
