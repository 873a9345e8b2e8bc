"""Tensors of a BigDL file: views of storages, which several tensors may share.

Owns: which numbers belong to which tensor.
Leaves: how storages are written (bigdl_file, weights_file).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from zoo.engine.errors import UsageError


@dataclass(frozen=True, slots=True)
class TensorView:
    """Where a tensor's numbers are.

    Attributes:
        sizes: its shape.
        strides: of its axes, in numbers of the storage.
        offset: of its first number, from 0.
        storage: the storage's id.
        tensor: its own id.
    """

    sizes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    offset: int = 0
    storage: int = 0
    tensor: int = 0


@dataclass(slots=True)
class Storages:
    """The numbers of all storages found in a file so far.

    Attributes:
        numbers: storage id -> its numbers, 1-D.
        homes: tensor id -> storage id, for tensors that name no storage.
    """

    numbers: dict[int, np.ndarray] = field(default_factory=dict)
    homes: dict[int, int] = field(default_factory=dict)

    def add(self, storage: int, numbers: Sequence[np.ndarray]) -> None:
        """Keeps a storage's numbers; empty ones are only mentioned, and are somewhere else."""
        if sum(map(len, numbers)):
            self.numbers[storage] = numbers[0] if len(numbers) == 1 else np.concatenate(numbers)

    def array(self, view: TensorView, of: str) -> np.ndarray:
        """A tensor as an array over the storage, not to be written to: tensors may share one, so copies could be many.

        Args:
            view: the tensor.
            of: whose it is, for the error.

        Raises:
            UsageError: its storage is not in the file, or is shorter than the tensor says.
        """
        numbers = self.numbers.get(view.storage or self.homes.get(view.tensor, 0))
        if numbers is None:
            raise UsageError(
                f"the file does not hold the weights of {of}. Were they saved apart (saveModule with a weight path)? "
                "Then give that file too: Net.load_bigdl(model_path, weight_path)."
            )
        if not _fits(view, len(numbers)):
            raise UsageError(
                f"a tensor of {of} has shape {view.sizes} and strides {view.strides} from number {view.offset} on, "
                f"and its storage {len(numbers)} numbers: the file is damaged."
            )
        strides = [stride * numbers.itemsize for stride in view.strides]
        return np.lib.stride_tricks.as_strided(numbers[view.offset :], view.sizes, strides, writeable=False)


def _fits(view: TensorView, count: int) -> bool:
    if len(view.sizes) != len(view.strides) or view.offset < 0 or min((*view.sizes, *view.strides), default=1) < 0:
        return False
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.sizes, view.strides, strict=True))
    return math.prod(view.sizes) <= count and 0 <= last < count
