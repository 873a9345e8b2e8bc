"""What a `TFDataset` is made from, its placeholders, and training and predicting on it."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.engine.triggers import MaxIteration
from zoo.orca.data import XShards
from zoo.orca.learn.rows import LocalRows, as_rdd
from zoo.tfpark import TFDataSet, TFDataset, TFOptimizer, TFPredictor

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
ROWS, BATCH = 44, 8
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, 3)).astype("float32")
Y = (X @ np.array([[1.0], [-2.0], [0.5]]) + 0.3).astype("float32")
SPECS: dict[str, Any] = {"features": (tf.float32, [3]), "labels": (tf.float32, [1])}
IN_ORDER: dict[str, Any] = {"batch_size": BATCH, "shuffle": False}


@pytest.fixture
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as made:
        yield made


def shapes(nest: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: (tensor.dtype.name, tuple(tensor.shape.as_list())), nest)


def described(dataset: Any) -> Any:
    with tf.Graph().as_default():
        return shapes(dataset.tensors)


class Elements(list[Any]):
    """Of an RDD, mapped where they are, so that a mistake in them is told without Spark."""

    mapPartitionsWithIndex = None  # noqa: N815  by which an RDD is known

    def map(self, fn: Any) -> list[Any]:
        return [fn(element) for element in self]


def pairs(x: Any = X, y: Any = Y) -> list[Any]:
    return list(zip(x, y, strict=True))


# --- placeholders ----------------------------------------------------------------------------------------------------


def test_the_other_spelling_is_the_same_class() -> None:
    assert TFDataSet is TFDataset


def test_arrays_become_placeholders_of_their_nest() -> None:
    assert described(TFDataset.from_ndarrays(X)) == ("float32", (None, 3))
    assert described(TFDataset.from_ndarrays([X])) == [("float32", (None, 3))]
    assert described(TFDataset.from_ndarrays((X, Y[:, 0]))) == (("float32", (None, 3)), ("float32", (None,)))
    nest = {"b": X, "a": [Y, (X, np.arange(ROWS))]}
    made = {"b": ("float32", (None, 3)), "a": [("float32", (None, 1)), [("float32", (None, 3)), ("int64", (None,))]]}
    assert described(TFDataset.from_ndarrays((nest, Y))) == (made, ("float32", (None, 1)))
    assert described(TFDataset.from_ndarrays(({"x": X}, {"y": Y}))) == (
        {"x": ("float32", (None, 3))},
        {"y": ("float32", (None, 1))},
    )


@pytest.mark.parametrize(
    "array, told",
    [
        (X.astype("float64"), ("float32", (None, 3))),  # the engine's floats are of 4 bytes
        (np.arange(ROWS, dtype="int32"), ("int32", (None,))),
        (np.arange(ROWS) > 3, ("bool", (None,))),
        (np.zeros((ROWS, 4, 2), "uint8"), ("uint8", (None, 4, 2))),
        (np.array(["a", "ü"] * 22), ("string", (None,))),
        (np.zeros((0, 3), "float32"), ("float32", (None, 3))),
    ],
)
def test_dtypes_and_shapes_are_those_of_the_rows(array: Any, told: Any) -> None:
    assert described(TFDataset.from_ndarrays(array)) == told


def test_the_same_graph_has_the_same_placeholders_and_another_has_its_own() -> None:
    dataset = TFDataset.from_ndarrays((X, Y))
    with tf.Graph().as_default() as one:
        first = dataset.tensors
        assert dataset.tensors[0] is first[0] is dataset.feature_tensors
        assert dataset.label_tensors is first[1]
    with tf.Graph().as_default() as other:
        assert dataset.feature_tensors.graph is other
    with one.as_default():
        assert dataset.feature_tensors is first[0]


def test_features_alone_have_no_labels(graph: Any) -> None:
    dataset = TFDataset.from_ndarrays({"a": X})
    assert dataset.label_tensors is None
    assert set(dataset.tensors) == set(dataset.tensor_structure) == {"a"}


def test_a_data_set_does_not_keep_graphs_that_are_gone() -> None:
    dataset = TFDataset.from_ndarrays(X)
    with tf.Graph().as_default() as made:
        dataset.tensors  # noqa: B018  makes them
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None


def test_a_graph_that_is_gone_keeps_no_data_set() -> None:
    dataset = TFDataset.from_ndarrays(X)
    with tf.Graph().as_default():
        dataset.tensors  # noqa: B018  makes them
    gone = weakref.ref(dataset)
    del dataset
    gc.collect()
    assert gone() is None


def test_without_a_graph_the_way_to_one_is_told() -> None:
    dataset = TFDataset.from_ndarrays(X)
    with pytest.raises(UsageError, match=r"placeholders of a graph.*disable_eager_execution\(\).*as_default"):
        dataset.tensors  # noqa: B018
    assert dataset.tensor_structure.shape == (3,)  # needs none


def test_the_structure_tells_dtype_shape_and_name() -> None:
    features, label = TFDataset.from_ndarrays(({"b": X, "a": X[:, 0]}, np.arange(ROWS))).tensor_structure
    assert (features["b"].dtype, features["b"].shape, features["b"].name) == (tf.float32, (3,), "b")
    assert (label.dtype, label.shape) == (tf.int64, ())


def test_odd_names_make_placeholders(graph: Any) -> None:
    frame = pd.DataFrame({"größe (cm)": [1.0, 2.0], "größe [cm]": [1.0, 2.0], "数": [1, 2]})
    dataset = TFDataset.from_dataframe(frame, list(frame.columns[:2]), "数")
    (one, other), label = dataset.tensors
    assert len({one.op.name, other.op.name, label.op.name}) == 3
    assert set(dataset.feeding([one, other], label)[0]) == {"größe (cm)", "größe [cm]"}


def test_features_and_labels_may_have_the_same_keys(graph: Any, inline: None) -> None:
    dataset = TFDataset.from_ndarrays(({"a": X}, {"a": Y}), **IN_ORDER)
    features, labels = dataset.tensors
    assert shapes(features["a"]) == ("float32", (None, 3)) and shapes(labels["a"]) == ("float32", (None, 1))
    assert trained(dataset, features["a"], labels["a"]) == pytest.approx(plain(BATCH), abs=1e-6)


def test_keys_that_make_the_same_name_are_kept_apart() -> None:
    nest = {"a": {"b": X}, "a_b": Y}
    assert described(TFDataset.from_ndarrays(nest)) == {
        "a": {"b": ("float32", (None, 3))},
        "a_b": ("float32", (None, 1)),
    }


# --- words -----------------------------------------------------------------------------------------------------------


def test_one_size_or_the_other() -> None:
    with pytest.raises(ValueError, match="should not be set simultaneously.*8, 4"):
        TFDataset.from_ndarrays(X, batch_size=8, batch_per_thread=4)
    for words, told in (
        ({"batch_size": 8}, (8, -1, True)),
        ({"batch_per_thread": 4}, (-1, 4, True)),
        ({}, (-1, -1, False)),
    ):
        dataset = TFDataset.from_ndarrays(X, **words)
        assert (dataset.batch_size, dataset.batch_per_thread, dataset.has_batch) == told


@pytest.mark.parametrize("size", ["8", 8.5, 0, -3, True])
@pytest.mark.parametrize("word", ["batch_size", "batch_per_thread"])
def test_sizes_are_numbers_of_rows(word: str, size: Any) -> None:
    with pytest.raises(UsageError, match=f"{word} is a number of rows.*Received: {size!r}"):
        TFDataset.from_ndarrays(X, **{word: size})


def test_sizes_may_be_numpys_or_none() -> None:
    assert TFDataset.from_ndarrays(X, batch_size=np.int64(8), batch_per_thread=None).batch_size == 8


def test_an_unknown_word_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no argument 'batchsize'. Did you mean 'batch_size'"):
        TFDataset.from_ndarrays(X, batchsize=8)


def test_older_words_are_taken() -> None:
    assert TFDataset.from_ndarrays(X, memory_type="PMEM", sequential_order=True, shuffle=True).shuffle is False
    assert TFDataset.from_ndarrays(X, sequential_order=True, shuffle=False).shuffle is False
    assert TFDataset.from_ndarrays(X, sequential_order=False).shuffle is True


def test_a_hard_coded_batch_is_in_the_shape(graph: Any, inline: None) -> None:
    one = TFDataset.from_ndarrays((X, Y), batch_size=8, hard_code_batch_size=True)
    assert shapes(one.tensors) == (("float32", (8, 3)), ("float32", (8, 1)))
    assert described(TFDataset.from_ndarrays(X, batch_per_thread=4, hard_code_batch_size=True)) == ("float32", (4, 3))
    assert described(TFDataset.from_ndarrays(X, hard_code_batch_size=True)) == ("float32", (None, 3))


def test_a_hard_coded_batch_is_that_of_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    running = SimpleNamespace(cluster=SimpleNamespace(nodes=4, slots=8))
    monkeypatch.setattr("zoo.engine.session.running", lambda: running)
    words: dict[str, Any] = {"hard_code_batch_size": True}
    assert described(TFDataset.from_ndarrays(X, batch_size=8, **words)) == ("float32", (2, 3))
    assert described(TFDataset.from_ndarrays(X, batch_per_thread=8, **words)) == ("float32", (8, 3))
    with pytest.raises(UsageError, match="multiple of the 4 nodes.*Received: 10"):
        described(TFDataset.from_ndarrays(X, batch_size=10, **words))


def test_a_small_batch_is_warned_of(on_spark: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="zoo"):
        TFDataset.from_ndarrays(X, batch_size=1)
    assert "batch_size=1 is less than the 2 cores" in caplog.text
    assert TFDataset.from_ndarrays(X, batch_size=8).get_num_partitions() == 2


def test_what_is_no_array_is_named() -> None:
    with pytest.raises(UsageError, match="from_ndarrays takes arrays.*x1: str"):
        TFDataset.from_ndarrays([X, "y"])
    with pytest.raises(UsageError, match="same number of rows.*x has 44, y has 43"):
        TFDataset.from_ndarrays((X, Y[1:]))
    with pytest.raises(UsageError, match="'y' is a single value"):
        TFDataset.from_ndarrays((X, np.float32(1)))
    with pytest.raises(UsageError, match="no arrays"):
        TFDataset.from_ndarrays([])


def test_validation_data_are_a_data_set_of_the_same_parts() -> None:
    dataset = TFDataset.from_ndarrays((X, Y), val_tensors=(X[:5], Y[:5]), batch_size=8)
    validation = dataset.get_validation_data()
    assert validation is not None and validation.get_evaluation_data().shards.rows == 5
    assert TFDataset.from_ndarrays((X, Y)).get_validation_data() is None
    with pytest.raises(UsageError, match="validation data have other parts"):
        TFDataset.from_ndarrays((X, Y), val_tensors=X)
    with pytest.raises(UsageError, match=r"validation data.*x.*\(4,\).*\(3,\)"):
        TFDataset.from_ndarrays((X, Y), val_tensors=(np.zeros((5, 4), "float32"), Y[:5]))


# --- each kind of data -----------------------------------------------------------------------------------------------


def test_an_rdd_is_as_it_is_described(on_spark: Any) -> None:
    sc = on_spark.sparkContext
    elements = [({"b": x, "a": [int(at), f"t{at}"]}, (y, y)) for at, (x, y) in enumerate(pairs())]
    features = {"b": (tf.float32, [3]), "a": [(tf.int32, []), (tf.string, [])]}
    dataset = TFDataset.from_rdd(sc.parallelize(elements, 3), features, ((tf.float32, [1]), (tf.float32, (None,))))
    told = {"b": ("float32", (None, 3)), "a": [("int32", (None,)), ("string", (None,))]}
    assert described(dataset) == (told, [("float32", (None, 1)), ("float32", (None, None))])
    with tf.Graph().as_default(), v1.Session() as session:
        inputs = dataset.feature_tensors
        number, text = inputs["a"]
        outputs = [inputs["b"] * 2, tf.strings.join([text, tf.strings.as_string(number)])]
        rows = TFPredictor(session, outputs).predict().collect()
    np.testing.assert_allclose([row[0] for row in rows], X * 2)
    assert [row[1] for row in rows] == [f"t{at}{at}".encode() for at in range(ROWS)]


@pytest.mark.parametrize("shape", [[3], (3,), tf.TensorShape([3]), [np.int64(3)]])
@pytest.mark.parametrize("dtype", [tf.float32, np.float32, "float32", np.dtype("float32")])
def test_dtypes_and_shapes_are_written_in_many_ways(monkeypatch: pytest.MonkeyPatch, shape: Any, dtype: Any) -> None:
    monkeypatch.setattr("zoo.tfpark.sources.adapt", lambda rows: TFDataset.from_ndarrays(X).get_training_data())
    assert described(TFDataset.from_rdd(Elements([X[0]]), (dtype, shape))) == ("float32", (None, 3))


def test_older_lists_describe_an_rdd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.tfpark.sources.adapt", lambda rows: TFDataset.from_ndarrays(X).get_training_data())
    rdd = Elements([[x, y] for x, y in pairs()])
    dataset = TFDataset.from_rdd(rdd, names=["x", "y"], shapes=[[3], [1]], types=[tf.float32, tf.float32])
    assert described(dataset) == [("float32", (None, 3)), ("float32", (None, 1))]
    assert described(TFDataset.from_rdd(rdd, names=["x", "y"], shapes=[[3], [1]])) == described(dataset)
    with pytest.raises(UsageError, match="needs shapes= too"):
        TFDataset.from_rdd(rdd, names=["x"])
    with pytest.raises(UsageError, match="names, shapes and types.*2, 1"):
        TFDataset.from_rdd(rdd, names=["x", "y"], shapes=[[3]])
    with pytest.raises(UsageError, match=r"needs features=\(dtype, shape\)"):
        TFDataset.from_rdd(rdd)


@pytest.mark.parametrize(
    "element, told",
    [
        ((X[0],), "not made as features and labels say"),
        ((X[0, :2], Y[0]), r"'x' has the shape \(2,\).*\[3\]"),
        ((X[:1], Y[0]), r"'x' has the shape \(1, 3\).*\[3\]"),
        ((["a", "b", "c"], Y[0]), "'x' is no float32"),
        ((None, Y[0]), "'x' is no float32"),
        (({"x": X[0]}, Y[0]), "'x' is no float32"),
    ],
)
def test_an_element_that_is_not_as_described_is_told(element: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        TFDataset.from_rdd(Elements([element]), **SPECS)


@pytest.mark.parametrize(
    "dtype, value, told",
    [(tf.int32, 1.5, "'x' is no int32"), (tf.uint8, 300, "'x' is no uint8"), (tf.string, 3, "'x' is no string")],
)
def test_an_element_loses_nothing_on_its_way_to_its_dtype(dtype: Any, value: Any, told: str) -> None:
    with pytest.raises(DataError, match=f"{told}.*{value}"):
        TFDataset.from_rdd(Elements([value]), (dtype, []))


def test_a_later_element_is_told_as_well(on_spark: Any) -> None:
    rdd = on_spark.sparkContext.parallelize([*pairs(), (X[0, :2], Y[0])], 2)
    dataset = TFDataset.from_rdd(rdd, **SPECS, **IN_ORDER)
    with tf.Graph().as_default(), pytest.raises((DataError, RuntimeError), match=r"'x' has the shape \(2,\)"):
        trained(dataset, *dataset.tensors)


def test_what_describes_nothing_is_refused(on_spark: Any) -> None:
    rdd = on_spark.sparkContext.parallelize(pairs(), 1)
    with pytest.raises(UsageError, match=r"describe each part as \(dtype, shape\)"):
        TFDataset.from_rdd(rdd, tf.float32)
    with pytest.raises(UsageError, match=r"describe each part as \(dtype, shape\).*no dtype"):
        TFDataset.from_rdd(rdd, ("floaty", [3]))
    with pytest.raises(UsageError, match="the RDD has no elements"):
        TFDataset.from_rdd(on_spark.sparkContext.parallelize([], 2), **SPECS)
    with pytest.raises(UsageError, match="from_rdd takes an RDD.*list"):
        TFDataset.from_rdd(pairs(), **SPECS)


def test_a_frame_gives_columns(on_spark: Any) -> None:
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": [[1.0, 2.0]] * ROWS, "y": Y[:, 0]})
    for given in (frame, on_spark.createDataFrame(frame)):
        told = ("float32", (None,))
        assert described(TFDataset.from_dataframe(given, ["a", "b"], "y")) == ([told, told], told)
        assert described(TFDataset.from_dataframe(given, "a", ["y"])) == (told, told)
        assert described(TFDataset.from_dataframe(given, ["a"])) == told
        with pytest.raises(ColumnNotFound, match="no column 'aa'.*\n.*\n.*Did you mean 'a'"):
            TFDataset.from_dataframe(given, ["aa"], "y")
    assert described(TFDataset.from_dataframe(frame, "c")) == ("float32", (None, None))


def test_a_pipeline_gives_its_elements(graph: Any) -> None:
    rows = tf.data.Dataset.from_tensor_slices
    with tf.init_scope():
        nested = rows(({"b": X, "a": (X[:, 0] > 0)}, (Y, Y)))
        alone, single = rows(X), rows((X,))
    told = {"a": ("bool", (None,)), "b": ("float32", (None, 3))}
    assert described(TFDataset.from_tf_data_dataset(nested)) == (told, [("float32", (None, 1))] * 2)
    for dataset in (alone, single):
        assert described(TFDataset.from_tf_data_dataset(dataset)) == ("float32", (None, 3))


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda rows: rows.batch(4), "Batch"),
        (lambda rows: rows.padded_batch(4), "PaddedBatch"),
        (lambda rows: rows.repeat(), "Repeat"),
        (lambda rows: rows.repeat(2).shuffle(4), "Repeat"),
        (lambda rows: rows.batch(4).map(lambda x, y: (x, y)).prefetch(1), "Batch"),
    ],
)
def test_a_pipeline_of_batches_is_refused_by_name(make: Any, told: str) -> None:
    given = make(tf.data.Dataset.from_tensor_slices((X, Y)))
    with pytest.raises(UsageError, match=f"it has {told}\\..*remove_checking=True"):
        TFDataset.from_tf_data_dataset(given)
    made = described(TFDataset.from_tf_data_dataset(given, remove_checking=True))
    assert made == (("float32", (None, 3)), ("float32", (None, 1)))


def test_rows_made_of_batches_are_rows() -> None:
    given = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).unbatch()
    assert described(TFDataset.from_tf_data_dataset(given)) == (("float32", (None, 3)), ("float32", (None, 1)))


def test_a_pipeline_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match="takes a tf.data.Dataset.*ndarray"):
        TFDataset.from_tf_data_dataset(X)


def test_texts_and_bytes_are_strings(on_spark: Any) -> None:
    sc = on_spark.sparkContext
    for make, elements in (
        (TFDataset.from_string_rdd, ["a", "bü", "", "d"]),
        (TFDataset.from_bytes_rdd, [b"a", b"\xff\x00", b"", b"d"]),
    ):
        dataset = make(sc.parallelize(elements, 2), batch_per_thread=2)
        with tf.Graph().as_default(), v1.Session() as session:
            assert shapes(dataset.tensors) == ("string", (None,))
            lengths = TFPredictor(session, tf.strings.length(dataset.tensors)).predict().collect()
        sizes = [len(one.encode() if isinstance(one, str) else one) for one in elements]
        assert lengths == sizes
        with pytest.raises(UsageError, match="texts or bytes.*int"):
            make(sc.parallelize([1, 2], 1))


def test_records_of_files_are_strings(inline: None, tmp_path: Path) -> None:
    for number in range(3):
        with tf.io.TFRecordWriter(str(tmp_path / f"part-{number}.tfrecord")) as writer:
            for row in range(4):
                feature = tf.train.Feature(float_list=tf.train.FloatList(value=[number, row]))
                example = tf.train.Example(features=tf.train.Features(feature={"v": feature}))
                writer.write(example.SerializeToString())
    (tmp_path / "_SUCCESS").touch()
    for given in (tmp_path, str(tmp_path / "*.tfrecord"), sorted(tmp_path.glob("*.tfrecord"))):
        dataset = TFDataset.from_tfrecord_file(None, given, batch_per_thread=3)
        with tf.Graph().as_default(), v1.Session() as session:
            records = dataset.tensors
            assert shapes(records) == ("string", (None,))
            value = v1.parse_example(records, {"v": v1.FixedLenFeature([2], tf.float32)})["v"]
            rows = TFPredictor.from_outputs(session, value).predict()
        np.testing.assert_array_equal(rows, [[number, row] for number in range(3) for row in range(4)])
    with pytest.raises(UsageError, match="no TFRecord files at .*nowhere"):
        TFDataset.from_tfrecord_file(None, str(tmp_path / "nowhere"))


def test_shards_are_images(on_spark: Any) -> None:
    images = np.arange(ROWS * 12, dtype="float32").reshape(ROWS, 2, 2, 3)
    shards = XShards.partition({"x": images, "y": np.arange(ROWS)})
    make = TFDataset.from_image_set
    dataset = make(shards, (tf.float32, [2, 2, 3]), (tf.int32, []), batch_size=8, validation_image_set=shards)
    assert described(dataset) == (("float32", (None, 2, 2, 3)), ("int32", (None,)))
    assert dataset.get_validation_data() is not None
    assert described(make(shards, (tf.float32, [2, 2, 3]))) == ("float32", (None, 2, 2, 3))
    assert described(TFDataset.from_feature_set(shards, (tf.float32, [2, 2, 3]), (tf.int64, []))) is not None
    assert described(TFDataset.from_text_set(shards, text=(tf.float32, [2, 2, 3]))) is not None
    with tf.Graph().as_default(), v1.Session() as session:
        rows = TFPredictor(session, tf.reduce_sum(dataset.feature_tensors, [1, 2, 3]), dataset=dataset).predict()
        np.testing.assert_allclose(sorted(rows.collect()), images.sum((1, 2, 3)))
    with pytest.raises(UsageError, match=r"1 feature\(s\) and 1 label\(s\), and 2 and 0 are described"):
        make(shards, [(tf.float32, [2, 2, 3]), (tf.int32, [])])
    with pytest.raises(UsageError, match="XShards of.*Received: ndarray"):
        make(images, (tf.float32, [2, 2, 3]))


# --- training --------------------------------------------------------------------------------------------------------


def plain(batch: int, epochs: int = 1, x: Any = X, y: Any = Y) -> list[float]:
    """The weights of a plain session's loop over the rows in their order."""
    with tf.Graph().as_default(), v1.Session() as session:
        inputs, labels = v1.placeholder(tf.float32, [None, 3]), v1.placeholder(tf.float32, [None, 1])
        train = v1.train.GradientDescentOptimizer(0.1).minimize(linear(inputs, labels))
        session.run(v1.global_variables_initializer())
        for _ in range(epochs):
            for start in range(0, len(x), batch):
                session.run(train, {inputs: x[start : start + batch], labels: y[start : start + batch]})
        return weights(session)


