"""TorchScript: a program and its weights in one file, which needs no Python class and no pickle.

Owns: reading and writing it, refusing files of PyTorch that Python would unpickle, computing on arrays.
Leaves: weights alone (weights), training (replica).
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.engine import storage
from zoo.engine.errors import UsageError


def read(url: str) -> bytes:
    """The bytes of a file of TorchScript.

    Raises:
        UsageError: the file is something else.
    """
    data = storage.read_bytes(url)
    _check(storage.masked(url), data)
    try:
        _loaded(data)
    except RuntimeError as error:
        raise UsageError(f"{storage.masked(url)} cannot be read as TorchScript: {_short(error)}") from error
    return data


def write(module: nn.Module, example: Sequence[np.ndarray] | None, url: str) -> str:
    """Writes a module as TorchScript, in evaluation mode; returns the URL.

    Args:
        module: a `Program`, whose newest weights are kept, or any other, which is traced.
        example: arrays that it takes, to trace it.
        url: of the file.

    Raises:
        UsageError: there is no example, or the module does not take it.
    """
    if example is None and not isinstance(module, Program):
        raise UsageError("TorchScript is traced on an example: from_pytorch(module, input=[1, 3, 224, 224]).")
    if isinstance(module, Program):
        return module.saveScript(url)
    with _quiet():
        script = _traced(module, example or ())
    storage.write_atomically(url, _bytes_of(script))
    return url


def examples(given: Any) -> list[np.ndarray]:
    """Arrays of what a program gives as an example.

    Args:
        given: a shape with the batch (ints; zeros of it), a tensor, an array, or a tuple or list of such.

    Raises:
        UsageError: something else.
    """
    if isinstance(given, torch.Tensor | np.ndarray):
        return [given.detach().numpy() if isinstance(given, torch.Tensor) else given]
    if isinstance(given, list | tuple) and given:
        if all(isinstance(size, int) for size in given):
            return [np.zeros(given, np.float32)]
        return [array for one in given for array in examples(one)]
    raise UsageError(f"an example is a shape with the batch, a tensor, or several of them. Received: {given!r}")


class Program(nn.Module):
    """A program of TorchScript as a module that travels, as TorchScript.

    Args:
        data: a file of TorchScript.

    Attributes:
        script: the program; in evaluation mode until `train` is called.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.script = _loaded(data)
        self.eval()

    def forward(self, *inputs: Any) -> Any:
        """What the program computes."""
        return self.script(*inputs)

    def saveScript(self, url: str) -> str:  # noqa: N802  as the layers' saveModel
        """Writes the program with its newest weights; returns the URL."""
        storage.write_atomically(url, _bytes_of(self.script))
        return url

    def __reduce__(self) -> tuple[Any, ...]:
        flags = [parameter.requires_grad for parameter in self.parameters()]
        return _again, (_bytes_of(self.script), self.training, flags)


def _again(data: bytes, training: bool, flags: Sequence[bool]) -> Program:
    made = Program(data).train(training)
    for parameter, flag in zip(made.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return made


class Function(nn.Module):
    """A function of tensors as a module.

    Args:
        function: it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        """What the function computes."""
        return self.function(*inputs)


class TorchProgram:
    """A module, or a function of tensors, that computes on arrays.

    Args:
        module: it; it computes in evaluation mode, and stays in the mode that it has.
    """

    def __init__(self, module: Callable[..., Any]) -> None:
        self.module = module

    def compute(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one batch.

        Raises:
            UsageError: the module does not take arrays of these shapes.
        """
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        try:
            with torch.no_grad(), _evaluating(self.module):
                found = self.module(*tensors)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            shapes = ", ".join(f"{array.dtype} {array.shape}" for array in arrays)
            raise UsageError(f"the module cannot take arrays of {shapes}: {_short(error)}") from error
        return [one.numpy() for one in (found if isinstance(found, list | tuple) else [found])]


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Evaluation mode for the block; what was in training mode is so again after it."""
    training = [one for one in module.modules() if one.training] if isinstance(module, nn.Module) else []
    for one in training:
        one.training = False
    try:
        yield
    finally:
        for one in training:
            one.training = True


def _traced(module: nn.Module, example: Sequence[np.ndarray]) -> Any:
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in example)
    with _evaluating(module):
        return torch.jit.trace(module, tensors, check_trace=False)  # type: ignore[no-untyped-call]


def _loaded(data: bytes) -> Any:
    with _quiet():
        return torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]


def _bytes_of(script: Any) -> bytes:
    buffer = io.BytesIO()
    with _quiet():
        torch.jit.save(script, buffer)
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch says at each call that it would have its users export programs in place of TorchScript."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated", category=DeprecationWarning)
        yield


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
