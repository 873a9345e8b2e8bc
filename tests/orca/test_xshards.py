"""XShards: the same on Spark and on local processes."""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from shards_seen import same

from zoo.engine import session
from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import Cluster, FeedRequest, Rank, Terms
from zoo.engine.data.adapters import adapt
from zoo.engine.data.columns import describe, from_array, to_arrays
from zoo.engine.errors import ColumnNotFound, DataError, NotPicklable, UsageError, WorkerFailed
from zoo.engine.jobs import Columns
from zoo.orca.data import SparkXShards, XShards

X, Y = np.arange(20, dtype="f4").reshape(10, 2), np.arange(10, dtype="i8")


def cases(name: str, everywhere: Sequence[Any], on_spark: Sequence[Any]) -> Any:
    """All values on local processes, some on Spark: how shards are cut does not depend on where they are."""
    places = [*(("python", value) for value in everywhere), *(("spark", value) for value in on_spark)]
    return pytest.mark.parametrize(("cluster", name), places, indirect=["cluster"])


class Deaf:
    def put(self, event: object, /) -> None:
        pass


def frames(cluster: Cluster, *sizes: int) -> XShards:
    """Shards of DataFrames with so many rows each."""
    starts = np.cumsum([0, *sizes])
    parts = [(int(start), size) for start, size in zip(starts, sizes, strict=False)]
    bounds = XShards.partition(np.array(parts), len(parts))

    def frame(part: np.ndarray) -> pd.DataFrame:
        start, size = part[0]
        rows = np.arange(start, start + size)
        return pd.DataFrame({"größe": rows / 2, "a.b": rows, "id": rows.astype(str)}, index=rows)

    return bounds.transform_shard(frame)


# --- partition, collect, transform ------------------------------------------------------------------------------------


@cases("shards", [1, 3], on_spark=[3])
def test_partition_cuts_as_numpy_does(cluster: Cluster, shards: int) -> None:
    made = XShards.partition({"x": (X, [Y]), "y": Y}, shards)
    xs, ys = np.array_split(X, shards), np.array_split(Y, shards)
    same(made.collect(), [{"x": (x, [y]), "y": y} for x, y in zip(xs, ys, strict=True)])
    assert made.num_partitions() == shards and isinstance(made, SparkXShards)


def test_partition_uses_all_cores_by_default(cluster: Cluster) -> None:
    assert XShards.partition(X).num_partitions() == cluster.slots == 2


@pytest.mark.parametrize("data", ["text", {"x": [1, 2]}, (X, None), np.float64(1), [[X, 3]]])
def test_partition_takes_arrays_only(cluster: Cluster, data: Any) -> None:
    with pytest.raises(TypeError, match="numpy array"):
        XShards.partition(data)


def test_partition_needs_a_row_for_each_shard(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="number of shards.*11 shards for 10 rows"):
        XShards.partition(X, 11)
    with pytest.raises(ValueError, match="number of shards must be a whole number.*0"):
        XShards.partition(X, 0)
    with pytest.raises(ValueError, match=r"same number of rows.*\[10, 20\]"):
        XShards.partition((X, np.arange(20)))


def test_partition_needs_a_context() -> None:
    if session.running() is None and session.adopt() is None:
        with pytest.raises(RuntimeError, match="init_orca_context"):
            XShards.partition(X)
    session.end()


def test_transform_shard(cluster: Cluster) -> None:
    half = 0.5
    made = XShards.partition(X, 3).transform_shard(lambda x, plus, times: x * times + plus + half, 1, 2)
    same(made.collect(), [(x * 2 + 1 + half) for x in np.array_split(X, 3)])


def test_objects_of_any_class_travel(cluster: Cluster) -> None:
    class Money:  # no module holds it, as in a notebook
        def __init__(self, amount: int) -> None:
            self.amount = amount

    made = XShards.partition(Y, 2).transform_shard(lambda y: Money(int(y.sum()))).transform_shard(lambda m: m)
    assert [money.amount for money in made.collect()] == [10, 35]


def test_a_shard_is_a_copy(cluster: Cluster) -> None:
    source = XShards.partition(X, 2)

    def spoil(x: np.ndarray) -> int:
        x[:] = -1
        return len(x)

    assert source.transform_shard(spoil).collect() == [5, 5]
    same(source.collect(), np.array_split(X, 2))


