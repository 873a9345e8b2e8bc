"""torch's layers with max_norm change their own weights on each rank: refused on several ranks, trained on one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine.contracts import Rank
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.orca.learn.pytorch import Estimator

X, Y = np.arange(16) % 5, np.linspace(0, 1, 16, dtype="float32")
SAID = r"{} 'words' has max_norm=0\.5: .*Train with one rank"


class Net(nn.Module):
    def __init__(self, layer: type[nn.Module] = nn.Embedding, max_norm: float | None = 0.5) -> None:
        super().__init__()
        self.words = layer(5, 3, max_norm=max_norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.words(x[:, None]).flatten(1).sum(1)


def fitted(model: nn.Module, workers: Any = 1, **options: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    estimator = Estimator.from_torch(model=model, optimizer=optimizer, loss=nn.MSELoss())
    estimator.fit({"x": X, "y": Y}, epochs=1, batch_size=8, workers=workers, **options)


@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize("options", [{"workers": 2}, {"workers": (1, 2)}, {"reproducible": True}])
def test_they_are_refused_before_anything_starts(inline: None, layer: type[nn.Module], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=SAID.format(layer.__name__)):
        fitted(Net(layer), **options)


def test_one_that_a_creator_makes_is_refused_on_the_ranks() -> None:
    spec = TorchSpec(model=lambda config: Net(), optimizer=torch.optim.SGD, loss=nn.MSELoss(), config={"lr": 0.1})
    with pytest.raises(UsageError, match=SAID.format("Embedding")):
        spec.build(Rank(0, 2))
    spec.build(Rank(threads=torch.get_num_threads()))
    spec.for_scoring(None, ()).build(Rank(0, 2))  # type: ignore[arg-type]


def test_one_rank_trains_them(inline: None) -> None:
    model = Net()
    fitted(model)
    assert float(model.words.weight.detach().norm(dim=1).min()) > 0


def test_layers_without_it_are_not_meant() -> None:
    TorchSpec(model=Net(max_norm=None)).check_ranks(4)