def linear(inputs: Any, labels: Any) -> Any:
    kernel = v1.get_variable("kernel", [3, 1], initializer=v1.constant_initializer(0.2))
    bias = v1.get_variable("bias", [1], initializer=v1.zeros_initializer())
    return tf.reduce_mean(tf.square(inputs @ kernel + bias - labels))


def weights(session: Any) -> list[float]:
    with session.graph.as_default():
        return [float(value) for array in session.run(v1.trainable_variables()) for value in array.reshape(-1)]


def trained(dataset: Any, inputs: Any, labels: Any, **words: Any) -> list[float]:
    loss = linear(inputs, labels)
    optimizer = TFOptimizer.from_loss(loss, v1.train.GradientDescentOptimizer(0.1), **words)
    (epoch,) = optimizer.optimize()
    assert epoch["num_samples"] == ROWS
    return weights(optimizer.sess)


@contextmanager
def rows_of(kind: str, spark: Any = None) -> Iterator[Any]:
    """A data set of X and Y in their order, of each kind, in a graph of its own."""
    frame = pd.DataFrame({"a": list(X), "y": Y[:, 0]})
    makers: dict[str, Any] = {
        "arrays": lambda: TFDataset.from_ndarrays((X, Y), **IN_ORDER),
        "float64": lambda: TFDataset.from_ndarrays(
            (X.astype(float), Y.astype(float)), batch_size=BATCH, sequential_order=True
        ),
        "nest": lambda: TFDataset.from_ndarrays(({"a": X[:, :2], "b": [X[:, 2:]]}, Y), **IN_ORDER),
        "pandas": lambda: TFDataset.from_dataframe(frame, "a", "y", **IN_ORDER),
        "pipeline": lambda: TFDataset.from_tf_data_dataset(tf.data.Dataset.from_tensor_slices((X, Y)), **IN_ORDER),
        "rdd": lambda: TFDataset.from_rdd(spark.sparkContext.parallelize(pairs(), 1), **SPECS, **IN_ORDER),
        "frame": lambda: TFDataset.from_dataframe(spark.createDataFrame(frame).coalesce(1), "a", "y", **IN_ORDER),
        "shards": lambda: TFDataset.from_image_set(
            XShards.partition({"x": X, "y": Y}, num_shards=1), (tf.float32, [3]), (tf.float32, [1]), **IN_ORDER
        ),
    }  # fmt: skip
    dataset = makers[kind]()
    with tf.Graph().as_default():
        features, labels = dataset.tensors
        if kind == "nest":
            features = tf.concat([features["a"], *features["b"]], 1)
        yield dataset, tf.reshape(features, [-1, 3]), tf.reshape(labels, [-1, 1])