def test_the_users_error_comes_first(cluster: Cluster) -> None:
    def fail(x: np.ndarray) -> None:
        if x[0, 0] > 0:
            raise KeyError("no such thing ☂")

    with pytest.raises(WorkerFailed) as caught:
        XShards.partition(X, 2).transform_shard(fail)
    first, second = str(caught.value).splitlines()[:2]
    assert first == "KeyError: 'no such thing ☂'"
    assert "given to transform_shard, for the shard of partition 1" in second


def test_functions_that_cannot_travel(cluster: Cluster) -> None:
    lock, shards = threading.Lock(), XShards.partition(X, 2)
    with pytest.raises(NotPicklable, match="function given to transform_shard.*inside the function"):
        shards.transform_shard(lambda x: lock)
    with pytest.raises(NotPicklable, match="the function given to transform_shard, or one of its arguments"):
        shards.transform_shard(lambda x, arg: x, lock)
    with pytest.raises(NotPicklable, match=r"shard 0 of partition \d \(lock\) cannot travel"):
        shards.transform_shard(lambda x: __import__("threading").Lock())
    with pytest.raises(UsageError, match="takes a function. Received: 3"):
        shards.transform_shard(3)


def test_length_first_take(cluster: Cluster) -> None:
    assert len(XShards.partition(X, 3)) == 10
    assert len(XShards.partition({"x": X, "y": Y}, 3)) == 6  # keys, as ever
    assert len(XShards.partition(X, 3).transform_shard(lambda x: None)) == 3
    shards = XShards.partition(Y, 4)
    same(shards.first(), Y[:3])
    same(shards.take(2), np.array_split(Y, 4)[:2])
    assert len(shards.take(99)) == 4


# --- selecting, zip, split --------------------------------------------------------------------------------------------


def test_selecting(cluster: Cluster) -> None:
    shards = XShards.partition({"x": X, "y": Y}, 2)
    assert len(shards["x"]) == 10 and not shards["x"].is_cached()
    same(shards["y"].transform_shard(lambda y: y + 1).collect(), np.array_split(Y + 1, 2))
    with pytest.raises(UsageError, match=r"Invalid key for this XShards.*'z'.*\['x', 'y'\]"):
        shards["z"].collect()
    with pytest.raises(UsageError, match="No selection operation available for this XShards"):
        shards.transform_shard(lambda s: 5)["z"].collect()
    with pytest.raises(TypeError, match="not iterable"):
        iter(shards)


def test_selecting_keeps_its_parent_in_memory(cluster: Cluster) -> None:
    chosen = XShards.partition({"x": X}, 2)["x"]
    gc.collect()
    (parent,) = chosen._objects.origins
    assert parent.rows.kept


def test_zip(cluster: Cluster) -> None:
    one, two = XShards.partition(X, 3), XShards.partition({"y": Y}, 3)
    both = one.zip(two)
    wanted = [(x, {"y": y}) for x, y in zip(np.array_split(X, 3), np.array_split(Y, 3), strict=True)]
    same(both.collect(), wanted)
    assert not one.is_cached() and not two.is_cached() and both.is_cached()
    same(both.zip(both)[1].collect(), wanted)


def test_zip_refuses_what_does_not_fit(cluster: Cluster) -> None:
    shards = XShards.partition(X, 2)
    with pytest.raises(AssertionError, match="other should be a SparkXShards"):
        shards.zip([1, 2])
    with pytest.raises(AssertionError, match="should have the same number of partitions. Received: 2 and 3"):
        shards.zip(XShards.partition(X, 3))
    with pytest.raises(ValueError, match="same number of elements in each partition"):
        XShards.partition(X, 4).zip(shards.repartition(1).repartition(2).transform_shard(len).repartition(4))


def test_split(cluster: Cluster) -> None:
    shards = XShards.partition((X, Y), 2)
    xs, ys = shards.split()
    same(xs.collect(), np.array_split(X, 2))
    same(ys.collect(), np.array_split(Y, 2))
    assert not shards.is_cached() and xs.is_cached()
    assert xs.split() == [xs]
    uneven = xs.transform_shard(lambda x: [0] * int(1 + (x[0, 0] > 0)))
    with pytest.raises(Exception, match="Cannot split this XShards because its partitions have different split length"):
        uneven.split()


# --- repartition ------------------------------------------------------------------------------------------------------


@cases("parts", [1, 3, 10], on_spark=[3])
def test_repartition_gives_what_partition_gives(cluster: Cluster, parts: int) -> None:
    data = {"x": (X, [Y, Y]), "y": Y}
    got = XShards.partition(data, 4).repartition(parts)
    same(got.collect(), XShards.partition(data, parts).collect())
    assert got.num_partitions() == parts


