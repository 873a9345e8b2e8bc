"""Ready-made models: their graphs, trained with plain loops in plain sessions."""

import subprocess
import sys

import cloudpickle
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.tfpark.estimator.canned import (
    DNNClassifier,
    DNNLinearCombinedClassifier,
    DNNRegressor,
    LinearClassifier,
    LinearRegressor,
)
from zoo.tfpark.estimator.specs import EstimatorSpec, ModeKeys, RunConfig

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
fc = tf.feature_column

CLASSES = ["first", "second", "third"]
BOUNDARIES = [16.0, 40.0]


class Built:
    """One mode's graph of an estimator over arrays, in a session of its own, with its variables initialized."""

    def __init__(self, estimator, features, labels=None, mode=ModeKeys.TRAIN, seed=1):
        self.graph = tf.Graph()
        with self.graph.as_default():
            v1.set_random_seed(seed)
            self.inputs = {name: like(values) for name, values in features.items()}
            self.labels = None if labels is None else like(labels)
            self.spec = estimator.model_fn(dict(self.inputs), self.labels, mode, estimator.params, estimator.config)
            self.session = v1.Session(graph=self.graph, config=v1.ConfigProto(use_per_session_threads=True))
            self.session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            self.step = v1.train.get_global_step()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.session.close()

    def run(self, what, features, labels=None):
        feed = {self.inputs[name]: values for name, values in features.items()}
        if labels is not None:
            feed[self.labels] = labels
        return self.session.run(what, feed)

    def train(self, features, labels, steps):
        for _ in range(steps):
            loss, _ = self.run([self.spec.loss, self.spec.train_op], features, labels)
        return loss

    def variables(self):
        with self.graph.as_default():
            found = v1.global_variables()
        return dict(zip([variable.op.name for variable in found], self.session.run(found), strict=True))

    def set(self, values):
        with self.graph.as_default():
            for variable in v1.global_variables():
                if variable.op.name in values:
                    variable.load(values[variable.op.name], self.session)


def like(values):
    values = np.asarray(values)
    dtype = tf.string if values.dtype.kind in "OUS" else values.dtype
    return v1.placeholder(dtype, [None, *values.shape[1:]])


