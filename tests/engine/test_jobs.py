"""Requests refuse what cannot be, when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns, FitJob, PredictJob, ScoreJob
from zoo.engine.metrics import MAE
from zoo.engine.progress import Progress
from zoo.engine.triggers import EveryEpoch, MaxEpoch, MaxScore, MinLoss, Since, Trigger

BOTH = Columns(("x",), ("y",))


def fit_job(**changed: Any) -> FitJob:
    words: dict[str, Any] = {"spec": None, "columns": BOTH, "batch_size": 4, "end": MaxEpoch(1), "start": Progress()}
    return FitJob(**words | changed)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of rows, at least 1. Received: 0"),
        ({"batch_size": 2.5}, "Received: 2.5"),
        ({"memory": 0}, "memory must be at least one byte. Received: 0"),
        ({"stall_timeout": 0}, "stall_timeout must be more than 0 seconds. Received: 0"),
        ({"attempts": 0}, "attempts must be at least 1. Received: 0"),
        ({"checkpoint": EveryEpoch()}, "give the estimator a model_dir"),
        ({"columns": Columns(("x",)), "metrics": (MAE(),), "validate": EveryEpoch()}, "label columns is None.*MAE"),
    ],
)
def test_a_fit_that_cannot_be(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        fit_job(**changed)


def test_metrics_need_labels_only_where_they_are_measured() -> None:
    assert fit_job(columns=Columns(("x",)), metrics=(MAE(),)).metrics == (MAE(),)
    with pytest.raises(UsageError, match="give label_cols"):
        ScoreJob(spec=None, columns=Columns(("x",)), metrics=(MAE(),))  # type: ignore[arg-type]


def test_equal_requests_are_equal() -> None:
    assert fit_job() == fit_job() != fit_job(seed=1)
    assert PredictJob(spec=None, columns=BOTH) == PredictJob(spec=None, columns=BOTH)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("end", "endless"),
    [
        (MaxScore(0.9), True),
        (MaxScore(0.9) & MaxEpoch(3), True),
        (Since(Progress(), MaxScore(0.9)), True),
        (MaxScore(0.9) | MaxEpoch(3), False),
        (MinLoss(0.1), False),
    ],
)
def test_an_end_that_waits_for_a_score_needs_a_validation(end: Trigger, endless: bool) -> None:
    if endless:
        with pytest.raises(UsageError, match="waits for a validation score"):
            fit_job(end=end)
    else:
        assert fit_job(end=end).end == end
    assert fit_job(end=end, validate=EveryEpoch()).end == end