@cases("cut", [((3, 0, 4), 2), ((1, 1), 5), ((0, 2), 1)], on_spark=[((3, 0, 4), 5)])
def test_repartition_of_frames(cluster: Cluster, cut: tuple[tuple[int, ...], int]) -> None:
    sizes, parts = cut
    shards = frames(cluster, *sizes)
    whole = pd.concat(shards.collect())
    got = shards.repartition(parts)
    assert got.num_partitions() == parts
    found = got.collect()
    assert [len(frame) for frame in found] == [
        len(rows) for rows in np.array_split(range(len(whole)), parts) if len(rows)
    ]
    pd.testing.assert_frame_equal(pd.concat(found), whole)


def test_repartition_of_lists_and_whole_objects(cluster: Cluster) -> None:
    lists = XShards.partition(Y, 3).transform_shard(lambda y: [str(number) for number in y])
    assert lists.repartition(2).collect() == [list("01234"), list("56789")]
    names = lists.transform_shard("".join)
    spread = names.repartition(5)
    assert spread.collect() == ["0123", "456", "789"] and spread.num_partitions() == 5
    assert spread.transform_shard(str.upper).num_partitions() == 5
    with pytest.raises(UsageError, match="3 shards cannot become 2 partitions.*at least 3"):
        names.repartition(2)
    with pytest.raises(UsageError, match="num_partitions must be a whole number.*0"):
        names.repartition(0)


def test_repartition_without_rows_keeps_one_shard(cluster: Cluster) -> None:
    (got,) = frames(cluster, 0, 0).repartition(2).collect()
    assert list(got.columns) == ["größe", "a.b", "id"] and len(got) == 0


def test_repartition_of_unlike_shards(cluster: Cluster) -> None:
    mixed = XShards.partition(Y, 2).transform_shard(lambda y: y if y[0] else list(y))
    with pytest.raises(DataError, match="shards of different kinds cannot be merged: list, ndarray"):
        mixed.repartition(1)
    keys = XShards.partition(Y, 2).transform_shard(lambda y: {f"k{y[0]}": y})
    with pytest.raises(DataError, match="different keys cannot be merged"):
        keys.repartition(1)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_the_parent_is_given_free_unless_the_user_keeps_it(cluster: Cluster, tmp_path: Any) -> None:
    log = tmp_path / "calls"

    def noted(x: np.ndarray) -> np.ndarray:
        with log.open("a") as file:
            file.write("x")
        return x

    parent = XShards.partition(X, 2).transform_shard(noted)
    assert parent.is_cached() and log.read_text() == "xx"
    child = parent.transform_shard(lambda x: x + 1)
    assert child.is_cached() and not parent.is_cached()
    assert log.read_text() == "xx"  # the child was made of what the parent had kept
    child.collect()
    assert log.read_text() == "xx"
    same(parent.collect(), np.array_split(X, 2))  # made again
    assert log.read_text() == "xxxx"
    assert parent.cache() is parent and parent.is_cached()
    parent.compute().transform_shard(len)
    assert parent.is_cached() and log.read_text() == "xxxxxx"
    parent.collect()
    assert log.read_text() == "xxxxxx"
    assert not parent.uncache().is_cached()


def test_lazy_mode_computes_when_asked(cluster: Cluster, lazy: None) -> None:
    made = XShards.partition(X, 2).transform_shard(lambda x: 1 / 0)
    assert not made.is_cached()
    with pytest.raises(WorkerFailed, match="ZeroDivisionError: division by zero"):
        made.compute()
    good = XShards.partition(X, 2).transform_shard(lambda x: len(x)).zip(XShards.partition(Y, 2)).cache()
    assert len(good.repartition(2)) == 4
    assert [pair[0] for pair in good.collect()] == [5, 5]


def test_memory_comes_back_when_nobody_has_the_shards(cluster: Cluster) -> None:
    shards = XShards.partition(X, 2)
    rows = shards._objects.rows
    assert rows.kept
    del shards
    gc.collect()
    assert not rows.kept


# --- training ---------------------------------------------------------------------------------------------------------


