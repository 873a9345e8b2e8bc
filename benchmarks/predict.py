"""`predict` on a DataFrame and pyspark's `predict_batch_udf` with the same model, in turns; Spark drops the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import Row, compared, in_turns
from models import NCF, mlp, ratings
from places import folder, spark
from torch import nn

from zoo.orca.learn.pytorch import Estimator

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS = {"tiny": (2_000, 200), "quick": (200_000, 20_000), "full": (1_000_000, 100_000)}  # of (numbers, arrays)
TURNS = {"tiny": 1, "quick": 3, "full": 7}
BATCH = 1024


def rows(size: str) -> Iterator[Row]:
    """Two id columns, and arrays of 784 floats."""
    with folder() as place, spark() as (session, _):
        for name, model, table in (
            ("2 id columns, NCF", NCF(), _ids(ROWS[size][0])),
            ("array<float> of 784, MLP", mlp(), _arrays(ROWS[size][1])),
        ):
            path = str(place / f"{table.column_names[0]}.parquet")
            pq.write_table(table, path, row_group_size=-(-table.num_rows // 8))
            frame = session.read.parquet(path)
            ours, theirs = (partial(_drop, with_(frame, model.eval())) for with_ in (_ours, _theirs))
            seconds = in_turns(ours, theirs, TURNS[size], 0 if size == "tiny" else 1)
            labels = (f"predict on a DataFrame: {name}", "`predict`", "`predict_batch_udf`")
            yield compared(labels, *seconds, 1.1)


def _ids(count: int) -> pa.Table:
    (user, item), _ = ratings(count)
    return pa.table({"user": pa.array(user), "item": pa.array(item)})


def _arrays(count: int) -> pa.Table:
    values = pa.array(np.random.default_rng(0).random(count * 784, np.float32))
    ends = pa.array(np.arange(0, count * 784 + 1, 784, dtype=np.int32))
    return pa.table({"x": pa.ListArray.from_arrays(ends, values)})


def _ours(frame: DataFrame, model: nn.Module) -> DataFrame:
    return Estimator.from_torch(model=model).predict(frame, batch_size=BATCH, feature_cols=frame.columns)


def _theirs(frame: DataFrame, model: nn.Module) -> DataFrame:
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType

    shapes = [[784]] if frame.columns == ["x"] else None
    apply = predict_batch_udf(
        partial(_loaded, model), return_type=ArrayType(FloatType()), batch_size=BATCH, input_tensor_shapes=shapes
    )
    return frame.withColumn("prediction", apply(*frame.columns))


def _loaded(model: nn.Module) -> Callable[..., np.ndarray]:
    """What `predict_batch_udf` calls once a process."""
    torch.set_num_threads(1)

    def run(*columns: Any) -> np.ndarray:
        with torch.inference_mode():
            return model(*map(torch.from_numpy, columns)).numpy()

    if isinstance(model, NCF):
        return lambda user, item: run(user, item)  # its number of parameters is looked at
    return lambda x: run(x)


def _drop(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()
