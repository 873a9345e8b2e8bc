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


def value(loss: Callable[..., Any], output: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The loss of (output, label).

    Raises:
        UsageError: shapes that torch would broadcast, or a loss that is no scalar.
    """
    with torch.no_grad():
        checked = CheckedLoss(copy.deepcopy(loss))
        return np.asarray(checked(torch.as_tensor(np.array(output)), torch.as_tensor(np.array(label))))
