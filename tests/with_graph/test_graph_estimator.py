"""What `from_graph` promises beside the numbers of the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

import imagesets
from zoo.engine.errors import TrainingDiverged, UsageError, WorkerFailed
from zoo.engine.frameworks.graph.marks import ZooOptimizer
from zoo.engine.jobs import ImageTransform
from zoo.orca.data import XShards
from zoo.orca.learn import optimizers
from zoo.orca.learn.metrics import MAE, MSE
from zoo.orca.learn.tf.estimator import Estimator

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
ROWS = 90
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, 4)).astype("float32")
ID = RNG.integers(0, 7, ROWS)
Y = (X.sum(1) + 0.3 * ID).astype("float32")
DATA = (X, Y)
WORDS: dict[str, Any] = {"batch_size": 16, "shuffle": False}


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as made:
        yield made


@dataclass(frozen=True)
class Net:
    """A linear model of x and, where asked for, an embedding of an identity."""

    x: Any
    y: Any
    output: Any
    loss: Any
    identity: Any = None

    def given(self, **words: Any) -> dict[str, Any]:
        inputs = self.x if self.identity is None else [self.x, self.identity]
        own = {"inputs": inputs, "labels": self.y, "outputs": self.output, "loss": self.loss}
        return own | {"optimizer": v1.train.GradientDescentOptimizer(0.1)} | words

    def estimator(self, **words: Any) -> Any:
        return Estimator.from_graph(**self.given(**words))


def net(*, embedded: bool = False, width: int = 4) -> Net:
    x, y = v1.placeholder(tf.float32, [None, width], "x"), v1.placeholder(tf.float32, [None], "y")
    kernel = v1.get_variable("kernel", [width, 1], initializer=v1.constant_initializer(0.2))
    output = (x @ kernel)[:, 0] + v1.get_variable("bias", [1], initializer=v1.zeros_initializer())
    identity = None
    if embedded:
        identity = v1.placeholder(tf.int32, [None], "id")
        table = v1.get_variable("table", [7, 1], initializer=v1.constant_initializer(0.1))
        output += tf.nn.embedding_lookup(table, identity)[:, 0]
    return Net(x, y, output, tf.reduce_mean(tf.square(output - y)), identity)


def plain(made: Net, train: Any, data: Any = DATA, epochs: int = 1, **feeds: Any) -> dict[str, np.ndarray]:
    """The weights behind a plain session's loop over rows in the order of `shuffle=False`."""
    session = v1.Session()
    session.run(v1.global_variables_initializer())
    places = [made.x, made.y] if made.identity is None else [made.x, made.identity, made.y]
    for _ in range(epochs):
        for start in range(0, ROWS, WORDS["batch_size"]):
            rows = slice(start, start + WORDS["batch_size"])
            session.run(train, dict(zip(places, (part[rows] for part in data), strict=True)))
    return values(session)


def values(session: Any) -> dict[str, np.ndarray]:
    with session.graph.as_default():
        variables = v1.trainable_variables()
        return dict(zip((one.op.name for one in variables), session.run(variables), strict=True))


def one_part(data: Any) -> Any:
    """Rows that keep their order: parts would be interleaved."""
    x, *rest = data
    return XShards.partition({"x": x if len(rest) == 1 else (x, rest[0]), "y": rest[-1]}, 1)


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float = 1e-6) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=tolerance, err_msg=name)


# --- training --------------------------------------------------------------------------------------------------------


def test_the_session_holds_the_trained_values_and_goes_on_from_its_own(inline: None) -> None:
    made = net()
    session = v1.Session()
    session.run(v1.global_variables_initializer())
    with v1.variable_scope("", reuse=True):
        session.run(v1.assign(v1.get_variable("bias"), [5.0]))
    untouched = v1.get_variable("other", [], trainable=False, initializer=v1.zeros_initializer())
    session.run(untouched.initializer)
    est = made.estimator(sess=session, optimizer=v1.train.GradientDescentOptimizer(1e-9))
    est.fit(DATA, **WORDS)
    assert est.sess is session
    assert values(session)["bias"][0] == pytest.approx(5.0, abs=1e-4)
    assert session.run(untouched) == 0.0
    with v1.variable_scope("", reuse=True):
        session.run(v1.assign(v1.get_variable("bias"), [7.0]))
    est.fit(DATA, **WORDS)
    assert values(session)["bias"][0] == pytest.approx(7.0, abs=1e-4)