@pytest.mark.parametrize("kind", ["arrays", "float64", "nest", "pandas", "pipeline"])
def test_training_is_a_plain_loop(inline: None, kind: str) -> None:
    with rows_of(kind) as given:
        assert trained(*given) == pytest.approx(plain(BATCH), abs=1e-6)


@pytest.mark.parametrize("kind", ["nest", "pipeline"])
def test_training_on_two_ranks_is_a_plain_loop(on_spark: Any, kind: str) -> None:
    with rows_of(kind, on_spark) as given:
        assert trained(*given, workers_per_node=2) == pytest.approx(plain(BATCH), abs=1e-6)


def test_training_on_a_frame_of_one_partition_is_a_plain_loop(on_spark: Any) -> None:
    with rows_of("frame", on_spark) as given:
        assert trained(*given) == pytest.approx(plain(BATCH), abs=1e-6)


@pytest.mark.parametrize("kind", ["rdd", "shards"])
def test_a_step_of_all_rows_of_spark_on_two_ranks_is_a_plain_one(on_spark: Any, kind: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(IN_ORDER, "batch_size", ROWS)
        with rows_of(kind, on_spark) as given:
            assert trained(*given, workers_per_node=2) == pytest.approx(plain(ROWS), abs=1e-6)


def test_an_epoch_is_shuffled_unless_order_is_asked_for(inline: None) -> None:
    many = np.concatenate([X] * 5), np.concatenate([Y + 1] * 2 + [Y] * 3)  # arrays are shuffled within 64 parts
    found = []
    for shuffle in (True, False, False):
        dataset = TFDataset.from_ndarrays(many, batch_size=BATCH, shuffle=shuffle)
        with tf.Graph().as_default():
            optimizer = TFOptimizer.from_loss(linear(*dataset.tensors), v1.train.GradientDescentOptimizer(0.1))
            optimizer.optimize()
            found.append(weights(optimizer.sess))
    assert found[1] == found[2]
    assert found[0] != pytest.approx(found[1], abs=1e-4)


def test_hard_coded_batches_train_where_the_rows_divide(graph: Any, inline: None) -> None:
    dataset = TFDataset.from_ndarrays((X, Y), batch_size=11, shuffle=False, hard_code_batch_size=True)
    assert trained(dataset, *dataset.tensors) == pytest.approx(plain(11), abs=1e-6)


def test_one_row_is_enough_and_none_is_not(inline: None) -> None:
    for rows, train in ((1, True), (0, False)):
        dataset = TFDataset.from_ndarrays((X[:rows], Y[:rows]), batch_size=4)
        with tf.Graph().as_default():
            optimizer = TFOptimizer.from_loss(linear(*dataset.tensors), v1.train.GradientDescentOptimizer(0.1))
            if train:
                optimizer.optimize()
                assert weights(optimizer.sess) == pytest.approx(plain(1, x=X[:1], y=Y[:1]), abs=1e-6)
            else:
                with pytest.raises(DataError, match="no rows"):
                    optimizer.optimize()


def test_validation_data_are_scored(graph: Any, inline: None) -> None:
    dataset = TFDataset.from_ndarrays((X, Y), val_tensors=(X[:9], Y[:9]), **IN_ORDER)
    inputs, labels = dataset.tensors
    loss = linear(inputs, labels)
    optimizer = TFOptimizer.from_loss(loss, v1.train.GradientDescentOptimizer(0.1), metrics={"twice": 2 * loss})
    (epoch,) = optimizer.optimize()
    expected = optimizer.sess.run(loss, {inputs: X[:9], labels: Y[:9]})
    assert epoch["val_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert epoch["val_twice"] == pytest.approx(2 * float(expected), rel=1e-5)


def test_tensors_of_two_data_sets_are_told(graph: Any, inline: None) -> None:
    one, other = TFDataset.from_ndarrays(X, batch_size=4), TFDataset.from_ndarrays(Y, batch_size=4)
    loss = linear(one.tensors, other.tensors)
    with pytest.raises(UsageError, match="tensors of 2 TFDatasets. Make one"):
        TFOptimizer.from_loss(loss, v1.train.GradientDescentOptimizer(0.1))


# --- predicting ------------------------------------------------------------------------------------------------------


@contextmanager
def predicting(dataset: Any, make: Any) -> Iterator[Any]:
    with tf.Graph().as_default() as made, v1.Session(graph=made) as session:
        yield TFPredictor.from_outputs(session, make(dataset.feature_tensors))


def test_an_rdd_is_predicted_in_its_order(on_spark: Any) -> None:
    rdd = on_spark.sparkContext.parallelize(list(X), 3)
    with predicting(TFDataset.from_rdd(rdd, (tf.float32, [3]), batch_per_thread=4), lambda x: 2 * x) as predictor:
        found = predictor.predict()
        np.testing.assert_allclose(found.collect(), 2 * X, rtol=1e-6)
        assert found.getNumPartitions() == 3


def check_two_outputs(dataset: Any, pack: Any) -> None:
    def outputs(x: Any) -> Any:
        one, other = x.values() if isinstance(x, dict) else x
        return pack((tf.stack([one, other], 1), one + other))

    with predicting(dataset, outputs) as predictor:
        rows = predictor.predict().collect()
    assert all(isinstance(row, list) for row in rows)
    np.testing.assert_allclose([row[0] for row in rows], X[:, :2], rtol=1e-6)
    np.testing.assert_allclose([row[1] for row in rows], X[:, 0] + X[:, 1], rtol=1e-5)


@pytest.mark.parametrize("pack", [tuple, list, lambda pair: dict(zip("ab", pair, strict=True))])
def test_several_outputs_are_a_list_for_each_row(inline: None, pack: Any) -> None:
    check_two_outputs(TFDataset.from_ndarrays({"a": X[:, 0], "b": X[:, 1]}), pack)
    check_two_outputs(TFDataset.from_dataframe(pd.DataFrame(X[:, :2], columns=["a", "b"]), ["a", "b"]), pack)


def test_several_outputs_of_sparks_rows_are_a_list_for_each_row(on_spark: Any) -> None:
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    rdd = on_spark.sparkContext.parallelize([{"a": a, "b": b} for a, b in X[:, :2]], 2)
    spec = {"a": (tf.float32, []), "b": (tf.float32, [])}
    check_two_outputs(TFDataset.from_ndarrays({"a": X[:, 0], "b": X[:, 1]}), list)
    check_two_outputs(TFDataset.from_rdd(rdd, spec), list)
    check_two_outputs(TFDataset.from_dataframe(on_spark.createDataFrame(frame), ["a", "b"]), list)


def test_a_frame_is_predicted_in_its_order(on_spark: Any) -> None:
    frame = pd.DataFrame({"a": X[:, 0], "prediction": X[:, 1]})
    dataset = TFDataset.from_dataframe(on_spark.createDataFrame(frame), ["a", "prediction"])
    with predicting(dataset, lambda x: tf.stack([x[0], 3 * x[1]], 1)) as predictor:
        np.testing.assert_allclose(predictor.predict().collect(), X[:, :2] * [1, 3], rtol=1e-6)


def test_a_pandas_frame_is_predicted_row_by_row(inline: None) -> None:
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}, index=range(100, 100 + ROWS))
    with predicting(TFDataset.from_dataframe(frame, ["a", "b"]), lambda x: x[0] + x[1]) as predictor:
        np.testing.assert_allclose(predictor.predict().collect(), X[:, 0] + X[:, 1], rtol=1e-5)