def trained_on(data: Any, cluster: Cluster, world: int, features: Any = None, labels: Any = None) -> list[list[Any]]:
    """The rows that make each step of an epoch, as the ranks see them."""
    adapted = adapt(data, features, labels)

    def task(rank: Rank, shards: Any, sink: Any) -> list[list[list[Any]]]:
        def gather(value: Any) -> list[Any]:  # through files: no torch here
            place = Path(meeting)
            (place / f"{rank.index}.tmp").write_text(repr(value))
            (place / f"{rank.index}.tmp").rename(place / str(rank.index))
            until = time.monotonic() + 30
            while not all((place / str(index)).exists() for index in range(rank.world)):
                assert time.monotonic() < until
                time.sleep(0.01)
            return [eval((place / str(index)).read_text()) for index in range(rank.world)]  # noqa: S307

        request = FeedRequest(
            rank=rank, features=adapted_columns.features, labels=adapted_columns.labels, batch_size=4,
            sink=sink,
        )  # fmt: skip
        feed = shards["train"].feed(request)
        group = Solo()
        group.gather = lambda value, patience=0.0: gather(value)  # type: ignore[method-assign]
        feed.settle(group)
        try:
            steps = list(feed.epoch(0))
            return [[array.tolist() for array in (*batch.features, *batch.labels)] for batch in steps]
        finally:
            feed.close()

    adapted_columns = adapted.columns
    with tempfile.TemporaryDirectory() as meeting:
        seen = cluster.gang(task, {"train": adapted.shards}, world, Deaf(), Terms(60.0))
    joined = [[list(chain(*parts)) for parts in zip(*step, strict=True)] for step in zip(*seen, strict=True)]
    return [sorted(zip(*step, strict=True), key=str) for step in joined]


DATA = {
    "dict": (lambda: XShards.partition({"x": (X, Y), "y": Y}, 3), None, None),
    "one shard": (lambda: XShards.partition({"x": X, "y": Y}, 1), None, None),
    "empty partitions": (lambda: XShards.partition({"x": (X, Y), "y": Y}, 2).repartition(12), None, None),
    "frames": (lambda: frames(session.current(), 4, 0, 7), ["größe", "a.b"], ["a.b"]),
}


@cases("kind", list(DATA), on_spark=["empty partitions", "frames"])
def test_all_places_and_ranks_train_on_the_same_steps(cluster: Cluster, kind: str) -> None:
    make, features, labels = DATA[kind]
    data = make()
    alone = trained_on(data, cluster, 1, features, labels)
    assert sum(map(len, alone)) == (11 if kind == "frames" else 10)
    assert trained_on(data, cluster, 2, features, labels) == alone
    SEEN.setdefault(kind, alone)
    assert alone == SEEN[kind]  # on the other runtime too


SEEN: dict[str, Any] = {}


def arrays_of(data: Any, features: Any = None, labels: Any = None) -> tuple[np.ndarray, ...]:
    adapted = adapt(data, features, labels)
    rows = pa.Table.from_batches([batch for _, batch in adapted.shards.open(0, 1)], adapted.shards.schema)
    return to_arrays(rows, describe(rows.schema, (*adapted.columns.features, *adapted.columns.labels)))


def test_arrays_keep_dtype_and_shape(cluster: Cluster) -> None:
    images = np.arange(10 * 2 * 3 * 1, dtype="u1").reshape(10, 2, 3, 1)
    data = XShards.partition({"x": {"image": images, "n": Y.astype("i4")}, "y": X[:, 0].astype("f8")}, 3)
    assert adapt(data).columns == Columns(("image", "n"), ("y",))
    for got, wanted in zip(arrays_of(data), (images, Y.astype("i4"), X[:, 0]), strict=True):
        np.testing.assert_array_equal(got, wanted, strict=True)


FORMS = [lambda s: s["x"], lambda s: [s["x"], s["y"]], lambda s: (s["x"], s["y"])]


@cases("form", FORMS, on_spark=FORMS[2:])
def test_other_forms_of_shards(cluster: Cluster, form: Any) -> None:
    got = arrays_of(XShards.partition({"x": X, "y": Y}, 2).transform_shard(form))
    np.testing.assert_array_equal(got[0], X)


def test_an_object_is_read_in_one_piece(cluster: Cluster) -> None:
    rows = [(part, len(batch)) for part, batch in adapt(XShards.partition(X, 3)).shards.open(0, 1)]
    assert rows == [(0, 4), (1, 3), (2, 3)]


def test_other_keys_than_x_and_y_do_not_matter(cluster: Cluster) -> None:
    data = XShards.partition({"x": X, "y": Y}, 2).transform_shard(lambda s: s | {"id": "text"})
    assert adapt(data).columns == Columns(("x",), ("y",))


