"""`fit(sync="sharded")` as programs call it: the same weights, a share of the memory, checkpoints, losses, refusals."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.clusters.spark.cluster import SparkCluster
from zoo.engine.errors import RankLost, UsageError
from zoo.engine.events.events import RankLeft, Regrouped, Resumed
from zoo.engine.events.sinks import MemorySink
from zoo.orca.learn.optimizers import LBFGS, SGD, Adam
from zoo.orca.learn.optimizers.schedule import Poly
from zoo.orca.learn.pytorch import Estimator
from zoo.orca.learn.pytorch.callbacks import Callback, MainCallback, ModelCheckpoint
from zoo.orca.learn.trigger import EveryEpoch, SeveralIteration

ROWS, BATCH, STEPS = 103, 16, 7
rng = np.random.default_rng(0)
X = rng.normal(size=(ROWS, 4)).astype(np.float32)
Y = X.sum(1, keepdims=True)
WORDS: dict[str, Any] = {"batch_size": BATCH, "epochs": 2}


@pytest.fixture
def ranks() -> Iterator[None]:
    session.begin(LocalCluster(cores=3))
    yield
    session.end()


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


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> MemorySink:
    sink = MemorySink()
    monkeypatch.setattr("zoo.orca.learn.listeners.ConsoleSink", lambda: sink)
    return sink


def told(heard: MemorySink, kind: type) -> list[Any]:
    return [event for event in heard.events if isinstance(event, kind)]


def estimator(optimizer: Any = None, world: int = 2, inner: nn.Module | None = None, **words: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 301), inner or nn.Tanh(), nn.Linear(301, 1))
    made = {"optimizer": optimizer or Adam(0.01), "loss": nn.MSELoss(), "workers_per_node": world} | words
    return Estimator.from_torch(model=model, **made)


def numbers(made: Any) -> np.ndarray:
    return np.concatenate([value.numpy().ravel() for value in made.get_model().state_dict().values()]).copy()


def fitted(made: Any, **words: Any) -> Any:
    made.fit((X, Y), **WORDS | words)
    return made


class Weigh(Callback):
    """Writes down how many numbers the optimizer of each rank remembers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def after_train_epoch(self, runner: Any) -> None:
        states = runner.optimizer.state.values()
        held = sum(value.numel() for state in states for value in state.values() if value.ndim)
        (self.folder / f"{runner.rank}-{runner.epochs}").write_text(str(held))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_weights_are_those_of_an_allreduce_and_the_memory_is_shared(
    ranks: None, world: int, tmp_path: Path
) -> None:
    def both(make: Any, clip: float | None = None, callbacks: Any = None) -> float:
        found = []
        for sync in ("allreduce", "sharded"):
            made = estimator(make, world)
            if clip:
                made.set_l2_norm_gradient_clipping(clip)
            found.append(numbers(fitted(made, sync=sync, callbacks=callbacks)))
        assert np.isfinite(found[0]).all()
        return float(np.abs(found[0] - found[1]).max())

    assert both(Adam(0.01), callbacks=[Weigh(tmp_path)]) <= (0 if world < 3 else 1e-6)
    held = [int((tmp_path / f"{rank}-2").read_text()) for rank in range(world)]
    assert sum(held) == 2 * (5 * 301 + 301 + 1)
    assert max(held) < 1.05 * sum(held) / world
    rates = SGD(0.1, momentum=0.9, dampening=0.0, learningrate_schedule=Poly(0.5, 50))
    assert both(rates, clip=0.5) < 1e-6


def test_a_checkpoint_goes_on_with_another_number_of_ranks_and_another_sync(ranks: None, tmp_path: Path) -> None:
    undisturbed = numbers(fitted(estimator(world=1), epochs=3))
    first = estimator(model_dir=str(tmp_path))
    fitted(first, sync="sharded", max_steps=10, checkpoint_trigger=SeveralIteration(5) | EveryEpoch())
    for world, sync in ((1, "allreduce"), (3, "sharded"), (2, "sharded")):
        other = estimator(world=world)
        other.load_checkpoint(str(tmp_path))
        fitted(other, sync=sync)
        np.testing.assert_allclose(numbers(other), undisturbed, rtol=0, atol=1e-5)
    saved = first.save_checkpoint(str(tmp_path / "by hand"))
    other = estimator(world=2)
    other.load_checkpoint(saved)
    np.testing.assert_allclose(numbers(fitted(other, sync="sharded")), undisturbed, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        numbers(fitted(first, sync="sharded", epochs=1)),
        numbers(fitted(fitted(estimator(world=2), max_steps=10), epochs=1)),
        rtol=0,
        atol=1e-5,
    )  # a second call of fit goes on


def test_the_users_own_optimizer_gets_all_of_its_memory_back(ranks: None) -> None:
    made = estimator()
    model = made.get_model()
    own = torch.optim.Adam(model.parameters(), lr=0.01)
    made = Estimator.from_torch(model=model, optimizer=own, loss=nn.MSELoss(), workers_per_node=2)
    fitted(made, sync="sharded")
    assert [len(group["params"]) for group in own.param_groups] == [4]
    for parameter in model.parameters():
        assert own.state[parameter]["exp_avg"].shape == parameter.shape
        assert float(own.state[parameter]["step"]) == 2 * STEPS
        assert own.state[parameter]["exp_avg_sq"].abs().sum() > 0