def titanic(rows=800, seed=0):
    """Passengers whose survival hangs on their age, sex, class, and on sex and age together."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(1, 80, rows).astype(np.float32)
    sex = rng.choice(["male", "female"], rows)
    level = rng.choice(CLASSES, rows)
    fare = rng.gamma(2.0, 1.0, rows).astype(np.float32)
    old = np.digitize(age, BOUNDARIES)
    score = 1.6 * (sex == "female") + 0.5 * fare - 0.9 * (level == "third") - 1.2 * (sex == "male") * (old == 2) - 0.6
    survived = (rng.uniform(size=rows) < 1 / (1 + np.exp(-2 * score))).astype(np.int64)
    return {"age": age, "sex": sex, "class": level, "fare": fare}, survived


def titanic_columns():
    sex = fc.categorical_column_with_vocabulary_list("sex", ["male", "female"])
    level = fc.categorical_column_with_vocabulary_list("class", CLASSES)
    old = fc.bucketized_column(fc.numeric_column("age"), BOUNDARIES)
    return [fc.numeric_column("fare"), sex, level, fc.crossed_column([old, sex], 500)]


def one_hot(features):
    """What the columns of `titanic_columns` say, written out."""
    sexes = np.stack([features["sex"] == sex for sex in ("male", "female")], 1)
    levels = np.stack([features["class"] == level for level in CLASSES], 1)
    old = np.digitize(features["age"], BOUNDARIES)
    crossed = np.stack([sexes[:, s] & (old == o) for s in range(2) for o in range(3)], 1)
    return np.concatenate([features["fare"][:, None], sexes, levels, crossed], 1).astype(np.float64)


def accuracy(built, features, labels):
    return np.mean(built.run(built.spec.predictions["class_ids"], features)[:, 0] == labels)


# Linear models


@pytest.mark.parametrize("optimizer", ["Ftrl", v1.train.FtrlOptimizer(0.2), lambda: v1.train.FtrlOptimizer(0.2)])
def test_linear_classifier_is_as_good_as_logistic_regression(optimizer):
    features, labels = titanic()
    reference = LogisticRegression(C=1e6, max_iter=2000).fit(one_hot(features), labels)
    best = reference.score(one_hot(features), labels)
    with Built(LinearClassifier(titanic_columns(), optimizer=optimizer), features, labels) as built:
        built.train(features, labels, 400)
        assert best > 0.75
        assert accuracy(built, features, labels) == pytest.approx(best, abs=0.01)
        logistic = built.run(built.spec.predictions["logistic"], features)[:, 0]
        np.testing.assert_allclose(logistic, reference.predict_proba(one_hot(features))[:, 1], atol=0.05)


def test_gradient_steps_are_those_of_the_formula():
    features, labels = titanic(200)
    x, weights, bias = one_hot(features), np.zeros(12), 0.0
    for _ in range(10):
        error = (1 / (1 + np.exp(-(x @ weights + bias))) - labels) / len(labels)
        weights, bias = weights - 0.3 * (x.T @ error), bias - 0.3 * error.sum()
    estimator = LinearClassifier(titanic_columns(), optimizer=v1.train.GradientDescentOptimizer(0.3))
    with Built(estimator, features, labels) as built:
        built.train(features, labels, 10)
        got = built.variables()
        logits = built.run(built.spec.predictions["logits"], features)
        steps = built.session.run(built.step)
    np.testing.assert_allclose(got["linear/linear_model/bias_weights"], [bias], rtol=1e-4)
    np.testing.assert_allclose(got["linear/linear_model/fare/weights"][:, 0], weights[:1], rtol=1e-4)
    np.testing.assert_allclose(got["linear/linear_model/sex/weights"][:, 0], weights[1:3], rtol=1e-4)
    np.testing.assert_allclose(got["linear/linear_model/class/weights"][:, 0], weights[3:6], rtol=1e-4)
    np.testing.assert_allclose(logits[:, 0], x @ weights + bias, rtol=1e-4, atol=1e-5)
    assert steps == 10


@pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning")
@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_linear_terms_are_those_of_tensorflow(combiner):
    words = fc.categorical_column_with_vocabulary_list("words", ["a", "b", "c"])
    level = fc.categorical_column_with_identity("level", 4)
    columns = [
        fc.numeric_column("pair", shape=(2,)),
        fc.bucketized_column(fc.numeric_column("pair", shape=(2,)), [0.0, 1.0]),
        words,
        fc.weighted_categorical_column(level, "much"),
        fc.categorical_column_with_hash_bucket("deck", 7),
        fc.crossed_column(["words", level], 20),
        fc.indicator_column(fc.categorical_column_with_identity("level", 4)),
    ]
    rng = np.random.default_rng(0)
    features = {
        "pair": rng.normal(size=(6, 2)).astype(np.float32),
        "words": rng.choice(["a", "b", "c", "unknown"], (6, 2)),
        "level": rng.integers(0, 4, 6),
        "much": rng.uniform(0.5, 2, 6).astype(np.float32),
        "deck": rng.choice(list("ABCDEFG"), (6, 3)),
    }
    estimator = LinearClassifier(columns, n_classes=3, sparse_combiner=combiner)
    with Built(estimator, features, mode=ModeKeys.PREDICT) as built:
        values = {name: rng.normal(size=value.shape) for name, value in built.variables().items() if value.ndim}
        built.set(values)
        got = built.run(built.spec.predictions["logits"], features)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        inputs = {name: like(array) for name, array in features.items()}
        with v1.variable_scope("linear"):
            logits = v1.feature_column.linear_model(inputs, columns, units=3, sparse_combiner=combiner)
        session.run(v1.tables_initializer())
        theirs = {variable.op.name: variable for variable in v1.global_variables()}
        assert theirs.keys() == values.keys()
        for name, variable in theirs.items():
            variable.load(values[name], session)
        expected = session.run(logits, {inputs[name]: array for name, array in features.items()})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_vocabularies_are_initialized_with_the_tables():
    features, labels = titanic(10)
    estimator = LinearClassifier(titanic_columns(), label_vocabulary=["no", "yes"])
    with Built(estimator, features, np.array(["no", "yes"])[labels]) as built, built.graph.as_default():
        assert len(v1.get_collection(v1.GraphKeys.TABLE_INITIALIZERS)) == 3  # sex, class, labels


def test_linear_regressor_finds_the_line():
    x = np.linspace(-1, 1, 50, dtype=np.float32)
    y = np.stack([3 * x + 1, -2 * x], 1)
    estimator = LinearRegressor([fc.numeric_column("x")], label_dimension=2, optimizer=v1.train.AdamOptimizer(0.1))
    with Built(estimator, {"x": x}, y) as built:
        built.train({"x": x}, y, 250)
        np.testing.assert_allclose(built.run(built.spec.predictions["predictions"], {"x": x}), y, atol=0.02)
        got = built.variables()["linear/linear_model/x/weights"]
        np.testing.assert_allclose(got, [[3, -2]], atol=0.02)


# Labels, classes, weights


def blobs(rows=150):
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 3, rows)
    centres = np.array([[0, 0], [4, 0], [0, 4]])
    return {"x": (centres[kind] + rng.normal(size=(rows, 2))).astype(np.float32)}, kind


BLOB_COLUMNS = [fc.numeric_column("x", shape=(2,))]


@pytest.mark.parametrize("vocabulary", [None, ["red", "green", "blue"]])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_three_classes(vocabulary, shape):
    features, kind = blobs()
    labels = (kind if vocabulary is None else np.array(vocabulary)[kind]).reshape(shape)
    estimator = LinearClassifier(
        BLOB_COLUMNS, n_classes=3, label_vocabulary=vocabulary, optimizer=v1.train.FtrlOptimizer(1.0)
    )
    with Built(estimator, features, labels) as built:
        built.train(features, labels, 60)
        got = built.run(built.spec.predictions, features)
    assert {name: (array.shape, array.dtype.kind) for name, array in got.items()} == {
        "logits": ((150, 3), "f"), "probabilities": ((150, 3), "f"), "class_ids": ((150, 1), "i"),
        "classes": ((150, 1), "O"),
    }  # fmt: skip
    assert np.mean(got["class_ids"][:, 0] == kind) > 0.95
    np.testing.assert_allclose(got["probabilities"].sum(1), 1, rtol=1e-5)
    names = np.array(vocabulary or ["0", "1", "2"])
    assert [name.decode() for name in got["classes"][:, 0]] == list(names[got["class_ids"][:, 0]])


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, bool])
def test_two_classes_and_their_words(dtype):
    features, labels = titanic(60)
    estimator = LinearClassifier(titanic_columns())
    with Built(estimator, features, labels.astype(dtype), ModeKeys.EVAL) as built:
        assert built.spec.train_op is None
        got, metrics = built.run([built.spec.predictions, built.spec.eval_metric_ops], features, labels.astype(dtype))
    assert {name: array.shape for name, array in got.items()} == {
        "logits": (60, 1), "logistic": (60, 1), "probabilities": (60, 2), "class_ids": (60, 1), "classes": (60, 1)
    }  # fmt: skip
    assert metrics == {
        "accuracy": pytest.approx(np.mean(labels == 0)),  # all weights are zero, and so are all logits
        "average_loss": pytest.approx(np.log(2)),
        "label/mean": pytest.approx(labels.mean()),
        "prediction/mean": pytest.approx(0.5),
    }


def test_predicting_needs_no_labels_and_makes_no_loss():
    features, _ = titanic(5)
    with Built(LinearClassifier(titanic_columns()), features, mode=ModeKeys.PREDICT) as built:
        assert built.spec.loss is None and built.spec.train_op is None
        assert built.run(built.spec.predictions["probabilities"], features).shape == (5, 2)


@pytest.mark.parametrize("column", ["much", fc.numeric_column("much")])
@pytest.mark.parametrize(
    "reduction, divisor",
    [("sum_over_batch_size", 4.0), ("sum", 1.0), ("weighted_mean", 6.0), ("weighted_sum_by_nonzero_weights", 3.0)],
)
def test_weights_count_in_loss_and_metrics(column, reduction, divisor):
    features = {"x": np.zeros(4, np.float32), "much": np.array([1, 2, 3, 0], np.float32)}
    labels = np.array([1.0, 2.0, 3.0, 100.0], np.float32)
    estimator = LinearRegressor([fc.numeric_column("x")], weight_column=column, loss_reduction=reduction)
    with Built(estimator, features, labels, ModeKeys.EVAL) as built:
        loss, metrics = built.run([built.spec.loss, built.spec.eval_metric_ops], features, labels)
    assert loss == pytest.approx((1 * 1 + 2 * 4 + 3 * 9) / divisor)
    assert metrics["average_loss"] == pytest.approx(36 / 6)
    assert metrics["label/mean"] == pytest.approx(14 / 6)


def test_a_weight_is_as_good_as_repeating_the_row():
    features, labels = titanic(40)
    counts = np.arange(40) % 3
    repeated = {name: np.repeat(values, counts) for name, values in features.items()}
    weighted = {**features, "much": counts}
    results = []
    for inputs, answers, column in [(weighted, labels, "much"), (repeated, np.repeat(labels, counts), None)]:
        estimator = LinearClassifier(
            titanic_columns(), weight_column=column, loss_reduction="weighted_mean", optimizer="SGD"
        )
        with Built(estimator, inputs, answers) as built:
            built.train(inputs, answers, 5)
            results.append(built.variables()["linear/linear_model/age_bucketized_X_sex/weights"])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("n_classes, wrong", [(2, 2), (2, -1), (3, 3)])
def test_labels_out_of_range_are_told(n_classes, wrong):
    estimator = LinearClassifier([fc.numeric_column("x")], n_classes=n_classes)
    features, labels = {"x": np.zeros(2, np.float32)}, np.array([0, wrong])
    with Built(estimator, features, labels) as built, pytest.raises(tf.errors.InvalidArgumentError, match="class ids"):
        built.train(features, labels, 1)


def test_unknown_words_as_labels_are_told():
    estimator = LinearClassifier([fc.numeric_column("x")], label_vocabulary=["no", "yes"])
    features, labels = {"x": np.zeros(2, np.float32)}, np.array(["no", "maybe"])
    with Built(estimator, features, labels) as built, pytest.raises(tf.errors.InvalidArgumentError, match="vocabulary"):
        built.train(features, labels, 1)


# Networks

XOR = {"x": np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)}
XOR_LABELS = np.array([0, 1, 1, 0])


@pytest.mark.parametrize(
    "optimizer, words",
    [
        ("Adagrad", {"loss_reduction": "sum"}),
        (v1.train.AdamOptimizer(0.05), {"activation_fn": tf.nn.tanh}),
        (v1.train.AdamOptimizer(0.05), {"batch_norm": True}),
    ],
)
def test_network_learns_xor(optimizer, words):
    estimator = DNNClassifier([16, 8], BLOB_COLUMNS, optimizer=optimizer, **words)
    with Built(estimator, XOR, XOR_LABELS) as built:
        built.train(XOR, XOR_LABELS, 300)
        assert accuracy(built, XOR, XOR_LABELS) == 1
        assert {"dnn/hiddenlayer_0/kernel", "dnn/hiddenlayer_1/bias", "dnn/logits/kernel"} <= built.variables().keys()


def test_embeddings_and_indicators_are_inputs_of_networks():
    features, labels = titanic(300)
    _, sex, level, crossed = titanic_columns()
    columns = [fc.numeric_column("fare"), fc.indicator_column(level), fc.embedding_column(sex, 2),
               fc.indicator_column(crossed)]  # fmt: skip
    with Built(DNNClassifier([8], columns, optimizer=v1.train.AdamOptimizer(0.02)), features, labels) as built:
        built.train(features, labels, 100)
        assert accuracy(built, features, labels) > 0.75
        name = "dnn/input_from_feature_columns/input_layer/sex_embedding/embedding_weights"
        assert built.variables()[name].shape == (2, 2)


def test_network_regressor_finds_the_parabola():
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    estimator = DNNRegressor([32], [fc.numeric_column("x")], optimizer=v1.train.AdamOptimizer(0.02))
    with Built(estimator, {"x": x}, x**2) as built:
        assert built.train({"x": x}, x**2, 300) < 0.002


def test_dropout_is_for_training_only():
    features = {"x": np.ones((1, 2), np.float32)}
    estimator = DNNClassifier([50], BLOB_COLUMNS, dropout=0.5)
    for mode, answers in [(ModeKeys.TRAIN, 8), (ModeKeys.EVAL, 1)]:
        with Built(estimator, features, np.array([1]), mode) as built:
            seen = {float(built.run(built.spec.loss, features, np.array([1]))) for _ in range(8)}
        assert len(seen) == answers


def test_batch_norm_predicts_by_moving_averages():
    rng = np.random.default_rng(0)
    features = {"x": rng.normal(5, 2, (64, 2)).astype(np.float32)}
    labels = (features["x"][:, 0] > 5).astype(np.int64)
    estimator = DNNClassifier([3], BLOB_COLUMNS, optimizer=v1.train.GradientDescentOptimizer(0.0), batch_norm=True)
    with Built(estimator, features, labels) as built:
        built.train(features, labels, 2)
        trained = built.variables()
    scope = "dnn/hiddenlayer_0"
    outputs = np.maximum(features["x"] @ trained[f"{scope}/kernel"], 0)
    expected = outputs.mean(0) * (1 - 0.999**2)
    np.testing.assert_allclose(trained[f"{scope}/batchnorm_0/moving_mean"], expected, rtol=1e-3)
    with Built(estimator, features, mode=ModeKeys.PREDICT) as built:
        built.set(trained)
        got = built.run(built.spec.predictions["logits"], features)
    mean, variance = (trained[f"{scope}/batchnorm_0/{name}"] for name in ("moving_mean", "moving_variance"))
    normalized = (outputs - mean) / np.sqrt(variance + 0.001)
    np.testing.assert_allclose(got, normalized @ trained["dnn/logits/kernel"], rtol=1e-3, atol=1e-4)


def test_linear_and_deep_train_together_each_with_its_optimizer():
    features, labels = titanic(300)
    estimator = DNNLinearCombinedClassifier(
        linear_feature_columns=titanic_columns(),
        linear_optimizer=v1.train.FtrlOptimizer(0.1),
        dnn_feature_columns=[fc.numeric_column("fare"), fc.numeric_column("age", normalizer_fn=lambda age: age / 80)],
        dnn_hidden_units=[8],
    )
    with Built(estimator, features, labels) as built:
        before = built.variables()
        built.train(features, labels, 100)
        after = built.variables()
        assert built.session.run(built.step) == 100
        assert accuracy(built, features, labels) > 0.75
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"linear/linear_model/sex/weights", "dnn/hiddenlayer_0/kernel", "dnn/logits/bias"} <= moved
    slots = {name.rpartition("/")[2] for name in after}
    assert {"Ftrl", "Adagrad"} <= slots


# Optimizers


class Marking:
    """Wraps an optimizer, and says in the graph what it was asked."""

    def __init__(self, inner):
        self.inner = inner

    def minimize(self, loss, global_step=None):
        v1.add_to_collection("marked", (loss, global_step))
        return self.inner.minimize(loss, global_step=global_step)


def test_anything_that_minimizes_is_an_optimizer():
    estimator = LinearClassifier(BLOB_COLUMNS, optimizer=Marking(v1.train.FtrlOptimizer(0.2)))
    with Built(estimator, XOR, XOR_LABELS) as built, built.graph.as_default():
        built.train(XOR, XOR_LABELS, 3)
        [(loss, step)] = v1.get_collection("marked")
        assert loss is built.spec.loss and step is v1.train.get_global_step()
        assert built.session.run(step) == 3


def test_an_estimator_travels_before_and_after_it_has_built_a_graph():
    features, labels = titanic(50)
    columns = [*titanic_columns(), fc.indicator_column(titanic_columns()[1])]
    estimator = LinearClassifier(columns, optimizer=v1.train.FtrlOptimizer(0.2), config=RunConfig(tf_random_seed=3))
    losses = []
    for _ in range(2):
        estimator = cloudpickle.loads(cloudpickle.dumps(estimator))
        with Built(estimator, features, labels) as built:
            losses.append(built.train(features, labels, 3))
    assert losses[0] == losses[1]
    assert estimator.config == RunConfig(tf_random_seed=3)


def test_an_optimizer_that_was_used_elsewhere_is_taken_as_it_is():
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    with tf.Graph().as_default():
        optimizer.minimize(v1.get_variable("x", []))
    with Built(LinearClassifier(BLOB_COLUMNS, optimizer=optimizer), XOR, XOR_LABELS) as built:
        built.train(XOR, XOR_LABELS, 1)


# Where models go


def test_model_dir_and_config():
    plain = LinearClassifier(BLOB_COLUMNS)
    assert (plain.model_dir, plain.config, plain.params) == (None, RunConfig(), {})
    given = LinearClassifier(BLOB_COLUMNS, "/models/a", config=RunConfig(save_checkpoints_steps=7))
    assert given.model_dir == "/models/a"
    assert given.config == RunConfig(model_dir="/models/a", save_checkpoints_steps=7)
    assert DNNClassifier([2], BLOB_COLUMNS, config=RunConfig("/models/b")).model_dir == "/models/b"


# Mistakes

SEX = fc.categorical_column_with_vocabulary_list("sex", ["male", "female"])
X = fc.numeric_column("x")


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: LinearClassifier([]), r"at least one feature column. Received: \(\)"),
        (lambda: LinearClassifier(X), "must be a list of at least one feature column"),
        (lambda: LinearClassifier(["age"]), r"Received: 'age'. For example tf.feature_column.numeric_column\('age'\)"),
        (lambda: LinearClassifier([X, X]), "more than one column named x"),
        (lambda: LinearClassifier([X], optimizer="adm"), "no optimizer named 'adm'. Did you mean 'Adam'"),
        (lambda: LinearClassifier([X], optimizer=0.1), "those of Keras 3 have not. Received: 0.1"),
        (lambda: LinearClassifier([X], n_classes=1), "n_classes must be a whole number, 2 or more. Received: 1"),
        (lambda: LinearClassifier([X], label_vocabulary=["a", "b", "c"]), "3 names and n_classes=2. Set n_classes=3"),
        (lambda: LinearClassifier([X], label_vocabulary=[0, 1]), "must be a list of strings"),
        (lambda: LinearClassifier([X], sparse_combiner="max"), "sum, mean, sqrtn. Received: 'max'"),
        (lambda: LinearClassifier([X], loss_reduction="none"), "loss_reduction must be one of"),
        (lambda: LinearClassifier([X], weight_column=3), "weight_column must hold columns"),
        (lambda: LinearClassifier([X], config={"model_dir": "m"}), "config must be a RunConfig. Received: {"),
        (lambda: LinearClassifier([X], "a", config=RunConfig("b")), "'a' and config.model_dir='b' differ"),
        (lambda: LinearRegressor([X], label_dimension=0), "label_dimension must be a whole number, 1 or more"),
        (lambda: DNNClassifier([4], [SEX]), r"column 'sex' of feature_columns is categorical. Wrap it: tf.feature_col"),
        (lambda: DNNClassifier([], [X]), r"such as \[64, 32\]. Received: \[\]"),
        (lambda: DNNClassifier(16, [X]), "Received: 16"),
        (lambda: DNNClassifier([4], [X], activation_fn="relu"), "such as tf.nn.relu. Received: 'relu'"),
        (lambda: DNNClassifier([4], [X], dropout=1), "less than 1. Received: 1"),
        (lambda: DNNLinearCombinedClassifier(), "dnn_feature_columns must be a list"),
        (lambda: DNNLinearCombinedClassifier(linear_feature_columns=["x"]), "linear_feature_columns must hold"),
        (lambda: RunConfig(save_checkpoints_steps=1, save_checkpoints_secs=1), "not both"),
        (lambda: RunConfig(save_checkpoints_steps=0), "more than 0. Received: 0"),
    ],
)  # fmt: skip
def test_impossible_arguments_are_told(make, text):
    with pytest.raises(UsageError, match=text):
        make()


def test_all_problems_are_told_at_once():
    with pytest.raises(UsageError, match="4 problems"):
        DNNClassifier([-1], [SEX], n_classes=0, optimizer="Adma")


@pytest.mark.parametrize(
    "labels, words, text",
    [
        (None, {}, r"Let input_fn return \(features, labels\)"),
        (np.zeros((3, 2)), {}, r"shape \(batch,\) or \(batch, 1\). Received: \(None, 2\). .*tf.argmax"),
        (np.array(["a", "b", "a"]), {}, r"labels are strings. Give the classes' names: label_vocabulary="),
        (np.zeros(3), {"label_vocabulary": ["a", "b"]}, "labels must be strings. Received: float64"),
        (np.zeros(3), {"n_classes": 3}, r"must be whole numbers. Received: float64. Give tf.cast"),
        (np.zeros(3), {"weight_column": "y"}, "weight_column='y' is none of the features: x"),
        (np.zeros(3), {"weight_column": fc.numeric_column("y")}, r"'y' \(column y\)"),
    ],
)
def test_labels_and_weights_that_do_not_fit_are_told(labels, words, text):
    with pytest.raises(UsageError, match=text):
        Built(LinearClassifier([X], **words), {"x": np.zeros(3, np.float32)}, labels)


def test_features_that_do_not_fit_are_told():
    with tf.Graph().as_default():
        with pytest.raises(ColumnNotFound, match=r"'sex' \(column sex\).\n  Features: age\n"):
            LinearClassifier([SEX]).model_fn({"age": tf.zeros([3])}, None, ModeKeys.PREDICT)
        with pytest.raises(UsageError, match="features must be a dict of name -> tensor"):
            LinearClassifier([X]).model_fn(tf.zeros([3]), None, ModeKeys.PREDICT)
        with pytest.raises(UsageError, match="mode must be ModeKeys.TRAIN.* Received: 'fit'"):
            LinearClassifier([X]).model_fn({"x": tf.zeros([3])}, None, "fit")


def test_a_regressor_wants_numbers():
    with pytest.raises(UsageError, match="must be numbers"):
        Built(LinearRegressor([X]), {"x": np.zeros(2, np.float32)}, np.array(["a", "b"]))
    with pytest.raises(UsageError, match=r"\(batch, 2\). Received: \(None,\). label_dimension=2"):
        Built(LinearRegressor([X], label_dimension=2), {"x": np.zeros(2, np.float32)}, np.zeros(2))


def test_a_function_that_makes_no_optimizer_is_told():
    with pytest.raises(UsageError, match="must return an object with minimize"):
        Built(LinearClassifier([X], optimizer=lambda: 3), {"x": np.zeros(2, np.float32)}, np.zeros(2))


# Specs


def test_a_spec_holds_what_it_is_given():
    spec = EstimatorSpec(ModeKeys.TRAIN, {"a": 1}, loss=0.5, train_op="op", training_hooks=[], scaffold=None)
    assert (spec.mode, spec.predictions, spec.loss, spec.train_op) == ("train", {"a": 1}, 0.5, "op")
    assert EstimatorSpec(ModeKeys.PREDICT, predictions=1).loss is None


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: EstimatorSpec("train", loss=1.0), r"no train_op \(given: loss\).*train_op=optimizer.minimize"),
        (lambda: EstimatorSpec("train"), r"no loss and no train_op \(given: nothing\)"),
        (lambda: EstimatorSpec("eval", predictions=1), r"no loss \(given: predictions\)"),
        (lambda: EstimatorSpec("infer", loss=1.0), r"no predictions \(given: loss\)"),
        (lambda: EstimatorSpec("predict", predictions=1), "Received: 'predict'"),
        (lambda: EstimatorSpec("eval", loss=tf.zeros(3)), r"shape \(3,\). Give loss=tf.reduce_mean"),
        (lambda: EstimatorSpec("eval", loss=1.0, eval_metric_ops=[1]), "must be a dict of name -> metric"),
    ],
)  # fmt: skip
def test_incomplete_specs_are_told(make, text):
    with pytest.raises(UsageError, match=text):
        make()


def test_importing_loads_no_tensorflow():
    program = "import sys, zoo.tfpark.estimator.canned; sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