def test_arrays_are_predicted_with_spark_and_without(on_spark: Any) -> None:
    with predicting(TFDataset.from_ndarrays((X, Y), batch_per_thread=5), lambda x: x[:, 0]) as predictor:
        found = predictor.predict()
        assert hasattr(found, "mapPartitions")
        np.testing.assert_array_equal(found.collect(), X[:, 0])


def test_local_rows_speak_as_an_rdd_does(inline: None) -> None:
    with predicting(TFDataset.from_ndarrays(X, batch_per_thread=5), lambda x: x[:, 0]) as predictor:
        found = predictor.predict()
    assert isinstance(found, LocalRows) and isinstance(found.map(float), LocalRows)
    assert found.collect() == found.map(lambda one: one).collect() == list(X[:, 0])
    assert found.count() == ROWS and found.first() == X[0, 0] and found.take(2) == list(X[:2, 0])
    assert found.flatMap(lambda one: [one, one]).count() == 2 * ROWS
    assert found.filter(lambda one: one > 0).count() == (X[:, 0] > 0).sum()


def test_an_rdd_stays_itself(on_spark: Any) -> None:
    rdd = on_spark.sparkContext.parallelize([1])
    assert as_rdd(rdd) is rdd


def test_a_predictor_needs_a_data_set(graph: Any, inline: None) -> None:
    given = v1.placeholder(tf.float32, [None, 3], "mine")
    dataset = TFDataset.from_ndarrays(X, batch_per_thread=4)
    with v1.Session() as session:
        with pytest.raises(UsageError, match="depend on no tensors of a TFDataset"):
            TFPredictor(session, 2 * given)
        rows = TFPredictor(session, 2 * given, inputs=given, dataset=dataset).predict()
        with pytest.raises(UsageError, match="placeholder mine is needed and nobody feeds it"):
            TFPredictor(session, given + dataset.tensors).predict()
        with pytest.raises(UsageError, match="inputs= has other parts than the data set"):
            TFPredictor(session, 2 * given, inputs={"a": given}, dataset=TFDataset.from_ndarrays({"b": X}))
    np.testing.assert_allclose(rows, 2 * X)


