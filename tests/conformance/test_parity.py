"""Distributed equals local: any number of ranks, anywhere, gives the plain loop's weights."""

from __future__ import annotations

import importlib
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from clusters_under_test import WARM, Here
from jobs_under_test import assert_equal, fit, job_for, plain, shards_of
from rooms import EPOCHS, ROWS, Framework, table


def test_any_number_of_ranks_gives_the_plain_loops_weights(here: Here, world: int, framework: Framework) -> None:
    _compare(here, world, framework, "many-inputs")


@pytest.mark.parametrize("here", WARM, indirect=True)
@pytest.mark.parametrize("model", ["mlp-adam", "mlp-sgd-momentum-decay", "mlp-clipped"])
def test_whatever_the_optimizer(here: Here, framework: Framework, model: str) -> None:
    _compare(here, here.ranks, framework, model)


def _compare(here: Here, world: int, framework: Framework, model: str) -> None:
    shards = shards_of(here, framework, model, table())
    job = job_for(framework, model)
    before = framework.weights(job.spec)
    trained = fit(job, shards, here, world)
    ours = framework.weights(job.spec)
    assert_equal(ours, plain(framework, model, shards))
    assert all(np.abs(ours[name] - value).max() > 1e-3 for name, value in before.items())
    assert [stats["num_samples"] for stats in trained.epochs] == [ROWS] * EPOCHS
    assert [stats["batch_count"] for stats in trained.epochs] == [7] * EPOCHS


@pytest.mark.usefixtures("fresh_ranks")  # which import all by themselves, as they do for users
def test_models_may_live_in_modules_beside_the_program(
    here: Here, framework: Framework, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where workers see the driver's files, modules need not be sent."""
    name = f"beside_the_program_{uuid.uuid4().hex}"  # workers of Spark keep the modules that they have imported
    (tmp_path / f"{name}.py").write_text(framework.loss_source)
    monkeypatch.syspath_prepend(str(tmp_path))
    shards = shards_of(here, framework, "mlp-adam", table())
    loss = importlib.import_module(name).loss
    job = job_for(framework, "mlp-adam", spec=framework.with_loss(framework.spec("mlp-adam"), loss))
    try:
        fit(job, shards, here, here.ranks)
    finally:
        del sys.modules[name]
    assert_equal(framework.weights(job.spec), plain(framework, "mlp-adam", shards))
