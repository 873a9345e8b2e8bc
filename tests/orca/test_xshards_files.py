"""Shards as files, as RDDs, as Spark DataFrames, and values that functions share."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shards_seen import same

from zoo.engine import session, storage
from zoo.engine.contracts import Cluster
from zoo.engine.data.objects import Call, Item
from zoo.engine.errors import DataError, NotPicklable, StorageFailed, UsageError, WorkerFailed
from zoo.orca.data import SharedValue, SparkXShards, XShards, tensors


def shards_of(*values: Any) -> XShards:
    """One shard of each value."""
    return XShards.partition(np.arange(len(values)), len(values)).transform_shard(lambda at: values[at[0]])


FRAME = pd.DataFrame(
    {
        "größe": [1.5, np.nan],
        "kind": pd.Categorical(["a", None]),
        "n": pd.array([1, None], "Int64"),
        "t": pd.to_datetime(["2020-01-01", None]),
        "s": ["ä", None],
    },
    index=pd.Index([7, 9], name="id"),
)
VALUES = [
    {"x": (np.arange(6, dtype="f4").reshape(2, 3), [np.arange(2)]), "y": np.array(["a", "ü"]), "id": "k", 3: None},
    np.zeros((0, 4), "i2"),
    FRAME,
    [FRAME, FRAME["größe"], 1.5, True, np.float32(2), np.array(["a", None], object)],
]


def test_saved_shards_come_back(cluster: Cluster, tmp_path: Path) -> None:
    shards = shards_of(*VALUES)
    path = tmp_path / "größen"
    assert shards.save(path) is shards
    loaded = XShards.load(str(path))
    assert loaded.num_partitions() == 4 and loaded.is_cached()
    same(loaded.collect(), VALUES)
    (table,) = path.glob("*.parquet")
    assert pq.read_table(table).column("größe").to_pylist() == [1.5, None]  # for other programs
    assert len(list(path.iterdir())) == 5
    with pytest.raises(UsageError, match="holds shards already. Choose another path"):
        shards.save(path)


def test_pickles_keep_any_object(cluster: Cluster, tmp_path: Path) -> None:
    class Money:  # no module holds it
        def __init__(self, amount: int) -> None:
            self.amount = amount

    shards = shards_of(*map(Money, range(3)))
    with pytest.raises(UsageError, match=r"the shard of partition \d: a .*Money has no safe format: use save_pickle"):
        shards.save(tmp_path / "money")
    assert not (tmp_path / "money").exists()  # nothing is left of it
    assert shards.save_pickle(str(tmp_path / "money"), batchSize=2) is shards
    assert [money.amount for money in XShards.load_pickle(str(tmp_path / "money")).collect()] == [0, 1, 2]
    spread = XShards.load_pickle(str(tmp_path / "money"), minPartitions=5)
    assert spread.num_partitions() == 5 and [money.amount for money in spread.collect()] == [0, 1, 2]
    with pytest.raises(UsageError, match=r"in the pickle format. Use XShards.load_pickle\(path\), if you trust"):
        XShards.load(tmp_path / "money")


def test_several_shards_in_a_partition_and_empty_partitions(spark: Any, tmp_path: Path) -> None:
    session.adopt()
    shards = XShards(spark.sparkContext.parallelize([[1], [2], [3]], 2).map(lambda one: [*one, "ä"]))
    assert shards._objects.counts == (1, 2)
    shards.save(tmp_path / "tall")
    session.end()
    session.begin_local(2)
    tall = XShards.load(tmp_path / "tall")
    assert tall.collect() == [[1, "ä"], [2, "ä"], [3, "ä"]] and tall._objects.counts == (1, 2)
    tall.repartition(7).save(tmp_path / "wide")
    assert XShards.load(tmp_path / "wide")._objects.counts == (1, 1, 1, 1, 1, 1, 0)
    session.end()


def test_what_was_not_written_to_its_end_is_never_read(local: Cluster, tmp_path: Path) -> None:
    shards, path = shards_of(np.arange(3), np.arange(4)), tmp_path / "s"
    shards.save(path)
    (path / "_xshards.json").unlink()
    with pytest.raises(UsageError, match="holds no shards: there is no _xshards.json, which is written last"):
        XShards.load(path)
    before = set(path.iterdir())
    shards.save(path)  # takes the directory over
    assert not before & set(path.iterdir())
    same(XShards.load(path).collect(), [np.arange(3), np.arange(4)])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"holds other files: \['mine.txt'\]"):
        shards.save(tmp_path / "other")
    with pytest.raises(UsageError, match="holds no shards"):
        XShards.load(tmp_path / "nowhere")


def test_shards_behind_a_url(local: Cluster) -> None:
    shards_of(FRAME, np.arange(3)).save("memory://shards/one")
    same(XShards.load("memory://shards/one").collect(), [FRAME, np.arange(3)])
    with pytest.raises(UsageError, match="holds shards already"):
        shards_of(FRAME).save("memory://shards/one")
    storage.remove_tree("memory://shards")


def test_damaged_files_are_told(local: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "s"
    shards_of(np.arange(3), FRAME).save(path)
    (file,) = path.glob("*.arrow")
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"part-00000.* is not what was written: it has \d+ bytes"):
        XShards.load(path)
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(DataError, match="is not what was written"):
        XShards.load(path)
    file.unlink()
    with pytest.raises(StorageFailed, match="could not read.*does not exist"):
        XShards.load(path)
    manifest = path / "_xshards.json"
    good = json.loads(manifest.read_text())
    for change in ({"version": 9}, {"files": [[0, 0, "../secret.arrow", 1, 1]]}, {"partitions": 1}):
        manifest.write_text(json.dumps(good | change))
        with pytest.raises(DataError, match="not of a kind that this release reads"):
            XShards.load(path)
    manifest.write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        XShards.load(path)


def test_a_file_of_shards_holds_no_code(local: Cluster) -> None:
    for value in (np.array([{}], object), {1.5: 1}, {1, 2}, np.zeros(2, [("a", "i4")])):
        with pytest.raises(UsageError, match="no safe format"):
            tensors.encode(value)
    rows = [("|O", [1], bytes(8))]
    with pytest.raises(ValueError, match="array of"):
        tensors._value(["array", 0], rows)
    with pytest.raises(DataError, match="no file of shards"):
        tensors.decode(pickle.dumps(1), "arrow")


ARRAYS = hnp.arrays(
    st.one_of(hnp.integer_dtypes(), hnp.floating_dtypes(), hnp.unicode_string_dtypes(), hnp.datetime64_dtypes(),
              hnp.boolean_dtypes(), hnp.complex_number_dtypes()),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
)  # fmt: skip
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(), st.floats(allow_nan=False))
NESTS = st.recursive(
    ARRAYS | PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(value=NESTS)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    same(tensors.decode(*tensors.encode(value)), value)


# --- Spark's own ------------------------------------------------------------------------------------------------------


def test_rdds(on_spark: Any, tmp_path: Path) -> None:
    context = on_spark.sparkContext
    shards = SparkXShards(context.parallelize([1, 2, 3, 4], 2))
    assert shards.is_cached() and shards.num_partitions() == 2 and shards.collect() == [1, 2, 3, 4]
    assert shards.rdd.map(lambda n: n + 1).glom().collect() == [[2, 3], [4, 5]]
    same(shards.take(3), [1, 2, 3])
    lazy = SparkXShards.lazy(context.parallelize([1, 0], 2)).transform_shard(lambda n: 1 // n)
    assert not lazy.is_cached()
    with pytest.raises(WorkerFailed, match="ZeroDivisionError"):
        lazy.compute()
    assert not SparkXShards(context.parallelize([1], 1), transient=True).is_cached()
    context.parallelize([[1, 2], [3]], 2).saveAsPickleFile(str(tmp_path / "hadoop"))
    assert sorted(XShards.load_pickle(tmp_path / "hadoop").collect()) == [[1, 2], [3]]
    nothing = XShards(context.parallelize([], 2))
    assert nothing._objects.counts == (0, 0) and nothing.collect() == [] and len(nothing) == 0
    for operation in (nothing.deduplicates, nothing.head, nothing.first, lambda: nothing.merge(shards)):
        with pytest.raises(UsageError, match="this XShards has no shards"):
            operation()
    nothing.save(tmp_path / "nothing")
    assert XShards.load(tmp_path / "nothing")._objects.counts == (0, 0)
    with pytest.raises(UsageError, match="wraps an RDD. Received: builtins.list"):
        SparkXShards([1])


def test_a_spark_frame_of_all_shards(on_spark: Any) -> None:
    first = pd.DataFrame({"a.b": [1], "größe": [None], "t": pd.to_datetime(["2020-01-01 00:00:00.123456789"])})
    first["u"], first["c"] = np.uint8([200]), pd.Categorical(["x"])
    second = first.assign(**{"a.b": [1.5], "größe": ["ä"]})
    frame = shards_of(first, second).to_spark_df()
    assert dict(frame.dtypes) == {
        "a.b": "double", "größe": "string", "t": "timestamp_ntz", "u": "smallint", "c": "string",
    }  # fmt: skip
    found = frame.select("`a.b`", "größe", "u", "c").collect()
    assert [tuple(row) for row in found] == [(1.0, None, 200, "x"), (1.5, "ä", 200, "x")]
    with pytest.raises(DataError, match="types that do not go together"):
        shards_of(pd.DataFrame({"a": [1]}), pd.DataFrame({"a": ["x"]})).to_spark_df()
    with pytest.raises(DataError, match="column 'a' mixes objects"):
        shards_of(pd.DataFrame({"a": [1, "x"]})).to_spark_df()


# --- shared values, each shard, lazy shards ---------------------------------------------------------------------------


def test_shared_values(cluster: Cluster) -> None:
    table = SharedValue({"a": 1, "b": 2})
    shards = shards_of(["a", "b"], ["b"]).cache()
    both = shards.transform_shard(lambda names, ten: [table.value[name] + ten.value for name in names], SharedValue(10))
    assert both.collect() == [[11, 12], [12]]
    assert table.value == {"a": 1, "b": 2}
    table.unpersist()
    both.uncache()
    assert both.collect() == [[11, 12], [12]]  # sent again
    assert shards.transform_shard(lambda names: table.value[names[0]]).collect() == [1, 2]
    lock = __import__("threading").Lock()
    with pytest.raises(NotPicklable, match="cannot travel to another process"):
        shards.transform_shard(lambda names, held: held.value, SharedValue(lock))


def test_a_shared_value_is_not_in_the_function(local: Cluster) -> None:
    large = SharedValue(np.zeros(100_000))
    packed = Call.of("f", lambda shard: large.value[shard])
    assert len(packed.pickled) < 2_000 and packed.shared == (large,)
    gone = pickle.loads(pickle.dumps(packed))  # beside its values, as it travels
    assert [item.value for item in gone(iter([Item(0, 0, 5)]))] == [0.0]


def test_for_each_gives_what_was_raised(cluster: Cluster) -> None:
    answers = shards_of(1, 0)._for_each(lambda n, more: more // n, 6)
    assert not answers.is_cached()
    six, error = answers.collect()
    assert six == 6 and isinstance(error, ZeroDivisionError)


def test_to_lazy(local: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "calls"

    def noted(value: int) -> int:
        with log.open("a") as file:
            file.write("x")
        return value + 1

    lazy = shards_of(1, 2).to_lazy()
    made = lazy.transform_shard(noted)
    assert not made.is_cached() and not log.exists()
    assert made.transform_shard(noted).collect() == [3, 4] and log.read_text() == "xxxx"
