"""Jobs of the suite, and the plain loop's answer to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from clusters_under_test import Here
from rooms import BATCH, EPOCHS, Framework, Weights

from zoo.engine import run
from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import FeedRequest, Rank, Shards
from zoo.engine.events.sinks import MemorySink
from zoo.engine.jobs import Columns, FitJob
from zoo.engine.loop import TRAIN, Trained
from zoo.engine.progress import Progress
from zoo.engine.triggers import MaxEpoch

TOLERANCE = 1e-6


def job_for(framework: Framework, model: str, **changes: Any) -> FitJob:
    """The suite's job, with `changes`."""
    case = framework.models[model]
    words: dict[str, Any] = {
        "spec": framework.spec(model),
        "columns": Columns(case.features, case.labels),
        "batch_size": BATCH,
        "end": MaxEpoch(EPOCHS),
        "epochs": EPOCHS,
        "start": Progress(),
        "seed": 5,
        "stall_timeout": 60.0,
    }
    return FitJob(**words | changes)


def shards_of(here: Here, framework: Framework, model: str, table: pa.Table) -> Shards:
    """The rows that a model of the suite needs, where they are."""
    case = framework.models[model]
    return here.adapted(table, case.features, case.labels).shards


def fit(job: FitJob, shards: Shards, here: Here, world: int, sink: MemorySink | None = None) -> Trained:
    """Runs a job to its end."""
    return run.fit(job, {TRAIN: shards}, here.cluster, world, sink or MemorySink())


def plain(framework: Framework, model: str, shards: Shards, epochs: int = EPOCHS) -> Weights:
    """What the plain loop makes of the same rows in the same order."""
    job = job_for(framework, model)
    request = FeedRequest(
        rank=Rank(), features=job.columns.features, labels=job.columns.labels, batch_size=job.batch_size,
        seed=job.seed, sink=MemorySink(),
    )  # fmt: skip
    feed = shards.feed(request)
    feed.settle(Solo())
    try:
        return framework.plain(model, feed, epochs)
    finally:
        feed.close()


def assert_equal(ours: Weights, theirs: Weights, tolerance: float = TOLERANCE) -> None:
    """Every weight within the tolerance, and something was learned."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=tolerance, err_msg=name)
