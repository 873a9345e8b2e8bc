"""XShards of DataFrames: the same as pandas on all rows together, on Spark and on local processes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.engine import session
from zoo.engine.contracts import Cluster
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.orca.data import XShards


def shards_of(*values: Any) -> XShards:
    """One shard of each value."""
    return XShards.partition(np.arange(len(values)), len(values)).transform_shard(lambda at: values[at[0]])


def people() -> list[pd.DataFrame]:
    """Unicode names, nulls, a nullable, a categorical and a datetime column, a shard without rows."""
    whole = pd.DataFrame(
        {
            "städt": ["köln", "bonn", None, "köln", "ulm", "bonn", "köln"],
            "n": [1.5, np.nan, 2.5, 4.0, -1.0, 0.0, 2.0],
            "id": [3, 1, 2, 3, 5, 9, 3],
            "maybe": pd.array([1, None, 3, 4, 5, None, 1], "Int64"),
            "kind": pd.Categorical(["a", "b", "a", "a", None, "b", "a"]),
            "when": pd.to_datetime(["2020-01-01", None, "2021-05-05", "2020-01-01", "2019-01-01", None, "2020-01-01"]),
        }
    )
    return [whole.iloc[:3], whole.iloc[3:3], whole.iloc[3:]]


def rows(shards: XShards) -> pd.DataFrame:
    return pd.concat(shards.collect())


def alike(got: pd.DataFrame, wanted: pd.DataFrame, by: Sequence[Any] | None = None) -> None:
    """Equal rows in any order, whatever the dtypes of nulls are."""
    assert list(got.columns) == list(wanted.columns)
    assert len(got) == len(wanted)
    told = [sorted(map(repr, plain(frame))) for frame in (got, wanted)]
    assert told[0] == told[1]


def plain(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    def cell(value: Any) -> Any:
        if isinstance(value, list):
            return value
        if pd.isna(value):
            return None
        return round(float(value), 9) + 0.0 if isinstance(value, int | float | np.number) else value

    return [tuple(cell(value) for value in row) for row in frame.itertuples(index=False)]


# --- as pandas; that Spark gives the same is shown once for all operations: `test_equal_on_both_clusters` -------------


def test_partition_by_brings_equal_keys_together(local: Cluster) -> None:
    made = shards_of(*people()).partition_by(["städt", "maybe"], 3)
    assert made.num_partitions() == 3
    found = made.collect()
    assert [list(frame.columns) for frame in found] == [list(people()[0].columns)] * 3
    places: dict[Any, set[int]] = {}
    for number, frame in enumerate(found):
        for key in plain(frame[["städt", "maybe"]]):
            places.setdefault(key, set()).add(number)
    assert len(places) == 5 and all(len(one) == 1 for one in places.values())
    whole = pd.concat(people())
    pd.testing.assert_frame_equal(pd.concat(found).sort_index(), whole)  # index, dtypes, categories stay


def test_sort_values(local: Cluster) -> None:
    shards = shards_of(*people()).cache()
    whole = pd.concat(people())
    for names, ascending in (("n", False), (["städt", "id"], [True, False]), ("when", True), ("kind", True)):
        got = shards.sort_values(names, ascending)
        assert got.num_partitions() == 3
        wanted = whole.sort_values(names, ascending=ascending, kind="stable")
        pd.testing.assert_frame_equal(rows(got), wanted)


def test_group_by(local: Cluster) -> None:
    shards = shards_of(*people()).cache()
    whole = pd.concat(people())
    counted = shards.group_by("städt")
    assert list(counted.first().columns) == ["städt", "count"]
    alike(rows(counted), whole.groupby("städt", dropna=False).size().reset_index(name="count"))
    got = shards.group_by(["städt", "kind"], {"n": ["sum", "avg", "std"], "maybe": "max", "id": ["count", "nunique"]})
    groups = whole.groupby(["städt", "kind"], dropna=False, observed=True)
    wanted = groups.agg(
        **{
            "sum(n)": ("n", lambda s: s.sum(min_count=1)), "avg(n)": ("n", "mean"), "stddev(n)": ("n", "std"),
            "max(maybe)": ("maybe", "max"), "count(id)": ("id", "count"), "count_distinct(id)": ("id", "nunique"),
        }
    )  # fmt: skip
    alike(rows(got), wanted.reset_index())


def test_group_by_beside_the_rows(local: Cluster) -> None:
    whole = pd.concat(people())
    got = shards_of(*people()).group_by("städt", {"id": "sum"}, join=True)
    wanted = whole.assign(**{"sum(id)": whole.groupby("städt", dropna=False)["id"].transform("sum")})
    alike(rows(got), wanted)


def test_merge(local: Cluster) -> None:
    left, right = people()[2][["städt", "id", "n"]], pd.DataFrame({"id": [3, 3, 9, 77], "n": [0.5, 0.6, 0.7, 0.8]})
    sides = shards_of(left.iloc[:2], left.iloc[2:]).cache(), shards_of(right.iloc[:1], right.iloc[1:]).cache()
    for how in ("inner", "left", "outer"):
        alike(rows(sides[0].merge(sides[1], how, "id")), left.merge(right, how=how, on="id"))
    alike(rows(sides[0].merge(sides[1])), left.merge(right))


def test_deduplicates_and_unique(local: Cluster) -> None:
    twice = shards_of(*people(), *people()).cache()
    whole = pd.concat([*people(), *people()])
    alike(rows(twice.deduplicates()), whole.drop_duplicates())
    found = twice["städt"].unique()
    assert isinstance(found, np.ndarray)
    assert list(found) == ["köln", "bonn", None, "ulm"]


def test_small_answers(local: Cluster) -> None:
    shards = shards_of(*people()).cache()
    whole = pd.concat(people())
    assert shards.max_values("n") == 4.0 and shards.max_values("maybe") == 5
    assert shards.max_values("when") == pd.Timestamp("2021-05-05")
    nulls = shards.get_null_sum()
    assert dict(zip(nulls["col"], nulls["total"], strict=True)) == whole.isna().sum().to_dict()
    wanted = whole[["n", "id"]].describe().loc[["count", "mean", "std", "min", "max"]]
    pd.testing.assert_frame_equal(shards.describe(["n", "id"]), wanted)
    assert list(shards.describe().columns) == ["n", "id", "maybe"]
    pd.testing.assert_frame_equal(shards.head(2), whole.head(2))
    pd.testing.assert_frame_equal(shards.head(), whole.head())
    pd.testing.assert_frame_equal(shards.concat_to_pdf(), whole)
    schema = shards.get_schema()
    assert list(schema["columns"]) == list(whole.columns) and schema["dtypes"]["maybe"] == "Int64"
    assert shards._get_class_name() == "pandas.core.frame.DataFrame"


def test_rows_of_each_shard(local: Cluster) -> None:
    shards = shards_of(*people()).cache()
    whole = pd.concat(people())
    pd.testing.assert_frame_equal(rows(shards.select(["id", "städt"])), whole[["id", "städt"]])
    pd.testing.assert_frame_equal(rows(shards.drop_missing_value()), whole.dropna())
    made = shards.assembleFeatureLabelCols(["id", "n"], "id").collect()
    np.testing.assert_array_equal(np.concatenate([one["x"] for one in made]), whole[["id", "n"]].to_numpy())
    assert [one["y"].shape for one in made] == [(3, 1), (0, 1), (4, 1)]
    sample = shards.sample(0.5, random_state=1)
    assert [len(one) for one in sample.collect()] == [2, 0, 2]
    pd.testing.assert_frame_equal(sample.concat_to_pdf(), shards.sample_to_pdf(0.5, random_state=1))


def test_stacking_pairs(local: Cluster) -> None:
    pairs = [(np.full((2, 2), number), number) for number in range(3)]
    (made,) = shards_of(pairs).stack_feature_labels().collect()
    assert made["x"].shape == (3, 2, 2) and made["y"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"different shapes cannot be stacked: \[\(1,\), \(2,\)\]"):
        shards_of([(np.ones(1), 0), (np.ones(2), 0)]).stack_feature_labels()
    with pytest.raises(UsageError, match=r"lists of \(feature, label\). Received: a shard of ndarray"):
        XShards.partition(np.ones(2), 1).stack_feature_labels()


@pytest.mark.slow
@pytest.mark.timeout(300)  # many Spark jobs, on machines that do other things too
def test_equal_on_both_clusters(spark: Any) -> None:
    found = []
    for begin in (session.adopt, lambda: session.begin_local(2)):
        begin()
        shards = shards_of(*people()).cache()
        made = [
            shards.partition_by("städt"), shards.group_by("kind", ["sum", "collect_list"]),
            shards.sample(0.5, random_state=3),
            shards.sort_values("n", False), shards.deduplicates(), shards.merge(shards, "outer", "id"),
            shards.group_by("städt", {"n": ["avg", "stddev"]}, join=True),
        ]  # fmt: skip
        answers = [shards.describe(), shards.get_null_sum(), shards.head(4)]
        found.append([*answers, *(frame for one in made for frame in one.collect())])
        session.end()
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other)  # the same rows in the same partitions in the same order


def test_errors_name_the_column_and_the_shards_that_are_no_frames(cluster: Cluster) -> None:
    shards = shards_of(*people()).cache()
    with pytest.raises(ColumnNotFound, match=r"no column 'stadt'.*cols=\['stadt'\](.|\n)*Columns: städt, n, id"):
        shards.partition_by("stadt")
    with pytest.raises(ColumnNotFound, match=r"on=\['x'\]"):
        shards.merge(shards, on="x")
    arrays = XShards.partition(np.arange(4), 2)
    with pytest.raises(Exception, match="Currently only support partition by for XShards of Pandas DataFrame"):
        arrays.partition_by("a")
    with pytest.raises(UsageError, match=r"Currently only support unique\(\) on XShards of Pandas Series"):
        arrays.unique()
    unlike = shards_of(pd.DataFrame({"a": [1], "b": [1]}), pd.DataFrame({"a": [1], "c": [1]}))
    with pytest.raises(DataError, match=r"different columns: \['a', 'b'\] and \['a', 'c'\]"):
        unlike.partition_by("a", 1)
    with pytest.raises(UsageError, match="'b'"):
        unlike.select("b")
    with pytest.raises(DataError, match="sort_values by.*not supported between"):
        shards_of(pd.DataFrame({"a": ["x", 1]}), pd.DataFrame({"a": [2]})).sort_values("a")


# --- mistakes, and what is at the edges -------------------------------------------------------------------------------


def test_other_mistakes(local: Cluster) -> None:
    shards = shards_of(*people()).cache()
    with pytest.raises(UsageError, match="no aggregate function 'mode'. Known: count, sum"):
        shards.group_by("id", "mode")
    with pytest.raises(UsageError, match="'sum' is for columns of numbers. Received: column 'städt'"):
        shards.group_by("id", {"städt": "sum"})
    with pytest.raises(UsageError, match="join=True needs columns"):
        shards.group_by([], join=True)
    with pytest.raises(
        UsageError, match=r"group_by makes columns \['count'\], and the shards have columns of that name"
    ):
        shards_of(pd.DataFrame({"count": [1], "a": [2]})).group_by("a", join=True)
    with pytest.raises(UsageError, match="agg must be"):
        shards.group_by("id", 3)
    with pytest.raises(UsageError, match="how must be 'inner', 'left', 'right' or 'outer'. Received: 'cross'"):
        shards.merge(shards, "cross")
    with pytest.raises(UsageError, match="merge takes XShards. Received: DataFrame"):
        shards.merge(people()[0])
    with pytest.raises(UsageError, match="no column to merge on"):
        shards.select("id").merge(shards.select("n"))
    with pytest.raises(UsageError, match="frac above 1 needs replace=True. Received: 1.5"):
        shards.sample(1.5)
    with pytest.raises(UsageError, match="ascending must be"):
        shards.sort_values("id", [True, False])
    with pytest.raises(UsageError, match="num_partitions must be a whole number, at least 1. Received: 0"):
        shards.partition_by("id", 0)
    with pytest.raises(UsageError, match=r"describe is for columns of numbers. Received: städt \(object\)"):
        shards.describe("städt")
    with pytest.raises(UsageError, match=r"several columns of one name: \['a'\]"):
        shards_of(pd.DataFrame([[1, 2]], columns=["a", "a"])).partition_by("a")
    with pytest.raises(DataError, match="column 'a' holds a list, which has no equality"):
        shards_of(pd.DataFrame({"a": [[1], [2]]})).deduplicates()
    with pytest.raises(DataError, match=r"column 'maybe' has nulls \(1\)"):
        shards.assembleFeatureLabelCols("maybe", "id")
    with pytest.raises(DataError, match="column 'städt' holds no numbers"):
        shards_of(people()[2]).assembleFeatureLabelCols("städt", "id")
    with pytest.raises(UsageError, match="init_orca_context"):
        shards.to_spark_df()
    with pytest.raises(UsageError, match="local processes, which have no RDDs"):
        _ = shards.rdd
    with pytest.raises(UsageError, match="SparkXShards wraps an RDD. Received: builtins.list"):
        XShards([1, 2])


def test_lazy_mode_checks_when_it_computes(local: Cluster, lazy: None, tmp_path: Path) -> None:
    log = tmp_path / "calls"

    def noted(frame: pd.DataFrame) -> pd.DataFrame:
        with log.open("a") as file:
            file.write("x")
        return frame

    shards = shards_of(*people()).transform_shard(noted)
    made = shards.select("id").drop_missing_value().partition_by("id")
    unknown = shards.select("x")
    assert not log.exists()
    assert len(made) == 7 and log.read_text() == "xxx"
    with pytest.raises(ColumnNotFound, match="'x'"):
        unknown.compute()


def test_lists_in_columns_become_places(local: Cluster) -> None:
    frame = pd.DataFrame({"v": [[1.0, 2.0], [3.0, 4.0]], "y": pd.array([1, 0], "Int32")})
    (made,) = shards_of(frame).assembleFeatureLabelCols(["v", "y"], ["y"]).collect()
    assert made["x"].tolist() == [[1, 2, 1], [3, 4, 0]]
    assert made["y"].dtype == np.int32
    with pytest.raises(DataError, match="column 'v' has lists of different lengths"):
        shards_of(pd.DataFrame({"v": [[1.0], [1.0, 2.0]], "y": 0})).assembleFeatureLabelCols("v", "y")


def test_mixed_dtypes_of_one_key_meet(local: Cluster) -> None:
    day = date(2020, 1, 2)
    for one, other in (
        ([1, 2], [1.0, None]),
        ([True, False], [1, 5]),
        (pd.array([1, 2], "Int64"), [2, 7]),
        (pd.Categorical(["a", "b"]), ["b", "c"]),
        (pd.array(["a", None], "string"), ["a", None]),
        (pd.to_datetime(["2020-01-02", "2021-01-01"]).as_unit("s"), pd.to_datetime(["2020-01-02", "2022-01-01"])),
        ([day, None], [day, date(2021, 1, 1)]),
        ([("t", 1), ("t", 2)], [("t", 1), None]),
    ):
        frames = [pd.DataFrame({"k": values}) for values in (one, other)]
        got = shards_of(*frames).group_by("k")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            wanted = pd.concat([frame.astype(object) for frame in frames]).groupby("k", dropna=False).size()
        assert sorted(rows(got)["count"]) == sorted(wanted), frames


def test_no_shards_and_no_rows(local: Cluster) -> None:
    nothing = shards_of(pd.DataFrame({"a": pd.array([], "int64"), "b": pd.array([], object)}))
    for made in (nothing.partition_by("a", 2), nothing.sort_values("a"), nothing.deduplicates(), nothing.group_by("a")):
        assert len(made) == 0 and "a" in made.first().columns
    assert nothing.max_values("a") is None
    assert list(nothing.describe().loc["count"]) == [0]
    assert nothing.merge(nothing).first().columns.tolist() == ["a", "b"]
    assert nothing.head().columns.tolist() == ["a", "b"]
    assert nothing.group_by([], {"a": "max"}).collect()[0].columns.tolist() == ["max(a)"]


KEYS = st.one_of(st.none(), st.sampled_from(["a", "b", "ä", ""]))
NUMBERS = st.one_of(st.none(), st.integers(-3, 3))
ROWS = st.lists(st.tuples(KEYS, NUMBERS, st.integers(-1000, 1000)), max_size=20)
TABLES = st.lists(ROWS, min_size=1, max_size=4)
LAWS = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tables_of(parts: list[list[tuple[Any, ...]]]) -> list[pd.DataFrame]:
    kinds = {"k": object, "n": "float64", "v": "int64"}
    return [pd.DataFrame(part, columns=list(kinds)).astype(kinds) for part in parts]


@LAWS
@given(parts=TABLES, ascending=st.tuples(st.booleans(), st.booleans()))
def test_sorting_is_pandas_stable_sort(local: Cluster, parts: Any, ascending: tuple[bool, bool]) -> None:
    frames = tables_of(parts)
    got = rows(shards_of(*frames).sort_values(["n", "k"], list(ascending)))
    wanted = pd.concat(frames).sort_values(["n", "k"], ascending=list(ascending), kind="stable")
    assert plain(got) == plain(wanted)


@LAWS
@given(parts=TABLES)
def test_groups_are_pandas_groups(local: Cluster, parts: Any) -> None:
    frames = tables_of(parts)
    whole = pd.concat(frames).reset_index(drop=True)
    got = shards_of(*frames).group_by(["k", "n"], {"v": ["sum", "min", "max", "avg", "var", "count", "first", "last"]})
    grouped = whole.groupby(["k", "n"], dropna=False, sort=False)["v"]
    wanted = pd.DataFrame({f"{name}(v)": getattr(grouped, of)() for name, of in (
        ("sum", "sum"), ("min", "min"), ("max", "max"), ("avg", "mean"), ("variance", "var"), ("count", "count"),
        ("first", "first"), ("last", "last"),
    )}).reset_index()  # fmt: skip
    alike(rows(got), wanted)


@LAWS
@given(left=TABLES, right=TABLES, how=st.sampled_from(["inner", "left", "right", "outer"]))
def test_joins_are_pandas_joins(local: Cluster, left: Any, right: Any, how: str) -> None:
    one, other = tables_of(left), tables_of(right)
    got = rows(shards_of(*one).merge(shards_of(*other), how, ["k", "n"]))
    alike(got, pd.concat(one).merge(pd.concat(other), how=how, on=["k", "n"]))


@LAWS
@given(parts=TABLES, share=st.floats(0, 1))
def test_distinct_rows_values_and_samples(local: Cluster, parts: Any, share: float) -> None:
    frames = tables_of(parts)
    shards, whole = shards_of(*frames).cache(), pd.concat(frames)
    alike(rows(shards.deduplicates()), whole.drop_duplicates())
    assert list(shards["k"].unique()) == list(whole["k"].drop_duplicates())
    assert [len(one) for one in shards.sample(share).collect()] == [len(one.sample(frac=share)) for one in frames]
    by_key = shards.partition_by("k", 3)
    alike(rows(by_key), whole)
