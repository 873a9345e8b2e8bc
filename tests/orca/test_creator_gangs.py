"""torch data creators without seeds on real gangs: two ranks draw alike, or are told that they do not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, random_split

from zoo.engine import session
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.errors import DataError
from zoo.orca.learn.pytorch import Estimator

ROWS, STEP = 24, 8


@pytest.fixture(autouse=True)
def two_ranks() -> Iterator[None]:
    session.begin(LocalCluster(cores=2))
    yield
    session.end()


def trained_on(creator: Callable[..., Any], epochs: int) -> list[float]:
    """How often each row was trained on: a row takes 1 / STEP from its own weight."""
    model = torch.nn.Linear(ROWS, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    est = Estimator.from_torch(
        model=model, loss=lambda output, y: output.mean(), optimizer=torch.optim.SGD(model.parameters(), 1.0),
        workers_per_node=2,
    )  # fmt: skip
    est.fit(creator, epochs=epochs, batch_size=STEP)
    counts: list[float] = (-STEP * model.weight.detach()[0]).numpy().round(3).tolist()
    return counts


def test_shuffled_loaders_of_a_random_split() -> None:
    def split(config: dict[str, Any], batch_size: int) -> DataLoader[Any]:
        everything = TensorDataset(torch.eye(ROWS), torch.zeros(ROWS, 1))
        train, _ = random_split(everything, [16, 8])
        return DataLoader(train, batch_size, shuffle=True)

    assert sorted(trained_on(split, epochs=3)) == [0.0] * 8 + [3.0] * 16


class Shuffled(IterableDataset[Any]):
    """Rows in NumPy's order, of the process's own generator or of one of its own."""

    def __init__(self, own: bool) -> None:
        self.own = own

    def __iter__(self) -> Iterator[Any]:
        draw: Any = np.random.default_rng(os.getpid()) if self.own else np.random
        for row in draw.permutation(ROWS):
            yield torch.eye(ROWS)[row], torch.zeros(1)


def test_streams_in_numpys_order() -> None:
    assert trained_on(lambda config, size: DataLoader(Shuffled(own=False), size), epochs=2) == [2.0] * ROWS


def test_ranks_that_read_different_data_are_told() -> None:
    with pytest.raises(DataError, match="the ranks read different data.*Give a generator of your own a seed"):
        trained_on(lambda config, size: DataLoader(Shuffled(own=True), size), epochs=1)
