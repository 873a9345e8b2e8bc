"""A stage goes on from the checkpoints of another program: parameter, weights, what is refused."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killed_driver
import numpy as np
import pytest
import torch
from killed_driver import EPOCHS, STEPS, stage
from torch import nn

from zoo.engine import checkpoint, session
from zoo.engine.errors import UsageError
from zoo.orca.learn.optimizers import SGD, Adam
from zoo.orca.learn.trigger import EveryEpoch
from zoo.util.triggers import MaxIteration, SeveralIteration

pytest.importorskip("pyspark")

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import Evaluator
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import functions as F

from zoo.pipeline.nnframes import NNEstimator, NNModel, trusting


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    return killed_driver.frame(spark).cache()


@pytest.fixture(autouse=True)
def adopted(spark: Any) -> Iterator[None]:
    """The stages find the program's own session; no context is begun."""
    yield
    session.end()


@pytest.fixture(scope="module")
def whole(frame: Any) -> list[torch.Tensor]:
    """The weights of a training that nobody interrupts."""
    return weights(stage().fit(frame))


def weights(fitted: NNModel) -> list[torch.Tensor]:
    return [one.detach() for one in fitted.model.parameters()]


def same(fitted: NNModel, wanted: list[torch.Tensor]) -> None:
    torch.testing.assert_close(weights(fitted), wanted, rtol=0, atol=1e-6)


def stopped(frame: Any, place: Path, steps: int) -> NNModel:
    """A training that ends too early, with a checkpoint behind its last step."""
    until = stage().setEndWhen(MaxIteration(steps)).setMaxEpoch(EPOCHS)
    return until.setCheckpoint(str(place), SeveralIteration(steps) | EveryEpoch()).fit(frame)


