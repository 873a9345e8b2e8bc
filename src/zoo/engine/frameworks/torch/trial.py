"""A module and its loss tried on a few rows, on the driver, before anything starts.

Owns: that; the user's own objects stay as they are.
Leaves: training (replica), what an error means to the user (front ends).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.losses import CheckedLoss


def outputs(model: nn.Module, features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The model's outputs for arrays with rows first, in evaluation mode.

    Raises:
        UsageError: text or bytes among the features.
    """
    if any(array.dtype == object for array in features):
        raise UsageError(
            "a feature column holds text or bytes, which cannot become a tensor. Give numbers, or a "
            "feature_preprocessing that makes arrays of it."
        )
    own = copy.deepcopy(model).cpu().eval()
    with torch.no_grad():
        made = own(*(torch.as_tensor(np.array(array)) for array in features))
    return [one.numpy() for one in (made if isinstance(made, list | tuple) else (made,))]


def value(loss: Callable[..., Any], outputs: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> np.ndarray:
    """The loss of (output, label), each of which is a tuple where there are several.

    Raises:
        UsageError: shapes that torch would broadcast, or a loss that is no scalar.
    """
    with torch.no_grad():
        checked = CheckedLoss(copy.deepcopy(loss))
        return np.asarray(checked(_one_or_all(outputs), _one_or_all(labels)))


def _one_or_all(arrays: Sequence[np.ndarray]) -> Any:
    tensors = tuple(torch.as_tensor(np.array(array)) for array in arrays)
    return tensors[0] if len(tensors) == 1 else tensors