def test_a_second_fit_goes_on_with_the_optimizers_memory(inline: None) -> None:
    data = one_part(DATA)
    made = net()
    once = made.estimator(optimizer=v1.train.AdamOptimizer(0.05))
    once.fit(data, epochs=2, **WORDS)
    expected = values(once.sess)
    with tf.Graph().as_default():
        twice = net().estimator(optimizer=v1.train.AdamOptimizer(0.05))
        assert [epoch["epoch"] for epoch in twice.fit(data, **WORDS) + twice.fit(data, **WORDS)] == [1, 2]
    assert_same(values(twice.sess), expected)


SPARSE = {
    "momentum": lambda: v1.train.MomentumOptimizer(0.05, 0.9),
    "ftrl": lambda: v1.train.FtrlOptimizer(0.5),
    "adagrad": lambda: v1.train.AdagradOptimizer(0.3),
    "rmsprop": lambda: v1.train.RMSPropOptimizer(0.02),
}


@pytest.mark.parametrize("name", SPARSE)
def test_only_rows_that_a_batch_names_are_changed_on_any_number_of_ranks(on_spark: Any, name: str) -> None:
    """Optimizers of TensorFlow 1 leave other rows of an embedding alone, momentum and all: as on one rank."""
    data = (X, ID, Y)
    made = net(embedded=True)
    train = SPARSE[name]().minimize(made.loss)
    expected = plain(made, train, data)
    est = made.estimator(optimizer=SPARSE[name](), workers_per_node=2)
    est.fit(one_part(data), **WORDS)
    assert_same(values(est.sess), expected)


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        ({"clip_norm": 0.3}, lambda found: list(tf.clip_by_global_norm(found, 0.3)[0])),
        ({"clip_value": 0.2}, lambda found: [tf.clip_by_value(one, -0.2, 0.2) for one in found]),
        ({"clip_value": (-0.1, 0.4)}, lambda found: [tf.clip_by_value(one, -0.1, 0.4) for one in found]),
    ],
)
def test_gradients_are_clipped_behind_their_average(on_spark: Any, words: dict[str, Any], shape: Any) -> None:
    made = net(embedded=True)
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    found, variables = zip(*optimizer.compute_gradients(made.loss), strict=True)
    shaped = shape([tf.convert_to_tensor(one) for one in found])
    expected = plain(made, optimizer.apply_gradients(zip(shaped, variables, strict=True)), (X, ID, Y))
    est = made.estimator(workers_per_node=2, **words)
    est.fit(one_part((X, ID, Y)), **WORDS)
    assert_same(values(est.sess), expected)


def test_optimizers_may_be_named_for_parts_of_the_variables(inline: None) -> None:
    est = net().estimator(optimizer={"kernel": optimizers.SGD(0.1), "": v1.train.GradientDescentOptimizer(1e-12)})
    est.fit(DATA, **WORDS)
    found = values(est.sess)
    assert abs(found["kernel"] - 0.2).max() > 0.01
    assert found["bias"][0] == pytest.approx(0.0, abs=1e-6)
    again = Estimator.from_graph(**_reused(est, optimizer={"kernel": optimizers.SGD(0.1)}))
    with pytest.raises(UsageError, match="no optimizer is named for the variable bias:0"):
        again.fit(DATA, **WORDS)


def _reused(est: Any, **words: Any) -> dict[str, Any]:
    tensor = est.sess.graph.get_tensor_by_name
    program = est._spec.program
    return {"inputs": tensor("x:0"), "labels": tensor("y:0"), "loss": tensor(program.loss), "sess": est.sess} | words