# --- a rank is lost ---


class Killed(nn.Tanh):
    """Ends the process of one rank, once, at a step."""

    def __init__(self, mark: Path, rank: int, step: int) -> None:
        super().__init__()
        self.mark, self.rank, self.step, self.seen = mark, rank, step, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        now = self.training and self.seen == self.step and torch.distributed.get_rank() == self.rank
        if now and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += self.training
        return super().forward(x)


def test_after_a_loss_a_new_gang_goes_on_from_the_checkpoint(ranks: None, tmp_path: Path, heard: MemorySink) -> None:
    expected = numbers(fitted(estimator()))
    struck = estimator(inner=Killed(tmp_path / "died", 1, 10), model_dir=str(tmp_path / "models"))
    fitted(struck, sync="sharded", checkpoint_trigger=SeveralIteration(4))
    np.testing.assert_allclose(numbers(struck), expected, rtol=0, atol=1e-5)
    (resumed,) = told(heard, Resumed)
    assert (Path(resumed.path).name, resumed.step) == ("checkpoint-000000008", 8)
    assert told(heard, Regrouped) == told(heard, RankLeft) == []
    assert "checkpoint" in str(struck.report())


@pytest.mark.exact
def test_after_a_loss_in_spark_too(spark: Any, tmp_path: Path, heard: MemorySink) -> None:
    session.begin(SparkCluster(spark, 1, 2), spark=spark)
    try:
        data = spark.createDataFrame(list(zip(X.tolist(), Y.tolist(), strict=True)), "x array<float>, y array<float>")
        struck = estimator(inner=Killed(tmp_path / "died", 0, 10), model_dir=str(tmp_path / "models"))
        words = {"feature_cols": ["x"], "label_cols": ["y"], "checkpoint_trigger": SeveralIteration(4), **WORDS}
        history = struck.fit(data, sync="sharded", **words)
    finally:
        session.end()
    assert [stats["batch_count"] for stats in history] == [STEPS, 2 * STEPS - 8]  # of the last gang
    assert history[1]["train_loss"] < 0.5 * history[0]["train_loss"]
    (resumed,) = told(heard, Resumed)
    assert (Path(resumed.path).name, resumed.step) == ("checkpoint-000000008", 8)


def test_without_a_checkpoint_a_lost_rank_ends_the_run(ranks: None, tmp_path: Path, heard: MemorySink) -> None:
    with pytest.raises(RankLost, match=r"(?s)SIGKILL.*give the estimator a model_dir"):
        fitted(estimator(inner=Killed(tmp_path / "died", 1, 3)), sync="sharded")


# --- what is refused, before anything starts ---


class Lamb(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad / p.grad.norm(), alpha=-0.01)


class OwnBackward(MainCallback):
    def on_iter_backward(self, runner: Any) -> None:
        runner.loss.backward()
        runner.optimizer.step()


class OwnForward(MainCallback):
    def on_iter_forward(self, runner: Any) -> None:
        super().on_iter_forward(runner)


@pytest.mark.parametrize(
    ("words", "optimizer", "says"),
    [
        ({"sync": "sharding"}, None, "sync must be one of allreduce, sharded. Received: 'sharding'"),
        ({"reproducible": True}, None, "Leave one of them out"),
        ({"recovery": "peers"}, None, "recovery='checkpoint' and a model_dir"),
        ({"callbacks": OwnBackward()}, None, "OwnBackward.on_iter_backward"),
        ({}, torch.optim.Adafactor, "Adafactor cannot do"),
        ({}, Lamb, "depends on other elements"),
        ({}, LBFGS(), "LBFGS"),
    ],
)
def test_what_cannot_be_shared_is_refused(idle: None, words: Any, optimizer: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        fitted(estimator(optimizer, world=2), **{"sync": "sharded"} | words)


def test_an_instance_and_a_creator_are_looked_at_too(idle: None, ranks: None) -> None:
    model = nn.Linear(4, 1)
    made = Estimator.from_torch(model=model, optimizer=Lamb(model.parameters(), 0.1), loss=nn.MSELoss())
    with pytest.raises(UsageError, match="Lamb cannot do"):
        fitted(made, sync="sharded")


def test_what_a_creator_makes_is_looked_at_on_the_ranks(ranks: None) -> None:
    def creator(model: Any, config: Any) -> Any:
        return torch.optim.Adafactor(model.parameters())

    with pytest.raises(Exception, match="Adafactor cannot do"):
        fitted(estimator(creator), sync="sharded")


def test_a_callback_may_save_weights_and_not_the_rest(ranks: None, tmp_path: Path) -> None:
    saver = ModelCheckpoint(str(tmp_path / "w-{epoch}.pt"), save_weights_only=True, interval=1)
    made = fitted(estimator(), sync="sharded", callbacks=[saver, OwnForward()])
    saved = torch.load(tmp_path / "w-2.pt")
    assert all(torch.equal(saved[name], value) for name, value in made.get_model().state_dict().items())
    with pytest.raises(Exception, match="save_weights_only=True"):
        fitted(estimator(), sync="sharded", callbacks=[ModelCheckpoint(str(tmp_path / "all-{epoch}.pt"), interval=1)])
