"""`fit(reproducible=True)`: what it cannot do is told, before a process starts where that can be known by then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.errors import UsageError
from zoo.orca.learn.pytorch import Estimator
from zoo.orca.learn.pytorch.callbacks import Callback, MainCallback

ROWS = 64
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


@dataclass(frozen=True)
class Idle(InlineCluster):
    """Room for ten ranks, none of which may start."""

    slots: int = 10

    def gang(self, *call: Any) -> list[Any]:
        raise AssertionError("a gang was started")


@pytest.fixture
def idle() -> Iterator[None]:
    session.begin(Idle())
    yield
    session.end()


def estimator(*layers: nn.Module, **words: Any) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(*layers, nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Estimator.from_torch(model=model, optimizer=optimizer, loss=nn.MSELoss(), **words)


def loader(config: Mapping[str, Any] | None = None, batch_size: int = 16) -> Any:
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(rows, batch_size=batch_size)


class OwnBackward(MainCallback):
    def on_iter_backward(self, runner: Any) -> None:
        runner.loss.backward()
        runner.optimizer.step()


class OwnForward(MainCallback):
    def on_iter_forward(self, runner: Any) -> None:
        x, runner.target = runner.batch
        runner.output = runner.model(x)
        runner.loss = ((runner.output - runner.target) ** 2).mean()


# --- before a process starts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [0, -1, 2.5, "8", None])
def test_virtual_ranks_are_a_whole_number(idle: None, given: Any) -> None:
    with pytest.raises(UsageError, match=rf"virtual_ranks must be a whole number, at least 1. Received: {given!r}"):
        estimator().fit((X, Y), reproducible=True, virtual_ranks=given)


def test_nobody_looks_at_them_where_they_are_not_used(inline: None) -> None:
    (stats,) = estimator().fit((X, Y), virtual_ranks=0)
    assert stats["num_samples"] == ROWS


def test_there_may_not_be_more_ranks_than_virtual_ones(idle: None) -> None:
    with pytest.raises(UsageError, match=r"shares 2 virtual ranks out, and 3 ranks .* virtual_ranks=3 or more"):
        estimator(workers_per_node=3).fit((X, Y), reproducible=True, virtual_ranks=2)
    with pytest.raises(UsageError, match=r"shares 8 virtual ranks out, and 9 ranks"):
        estimator(workers_per_node=9).fit((X, Y), reproducible=True)
    for words in ({"reproducible": True}, {"virtual_ranks": 2}):
        with pytest.raises(AssertionError, match="a gang was started"):
            estimator(workers_per_node=8).fit((X, Y), **words)


OWN_ORDER = "a DataLoader, a tf.data.Dataset or a data creator has an order of its own. Give the rows themselves: "


@pytest.mark.parametrize("data", [loader(), loader])
def test_data_with_an_order_of_their_own_are_refused(idle: None, data: Any) -> None:
    with pytest.raises(UsageError, match=OWN_ORDER):
        estimator().fit(data, reproducible=True, batch_size=16)
    with pytest.raises(UsageError, match=OWN_ORDER):
        estimator().fit((X, Y), validation_data=data, reproducible=True, batch_size=16)


def test_so_is_a_data_set_of_tensorflow(idle: None) -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    with pytest.raises(UsageError, match=OWN_ORDER):
        estimator().fit(data, reproducible=True)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_backward_of_the_users_own_is_refused(idle: None, everywhere: bool) -> None:
    text = "adds gradients up in one order, and OwnBackward.on_iter_backward does it in its own. Leave one of them out"
    made = estimator()
    if everywhere:
        made._callbacks = (OwnBackward(),)
    with pytest.raises(UsageError, match=text):
        made.fit((X, Y), reproducible=True, callbacks=[Callback(), *([] if everywhere else [OwnBackward()])])


@pytest.mark.parametrize("callback", [OwnForward(), MainCallback(), Callback()])
def test_other_callbacks_are_not(inline: None, callback: Callback) -> None:
    plain = estimator()
    plain.fit((X, Y), reproducible=True, batch_size=16)
    made = estimator()
    made.fit((X, Y), reproducible=True, batch_size=16, callbacks=[callback])
    for name, value in plain.get_state_dict().items():
        assert torch.equal(value, made.get_state_dict()[name])


@pytest.mark.tensorflow
def test_graphs_are_refused(idle: None) -> None:
    import tensorflow as tf

    from zoo.orca.learn.tf.estimator import Estimator as TensorFlowEstimator

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        x, y = v1.placeholder(tf.float32, [None, 4]), v1.placeholder(tf.float32, [None, 1])
        output = x @ v1.get_variable("kernel", [4, 1])
        made = TensorFlowEstimator.from_graph(
            inputs=x, labels=y, outputs=output, loss=tf.reduce_mean(tf.square(output - y)),
            optimizer=v1.train.GradientDescentOptimizer(0.1),
        )  # fmt: skip
        with pytest.raises(UsageError, match=r"for PyTorch and Keras models. Leave it out for a graph, or .*learn.tf2"):
            made.fit((X, Y), reproducible=True)


# --- while it trains -------------------------------------------------------------------------------------------------


class Seen(nn.Module):
    """Keeps something of its rows, or of its passes."""

    def __init__(self, of_rows: bool) -> None:
        super().__init__()
        self.of_rows = of_rows
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += x.detach().sum() if self.of_rows else 1
        return x


class Replaced(Seen):
    """Puts a new tensor in the old one's place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + (x.detach().sum() if self.of_rows else 1)
        return x


@pytest.mark.parametrize("kind", [Seen, Replaced])
def test_a_buffer_that_depends_on_the_rows_is_named(inline: None, kind: type[Seen]) -> None:
    with pytest.raises(UsageError, match=r"the buffer '0.seen' of the model depends on the rows of a pass"):
        estimator(kind(of_rows=True)).fit((X, Y), reproducible=True)


@pytest.mark.parametrize("kind", [Seen, Replaced])
def test_one_that_does_not_counts_steps(inline: None, kind: type[Seen]) -> None:
    made = estimator(kind(of_rows=False))
    made.fit((X, Y), epochs=3, batch_size=16, reproducible=True)
    assert made.get_state_dict()["0.seen"] == 3 * 4


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.InstanceNorm1d(4)])
def test_a_layer_that_needs_more_rows_than_a_lane_has(inline: None, layer: nn.Module) -> None:
    layers = [layer] if isinstance(layer, nn.BatchNorm1d) else [nn.Unflatten(1, (4, 1)), layer, nn.Flatten()]
    with pytest.raises(ValueError, match="more than 1") as caught:
        estimator(*layers).fit((X, Y), batch_size=8, reproducible=True)
    notes = "\n".join(caught.value.__notes__)
    assert "Each step is cut into virtual ranks (now 8)." in notes
    assert "a larger batch_size, fewer virtual_ranks, or steps_per_epoch" in notes


def test_nothing_is_told_of_virtual_ranks_where_there_are_none(inline: None) -> None:
    with pytest.raises(ValueError, match="more than 1") as caught:
        estimator(nn.BatchNorm1d(4)).fit((X, Y), batch_size=1)
    assert "virtual" not in "\n".join(caught.value.__notes__)