def test_a_keras_model_predicts(inline: None) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    rows = TFPredictor.from_keras(model, TFDataset.from_ndarrays(X, batch_per_thread=4)).predict()
    np.testing.assert_allclose(rows.collect(), model.predict(X, verbose=0), atol=1e-5)


def test_a_keras_model_of_several_outputs_predicts(on_spark: Any) -> None:
    given = keras.Input((3,))
    model = keras.Model(given, {"b": keras.layers.Dense(2)(given), "a": keras.layers.Dense(1)(given)})
    expected = model.predict(X, verbose=0)
    rdd = on_spark.sparkContext.parallelize(list(X), 2)
    for dataset in (TFDataset.from_ndarrays(X, batch_per_thread=4), TFDataset.from_rdd(rdd, (tf.float32, [3]))):
        rows = TFPredictor.from_keras(model, dataset).predict().collect()
        order = [name for name in ("a", "b") if rows[0][0].shape == expected[name].shape[1:]]
        order += [name for name in expected if name not in order]
        for place, name in enumerate(order):
            np.testing.assert_allclose([row[place] for row in rows], expected[name], atol=1e-5)


# --- programs of TensorFlow 1 ----------------------------------------------------------------------------------------

PROGRAM = """
import tensorflow.compat.v1 as tf
tf.{begin}()
import numpy as np
from zoo.orca import init_orca_context, stop_orca_context
from zoo.tfpark import TFDataset, TFOptimizer, TFPredictor

init_orca_context({words}, cores=1)
x = np.linspace(-1, 1, 40, dtype="float32").reshape(20, 2)
rows = tf.data.Dataset.from_tensor_slices((x, x.sum(1))).map(lambda x, y: (x, 2 * y))
dataset = TFDataset.from_tf_data_dataset(rows, batch_size=5, shuffle=False)
features, labels = dataset.tensors
kernel = tf.get_variable("kernel", [2, 1], initializer=tf.zeros_initializer())
output = tf.matmul(features, kernel)[:, 0]
loss = tf.reduce_mean(tf.square(output - labels))
optimizer = TFOptimizer.from_loss(loss, tf.train.GradientDescentOptimizer(0.1))
optimizer.optimize()
predicted = TFPredictor.from_outputs(optimizer.sess, output).predict().collect()

expected = np.zeros((2, 1), "float32")
for start in range(0, 20, 5):
    part = x[start:start + 5]
    expected -= 0.1 * (2 / 5) * part.T @ (part @ expected - 2 * part.sum(1, keepdims=True))
np.testing.assert_allclose(optimizer.sess.run(kernel), expected, atol=1e-5)
np.testing.assert_allclose(predicted, (x @ expected)[:, 0], atol=1e-5)
stop_orca_context()
print("done")
"""


