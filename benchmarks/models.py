"""The models and data that both sides of a comparison use. Models are made on the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

USERS, ITEMS, CLASSES = 6040, 3706, 5


class NCF(nn.Module):
    """Neural collaborative filtering: embeddings of 20, an MLP of 40-20-10 beside a product of embeddings of 20."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(USERS, 20), nn.Embedding(ITEMS, 20)
        self.mf_user, self.mf_item = nn.Embedding(USERS, 20), nn.Embedding(ITEMS, 20)
        self.mlp = nn.Sequential(
            nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU()
        )
        self.head = nn.Linear(30, CLASSES)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """Ids of shape (rows,) -> scores of shape (rows, 5)."""
        deep = self.mlp(torch.cat([self.user(user), self.item(item)], 1))
        return self.head(torch.cat([deep, self.mf_user(user) * self.mf_item(item)], 1))


def mlp(inputs: int = 784, outputs: int = 10) -> nn.Module:
    """inputs-256-128-outputs."""
    return nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, outputs))


def cnn() -> nn.Module:
    """Two convolutions over 28 x 28 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """One model with its data.

    Attributes:
        name: in the table.
        model: makes it.
        batch_size: rows a step over all ranks.
        data: rows -> (features, labels).
    """

    name: str
    model: Callable[[], nn.Module]
    batch_size: int
    data: Callable[[int], tuple[tuple[np.ndarray, ...], np.ndarray]]


def numbers(rows: int, *shape: int, classes: int = 10) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Random features of `shape` and labels."""
    draw = np.random.default_rng(0)
    return (draw.random((rows, *shape), np.float32),), draw.integers(0, classes, rows)


def ratings(rows: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Random users, items and ratings."""
    draw = np.random.default_rng(0)
    return (draw.integers(0, USERS, rows), draw.integers(0, ITEMS, rows)), draw.integers(0, CLASSES, rows)


MLP = Setup("MLP 784-256-128-10, batch 128", mlp, 128, lambda rows: numbers(rows, 784))
NCF_1024 = Setup("NCF, batch 1024", NCF, 1024, ratings)
NCF_8192 = Setup("NCF, batch 8192", NCF, 8192, ratings)
CNN = Setup("CNN 28x28, batch 128", cnn, 128, lambda rows: numbers(rows, 28, 28))


def made(setup: Setup) -> nn.Module:
    """The setup's model with the same weights wherever it is made."""
    torch.manual_seed(0)
    return setup.model()


def adam(model: nn.Module, config: Any = None) -> torch.optim.Optimizer:
    """The optimizer of both sides."""
    return torch.optim.Adam(model.parameters(), lr=1e-3)


def creator(setup: Setup) -> Callable[[Any], nn.Module]:
    """`made` as an estimator takes it."""
    return partial(_create, setup)


def _create(setup: Setup, config: Any) -> nn.Module:
    return made(setup)
