"""Models in files of TorchScript: a program and its weights, which need no Python class and no pickle.

Owns: reading them, refusing files of PyTorch that Python would unpickle.
Leaves: weights alone (weights).
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Sequence

import numpy as np
import torch

from zoo.engine import storage
from zoo.engine.errors import UsageError


def load(url: str) -> torch.jit.ScriptModule:
    """A module in evaluation mode.

    Raises:
        UsageError: the file is no TorchScript.
    """
    data = storage.read_bytes(url)
    _check(storage.masked(url), data)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated", category=DeprecationWarning)
        try:
            module = torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise UsageError(f"{storage.masked(url)} cannot be read as TorchScript: {_short(error)}") from error
    module.eval()
    return module  # type: ignore[no-any-return]


class TorchProgram:
    """A module of TorchScript that computes.

    Args:
        url: of the file.

    Attributes:
        module: it, in evaluation mode.
    """

    def __init__(self, url: str) -> None:
        self.module = load(url)

    def compute(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one batch.

        Raises:
            UsageError: the module does not take arrays of these shapes.
        """
        try:
            with torch.inference_mode():
                found = self.module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
        except RuntimeError as error:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise UsageError(f"the module cannot take arrays of shape {shapes}: {_short(error)}") from error
        return [one.numpy() for one in (found if isinstance(found, list | tuple) else [found])]


def _check(name: str, data: bytes) -> None:
    names = zipfile.ZipFile(io.BytesIO(data)).namelist() if zipfile.is_zipfile(io.BytesIO(data)) else []
    inner = {one.partition("/")[2] for one in names}
    if any(one.startswith("code/") for one in inner):
        return
    if "archive_format" in inner or "data.pkl" in inner:
        kind = "torch.export" if "archive_format" in inner else "torch.save"
        raise UsageError(
            f"{name} was written by {kind}, and reading it may run code that is in it. Give the module itself to "
            "Estimator.from_torch, and its weights to est.load; or write TorchScript: "
            "torch.jit.save(torch.jit.trace(model, example), path)."
        )
    raise UsageError(f"{name} is not a file of TorchScript (torch.jit.save). Torch7's .t7 files are not read.")


def _short(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