def test_a_rate_that_follows_the_global_step_follows_it_here(inline: None) -> None:
    made = net()
    counter = v1.train.get_or_create_global_step()
    rate = v1.train.exponential_decay(0.1, counter, 2, 0.5, staircase=True)
    est = made.estimator(optimizer=v1.train.GradientDescentOptimizer(rate))
    est.fit(DATA, **WORDS)
    assert est.sess.run(counter) == 6  # 90 rows in steps of 16
    assert est.sess.run(rate) == pytest.approx(0.0125)


def test_values_of_training_and_of_validation_are_fed(inline: None) -> None:
    made = net()
    factor = v1.placeholder(tf.float32, [], "factor")
    est = made.estimator(metrics={"factor": factor + 0.0 * tf.reduce_sum(made.y)}, loss=made.loss * factor)
    (stats,) = est.fit(DATA, validation_data=DATA, feed_dict={factor: (0.0, 7.0)}, **WORDS)
    assert (stats["train_loss"], stats["val_factor"]) == (0.0, 7.0)
    assert est.evaluate(DATA)["factor"] == 7.0


@dataclass(frozen=True)
class Averaged:
    """A net with a moving average of its output's mean, as batch normalisation has."""

    net: Net
    average: Any
    update: Any


def averaged() -> Averaged:
    made = net()
    average = v1.get_variable("average", [], trainable=False, initializer=v1.zeros_initializer())
    update = v1.assign(average, 0.5 * average + 0.5 * tf.reduce_mean(made.y))
    return Averaged(made, average, update)


@pytest.mark.parametrize("how", ["updates", "collection", "control_dependencies"])
def test_updates_run_in_each_step_and_are_averaged_over_ranks(on_spark: Any, how: str) -> None:
    made = averaged()
    words: dict[str, Any] = {"workers_per_node": 2}
    if how == "updates":
        words["updates"] = [made.update]
    elif how == "collection":
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, made.update)
    else:
        with tf.control_dependencies([made.update]):
            words["optimizer"] = _Wrapped(made.net.loss)
    est = made.net.estimator(**{name: word for name, word in words.items() if name != "optimizer"})
    if how == "control_dependencies":
        _train_with(est, words["optimizer"].train)
    else:
        est.fit(one_part(DATA), **WORDS)
    expected = 0.0
    for start in range(0, ROWS, 16):
        expected = 0.5 * expected + 0.5 * float(Y[start : start + 16].mean())
    assert est.sess.run(made.average) == pytest.approx(expected, abs=1e-5)


class _Wrapped:
    """A program's own train operation, which waits for what surrounds it."""

    def __init__(self, loss: Any) -> None:
        self.train = ZooOptimizer(v1.train.GradientDescentOptimizer(0.1)).minimize(loss)


def _train_with(est: Any, train: Any) -> None:
    spec = est._spec
    spec.optimizer = None
    est._spec = spec.with_turns([spec.home.turn_of(train, spec.program.loss)])
    est.fit(one_part(DATA), **WORDS)


def test_a_zoo_optimizer_is_the_inner_one_in_a_plain_session() -> None:
    made = net()
    inner = plain(made, v1.train.MomentumOptimizer(0.05, 0.9).minimize(made.loss))
    with tf.control_dependencies([tf.debugging.assert_all_finite(made.y, "labels")]):
        train = ZooOptimizer(v1.train.MomentumOptimizer(0.05, 0.9)).minimize(made.loss)
    assert_same(plain(made, train), inner)


def test_random_operations_repeat_with_a_seed_and_differ_between_ranks(on_spark: Any) -> None:
    def trained(seed: int) -> dict[str, np.ndarray]:
        with tf.Graph().as_default():
            made = net()
            dropped = tf.nn.dropout(made.output, rate=0.5)
            est = made.estimator(loss=tf.reduce_mean(tf.square(dropped - made.y)), workers_per_node=2, seed=seed)
            est.fit(one_part(DATA), **WORDS)
            return values(est.sess)

    first, again, other = trained(1), trained(1), trained(2)
    assert_same(first, again, 0.0)
    assert np.abs(first["kernel"] - other["kernel"]).max() > 1e-4


