"""What the user gave, told apart, checked, packed and built."""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Mapping
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.engine import optim
from zoo.engine.contracts import Batch, Rank
from zoo.engine.errors import NotPicklable, UsageError
from zoo.engine.frameworks.torch.replica import TorchReplica
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.jobs import Columns
from zoo.engine.progress import Progress

X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
Y = np.arange(8) % 3
RANK = Rank(threads=torch.get_num_threads())


class Net(nn.Linear):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(4, config["classes"])


def create_model(config: Mapping[str, Any]) -> nn.Module:
    return nn.Linear(4, config["classes"])


def create_optimizer(model: nn.Module, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=config["lr"])


def create_loss(config: Mapping[str, Any]) -> nn.Module:
    return nn.CrossEntropyLoss(label_smoothing=config["smoothing"])


CONFIG = {"classes": 3, "lr": 0.1, "smoothing": 0.0}


def spec_of(**changes: Any) -> TorchSpec:
    given = {"model": create_model, "optimizer": create_optimizer, "loss": create_loss, "config": CONFIG, "seed": 1}
    return TorchSpec(**(given | changes))


def trained(replica: TorchReplica, steps: int = 2) -> list[float]:
    losses = []
    for step in range(steps):
        replica.backward(Batch((X,), (Y,), 8, 8), lambda bucket: None)
        losses.append(replica.update(Progress(step=step)))
    return losses


# --- instances, classes and creators ---


@pytest.mark.parametrize("model", [create_model, Net, lambda: nn.Linear(4, 3), lambda config: Net(config)])
@pytest.mark.parametrize(
    "loss",
    [create_loss, nn.CrossEntropyLoss(), nn.CrossEntropyLoss, F.cross_entropy, lambda config: F.cross_entropy,
     lambda config: nn.CrossEntropyLoss, lambda output, target: F.cross_entropy(output, target)],
)  # fmt: skip
@pytest.mark.parametrize("optimizer", [create_optimizer, torch.optim.SGD, optim.SGD(0.1)])
def test_all_forms_train_alike(model: Any, loss: Any, optimizer: Any) -> None:
    spec = spec_of(model=model, loss=loss, optimizer=optimizer)
    assert spec.problems() == []
    assert trained(spec.build(RANK)) == trained(spec_of().build(RANK))


def test_instances_train_like_creators_and_stay_untouched_until_absorb() -> None:
    torch.manual_seed(1)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    before = model.weight.clone()
    spec = spec_of(model=model, optimizer=optimizer)
    assert spec.problems() == []
    replica = spec.build(RANK)
    trained(replica)
    assert torch.equal(model.weight, before)
    assert not optimizer.state
    state = replica.state()
    spec.absorb(state)
    assert spec.get_model() is model
    assert np.array_equal(model.weight.detach().numpy(), state.arrays["model/weight"])
    assert torch.equal(
        optimizer.state[model.weight]["momentum_buffer"], torch.from_numpy(state.arrays["optimizer/0/momentum_buffer"])
    )


def test_the_model_of_a_creator_gets_the_weights_absorbed() -> None:
    spec = spec_of()
    replica = spec.build(RANK)
    trained(replica)
    spec.absorb(replica.state())
    (expected,) = replica.predict(Batch((X,), (), 8))
    assert np.array_equal(spec.get_model()(torch.from_numpy(X)).detach().numpy(), expected)
    assert spec.get_model() is spec.get_model()
    for other in (spec, pickle.loads(cloudpickle.dumps(spec.for_scoring(Columns(()), ())))):
        assert np.array_equal(other.build(RANK).predict(Batch((X,), (), 8))[0], expected)
    trained(replica)
    spec.absorb(replica.state())
    assert np.array_equal(spec.get_model().weight.detach().numpy(), replica.state().arrays["model/weight"])


def test_a_loss_with_weights_is_trained_too() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_scale = nn.Parameter(torch.zeros(()))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(output, target) * self.log_scale.exp()

    model, loss = nn.Linear(4, 3), Weighted()
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
    spec = spec_of(model=model, loss=loss, optimizer=optimizer)
    assert spec.problems() == []
    replica = spec.build(RANK)
    trained(replica)
    scale = next(p for group in replica._control().optimizer.param_groups for p in group["params"] if p.ndim == 0)
    assert scale.item() < 0 == loss.log_scale.item()


