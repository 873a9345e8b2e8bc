"""A model in an ONNX file, computed by ONNX Runtime.

Owns: reading it, its inputs and outputs.
Leaves: cutting rows into batches (front ends).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine import storage
from zoo.engine.environment import variables
from zoo.engine.errors import UsageError
from zoo.engine.optional import require

_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(int8)": "int8", "tensor(uint8)": "uint8", "tensor(bool)": "bool",
}  # fmt: skip


class OnnxGraph:
    """A session of ONNX Runtime on the CPU.

    Args:
        url: of the ``.onnx`` file.
        threads: that compute; 0 lets the runtime choose.

    Attributes:
        inputs: names, in order.
        outputs: likewise.
    """

    def __init__(self, url: str, threads: int = 0) -> None:
        runtime = _runtime(because=f"{storage.masked(url)} is an ONNX model")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(
                storage.read_bytes(url), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # each of its classes derives from Exception alone
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise UsageError(f"{storage.masked(url)} cannot be read as an ONNX model: {_short(error)}") from error
        self._given = self._session.get_inputs()
        self.inputs = [one.name for one in self._given]
        self.outputs = [one.name for one in self._session.get_outputs()]

    def compute(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one batch.

        Raises:
            UsageError: an array has a shape that its input does not take; names the input.
        """
        fed: dict[str, Any] = {}
        for one, array in zip(self._given, arrays, strict=True):
            wanted = [size if isinstance(size, int) else None for size in one.shape]
            fits = len(wanted) == array.ndim and all(w in (None, s) for w, s in zip(wanted, array.shape, strict=True))
            if not fits:
                raise UsageError(
                    f"input '{one.name}' takes arrays of shape {tuple(wanted)} (None: any size). "
                    f"Received: {array.shape}"
                )
            fed[one.name] = array.astype(_TYPES.get(one.type, array.dtype), copy=False)
        return [np.asarray(found) for found in self._session.run(None, fed)]


def _runtime(because: str) -> Any:
    """ONNX Runtime, which tells its makers nothing: from 1.31 it does so on Linux too, and leaves a file in TMPDIR.

    It looks at the variable when it is loaded. One that is set, whatever its value, is the program's own wish.
    """
    with variables({_TELEMETRY: os.environ.get(_TELEMETRY, "1")}):
        return require("onnxruntime", extra="onnx", because=because)


def _short(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