def test_summaries_and_checkpoints_are_written_and_read(inline: None, tmp_path: Path) -> None:
    made = net()
    est = made.estimator(model_dir=str(tmp_path), optimizer=v1.train.AdamOptimizer(0.05))
    est.fit(one_part(DATA), epochs=2, **WORDS)
    found = est.get_train_summary("Loss"), est.get_train_summary("LearningRate")
    assert [len(rows) for rows in found] == [12, 12]
    assert found[1][0][1] == pytest.approx(0.05)
    behind_two = values(est.sess)
    est.load_orca_checkpoint(str(tmp_path), version=6)
    assert np.abs(values(est.sess)["kernel"] - behind_two["kernel"]).max() > 1e-3
    est.fit(one_part(DATA), **WORDS)
    assert_same(values(est.sess), behind_two)


def test_checkpoints_of_tensorflow_are_written_and_read(inline: None, tmp_path: Path) -> None:
    est = net().estimator()
    est.fit(DATA, **WORDS)
    trained = values(est.sess)
    path = est.save_tf_checkpoint(str(tmp_path / "deep" / "model"))
    est.fit(DATA, **WORDS)
    est.load_tf_checkpoint(path)
    assert_same(values(est.sess), trained, 0.0)
    with tf.Graph().as_default():
        other = net().estimator()
        other.load(str(tmp_path / "deep" / "model"))
        assert_same(values(other.sess), trained, 0.0)
    with pytest.raises(UsageError, match="there is no file"):
        est.load_tf_checkpoint(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="path of this machine"):
        est.save_tf_checkpoint("s3://bucket/model")
    with tf.Graph().as_default(), pytest.raises(UsageError, match="does not fit the graph"):
        net(width=3).estimator().load(path)


# --- data and answers ------------------------------------------------------------------------------------------------


def test_evaluate_weighs_batches_by_their_rows(inline: None) -> None:
    made = net()
    est = made.estimator(metrics={"mae": tf.reduce_mean(tf.abs(made.output - made.y))})
    found = est.evaluate(DATA, batch_size=16)
    output = X.sum(1) * 0.2
    assert found == pytest.approx({"loss": np.square(output - Y).mean(), "mae": np.abs(output - Y).mean()}, rel=1e-5)


def test_metrics_of_ours_measure_the_outputs(inline: None) -> None:
    found = net().estimator(metrics=[MAE(), MSE()]).evaluate(DATA)
    assert found["MAE"] == pytest.approx(np.abs(X.sum(1) * 0.2 - Y).mean(), rel=1e-5)
    assert set(found) == {"loss", "MAE", "MSE"}


def test_predict_gives_back_the_users_own_kind_of_data(on_spark: Any) -> None:
    made = net()
    est = made.estimator(outputs={"sum": made.output, "double": tf.stack([made.output, made.output], 1)})
    one, two = est.predict(X)  # in the order of their names
    np.testing.assert_allclose(two, X.sum(1) * 0.2, atol=1e-5)
    assert one.shape == (ROWS, 2)
    frame = on_spark.createDataFrame([(row.tolist(), index) for index, row in enumerate(X)], ["x", "row"])
    single = Estimator.from_graph(inputs=made.x, outputs=made.output, sess=est.sess)
    rows = single.predict(frame, feature_cols="x").orderBy("row").collect()
    np.testing.assert_allclose([row.prediction for row in rows], X.sum(1) * 0.2, atol=1e-5)
    shards = single.predict(XShards.partition({"x": X}, 2)).collect()
    np.testing.assert_allclose(np.concatenate([one["prediction"] for one in shards]), X.sum(1) * 0.2, atol=1e-5)