@pytest.mark.slow
@pytest.mark.timeout(300)  # another Spark starts
def test_another_program_goes_on_where_a_killed_driver_left(frame: Any, whole: Any, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    place = tmp_path / "checkpoints"
    own = {"TMPDIR": str(tmp_path / "tmp"), "PYSPARK_PYTHON": sys.executable}
    own |= {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    killed = subprocess.run(
        [sys.executable, killed_driver.__file__, str(place)],
        env=os.environ | own, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    found = checkpoint.latest(str(place)).checkpoint
    assert found is not None and 0 < found.progress.step < STEPS
    resumed = stage().setCheckpoint(str(place), EveryEpoch()).setResumeFrom(place)
    same(resumed.fit(frame), whole)
    after = checkpoint.latest(str(place)).checkpoint
    assert after is not None and (after.progress.step, after.progress.epoch) == (STEPS, EPOCHS)


@pytest.mark.parametrize("steps", [3, 4])  # behind the first epoch; in the second
def test_what_is_left_of_the_epochs_is_trained(frame: Any, whole: Any, tmp_path: Path, steps: int) -> None:
    stopped(frame, tmp_path, steps)
    one = stage().setResumeFrom(str(tmp_path))
    same(one.fit(frame), whole)
    same(one.fit(frame), whole)  # equal fits give equal models
    (named,) = checkpoint.list_checkpoints(str(tmp_path))[-1:]
    same(stage().setResumeFrom(named).fit(frame), whole)


def test_nothing_is_left_of_a_finished_training(
    frame: Any, whole: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage().setCheckpoint(str(tmp_path), EveryEpoch()).fit(frame)
    again = stage().setResumeFrom(str(tmp_path))
    with caplog.at_level(logging.WARNING, "zoo"):
        same(again.fit(frame), whole)
        assert "4 epochs, 12 steps. Nothing is trained" in caplog.text
        caplog.clear()
        same(again.setMaxEpoch(EPOCHS + 9).setEndWhen(MaxIteration(STEPS)).fit(frame), whole)
        assert "Nothing is trained" in caplog.text
        caplog.clear()
    longer = stage().setMaxEpoch(EPOCHS + 1)
    same(stage().setResumeFrom(str(tmp_path)).setMaxEpoch(EPOCHS + 1).fit(frame), weights(longer.fit(frame)))
    assert "Nothing" not in caplog.text


def test_it_is_a_parameter_as_others_are(frame: Any, whole: Any, tmp_path: Path) -> None:
    stopped(frame, tmp_path / "made", 3)
    place = str(tmp_path / "made")
    plain = stage()
    assert plain.getResumeFrom() is None and "resumeFrom" in plain.explainParams()
    early = plain.copy({plain.resumeFrom: place, plain.maxEpoch: 1}).fit(frame)
    torch.testing.assert_close(weights(early), weights(stopped(frame, tmp_path / "other", 3)))
    first, second = plain.fit(frame, [{plain.resumeFrom: place}, {plain.maxEpoch: EPOCHS}])
    same(first, whole)
    same(second, whole)
    assert plain.getResumeFrom() is None
    plain.setResumeFrom(place).save(str(tmp_path / "stage"))
    read = NNEstimator.load(str(tmp_path / "stage"), trust=True)
    assert read.getResumeFrom() == place
    same(read.fit(frame), whole)
    assert read.setResumeFrom(None).getResumeFrom() is None
    fitted = Pipeline(stages=[plain]).fit(frame)
    fitted.save(str(tmp_path / "fitted"))
    with trusting():
        same(PipelineModel.load(str(tmp_path / "fitted")).stages[0], whole)


class Loss(Evaluator):
    """The mean squared error of a column of lists."""

    def _evaluate(self, dataset: Any) -> float:
        return dataset.select(F.avg(F.pow(F.col("prediction")[0] - F.col("label"), 2))).first()[0]

    def isLargerBetter(self) -> bool:
        return False


def test_a_cross_validation_of_places(frame: Any, tmp_path: Path) -> None:
    stopped(frame, tmp_path, 3)
    one = stage().setMaxEpoch(2)
    grid = ParamGridBuilder().addGrid(one.resumeFrom, [str(tmp_path)]).addGrid(one.maxEpoch, [1, 2]).build()
    validated = CrossValidator(estimator=one, estimatorParamMaps=grid, evaluator=Loss(), numFolds=2, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # pyspark leaves its threads to the garbage collector
        fitted = validated.fit(frame)
        gc.collect()
    assert np.isfinite(fitted.avgMetrics).all() and fitted.avgMetrics[0] != fitted.avgMetrics[1]


@pytest.mark.parametrize("place", ["missing", "empty", "foreign", "file", "damaged"])
def test_a_place_without_a_whole_checkpoint_is_refused(frame: Any, tmp_path: Path, jobs: Any, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/notes.txt").write_text("none")
    (tmp_path / "file").write_text("none")
    (tmp_path / "damaged/checkpoint-000000003").mkdir(parents=True)
    frame.count()
    before = jobs()
    with pytest.raises(UsageError, match=f"(?s)resumeFrom='{tmp_path / place}'.*setResumeFrom takes"):
        stage().setResumeFrom(tmp_path / place).fit(frame)
    assert jobs() == before


def test_a_checkpoint_of_another_model_or_optimizer_is_refused(frame: Any, tmp_path: Path, jobs: Any) -> None:
    stopped(frame, tmp_path, 3)
    before = jobs()
    other = NNEstimator(nn.Linear(2, 1), nn.MSELoss()).setOptimMethod(Adam(0.05)).setResumeFrom(str(tmp_path))
    with pytest.raises(UsageError, match="(?s)resumeFrom=.*do not fit the model.*setResumeFrom takes"):
        other.fit(frame)
    with pytest.raises(UsageError, match="(?s)resumeFrom=.*memory of Adam.*SGD.*setResumeFrom takes"):
        stage().setOptimMethod(SGD(0.1, momentum=0.9)).setResumeFrom(str(tmp_path)).fit(frame)
    assert jobs() == before


@pytest.mark.parametrize("wrong", ["", 7, b"bytes"])
def test_what_is_no_place_is_refused_by_the_setter(spark: Any, wrong: Any) -> None:
    with pytest.raises(UsageError, match="path or URL of a directory"):
        stage().setResumeFrom(wrong)