@pytest.mark.parametrize(
    "begin, words",
    [("disable_eager_execution", 'runtime="python"'), ("disable_v2_behavior", 'cluster_mode="local"')],
)
def test_a_program_of_tensorflow_1_trains_and_predicts(begin: str, words: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(begin=begin, words=words))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr[-3000:]


def test_image_files_are_decoded_by_the_graph(on_spark: Any, tmp_path: Path) -> None:
    """Files go to the ranks as bytes; what they hold, TensorFlow reads there."""
    for shade in range(12):
        image = np.full((4, 4, 1), 20 * shade, np.uint8)
        (tmp_path / f"{shade:02d}.png").write_bytes(tf.io.encode_png(image).numpy())
    files = on_spark.sparkContext.binaryFiles(str(tmp_path), 2).sortByKey()
    with tf.Graph().as_default():
        data = TFDataset.from_bytes_rdd(files.values(), batch_size=12)
        decode = tf.autograph.experimental.do_not_convert(lambda one: tf.io.decode_png(one, 1))
        decoded = tf.map_fn(decode, data.tensors, fn_output_signature=tf.uint8)
        brightness = tf.reduce_mean(tf.cast(tf.reshape(decoded, [-1, 16]), tf.float32), 1) / 255
        mean = v1.get_variable("mean", [], initializer=v1.zeros_initializer())
        loss = tf.reduce_mean(tf.square(brightness - mean))
        optimizer = TFOptimizer.from_loss(loss, v1.train.GradientDescentOptimizer(0.5), workers_per_node=2)
        optimizer.optimize(MaxIteration(1))
        assert optimizer.sess.run(mean) == pytest.approx(20 * 5.5 / 255, abs=1e-5)
