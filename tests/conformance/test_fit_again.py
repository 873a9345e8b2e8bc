"""What the estimator promises around a run: it continues, it reports, it stops when asked, the user's model learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from clusters_under_test import WARM, Here
from jobs_under_test import assert_equal
from rooms import BATCH, ROWS, Mlp, table

from zoo.engine.triggers import MinLoss
from zoo.orca.learn.metrics import MAE
from zoo.orca.learn.pytorch import Estimator

WORDS: dict[str, Any] = {"feature_cols": ["x"], "label_cols": ["y"], "batch_size": BATCH}


def model_of(config: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(config.get("seed", 0))
    return Mlp()


def adam(model: torch.nn.Module, config: dict[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=config.get("lr", 0.02))


def estimator(ranks: int, **words: Any) -> Any:
    model = model_of({})
    made = {"model": model, "optimizer": adam(model, {}), "loss": torch.nn.MSELoss()} | words
    return Estimator.from_torch(**made, workers_per_node=ranks)


def weights(estimator: Any) -> dict[str, Any]:
    return {name: value.numpy().copy() for name, value in estimator.get_model().state_dict().items()}


def test_a_second_fit_continues_the_first_and_the_users_own_model_learns(current: Here) -> None:
    here, ranks = current, current.ranks
    data, model = here.data(table()), model_of({})
    twice, once = estimator(ranks, model=model, optimizer=adam(model, {})), estimator(1)
    history = twice.fit(data, epochs=1, **WORDS) + twice.fit(data, epochs=2, **WORDS)
    once.fit(data, epochs=3, **WORDS)
    assert_equal(weights(twice), weights(once))
    assert [stats["epoch"] for stats in history] == [1, 2, 3]
    assert {"epoch", "batch_count", "num_samples", "train_loss", "last_train_loss"} <= history[0].keys()
    assert history[0]["train_loss"] > history[2]["train_loss"] > 0
    assert twice.get_model() is model
    predicted = twice.predict(table(), feature_cols=["x"])  # rows of the driver's own
    with torch.no_grad():
        x = torch.from_numpy(np.stack(table().column("x").to_pylist()).astype(np.float32))
        np.testing.assert_allclose(np.ravel(predicted.column("prediction").to_numpy()), model(x), atol=1e-6)


@pytest.mark.parametrize("here", WARM, indirect=True)
def test_creators_validation_and_metrics(current: Here) -> None:
    here, ranks = current, current.ranks
    data, valid = here.data(table()), here.data(table(37))
    made = estimator(
        ranks, model=model_of, optimizer=adam, loss=lambda config: torch.nn.MSELoss(), metrics=[MAE()],
        config={"seed": 0, "lr": 0.02},
    )  # fmt: skip
    history = made.fit(data, epochs=2, validation_data=valid, **WORDS)
    scored = made.evaluate(valid, **WORDS)
    assert history[-1]["val_MAE"] == pytest.approx(scored["MAE"], abs=1e-6)
    assert history[-1]["val_loss"] == pytest.approx(scored["val_loss"], abs=1e-6)
    assert scored["num_samples"] == 37
    instance = estimator(1)
    instance.fit(data, epochs=2, **WORDS)
    assert_equal(weights(made), weights(instance))


class StopAt:
    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def after_train_iter(self, runner: Any) -> None:
        if runner.rank == self.rank and runner.global_step == self.step:
            runner.stop()


@pytest.mark.parametrize("here", WARM, indirect=True)
def test_a_callback_on_one_rank_stops_all(current: Here) -> None:
    here, ranks = current, current.ranks
    made = estimator(ranks)
    history = made.fit(here.data(table()), epochs=5, callbacks=[StopAt(ranks - 1, 9)], **WORDS)
    assert [stats["batch_count"] for stats in history] == [7, 2 if ranks == 1 else 3]


def test_steps_and_triggers_end_a_run(inline: None) -> None:
    made = estimator(1)
    (stats,) = made.fit(table(), epochs=5, max_steps=4, **WORDS)
    assert (stats["batch_count"], stats["num_samples"]) == (4, 64)
    history = made.fit(table(), epochs=500, end_trigger=MinLoss(0.05), **WORDS)
    assert 1 < len(history) < 500
    assert history[-1]["last_train_loss"] < 0.05


def test_a_run_that_ends_with_an_epoch_has_ended_it(inline: None) -> None:
    """max_steps at the border: the epoch counts, with its validation, and the next fit begins the next epoch."""
    made = estimator(1)
    (stats,) = made.fit(table(), epochs=5, max_steps=7, validation_data=table(37), **WORDS)
    assert (stats["num_samples"], "val_loss" in stats) == (ROWS, True)
    whole = estimator(1)
    whole.fit(table(), epochs=2, **WORDS)
    assert [stats["epoch"] for stats in made.fit(table(), **WORDS)] == [2]
    assert_equal(weights(made), weights(whole), 0)