def test_without_an_optimizer_there_is_nothing_to_train() -> None:
    replica = spec_of().for_scoring(Columns(()), ()).build(RANK)
    assert replica.score(Batch((X,), (Y,), 8))[0] > 0
    assert np.isnan(replica.readings["LearningRate"])
    with pytest.raises(UsageError, match="training needs an optimizer"):
        trained(replica)


def test_seeds() -> None:
    assert (
        trained(spec_of(seed=3).build(RANK))
        == trained(spec_of(seed=3).build(RANK))
        != trained(spec_of(seed=4).build(RANK))
    )
    torch.manual_seed(9)
    here = trained(spec_of(seed=None).build(RANK))
    torch.manual_seed(9)
    assert trained(spec_of(seed=None).build(RANK)) == here


def test_a_scheduler_sets_the_rate() -> None:
    spec = spec_of(scheduler_creator=lambda optimizer, config: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5))
    replica = spec.build(RANK)
    trained(replica, 3)
    assert replica.readings["LearningRate"] == pytest.approx(0.1 / 4)


def test_build_uses_the_threads_of_its_rank() -> None:
    before = torch.get_num_threads()
    try:
        spec_of().build(Rank(threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


# --- travelling ---


def test_model_and_optimizer_travel_together() -> None:
    model = nn.Linear(4, 3)
    spec = spec_of(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    arrived: TorchSpec = pickle.loads(cloudpickle.dumps(spec))
    assert arrived.optimizer.param_groups[0]["params"][0] is arrived.model.weight
    assert arrived.problems() == []
    replica = arrived.build(RANK)
    assert replica._model is arrived.model  # no second copy where the user's own is elsewhere
    assert trained(replica) == trained(spec.build(RANK))


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        self.encoder[1].settings = {"guards": [1, threading.Lock()]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)


def test_what_cannot_travel_is_named() -> None:
    spec = TorchSpec(model=Locked(), loss=F.cross_entropy)
    with pytest.raises(
        NotPicklable, match=r"model\.encoder\.1\.settings\['guards'\]\[1\] \(<class '_thread.lock'>\)"
    ) as caught:
        cloudpickle.dumps(spec)
    assert "creator function" in str(caught.value)
    with pytest.raises(NotPicklable, match="model.encoder"):
        spec.build(RANK)
    lock = threading.Lock()

    def creator(config: Any) -> nn.Module:
        with lock:
            return nn.Linear(4, 3)

    with pytest.raises(NotPicklable, match=r"model's variable lock \(<class '_thread.lock'>\)"):
        spec_of(model=creator).dumps()

    class Callback:
        def __init__(self) -> None:
            self.file = lock

    with pytest.raises(NotPicklable, match=r"callbacks\[0\]\.file"):
        spec_of(callbacks=(Callback(),)).dumps()


# --- mistakes ---


def test_all_problems_are_found_at_once() -> None:
    spec = spec_of(model=3, optimizer="adam", loss="mse", precision="fp8")
    problems = "\n".join(spec.problems())
    for part in ("model must be", "Received: 3", "not an optimizer: 'adam'", "loss must be", "'mse'", "'fp8'"):
        assert part in problems
    assert len(spec.problems()) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": nn.Linear}, r"takes one argument, config. Linear needs in_features, out_features"),
        ({"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters())}, "model is a creator .create_model."),
        ({"model": nn.Linear(4, 3), "optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters())}, "are not the model's"),
        ({"scheduler_step_freq": "step"}, "scheduler_step_freq must be"),
        ({"config": 3}, "config must be a dict"),
    ],
)
def test_problems(changes: dict[str, Any], message: str) -> None:
    (problem,) = spec_of(**changes).problems()
    assert re.search(message, problem)


def test_creators_that_make_something_else() -> None:
    with pytest.raises(UsageError, match="model creator must return a torch.nn.Module. It returned: <class 'int'>"):
        spec_of(model=lambda config: 3).build(RANK)
    with pytest.raises(UsageError, match="loss creator must return a loss function or module. It returned: 3"):
        spec_of(loss=lambda config: 3).build(RANK)
    with pytest.raises(UsageError, match="must return a torch optimizer. It returned: 3"):
        spec_of(optimizer=lambda model, config: 3).build(RANK)


def test_other_weights_are_not_absorbed() -> None:
    spec = spec_of(model=nn.Linear(2, 2), optimizer=None)
    with pytest.raises(UsageError, match="weights do not fit"):
        spec.absorb(spec_of().build(RANK).state())
