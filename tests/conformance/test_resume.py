"""A run that was interrupted, at any step, ends with the weights of one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from clusters_under_test import CLUSTERS, WARM, Here
from jobs_under_test import assert_equal, fit, job_for, plain, shards_of
from rooms import BATCH, EPOCHS, ROWS, Framework, Mlp, table

from zoo.engine import checkpoint
from zoo.engine.errors import UsageError
from zoo.engine.events.events import Resumed
from zoo.engine.events.sinks import MemorySink
from zoo.engine.triggers import EveryEpoch, MaxIteration, SeveralIteration
from zoo.orca.learn.optimizers import SGD
from zoo.orca.learn.pytorch import Estimator

MODEL = "many-inputs"
MIDDLE = 10  # steps: the fourth of the second epoch's seven


def test_goes_on_in_the_middle_of_an_epoch_with_another_number_of_ranks(
    here: Here, framework: Framework, tmp_path: Path
) -> None:
    _stop_and_go_on(here, framework, tmp_path, MIDDLE, SeveralIteration(5))


@pytest.mark.parametrize("here", WARM, indirect=True)
def test_goes_on_behind_an_epoch_with_another_number_of_ranks(here: Here, framework: Framework, tmp_path: Path) -> None:
    _stop_and_go_on(here, framework, tmp_path, 7, EveryEpoch())


def _stop_and_go_on(here: Here, framework: Framework, folder: Path, stop: int, trigger: Any) -> None:
    shards = shards_of(here, framework, MODEL, table())
    first = job_for(framework, MODEL, end=MaxIteration(stop), checkpoint=trigger, checkpoint_dir=str(folder))
    fit(first, shards, here, 1)
    found = checkpoint.latest(str(folder)).checkpoint
    assert found is not None
    assert (found.progress.step, found.progress.step_in_epoch) == (stop, stop % 7)
    rest = job_for(framework, MODEL, start=found.progress, state=found.state)
    trained = fit(rest, shards, here, here.ranks)
    assert_equal(framework.weights(rest.spec), plain(framework, MODEL, shards))
    assert (trained.progress.epoch, trained.progress.rows) == (EPOCHS, EPOCHS * ROWS)


@pytest.mark.parametrize("name", ["local", "spark"])
def test_a_killed_rank_costs_only_the_steps_since_the_last_checkpoint(
    framework: Framework, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    place = CLUSTERS[name]
    here = Here(name, place, request.getfixturevalue("spark") if place.needs_spark else None)
    shards = shards_of(here, framework, "mlp-adam", table())
    spec = framework.dying(framework.spec("mlp-adam"), tmp_path / "died", 13)
    often = SeveralIteration(5) | EveryEpoch()
    job = job_for(
        framework, "mlp-adam", spec=spec, checkpoint=often, checkpoint_dir=str(tmp_path), recovery="checkpoint"
    )
    heard = MemorySink()
    trained = fit(job, shards, here, 2, heard)
    (resumed,) = [event for event in heard.events if isinstance(event, Resumed)]
    assert (resumed.step, resumed.attempt) == (10, 2)
    assert "rank" in resumed.reason
    assert_equal(framework.weights(job.spec), plain(framework, "mlp-adam", shards))
    assert [stats["epoch"] for stats in trained.epochs] == [1, 2, 3]


def _estimator(model_dir: Path | None = None, **words: Any) -> Any:
    torch.manual_seed(0)
    model = Mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    place = str(model_dir) if model_dir else None
    return Estimator.from_torch(model=model, optimizer=optimizer, loss=torch.nn.MSELoss(), model_dir=place, **words)


WORDS: dict[str, Any] = {"feature_cols": ["x"], "label_cols": ["y"], "batch_size": BATCH}


@pytest.mark.parametrize("steps", [7, MIDDLE])
def test_an_estimator_goes_on_from_a_checkpoint_in_the_middle_of_its_epoch(
    inline: None, tmp_path: Path, steps: int
) -> None:
    undisturbed = _estimator()
    undisturbed.fit(table(), epochs=3, **WORDS)
    _estimator(tmp_path).fit(table(), epochs=3, max_steps=steps, checkpoint_trigger=SeveralIteration(steps), **WORDS)
    other = _estimator()
    other.load_checkpoint(str(tmp_path))
    history = other.fit(table(), epochs=2, **WORDS)
    assert [(stats["epoch"], stats["batch_count"]) for stats in history] == [(2, 14 - steps), (3, 7)]
    assert_equal(_weights(other), _weights(undisturbed), 0)


def test_a_saved_checkpoint_brings_seed_and_position_along(inline: None, tmp_path: Path) -> None:
    undisturbed = _estimator(seed=4)
    undisturbed.fit(table(), epochs=2, **WORDS)
    first = _estimator(seed=4)
    first.fit(table(), epochs=2, max_steps=3, **WORDS)
    first.save_checkpoint(str(tmp_path))
    other = _estimator(seed=9)
    other.load_checkpoint(str(tmp_path))
    other.fit(table(), epochs=2, **WORDS)
    assert_equal(_weights(other), _weights(undisturbed), 0)


def test_with_another_batch_size_the_interrupted_epoch_begins_anew(
    inline: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = _estimator()
    first.fit(table(), max_steps=3, **WORDS)
    first.load_checkpoint(first.save_checkpoint(str(tmp_path)))
    (stats,) = first.fit(table(), **WORDS | {"batch_size": 50})
    assert (stats["epoch"], stats["num_samples"]) == (1, ROWS)
    assert "batch_size=16" in caplog.text


LANED: dict[str, Any] = {"reproducible": True}


@pytest.mark.parametrize(("before", "after"), [({}, LANED), (LANED, {}), (LANED, LANED | {"virtual_ranks": 4})])
def test_with_other_virtual_ranks_the_interrupted_epoch_begins_anew(
    inline: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, before: dict[str, Any], after: dict[str, Any]
) -> None:
    words = {"epochs": 2, "max_steps": MIDDLE, "checkpoint_trigger": SeveralIteration(MIDDLE)}
    _estimator(tmp_path).fit(table(), **words, **before, **WORDS)
    other = _estimator()
    other.load_checkpoint(str(tmp_path))
    history = other.fit(table(), epochs=1, **after, **WORDS)
    assert history[0]["batch_count"] == 7
    assert "virtual_ranks" in caplog.text and "begins anew" in caplog.text


@pytest.mark.parametrize("steps", [7, MIDDLE])
def test_schedules_by_the_epoch_go_on_too(inline: None, tmp_path: Path, steps: int) -> None:
    words = {
        "scheduler_creator": lambda optimizer, config: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.3),
        "scheduler_step_freq": "epoch",
    }
    undisturbed = _estimator(**words)
    undisturbed.fit(table(), epochs=3, **WORDS)
    _estimator(tmp_path, **words).fit(
        table(), epochs=3, max_steps=steps, checkpoint_trigger=SeveralIteration(steps) | EveryEpoch(), **WORDS
    )
    other = _estimator(**words)
    other.load_checkpoint(str(tmp_path))
    other.fit(table(), epochs=2, **WORDS)
    assert_equal(_weights(other), _weights(undisturbed), 0)


def test_each_fit_has_a_run_of_its_own(inline: None, tmp_path: Path) -> None:
    """So that a lost rank never brings back what an abandoned future had written."""
    estimator = _estimator(tmp_path)
    estimator.fit(table(), epochs=1, **WORDS)
    first = estimator.latest_checkpoint()
    estimator.fit(table(), epochs=1, **WORDS)
    estimator.load_checkpoint(first)
    estimator.fit(table(), epochs=1, max_steps=2, checkpoint_trigger=SeveralIteration(1), **WORDS)
    latest = estimator.latest_checkpoint()
    assert latest.endswith("checkpoint-000000009")
    assert Path(latest).parent != Path(first).parent


def _weights(estimator: Any) -> dict[str, Any]:
    return {name: value.numpy().copy() for name, value in estimator.get_model().state_dict().items()}


@pytest.mark.parametrize("optimizer", ["description", "class", "instance", "creator"])
def test_the_memory_of_another_optimizer_is_refused(inline: None, tmp_path: Path, optimizer: str) -> None:
    _estimator(tmp_path).fit(table(), epochs=1, **WORDS)
    model = Mlp()
    given: Any = {
        "description": SGD(0.1, momentum=0.9),
        "class": torch.optim.SGD,
        "instance": torch.optim.SGD(model.parameters(), 0.1),
        "creator": lambda model, config: torch.optim.SGD(model.parameters(), 0.1),
    }[optimizer]
    other = Estimator.from_torch(model=model, optimizer=given, loss=torch.nn.MSELoss())
    before = [one.detach().clone() for one in model.parameters()]
    refused = pytest.raises(UsageError, match="memory of Adam, and the optimizer is now SGD")
    if optimizer == "creator":  # the only one that nobody knows before it is made
        other.load_checkpoint(str(tmp_path))
        with refused:
            other.fit(table(), epochs=1, **WORDS)
        return
    with refused:
        other.load_checkpoint(str(tmp_path))
    assert all(torch.equal(one, now) for one, now in zip(before, model.parameters(), strict=True))
