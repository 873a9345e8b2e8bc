"""A `TrainingOperator` does a step in its own way, and the ranks still agree on it exactly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.errors import UsageError, WorkerFailed
from zoo.orca.learn.metrics import MAE
from zoo.orca.learn.pytorch import Estimator, TrainingOperator
from zoo.orca.learn.pytorch.callbacks import Callback, MainCallback

rng = np.random.default_rng(0)
X = rng.normal(size=(25, 3)).astype(np.float32)  # 25 = 3 * 8 + 1: in the last step a second rank has no rows
Y = (X @ [[1.0], [-2.0], [0.5]]).astype(np.float32)
DECAY = 0.3


@pytest.fixture
def here() -> Iterator[None]:
    session.begin(InlineCluster())
    yield
    session.end()


@pytest.fixture
def two_ranks() -> Iterator[None]:
    session.begin(LocalCluster(cores=2))
    yield
    session.end()


def estimator(operator: Any = None, decay: float = 0.0, **words: Any) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=decay)
    made = {"model": model, "optimizer": optimizer, "loss": torch.nn.MSELoss(), "training_operator_cls": operator}
    return Estimator.from_torch(**(made | words))


def fitted(made: Any, epochs: int = 3, **words: Any) -> Any:
    made.fit((X, Y), epochs=epochs, batch_size=8, **words)
    return made


def weights(made: Any) -> np.ndarray:
    return np.concatenate([value.numpy().ravel() for value in made.get_model().state_dict().values()])


class Nothing(TrainingOperator):
    """Overrides nothing."""


class Decayed(TrainingOperator):
    def forward_batch(self, batch: Any, batch_info: Any) -> tuple[Any, Any, Any]:
        *features, target = batch
        output = self.model(*features)
        decay = sum((weight**2).sum() for weight in self.model.parameters())
        return output, target, self.criterion(output, target) + DECAY / 2 * decay


class ClearsBefore(TrainingOperator):
    def train_batch(self, batch: Any, batch_info: Any) -> dict[str, Any]:
        _, target, loss = self.forward_batch(batch, batch_info)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"train_loss": loss.item(), "num_samples": len(target)}


class ClearsBehind(TrainingOperator):
    """Keeps the optimizer from `setup`, does its own forward, and clears gradients behind the step."""

    def setup(self, config: Any) -> None:
        self.kept = self.optimizer

    def train_batch(self, batch: Any, batch_info: Any) -> dict[str, Any]:
        x, y = batch
        with self.timers.record("forward"):
            loss = self.criterion(self.model(x), y)
        loss.backward()
        self.kept.step()
        self.kept.zero_grad()
        return {"train_loss": loss, "num_samples": len(y)}


class DecayedInItsOwnStep(Decayed):
    def train_batch(self, batch: Any, batch_info: Any) -> dict[str, Any]:
        _, target, loss = self.forward_batch(batch, batch_info)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"train_loss": loss, "num_samples": len(target)}


class Inherits(TrainingOperator):
    def train_batch(self, batch: Any, batch_info: Any) -> dict[str, Any]:
        stats = super().train_batch(batch, batch_info)
        assert stats["num_samples"] == len(batch[0])
        return stats


class EverySecond(TrainingOperator):
    """Adds gradients up over two batches."""

    def train_batch(self, batch: Any, batch_info: Any) -> dict[str, Any]:
        _, _, loss = self.forward_batch(batch, batch_info)
        (loss / 2).backward()
        if batch_info["batch_idx"] % 2 == 1:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return {"train_loss": loss.item(), "num_samples": len(batch[0])}


@pytest.mark.parametrize("operator", [Nothing, ClearsBefore, ClearsBehind, Inherits])
def test_the_usual_step_in_ones_own_words_changes_nothing(here: None, operator: Any) -> None:
    plain, own = estimator(), estimator(operator)
    history = [made.fit((X, Y), epochs=3, batch_size=8, validation_data=(X, Y)) for made in (plain, own)]
    np.testing.assert_array_equal(weights(own), weights(plain))
    assert history[0] == history[1]


@pytest.mark.parametrize(("operator", "decay"), [(ClearsBehind, 0.0), (Decayed, DECAY)])
def test_one_rank_agrees_with_the_plain_loop(here: None, operator: Any, decay: float) -> None:
    _compare_with_the_plain_loop(operator, decay)


def test_two_ranks_agree_with_the_plain_loop(two_ranks: None) -> None:
    _compare_with_the_plain_loop(DecayedInItsOwnStep, DECAY, workers_per_node=2)


def _compare_with_the_plain_loop(operator: Any, decay: float, **words: Any) -> None:
    own = fitted(estimator(operator, **words))
    plain = fitted(estimator(decay=decay))
    np.testing.assert_allclose(weights(own), weights(plain), atol=1e-6)
    assert not np.allclose(weights(plain), weights(fitted(estimator(decay=0.3 - decay))), atol=1e-3)


def test_gradients_add_up_until_a_step_is_asked_for(here: None) -> None:
    made = estimator(EverySecond)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    model.load_state_dict(made.get_model().state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step, start in enumerate([0, 8, 16, 24] * 2):
        x, y = torch.from_numpy(X[start : start + 8]), torch.from_numpy(Y[start : start + 8])
        (torch.nn.functional.mse_loss(model(x), y) / 2).backward()
        if step % 2 == 1:
            optimizer.step()
            optimizer.zero_grad()
    fitted(made, epochs=2, shuffle=False)
    expected = np.concatenate([value.numpy().ravel() for value in model.state_dict().values()])
    np.testing.assert_allclose(weights(made), expected, atol=1e-6)


def test_scoring_and_predicting(here: None) -> None:
    class Doubled(Decayed):
        def predict_batch(self, batch: Any) -> Any:
            return super().predict_batch(batch) * 2

    own, plain = estimator(Doubled, metrics=MAE()), estimator(metrics=MAE())
    scored, usual = own.evaluate((X, Y)), plain.evaluate((X, Y))
    assert scored["MAE"] == usual["MAE"]
    decay = float((weights(own) ** 2).sum())
    assert scored["val_loss"] == pytest.approx(usual["val_loss"] + DECAY / 2 * decay)
    np.testing.assert_allclose(own.predict(X), 2 * plain.predict(X), rtol=1e-6)


def test_data_without_labels_are_scored_without_a_loss(here: None) -> None:
    scored = estimator(Nothing).evaluate((X, None))
    assert scored["num_samples"] == 25
    assert np.isnan(scored.get("val_loss", np.nan))


def test_what_an_operator_sees(here: None) -> None:
    seen: list[Any] = []

    class Sees(TrainingOperator):
        def setup(self, config: Any) -> None:
            seen.append((config["a"], self.config["a"], self.world_rank, self.use_fp16, self.use_tqdm))
            assert self.models == [self.model]
            assert self.optimizers == [self.optimizer]
            assert self.schedulers == [self.scheduler]
            assert isinstance(self.criterion, torch.nn.MSELoss)
            assert isinstance(self.model, torch.nn.Sequential)

        def forward_batch(self, batch: Any, batch_info: Any) -> tuple[Any, Any, Any]:
            rate, rates = self.optimizer.param_groups[0]["lr"], self.scheduler.get_last_lr()
            seen.append((*batch_info.values(), rate == rates[0]))
            return super().forward_batch(batch, batch_info)

    scheduler = lambda optimizer, config: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)  # noqa: E731
    fitted(estimator(Sees, config={"a": 7}, scheduler_creator=scheduler, use_tqdm=True), epochs=2)
    steps = [(step % 4, step, step // 4, True) for step in range(8)]
    assert seen == [(7, 7, 0, False, True), *steps]


class Remembers(TrainingOperator):
    def setup(self, config: Any) -> None:
        self.count, self.mean = 0, torch.zeros(3)

    def forward_batch(self, batch: Any, batch_info: Any) -> tuple[Any, Any, Any]:
        self.count += 1
        self.mean = self.mean + batch[0].mean(0)
        return super().forward_batch(batch, batch_info)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean}

    def load_state_dict(self, state_dict: Any) -> None:
        self.count, self.mean = state_dict["count"], state_dict["mean"]


def test_what_an_operator_has_learned_is_kept(here: None, tmp_path: Any) -> None:
    class Tells(Callback):
        def before_run(self, runner: Any) -> None:
            operator = runner.get("training_operator")
            told.append((operator.count, operator.mean.tolist()))

    told: list[Any] = []
    made = fitted(estimator(Remembers, model_dir=str(tmp_path)), epochs=2, callbacks=[Tells()])
    fitted(made, epochs=1, callbacks=[Tells()])
    other = estimator(Remembers)
    other.load_checkpoint(str(tmp_path))
    fitted(other, epochs=1, callbacks=[Tells()])
    assert [count for count, _ in told] == [0, 8, 12]
    assert 0 != sum(map(abs, told[1][1])) != sum(map(abs, told[2][1]))
    assert made.evaluate((X, Y))["num_samples"] == 25


def test_setup_may_use_random_numbers(here: None, tmp_path: Any) -> None:
    class Draws(Nothing):
        def setup(self, config: Any) -> None:
            torch.rand(3)

    def made() -> Any:
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        return estimator(Draws, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), model_dir=folder)

    folder = str(tmp_path)
    whole = fitted(made(), epochs=2)
    again = made()
    again.load_checkpoint(next(str(path) for path in sorted(tmp_path.rglob("checkpoint-*4")) if path.is_dir()))
    fitted(again, epochs=1)
    np.testing.assert_array_equal(weights(again), weights(whole))


# --- refusals ---


@pytest.mark.parametrize(
    ("name", "advice"),
    [("train_epoch", "train_batch"), ("validate", "override forward_batch"), ("predict", "predict_batch")],
)
def test_loops_of_ones_own_are_refused(name: str, advice: str) -> None:
    looping = type("Looping", (TrainingOperator,), {name: lambda self, iterator, info: {}})
    with pytest.raises(UsageError, match=rf"Looping\.{name} has a loop of its own(.|\n)*{advice}"):
        estimator(looping)


@pytest.mark.parametrize("wrong", [MainCallback, "TrainingOperator", Nothing.forward_batch])
def test_only_operator_classes_are_taken(wrong: Any) -> None:
    with pytest.raises(UsageError, match="must be a class derived from .*TrainingOperator. Received"):
        estimator(wrong)


def test_an_operator_and_a_main_callback_exclude_each_other(here: None) -> None:
    with pytest.raises(UsageError, match="only one MainCallback.*OperatorCallback, MainCallback"):
        fitted(estimator(Nothing), callbacks=[MainCallback()])
    fitted(estimator(TrainingOperator), callbacks=[MainCallback()], epochs=1)  # the plain class changes nothing


def _returns_one_value(self: Any, batch: Any, info: Any) -> Any:
    return self.criterion(self.model(batch[0]), batch[1])


def _steps_the_scheduler(self: Any, batch: Any, info: Any) -> Any:
    stats = TrainingOperator.train_batch(self, batch, info)
    self.scheduler.step()
    return stats


def _steps_twice(self: Any, batch: Any, info: Any) -> Any:
    TrainingOperator.train_batch(self, batch, info)
    return TrainingOperator.train_batch(self, batch, info)


def _steps_while_forward(self: Any, batch: Any, info: Any) -> Any:
    self.optimizer.step()
    return TrainingOperator.forward_batch(self, batch, info)


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("forward_batch", _returns_one_value, r"Wrong.forward_batch must return \(output, target, loss\)"),
        ("train_batch", _returns_one_value, r"Wrong.train_batch must return \{'train_loss': ..., 'num_samples': ...\}"),
        ("train_batch", _steps_the_scheduler, "scheduler_step_freq"),
        ("train_batch", _steps_twice, "once a batch"),
        ("forward_batch", _steps_while_forward, "belongs into train_batch"),
    ],
)
def test_mistakes_in_a_step_are_named(here: None, name: str, method: Callable[..., Any], message: str) -> None:
    wrong = type("Wrong", (TrainingOperator,), {name: method})
    scheduler = lambda optimizer, config: torch.optim.lr_scheduler.StepLR(optimizer, 1)  # noqa: E731
    with pytest.raises((UsageError, WorkerFailed), match=message):
        fitted(estimator(wrong, scheduler_creator=scheduler), epochs=1)


def test_values_that_nobody_reports_are_named_once(here: None, caplog: pytest.LogCaptureFixture) -> None:
    class Counts(TrainingOperator):
        def train_batch(self, batch: Any, batch_info: Any) -> dict[str, Any]:
            return super().train_batch(batch, batch_info) | {"hits": 3}

    with caplog.at_level(logging.WARNING, logger="zoo"):
        fitted(estimator(Counts), epochs=1)
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "train_batch of Counts returns hits"
    ]


def test_an_operator_of_ones_own_making() -> None:
    model = torch.nn.Linear(3, 1)
    operator = Nothing({}, [model], torch.optim.SGD(model.parameters(), lr=0.1), 0, criterion=torch.nn.MSELoss())
    batch = (torch.from_numpy(X), torch.from_numpy(Y))
    losses = [operator.train_batch(batch, {})["train_loss"] for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]
    assert operator.predict_batch(batch[:1]).shape == (25, 1)
    assert operator.scheduler is None
    assert operator.state_dict() == {}
