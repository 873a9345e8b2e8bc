"""A SavedModel or frozen graph of TensorFlow that computes, one batch after the other.

Owns: that.
Leaves: reading (files).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import files


class SavedGraph:
    """A session of a graph from a file.

    Args:
        path: directory of a SavedModel, folder of `files.export_frozen`, or ``.pb`` file.
        inputs: names of tensors that are fed; None for those that the file tells.
        outputs: likewise, computed.
        tag: of the graph in a SavedModel.
        signature: which of its functions.
    """

    def __init__(
        self,
        path: str,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        tag: str = "serve",
        signature: str = "serving_default",
    ) -> None:
        if files.is_frozen(path):
            self._loaded = files.load_frozen(path, inputs, outputs)
        else:
            self._loaded = files.load_saved_model(path, tag, signature, (inputs, outputs))
        self.inputs = [tensor.name for tensor in self._loaded.inputs]
        self.outputs = [tensor.name for tensor in self._loaded.outputs]

    def compute(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one batch.

        Raises:
            UsageError: an array has a shape that its tensor does not take; names the tensor.
        """
        fed = {}
        for tensor, array in zip(self._loaded.inputs, arrays, strict=True):
            if not tensor.shape.is_compatible_with(array.shape):
                raise UsageError(f"{tensor.name} takes arrays of shape {tensor.shape}. Received: {array.shape}")
            fed[tensor] = array.astype(tensor.dtype.as_numpy_dtype, copy=False)
        return list(self._loaded.session.run(list(self._loaded.outputs), fed))
