"""How a DataFrame is cut changes neither which rows are read nor, for the same frame, what is learned from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from clusters_under_test import CLUSTERS, Here
from jobs_under_test import assert_equal, fit, job_for
from rooms import FRAMEWORKS, ROWS, Framework, marks, table

from zoo.engine.data.adapters import adapt
from zoo.engine.triggers import MaxEpoch
from zoo.orca.learn.metrics import MAE, MSE, Accuracy, BinaryAccuracy
from zoo.orca.learn.pytorch import Estimator

Cut = Callable[[Any], Any]


def _skewed(frame: Any) -> Any:
    """95 of 100 rows in one partition, the others spread over three."""
    return frame.limit(95).coalesce(1).union(frame.offset(95).repartition(3))


def _with_empty_ones(frame: Any) -> Any:
    return frame.where("false").repartition(3).union(frame.repartition(2)).repartitionByRange(9, "k")


def _aggregated(frame: Any) -> Any:
    return frame.groupBy("a", "b", "c", "y", "k").agg({"x": "first"}).withColumnRenamed("first(x)", "x")


CUTS: dict[str, Cut] = {
    "one": lambda frame: frame.coalesce(1),
    "more than ranks": lambda frame: frame.repartition(7),
    "empty ones": _with_empty_ones,
    "skewed": _skewed,
    "aggregated": _aggregated,
    "limited": lambda frame: frame.repartition(3).limit(1000),
    "sorted": lambda frame: frame.orderBy("a"),
}


MANY, FEW = tuple(CUTS), ("empty ones", "skewed")
"""A framework does not see cuts, only batches: with the first of them each cut is tried; with the others those that
leave a rank without rows, or with most of them."""


@pytest.mark.parametrize(
    ("framework", "cut"),
    [pytest.param(name, cut, marks=marks(name)) for name in FRAMEWORKS for cut in (MANY if name == "torch" else FEW)],
    indirect=["framework"],
)
def test_any_cut_trains_on_every_row_and_alike_on_any_number_of_ranks(
    spark: Any, framework: Framework, cut: str
) -> None:
    frame = CUTS[cut](spark.createDataFrame(table()))
    here = Here("spark", CLUSTERS["spark"], spark)
    shards = adapt(frame, ("x", "a", "c", "b"), ("y",)).shards
    weights = []
    for world in (1, 2):
        job = job_for(framework, "many-inputs", end=MaxEpoch(1))
        (stats,) = fit(job, shards, here, world).epochs
        assert stats["num_samples"] == ROWS
        weights.append(framework.weights(job.spec))
    assert_equal(*weights)


@pytest.mark.parametrize("cut", ["one", "empty ones", "skewed"])
def test_evaluation_equals_that_of_the_whole_whatever_the_cut(on_spark: Any, cut: str) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.Flatten(0), torch.nn.Sigmoid())
    rows = table()
    x = np.stack(rows.column("x").to_pylist()).astype(np.float32)
    k = rows.column("k").to_numpy()
    with torch.no_grad():
        p = model(torch.from_numpy(x)).numpy()
    estimator = Estimator.from_torch(
        model=model, loss=torch.nn.BCELoss(), metrics=[MSE(), MAE(), BinaryAccuracy(), Accuracy()]
    )
    frame = CUTS[cut](on_spark.createDataFrame(rows))
    found = estimator.evaluate(frame, batch_size=16, feature_cols=["x"], label_cols=["k"])
    assert found["num_samples"] == ROWS
    assert found["MSE"] == pytest.approx(sklearn.mean_squared_error(k, p), abs=1e-6)
    assert found["MAE"] == pytest.approx(sklearn.mean_absolute_error(k, p), abs=1e-6)
    assert found["BinaryAccuracy"] == pytest.approx(sklearn.accuracy_score(k, p > 0.5), abs=1e-6)
    assert found["Accuracy"] == found["BinaryAccuracy"]
    assert found["val_loss"] == pytest.approx(sklearn.log_loss(k, p), abs=1e-6)
