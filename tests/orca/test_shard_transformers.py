"""StringIndexer and the scalers on shards: what Spark ML makes of all rows together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.engine.contracts import Cluster
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.orca.data import XShards
from zoo.orca.data.transformer import MinMaxScaler, StandardScaler, StringIndexer


def shards_of(*frames: pd.DataFrame) -> XShards:
    """One shard of each."""
    return XShards.partition(np.arange(len(frames)), len(frames)).transform_shard(lambda at: frames[at[0]])


def column(shards: XShards, name: str) -> list[Any]:
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in shards.concat_to_pdf()[name]]


FRAMES = (
    pd.DataFrame({"stadt": ["bonn", "köln", "köln"], "a": [1.0, 2.0, 4.0], "b": [5, 5, 5]}),
    pd.DataFrame({"stadt": ["aachen", "köln"], "a": [8.0, 5.0], "b": [5, 5]}),
    pd.DataFrame({"stadt": ["bonn"], "a": [0.0], "b": [5]}).iloc[:0],
)


@pytest.mark.slow
def test_as_spark_ml(on_spark: Any) -> None:
    """The same rows through Spark ML's own transformers."""
    from pyspark.ml.feature import MinMaxScaler as TheirMinMax
    from pyspark.ml.feature import StandardScaler as TheirStandard
    from pyspark.ml.feature import StringIndexer as TheirIndexer
    from pyspark.ml.feature import VectorAssembler

    shards = shards_of(*FRAMES[:2]).cache()
    frame = on_spark.createDataFrame(pd.concat(FRAMES[:2])).coalesce(1)
    frame = VectorAssembler(inputCols=["a", "b"], outputCol="v").transform(frame)
    pairs = (
        (TheirMinMax(min=-1, max=3), MinMaxScaler(-1, 3)),
        (TheirStandard(withMean=True), StandardScaler(withMean=True)),
        (TheirStandard(withMean=False), StandardScaler()),
    )
    for theirs, ours in pairs:
        theirs.setInputCol("v").setOutputCol("out")
        ours.setInputOutputCol(["a", "b"], "out")
        wanted = [row.out.toArray() for row in theirs.fit(frame).transform(frame).collect()]
        np.testing.assert_allclose(column(ours.fit_transform(shards), "out"), wanted, atol=1e-12)
    indexed = TheirIndexer(inputCol="stadt", outputCol="i").fit(frame).transform(frame)
    got = column(StringIndexer("stadt").fit_transform(shards), "stadt")
    assert got == [row.i for row in indexed.collect()]


def test_labels(local: Cluster) -> None:
    indexer = StringIndexer("stadt")
    made = indexer.fit_transform(shards_of(*FRAMES))
    assert indexer.labels == ["köln", "aachen", "bonn"]  # the most frequent, then the alphabet
    assert column(made, "stadt") == [2, 0, 0, 1, 0]
    assert made.first()["stadt"].dtype == np.int64 and list(made.first().columns) == ["stadt", "a", "b"]
    new = shards_of(pd.DataFrame({"stadt": ["ulm", None, "bonn"]}))
    with pytest.raises(DataError, match="'stadt' has 2 labels that were not there.*first: 'ulm'.*handleInvalid='keep'"):
        indexer.transform(new)
    indexer.handleInvalid = "keep"
    assert column(indexer.transform(new), "stadt") == [3, 3, 2]
    indexer.handleInvalid = "skip"
    assert column(indexer.transform(new), "stadt") == [2]


def test_labels_of_other_kinds(local: Cluster) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["y", "x", "y"]), "n": [7, 10, 7]})
    assert column(StringIndexer("c").fit_transform(shards_of(frame)), "c") == [0, 1, 0]
    assert column(StringIndexer("n").fit_transform(shards_of(frame)), "n") == [0, 1, 0]
    null = pd.DataFrame({"c": ["x", None]})
    with pytest.raises(DataError, match="first: null"):
        StringIndexer("c").fit_transform(shards_of(null))
    assert column(StringIndexer("c", "keep").fit_transform(shards_of(null)), "c") == [0, 1]


def test_one_column_of_numbers_stays_numbers(local: Cluster) -> None:
    made = MinMaxScaler(inputCol="a", outputCol="out").fit_transform(shards_of(*FRAMES))
    np.testing.assert_allclose(column(made, "out"), (np.array([1, 2, 4, 8, 5]) - 1) / 7)
    assert made.first()["out"].dtype == np.float64 and made.collect()[2].empty