def test_no_job_starts_before_predictions_are_asked_for(on_spark: Any, jobs: Any) -> None:
    made = net(width=2)
    est = Estimator.from_graph(inputs=made.x, outputs=made.output)
    frame = on_spark.range(40).selectExpr("id", "array(float(id), float(1)) as x")
    predicted = est.predict(frame.selectExpr("id", "x"), feature_cols="x")
    started = jobs()
    assert predicted.columns == ["id", "x", "prediction"]
    assert started <= 1  # a look at one row says how long the lists are
    assert sorted(row.prediction for row in predicted.collect()) == pytest.approx([0.2 * n + 0.2 for n in range(40)])
    assert jobs() > started


def test_columns_find_the_inputs_of_a_dict_by_name(inline: None) -> None:
    first, second = v1.placeholder(tf.float32, [None], "p0"), v1.placeholder(tf.float32, [None, 1], "p1")
    est = Estimator.from_graph(inputs={"b": first, "a": second}, outputs=first - second[:, 0])
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [10.0, 20.0]})
    assert est.predict(frame, feature_cols=["a", "b"])["prediction"].tolist() == [9.0, 18.0]
    dataset = tf.data.Dataset.from_tensor_slices({"a": [1.0, 2.0], "b": [10.0, 20.0]})
    assert est.predict(dataset).tolist() == [9.0, 18.0]


def test_texts_and_their_tables_travel(on_spark: Any) -> None:
    text, y = v1.placeholder(tf.string, [None], "text"), v1.placeholder(tf.float32, [None], "y")
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.range(2, dtype=tf.int64)), 1
    )
    weights = v1.get_variable("weights", [3], initializer=v1.zeros_initializer())
    output = tf.gather(weights, table.lookup(text))
    loss = tf.reduce_mean(tf.square(output - y))
    est = Estimator.from_graph(
        inputs=text, labels=y, outputs=output, loss=loss, optimizer=optimizers.SGD(0.5), workers_per_node=2
    )
    frame = on_spark.createDataFrame([("a", 1.0), ("b", 2.0), ("ü", 3.0)] * 20, ["text", "y"])
    est.fit(frame, epochs=20, batch_size=20, feature_cols=["text"], label_cols=["y"])
    np.testing.assert_allclose(est.sess.run(weights), [1.0, 2.0, 3.0], atol=0.05)


