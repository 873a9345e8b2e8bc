"""torch's states go through `State` and JSON and come back exactly."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine import optim
from zoo.engine.contracts import State
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch import state as states
from zoo.engine.frameworks.torch.ftrl import Ftrl

OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True),
    "fused": lambda p: torch.optim.Adam(p, fused=True),
    "tensor-lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), capturable=False, foreach=False),
    "Ftrl": lambda p: Ftrl(p, optim.Ftrl(0.1)),
    **{
        name: (lambda kind: lambda p: kind(p))(getattr(torch.optim, name))
        for name in ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop")
    },
    "Adafactor": torch.optim.Adafactor,
}


class Net(nn.Module):
    """Tied weights, a buffer that is no float, half precision and a value without axes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(4)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("brief", torch.randn(3, 2).bfloat16())
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("single", torch.tensor(0.1, dtype=torch.bfloat16))
        self.register_buffer("eighth", torch.randn(4).to(torch.float8_e4m3fn))
        self.register_buffer("empty", torch.zeros(0, 2))
        self.register_buffer("last", torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.norm(self.two(self.one(x))) * self.scale).pow(2).mean()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(8, 4)).backward()
    optimizer.step()


def travelled(state: State) -> State:
    """As after a checkpoint: JSON values, and arrays that may not be written."""
    arrays = {name: np.array(array) for name, array in state.arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return State(arrays, json.loads(json.dumps(dict(state.values))))


def made(name: str, seed: int) -> tuple[Net, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Net()
    optimizer = OPTIMIZERS[name](model.parameters())
    return model, optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_exactly(name: str) -> None:
    model, optimizer = made(name, 0)
    for seed in range(3):
        step(model, optimizer, seed)
    state = travelled(states.take(model, optimizer))
    other, other_optimizer = made(name, 1)
    states.give_weights(state, other)
    states.give_memory(state, other_optimizer)
    assert_same(other.state_dict(), model.state_dict())
    assert_same(other_optimizer.state_dict(), optimizer.state_dict())
    assert other.two.weight is other.one.weight
    for seed in range(3, 6):
        step(model, optimizer, seed)
        step(other, other_optimizer, seed)
    assert_same(other.state_dict(), model.state_dict())
    assert_same(other_optimizer.state_dict(), optimizer.state_dict())


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def assert_same(one: Any, two: Any) -> None:
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for left, right in zip(one, two, strict=True):
            assert_same(left, right)
    elif isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype
        assert one.shape == two.shape
        assert (
            one.detach()
            .contiguous()
            .view(-1)
            .view(torch.uint8)
            .equal(two.detach().contiguous().view(-1).view(torch.uint8))
        )
    else:
        assert one == two


def test_a_state_is_a_copy_and_stays_one() -> None:
    model, optimizer = made("amsgrad", 0)
    step(model, optimizer, 0)
    state = states.take(model, optimizer)
    kept = {name: array.copy() for name, array in state.arrays.items()}
    step(model, optimizer, 1)
    states.give_weights(state, model)
    states.give_memory(state, optimizer)
    step(model, optimizer, 2)
    assert all(np.array_equal(array, kept[name]) for name, array in state.arrays.items())


def test_names_and_dtypes() -> None:
    model, optimizer = made("Adam", 0)
    step(model, optimizer, 0)
    state = states.take(model, optimizer, rates={"base": [0.1]})
    assert {"model/one.weight", "model/norm.running_mean", "model/mask", "optimizer/0/exp_avg"} <= set(state.arrays)
    assert {name.partition("/")[0] for name in state.arrays} == {"model", "optimizer"}
    assert state.arrays["model/brief"].dtype == np.uint16
    assert state.arrays["model/single"].shape == ()
    assert state.values["dtypes"]["model/brief"] == "bfloat16"
    assert state.values["rates"] == {"base": [0.1]}
    assert all(array.flags.c_contiguous for array in state.arrays.values())


def test_weights_alone_leave_the_optimizer() -> None:
    model, optimizer = made("momentum", 0)
    step(model, optimizer, 0)
    before = json.dumps(optimizer.state_dict(), default=lambda tensor: tensor.tolist())
    states.give_memory(states.take(model), optimizer)
    assert json.dumps(optimizer.state_dict(), default=lambda tensor: tensor.tolist()) == before


def test_another_models_state_is_refused() -> None:
    with pytest.raises(UsageError, match="(?s)weights do not fit the model.*size mismatch for weight"):
        states.give_weights(states.take(nn.Linear(2, 3)), nn.Linear(3, 3))
    with pytest.raises(UsageError, match="(?s)weights do not fit the model.*Missing key"):
        states.give_weights(states.take(nn.Linear(2, 3)), nn.BatchNorm1d(3))
    _, one = made("Adam", 0)
    two = torch.optim.Adam(nn.Linear(2, 2).parameters())
    with pytest.raises(UsageError, match="optimizer's state does not fit"):
        states.give_memory(states.take(nn.Linear(2, 2), one), two)


class Extra(nn.Linear):
    def __init__(self, extra: Any) -> None:
        super().__init__(1, 1)
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


def test_extra_state_of_plain_values_is_kept_and_objects_are_refused() -> None:
    extra = {"steps": 3, 7: [1.5, None, ("a", True)], "tensor": torch.arange(3)}
    other = Extra(None)
    states.give_weights(travelled(states.take(Extra(extra))), other)
    assert_same(other.extra, extra)
    with pytest.raises(
        UsageError, match="model/_extra_state of <class 'object'>, which is neither a tensor nor a plain"
    ):
        states.take(Extra(object()))
