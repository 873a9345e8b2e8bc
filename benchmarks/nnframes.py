"""Stages of Spark ML, and what is below or beside them, in turns: the engine's estimator, `predict_batch_udf`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import Row, compared, in_turns
from models import mlp
from places import folder, spark
from predict import BATCH, _drop, _theirs
from spark_fit import quietly
from torch import nn

from zoo.orca.learn.optimizers import Adam
from zoo.orca.learn.pytorch import Estimator
from zoo.pipeline.nnframes import NNClassifier, NNModel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS = {"tiny": 400, "quick": 40_000, "full": 100_000}
TURNS = {"tiny": 1, "quick": 3, "full": 7}
EPOCHS = 10  # a fifth of what a stage trains by default


def rows(size: str) -> Iterator[Row]:
    """Arrays of 784 floats with their class."""
    with folder() as place, spark() as (session, _):
        path = str(place / "digits.parquet")
        pq.write_table(table(ROWS[size]), path, row_group_size=-(-ROWS[size] // 8))
        frame = session.read.parquet(path)
        ours, theirs = (partial(quietly, partial(fit, frame)) for fit in (stage, estimator))
        seconds = in_turns(ours, theirs, TURNS[size], int(size != "tiny"))
        labels = (f"{EPOCHS} epochs of an MLP on {ROWS[size]:,} rows of 784", "`NNClassifier.fit`", "`Estimator.fit`")
        yield compared(labels, *seconds, 0.97)
        model = mlp().eval()
        frame = frame.select("x")
        ours, theirs = partial(_ours, frame, model), partial(_reference, frame, model)
        seconds = in_turns(ours, theirs, TURNS[size], int(size != "tiny"))
        yield compared(("array<float> of 784, MLP", "`NNModel.transform`", "`predict_batch_udf`"), *seconds, 1.0)


def table(count: int) -> pa.Table:
    """x, label."""
    rng = np.random.default_rng(0)
    ends = pa.array(np.arange(0, count * 784 + 1, 784, dtype=np.int32))
    x = pa.ListArray.from_arrays(ends, pa.array(rng.random(count * 784, np.float32)))
    return pa.table({"x": x, "label": pa.array(rng.integers(0, 10, count))})


def stage(frame: DataFrame) -> None:
    """Ours."""
    made = NNClassifier(mlp(), nn.CrossEntropyLoss()).setFeaturesCol("x").setOptimMethod(Adam(1e-3))
    made.setBatchSize(512).setMaxEpoch(EPOCHS).fit(frame)


def estimator(frame: DataFrame) -> None:
    """What the stage stands on."""
    made = Estimator.from_torch(model=mlp(), loss=nn.CrossEntropyLoss(), optimizer=Adam(1e-3))
    made.fit(frame, EPOCHS, 512, feature_cols=["x"], label_cols=["label"])


def _ours(frame: DataFrame, model: nn.Module) -> None:
    _drop(NNModel(model).setFeaturesCol("x").setBatchSize(BATCH).transform(frame))


def _reference(frame: DataFrame, model: nn.Module) -> None:
    with torch.inference_mode():
        _drop(_theirs(frame, model))
