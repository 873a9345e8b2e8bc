"""Models, losses and callbacks with a mistake in them, each in one line that its error must name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from zoo.orca.learn.pytorch import Estimator


def rows(count: int = 40) -> pa.Table:
    """a, b: numbers; y = a - b; k: 0, 1 or 2; text; holes: b with nulls."""
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, count)).astype(np.float32)
    holes = [None if number % 8 == 3 else float(value) for number, value in enumerate(b)]
    ragged = [[1.0] * (2 + (number == count - 1)) for number in range(count)]
    columns = {"a": a, "b": b, "y": a - b, "k": np.arange(count) % 3, "text": [f"no {n}" for n in range(count)]}
    holed = pa.array(holes, pa.float32())
    return pa.table({**columns, "holes": holed, "ragged": pa.array(ragged, pa.list_(pa.float32()))})


class Line(torch.nn.Module):
    """w a + v b."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(2))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return sum(w * column for w, column in zip(self.w, inputs, strict=False))


class FailsAt(Line):
    """Raises at one step, on one rank or (None) on all."""

    def __init__(self, step: int, rank: int | None = None) -> None:
        super().__init__()
        self.step, self.rank, self.seen = step, rank, 0

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        if self.seen == self.step and (self.rank is None or self.rank == torch.distributed.get_rank()):
            raise ValueError("my own mistake")
        return super().forward(*inputs)


def bad_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    raise KeyError("weights of classes")


class BadCallback:
    def after_train_iter(self, runner: Any) -> None:
        if runner.rank == 1:
            raise RuntimeError("cannot reach my server")


def estimator(model: torch.nn.Module | None = None, **words: Any) -> Any:
    """Of a model that learns y from a and b."""
    model = model or Line()
    made = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.05), "loss": torch.nn.MSELoss()} | words
    return Estimator.from_torch(model=model, **made)


WORDS: dict[str, Any] = {"feature_cols": ["a", "b"], "label_cols": ["y"], "batch_size": 8}
