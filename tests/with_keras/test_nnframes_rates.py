"""The schedule of the chest X-ray program of shared/seeds/002 within `NNEstimator.fit`: a warm-up, then a plateau."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

from zoo.bigdl.optim.optimizer import SGD, TrainSummary
from zoo.engine import session
from zoo.orca.learn.optimizers.schedule import Plateau, SequentialSchedule, Warmup
from zoo.pipeline.api.keras.optimizers import Adam

pytest.importorskip("pyspark")

from zoo.pipeline.nnframes import NNEstimator

FIRST, DELTA = 1e-6, 1e-6  # so small that the loss stays, and every epoch of the plateau is one without improvement
STEPS, WARMUP_EPOCHS, EPOCHS = 2, 5, 9
METHODS = {
    "Adam": lambda schedule: Adam(lr=FIRST, schedule=schedule),
    "SGD": lambda schedule: SGD(learningrate=FIRST, leaningrate_schedule=schedule),
}


@pytest.fixture(autouse=True)
def adopted(spark: Any) -> Iterator[None]:
    yield
    session.end()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_rate_rises_for_five_epochs_and_falls_where_the_loss_does_not(spark: Any, tmp_path: Path, method: str):
    schedule = SequentialSchedule(STEPS).add(Warmup(DELTA), WARMUP_EPOCHS * STEPS)
    plateau = Plateau("Loss", factor=0.1, patience=1, mode="min", epsilon=0.01, cooldown=0, min_lr=1e-15)
    schedule.add(plateau, EPOCHS * STEPS)
    rows = [([1.0, float(i % 2)], [float(i % 2), 1.0]) for i in range(4 * STEPS)]
    frame = spark.createDataFrame(rows, "features array<float>, label array<float>").coalesce(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "sigmoid")])
    summary = TrainSummary(str(tmp_path), "rates")
    stage = NNEstimator(model, "binary_crossentropy").setBatchSize(4).setMaxEpoch(EPOCHS).setTrainSummary(summary)
    stage.setOptimMethod(METHODS[method](schedule)).fit(frame)
    reached = FIRST + WARMUP_EPOCHS * STEPS * DELTA
    wanted = [FIRST + step * DELTA for step in range(WARMUP_EPOCHS * STEPS)]
    wanted += [reached] * 2 * STEPS  # the first epoch's loss is the best, the second's is no better
    wanted += [reached / 10] * STEPS + [reached / 100] * STEPS
    assert [value for _, value, _ in summary.read_scalar("LearningRate")] == pytest.approx(wanted, rel=1e-4)
