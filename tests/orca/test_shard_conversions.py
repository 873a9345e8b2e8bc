"""Functions that older programs import from zoo.orca.learn.utils."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo.engine.contracts import Cluster
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.orca.data import XShards
from zoo.orca.learn.utils import (
    arrays2dict,
    dataframe_to_xshards,
    maybe_dataframe_to_xshards,
    update_predict_xshards,
)

ROWS = [([number, np.ones(2) * number], [number % 2]) for number in range(5)]


def test_rows_become_shards() -> None:
    made = list(arrays2dict(iter(ROWS), ["a", "b"], ["y"], shard_size=2))
    assert [len(shard["y"]) for shard in made] == [2, 2, 1]
    (whole,) = arrays2dict(iter(ROWS), ["a", "b"], ["y"])
    a, b = whole["x"]
    assert a.tolist() == [0, 1, 2, 3, 4] and b.shape == (5, 2) and whole["y"].tolist() == [0, 1, 0, 1, 0]
    (plain,) = arrays2dict(iter(([1.5], []) for _ in range(2)), ["a"], None)
    assert list(plain) == ["x"] and plain["x"].tolist() == [1.5, 1.5]
    assert list(arrays2dict(iter([]), ["a"], ["y"])) == []
    with pytest.raises(DataError, match="column 'a' has nulls"):
        list(arrays2dict([([None], [])], ["a"], None))
    with pytest.raises(DataError, match="column 'a' has arrays of different lengths"):
        list(arrays2dict([([[1]], []), ([[1, 2]], [])], ["a"], None))


def test_predictions_beside_shards(local: Cluster) -> None:
    data = XShards.partition({"x": np.arange(4)}, 2)
    predicted = data.transform_shard(lambda shard: {"prediction": shard["x"] * 2})
    first = update_predict_xshards(data, predicted).first()
    assert list(first) == ["x", "prediction"] and first["prediction"].tolist() == [0, 2]
    arrays = XShards.partition(np.arange(4), 2)
    assert list(update_predict_xshards(arrays, predicted).first()) == ["prediction"]
    with pytest.raises(ValueError, match="same number of elements"):
        update_predict_xshards(data.repartition(3).repartition(2), XShards.partition(np.arange(1), 1).repartition(2))


def test_frames_become_shards(on_spark: Any) -> None:
    from pyspark.ml.linalg import Vectors

    rows = [(number, [1.0, 2.0], Vectors.dense([float(number)]), "t") for number in range(5)]
    frame = on_spark.createDataFrame(rows, ["n", "l.x", "v", "s"])
    shards, none = dataframe_to_xshards(frame.coalesce(1), None, ["l.x", "v"], ["n"], shard_size=3)
    assert none is None
    first, second = shards.collect()
    assert [array.shape for array in first["x"]] == [(3, 2), (3, 1)] and first["x"][0].dtype == np.float32
    assert first["y"].tolist() == [0, 1, 2] and second["y"].tolist() == [3, 4]
    assert maybe_dataframe_to_xshards([1], None, ["a"], None) == ([1], None)
    with pytest.raises(ColumnNotFound, match=r"label_cols=\['y'\]"):
        dataframe_to_xshards(frame, None, ["n"], ["y"])
    with pytest.raises(UsageError, match=r"accept_str_col=True only. Received: \['s'\]"):
        dataframe_to_xshards(frame, None, ["s"], None, "predict")
    with pytest.raises(UsageError, match="must be a Spark DataFrame. Received: builtins.list"):
        dataframe_to_xshards([1], None, ["a"], None)
    with pytest.raises(UsageError, match="mode must be 'fit'"):
        dataframe_to_xshards(frame, None, ["n"], None, "train")
