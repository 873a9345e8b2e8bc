"""The frameworks under test, each with models, and the plain loop that its users would write.

A new framework is one line of `FRAMEWORKS`. What it cannot do it declares; tests ask for the capability, not the name.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from zoo.engine.contracts import Feed
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.optim import NormClip

Weights = Mapping[str, np.ndarray]
ROWS, BATCH, EPOCHS = 101, 16, 3  # ragged on purpose: six whole steps and one of five rows


def table(rows: int = ROWS) -> pa.Table:
    """Rows to learn from: x (6 numbers), a and b (numbers), c (0 .. 4), y (a number), k (0 or 1)."""
    random = np.random.default_rng(11)
    x, a, b = random.normal(size=(rows, 6)), random.normal(size=rows), random.normal(size=rows)
    c = random.integers(0, 5, rows)
    y = np.tanh(x @ np.linspace(-1, 1, 6)) + 0.5 * a + 0.1 * c
    columns = {"a": a, "b": b, "y": y}
    floats = {name: pa.array(values.astype(np.float32)) for name, values in columns.items()}
    lists = pa.array(list(x.astype(np.float32)), pa.list_(pa.float32()))
    return pa.table({"x": lists, **floats, "c": pa.array(c), "k": pa.array((y > 0.2).astype(np.float32))})


class Framework(Protocol):
    """What a framework must show to be under test."""

    models: Mapping[str, Any]
    """By name; each with `features` and `labels`."""
    gaps: Mapping[str, str]
    """Models that this framework cannot train yet, and why: they must fail, so that the table stays true."""

    def spec(self, model: str) -> Any:
        """A fresh `ModelSpec`, the same weights each time."""

    def weights(self, spec: Any) -> Weights:
        """What the user's own model object holds."""

    def plain(self, model: str, feed: Feed, epochs: int) -> Weights:
        """The weights after the loop that a user would write, with the order of rows from `feed`, and no zoo else."""

    loss_source: str
    """A module of a user's own that defines `loss`: the squared error."""

    def with_loss(self, spec: Any, loss: Callable[..., Any]) -> Any:
        """The spec with another loss."""

    def dying(self, spec: Any, mark: Path, step: int) -> Any:
        """The spec with something in it that ends the process of rank 1 at a step, once: `mark` is a file by then."""


@dataclass(frozen=True)
class TorchModel:
    """One model of the suite."""

    features: tuple[str, ...]
    make: Callable[[], nn.Module]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    clip: float = 0.0
    labels: tuple[str, ...] = ("y",)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(torch.tanh(self.inner(x))).squeeze(-1)


class ManyInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.outer = nn.Embedding(5, 3), nn.Linear(11, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, a: torch.Tensor, c: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        whole = torch.cat([x, a[:, None], self.table(c), b[:, None]], dim=1)
        return self.outer(torch.tanh(self.inner(whole))).squeeze(-1)


class DiesOnce(Mlp):
    """Ends its process at one step, the first time that it comes there."""

    def __init__(self, mark: Path, step: int) -> None:
        super().__init__()
        self.mark, self.step, self.seen = mark, step, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        if self.seen == self.step and not self.mark.exists() and torch.distributed.get_rank() == 1:
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class TorchFramework:
    gaps: Mapping[str, str] = {}
    loss_source = "def loss(output, target):\n    return ((output - target) ** 2).mean()\n"
    models: Mapping[str, TorchModel] = {
        "mlp-adam": TorchModel(("x",), Mlp, lambda p: torch.optim.Adam(p, lr=0.01)),
        "mlp-sgd-momentum-decay": TorchModel(
            ("x",), Mlp, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3)
        ),
        "many-inputs": TorchModel(("x", "a", "c", "b"), ManyInputs, lambda p: torch.optim.Adam(p, lr=0.01)),
        "mlp-clipped": TorchModel(("x",), Mlp, lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.5), clip=0.05),
    }

    def spec(self, model: str) -> TorchSpec:
        case, module, optimizer = self._fresh(model)
        clip = NormClip(case.clip) if case.clip else None
        return TorchSpec(model=module, optimizer=optimizer, loss=nn.MSELoss(), clip=clip, seed=0)

    def weights(self, spec: TorchSpec) -> Weights:
        return {name: value.numpy().copy() for name, value in spec.get_model().state_dict().items()}

    def plain(self, model: str, feed: Feed, epochs: int) -> Weights:
        case, module, optimizer = self._fresh(model)
        for epoch in range(epochs):
            for batch in feed.epoch(epoch):
                features = [torch.from_numpy(np.array(array)) for array in batch.features]
                optimizer.zero_grad()
                nn.functional.mse_loss(module(*features), torch.from_numpy(np.array(batch.labels[0]))).backward()
                if case.clip:
                    nn.utils.clip_grad_norm_(module.parameters(), case.clip)
                optimizer.step()
        return {name: value.numpy().copy() for name, value in module.state_dict().items()}

    def with_loss(self, spec: TorchSpec, loss: Callable[..., Any]) -> TorchSpec:
        spec.loss = loss
        return spec

    def dying(self, spec: TorchSpec, mark: Path, step: int) -> TorchSpec:
        dying = DiesOnce(mark, step)
        dying.load_state_dict(spec.model.state_dict())
        spec.model, spec.optimizer = dying, self.models["mlp-adam"].optimizer(dying.parameters())
        return spec

    def _fresh(self, model: str) -> tuple[TorchModel, nn.Module, torch.optim.Optimizer]:
        case = self.models[model]
        with torch.random.fork_rng():
            torch.manual_seed(3)
            module = case.make()
        return case, module, case.optimizer(module.parameters())


def _keras() -> Framework:
    from rooms_keras import KerasFramework

    return KerasFramework()


def _graph() -> Framework:
    from rooms_graph import GraphFramework

    return GraphFramework()


KERAS = f"keras-{os.environ.get('KERAS_BACKEND', 'tensorflow')}"
"""A process has Keras with one backend: the suite runs once for each (`make test-keras`)."""

GRAPH = "graph"
FRAMEWORKS: Mapping[str, Callable[[], Framework]] = {"torch": TorchFramework, KERAS: _keras, GRAPH: _graph}
"""Made when a test asks for them, so that nothing is imported for tests that do not."""


def marks(framework: str) -> tuple[pytest.MarkDecorator, ...]:
    """Those of the tests of a framework."""
    return (pytest.mark.tensorflow,) if framework == GRAPH else ()