def test_a_data_set_of_tensorflow_trains_in_any_program(inline: None) -> None:
    est = net().estimator()
    made_here = tf.data.Dataset.from_tensor_slices(DATA)  # part of this graph
    est.fit(made_here, batch_size=16)
    expected = values(est.sess)
    with tf.Graph().as_default():
        other = net().estimator()
        with tf.init_scope():
            made_at_once = tf.data.Dataset.from_tensor_slices(DATA)
        other.fit(made_at_once, batch_size=16)
    assert_same(values(other.sess), expected, 0.0)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"loss": None}, "loss is None; it should not be None in training"),
        ({"optimizer": None}, "optimizer is None; it should not be None in training"),
    ],
)
def test_what_training_needs_is_asked_for(inline: None, words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        net().estimator(**words).fit(DATA, **WORDS)


def test_labels_are_asked_for(inline: None) -> None:
    with pytest.raises(UsageError, match="label columns is None; it should not be None in training"):
        net().estimator().fit(X, **WORDS)


def test_outputs_and_metrics_are_asked_for(inline: None) -> None:
    est = net().estimator(outputs=None)
    with pytest.raises(UsageError, match="outputs is None, it should not be None in prediction"):
        est.predict(X)
    with pytest.raises(UsageError, match="metrics is None, it should not be None in evaluate"):
        est.evaluate(DATA)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"backend": "mxnet"}, "backend must be one of"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "clip_norm or clip_value, not both"),
        ({"clip_value": -1.0}, "a number above 0, or"),
        ({"clip_value": (1.0, 2.0, 3.0)}, r"a number or \(min, max\)"),
        ({"optimizer": "adam"}, "not an optimizer: 'adam'. Give an optimizer of zoo.orca.learn.optimizers"),
        ({"optimizer": optimizers.LBFGS()}, "LBFGS has no translation for graphs"),
        ({"inputs": None, "labels": None, "loss": None, "outputs": None}, "name the placeholders"),
        ({"inputs": np.zeros(3)}, "give tensors of a graph. Received: array"),
        ({"metrics": {"wrong": 3}}, "metrics are a dict from names to scalar tensors"),
        ({"updates": [3]}, "updates are operations of the graph"),
        ({"workers_per_node": 0}, "workers_per_node must be at least 1"),
    ],
)
def test_mistakes_are_told_before_anything_starts(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        net().estimator(**words)


def test_a_loss_of_many_numbers_is_refused() -> None:
    made = net()
    with pytest.raises(UsageError, match="loss must be a scalar"):
        made.estimator(loss=tf.square(made.output - made.y), outputs=None)


def test_a_loss_that_no_variable_changes_is_refused(inline: None) -> None:
    made = net()
    with pytest.raises(UsageError, match="no trainable variable changes the loss"):
        made.estimator(loss=tf.reduce_mean(made.y), outputs=None).fit(DATA, **WORDS)


def test_tensors_of_two_graphs_and_sessions_of_another_are_refused() -> None:
    made = net()
    with tf.Graph().as_default() as other:
        stranger = net()
    with pytest.raises(UsageError, match="of different graphs"):
        made.estimator(loss=stranger.loss)
    with pytest.raises(UsageError, match="session of another graph"):
        made.estimator(sess=v1.Session(graph=other))


def test_what_cannot_travel_is_named_with_the_way_out(inline: None) -> None:
    made = net()
    doubled = v1.py_func(lambda array: array * 2, [made.output], tf.float32)
    with pytest.raises(UsageError, match="PyFunc runs Python code .* as a column"):
        made.estimator(loss=tf.reduce_mean(tf.square(tf.reshape(doubled, [-1]) + made.output - made.y))).fit(
            DATA, **WORDS
        )
    element = v1.data.make_one_shot_iterator(v1.data.Dataset.from_tensors(X[0])).get_next()
    with pytest.raises(UsageError, match="is an iterator of this process. Feed the graph through placeholders"):
        made.estimator(loss=made.loss + tf.reduce_sum(element)).fit(DATA, **WORDS)


def test_a_placeholder_that_nobody_feeds_is_named(inline: None) -> None:
    made = net()
    factor = v1.placeholder(tf.float32, [], "factor")
    with pytest.raises(UsageError, match="the placeholder factor is needed and nobody feeds it.*feed_dict"):
        made.estimator(loss=made.loss * factor).fit(DATA, **WORDS)
    with pytest.raises(UsageError, match=r"its value in training, its value in validation.*received: 1.0"):
        made.estimator().fit(DATA, feed_dict={factor: 1.0}, **WORDS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X[:, :3], Y), r"rows of the shape \(3,\), and feeds x \(float32, shape \(\?, 4\)\)"),
        (((X, X), Y), r"takes 1 feature\(s\) and 1 label\(s\)"),
        ((X[:, 0].astype(str), Y), "holds strings, and feeds x"),
    ],
)
def test_columns_that_do_not_fit_are_told(inline: None, data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        net().estimator().fit(data, **WORDS)


def test_whole_numbers_are_not_made_of_others(inline: None) -> None:
    identities = ID + 0.5
    with pytest.raises(UsageError, match="cast it to whole numbers first"):
        net(embedded=True).estimator().fit(((X, identities), Y), **WORDS)


def test_a_finalized_graph_is_refused(inline: None, graph: Any) -> None:
    est = net().estimator()
    graph.finalize()
    with pytest.raises(UsageError, match="the graph is finalized"):
        est.fit(DATA, **WORDS)


def test_what_a_graph_cannot_do_says_what_can(inline: None) -> None:
    est = net().estimator()
    with pytest.raises(UsageError, match="est.sess"):
        est.get_model()
    with pytest.raises(UsageError, match="clip_value"):
        est.set_constant_gradient_clipping(-1.0, 1.0)
    with pytest.raises(UsageError, match="clip_norm"):
        est.set_l2_norm_gradient_clipping(1.0)
    with pytest.raises(UsageError, match="not supported"):
        est.clear_gradient_clipping()


def test_a_train_operation_without_marks_is_refused() -> None:
    made = net()
    est = made.estimator()
    with pytest.raises(UsageError, match="Make it with ZooOptimizer"):
        est._spec.home.turn_of(v1.train.GradientDescentOptimizer(0.1).minimize(made.loss), made.loss.name)


def test_errors_within_the_graph_name_the_operation(on_spark: Any) -> None:
    made = net()
    checked = tf.debugging.assert_less(tf.reduce_max(made.y), 0.5, message="labels must be small")
    with tf.control_dependencies([checked]):
        loss = tf.identity(made.loss)
    with pytest.raises(WorkerFailed, match="labels must be small"):
        made.estimator(loss=loss, workers_per_node=2).fit(one_part(DATA), **WORDS)


def test_a_loss_that_is_no_number_ends_the_run(inline: None) -> None:
    with pytest.raises((TrainingDiverged, WorkerFailed), match="the loss is nan"):
        net().estimator().fit((X, np.full(ROWS, np.nan, "float32")), **WORDS)


def test_a_train_operation_that_needs_rows_is_refused_where_there_are_none(on_spark: Any) -> None:
    made = net()
    rate = 0.1 / (1.0 + tf.reduce_mean(made.y) ** 2)
    est = made.estimator(optimizer=v1.train.GradientDescentOptimizer(rate), workers_per_node=2)
    with pytest.raises(UsageError, match=r"needs y:0 beside its gradients.*or train on one rank"):
        est.fit(one_part(DATA), **WORDS)
    alone = made.estimator(optimizer=v1.train.GradientDescentOptimizer(rate))
    alone.fit(one_part(DATA), **WORDS)


def test_asking_for_the_session_adds_nothing_to_the_graph(inline: None, graph: Any) -> None:
    est = net().estimator()
    est.predict(X)
    before = len(graph.get_operations())
    for _ in range(3):
        est.predict(X)
        assert est.sess is not None
    assert len(graph.get_operations()) == before


def mean_red_and_blue(image: np.ndarray) -> np.ndarray:
    """In [0, 1]: float32 (2,)."""
    return (image[..., [0, 2]].mean((0, 1)) / 255).astype(np.float32)


def test_images_feed_a_graph_through_a_transform(inline: None) -> None:
    pixels = [np.full((4, 6, 3), (200, 0, 0) if k % 2 else (0, 0, 200), np.uint8) for k in range(32)]
    files = [{"bytes": imagesets.encoded(image)[: 30 if k == 0 else None]} for k, image in enumerate(pixels)]
    rows = pa.table({"image": files, "label": pa.array([k % 2 for k in range(32)], pa.int64())})
    x, y = v1.placeholder(tf.float32, (None, 2)), v1.placeholder(tf.int32, (None,))
    logits = tf.matmul(x, v1.get_variable("weights", (2, 2)))
    loss = tf.reduce_mean(v1.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    made = v1.train.GradientDescentOptimizer(1.0)
    est = Estimator.from_graph(inputs=x, outputs=logits, labels=y, loss=loss, optimizer=made)
    skipping = ImageTransform(mean_red_and_blue, on_error="skip")
    stats = est.fit(rows, epochs=20, batch_size=8, feature_cols=["image"], label_cols=["label"], transform=skipping)
    assert stats[0]["num_samples"] == 31 and stats[-1]["train_loss"] < 0.2
    found = est.predict(rows.slice(1), feature_cols=["image"], transform=mean_red_and_blue)
    assert [int(np.argmax(row)) for row in found["prediction"].to_pylist()] == [k % 2 for k in range(1, 32)]