def test_constant_columns_and_nulls(local: Cluster) -> None:
    assert column(MinMaxScaler(0, 4, "b", "o").fit_transform(shards_of(*FRAMES)), "o") == [2.0] * 5
    assert column(StandardScaler(True, True, "b", "o").fit_transform(shards_of(*FRAMES)), "o") == [0.0] * 5
    holes = shards_of(
        pd.DataFrame({"n": pd.array([1, None], "Int64")}), pd.DataFrame({"n": pd.array([3, None], "Int64")})
    )
    np.testing.assert_array_equal(
        column(MinMaxScaler(inputCol="n", outputCol="o").fit_transform(holes), "o"), [0.0, np.nan, 1.0, np.nan]
    )
    with pytest.raises(DataError, match="no numbers to learn from: all are null"):
        MinMaxScaler(inputCol="n", outputCol="o").fit_transform(shards_of(pd.DataFrame({"n": [np.nan]})))


def test_equal_numbers_become_exactly_0(local: Cluster) -> None:
    frames = [pd.DataFrame({"a": [0.1] * count}) for count in (3, 7, 11)]
    assert column(StandardScaler(True, True, "a", "o").fit_transform(shards_of(*frames)), "o") == [0.0] * 21


def test_columns_of_lists(local: Cluster) -> None:
    frame = pd.DataFrame({"v": [[0.0, 1.0], [2.0, 3.0]]})
    scaler = MinMaxScaler(inputCol="v", outputCol="o")
    assert column(scaler.fit_transform(shards_of(frame)), "o") == [[0, 0], [1, 1]]
    with pytest.raises(DataError, match="make lists of 1 numbers; 2 were learned"):
        scaler.transform(shards_of(pd.DataFrame({"v": [[1.0]]})))
    with pytest.raises(DataError, match=r"lists of different lengths. Lengths: \[1, 2\]"):
        scaler.fit_transform(shards_of(frame, pd.DataFrame({"v": [[1.0]]})))


def test_mistakes(local: Cluster) -> None:
    shards = shards_of(*FRAMES)
    with pytest.raises(UsageError, match="has not learned any labels. Call fit_transform first"):
        StringIndexer("stadt").transform(shards)
    with pytest.raises(UsageError, match="this StandardScaler has not learned anything"):
        StandardScaler(inputCol="a", outputCol="o").transform(shards)
    with pytest.raises(UsageError, match="needs inputCol and outputCol. Received: None, 'o'"):
        MinMaxScaler(outputCol="o").fit_transform(shards)
    with pytest.raises(UsageError, match="min must be below max. Received: min=1, max=1"):
        MinMaxScaler(1, 1)
    with pytest.raises(UsageError, match="handleInvalid must be one of error, skip, keep. Received: 'drop'"):
        StringIndexer("stadt", "drop")
    with pytest.raises(ColumnNotFound, match=r"inputCol=\['city'\]"):
        StringIndexer("city").fit_transform(shards)
    with pytest.raises(UsageError, match="MinMaxScaler takes XShards. Received: DataFrame"):
        MinMaxScaler(inputCol="a", outputCol="o").fit_transform(FRAMES[0])
    with pytest.raises(DataError, match="column 'stadt' holds no numbers"):
        MinMaxScaler(inputCol="stadt", outputCol="o").fit_transform(shards)


def test_numbers_that_are_close_together_keep_their_digits(local: Cluster) -> None:
    far = shards_of(pd.DataFrame({"a": [1e9, 1e9 + 0.25, 1e9 + 1.0]}))
    made = MinMaxScaler(inputCol="a", outputCol="o").fit_transform(far)
    assert column(made, "o") == [0.0, 0.25, 1.0]
    tiny = shards_of(pd.DataFrame({"a": [0.0, 2.225e-313]}))
    assert column(MinMaxScaler(0, 10, "a", "o").fit_transform(tiny), "o") == [0.0, 10.0]


NUMBERS = st.lists(st.floats(-1e6, 1e6), max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(NUMBERS, min_size=1, max_size=4).filter(any))
def test_scaling_does_not_depend_on_the_shards(local: Cluster, parts: list[list[float]]) -> None:
    frames = [pd.DataFrame({"a": np.array(part, float)}) for part in parts]
    whole = pd.concat(frames)["a"]
    got = column(StandardScaler(True, True, "a", "o").fit_transform(shards_of(*frames)), "o")
    std = whole.std() if len(whole) > 1 else 0.0
    if std > 1e-3:
        np.testing.assert_allclose(got, (whole - whole.mean()) / std, atol=1e-6)
    got = column(MinMaxScaler(inputCol="a", outputCol="o").fit_transform(shards_of(*frames)), "o")
    assert min(got) >= -1e-9 and max(got) <= 1 + 1e-9