def test_the_first_shard_may_be_empty(cluster: Cluster) -> None:
    def listed(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"v": [[1.0, float(i)] for i in frame["a.b"]]})

    data = frames(cluster, 0, 3).transform_shard(listed)
    (got,) = arrays_of(data, ["v"])
    np.testing.assert_array_equal(got, [[1, 0], [1, 1], [1, 2]])
    (peeked,) = (adapt(data, ["v"]).shards.peek(),)
    assert peeked is not None and peeked.num_rows == 1


def test_frames_need_names_that_they_have(cluster: Cluster) -> None:
    data = frames(cluster, 2, 2)
    with pytest.raises(UsageError, match="feature columns is None; it should not be None in training/prediction"):
        adapt(data)
    with pytest.raises(ColumnNotFound, match="no column 'größ' in the data(?s:.*)Did you mean 'größe'"):
        adapt(data, ["größ"])


def test_shards_that_do_not_fit_each_other(cluster: Cluster) -> None:
    ragged = XShards.partition(X, 2).transform_shard(lambda x: x if x[0, 0] == 0 else x[:, :1])
    with pytest.raises(
        DataError, match=r"shard of partition 1 does not fit the first one: 'x' has rows of shape \[1\]"
    ):
        arrays_of(ragged)
    kinds = XShards.partition(Y, 2).transform_shard(lambda y: y if y[0] == 0 else y + 0.5)
    with pytest.raises(DataError, match="shard of partition 1 does not fit the first one: .*same columns, dtypes"):
        arrays_of(kinds)
    names = XShards.partition(Y, 2).transform_shard(lambda y: {"x": y} if y[0] == 0 else {"x": y, "y": y})
    with pytest.raises(DataError, match=r"it has \['x', 'y'\], the first has \['x'\]"):
        arrays_of(names)
    texts = XShards.partition(Y, 2).transform_shard(lambda y: "a text")
    with pytest.raises(UsageError):
        adapt(texts)


# --- predicting -------------------------------------------------------------------------------------------------------


def predicted(data: Any, features: Any = None, names: tuple[str, ...] = ("prediction",)) -> XShards:
    """The XShards for a model that doubles its first input, and (second output) sums it over the row."""
    adapted = adapt(data, features)
    first = adapted.columns.features[0]

    def fn(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            (x,) = to_arrays(batch, describe(batch.schema, [first]))
            outputs = [x * 2, x.sum(axis=tuple(range(1, x.ndim)))][: len(names)]
            made = [from_array(name, output.astype("f4")) for name, output in zip(names, outputs, strict=True)]
            arrays = [array.cast(field.type) for field, (_, array) in zip(schema, made, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    (spec,) = describe(adapted.shards.schema, [first])
    zeros = [np.zeros((1, *spec.shape), "f4"), np.zeros(1, "f4")][: len(names)]
    schema = pa.schema([from_array(name, zero)[0] for name, zero in zip(names, zeros, strict=True)])
    return adapted.give_back(session.current().extend(fn, adapted.shards, schema))


def test_predictions_stand_beside_the_shards_own_keys(cluster: Cluster) -> None:
    data = XShards.partition({"x": X, "y": Y}, 3).transform_shard(lambda s: s | {"id": [str(n) for n in s["y"]]})
    got = predicted(data)
    assert isinstance(got, XShards) and got.num_partitions() == 3 and got.is_cached() and data.is_cached()
    for shard, x in zip(got.collect(), np.array_split(X, 3), strict=True):
        assert list(shard) == ["x", "y", "id", "prediction"]
        np.testing.assert_array_equal(shard["prediction"], x * 2, strict=True)


def test_predictions_of_frames_and_of_empty_shards(cluster: Cluster) -> None:
    got = predicted(frames(cluster, 3, 0, 2), ["größe"]).collect()
    assert [list(shard) for shard in got] == [["prediction"]] * 3
    for shard, rows in zip(got, ([0, 1, 2], [], [3, 4]), strict=True):
        np.testing.assert_array_equal(shard["prediction"], np.array(rows, "f4"), strict=True)


def test_several_outputs(cluster: Cluster) -> None:
    data = XShards.partition(X, 2)
    (doubled, total) = predicted(data, names=("prediction_0", "prediction_1")).first()["prediction"]
    np.testing.assert_array_equal(doubled, X[:5] * 2, strict=True)
    np.testing.assert_array_equal(total, X[:5].sum(1), strict=True)
    named = predicted(data, names=("twice", "sum")).first()
    assert list(named) == ["twice", "sum"]
