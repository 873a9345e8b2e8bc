"""Keras-style models: made, trained, changed, saved; on every backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo.pipeline.api.autograd as A
from zoo.bigdl.nn import layer as bigdl
from zoo.engine import session
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.errors import NoContext, UsageError
from zoo.orca.data import XShards
from zoo.orca.learn.optimizers import SGD
from zoo.orca.learn.optimizers.schedule import Poly
from zoo.pipeline.api.keras.engine.topology import Input, InputLayer, Merge, merge
from zoo.pipeline.api.keras.layers import BatchNormalization, Dense
from zoo.pipeline.api.keras.layers.converters import hard_sigmoid
from zoo.pipeline.api.keras.metrics import Accuracy, Top5Accuracy
from zoo.pipeline.api.keras.models import Model, Sequential, load_model
from zoo.pipeline.api.keras.objectives import SparseCategoricalCrossEntropy
from zoo.pipeline.api.keras.optimizers import Adam, AdamWeightDecay, PolyEpochDecay
from zoo.pipeline.api.net import GraphNet

ROWS = 64
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, 4)).astype("float32")
Y = (X.sum(1) > 0).astype("int64")


def sequential(loss: Any = "sparse_categorical_crossentropy", **words: Any) -> Sequential:
    keras.utils.set_random_seed(3)
    model = Sequential().add(Dense(8, input_shape=(4,), activation="tanh", name="hidden"))
    model.add(Dense(2, activation="softmax", name="scores"))
    model.compile(**{"optimizer": SGD(0.5), "loss": loss, "metrics": ["accuracy", "loss"]} | words)
    return model


def graph() -> Model:
    given = Input((4,), name="given")
    hidden = Dense(8, activation="tanh", name="hidden")(given)
    return Model(given, Dense(2, activation="softmax", name="scores")(hidden))


def score(model: Any) -> list[float]:
    return model.evaluate(X, Y, distributed=False)


# --- training --------------------------------------------------------------------------------------------------------


def test_fit_is_what_keras_does() -> None:
    ours = sequential(metrics=["loss"])
    theirs = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(2, "softmax")])
    theirs.set_weights([array.T if array.ndim == 2 else array for array in ours.get_weights()])
    theirs.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    history = ours.fit(X, Y, batch_size=ROWS, nb_epoch=3, distributed=False)
    reference = theirs.fit(X, Y, batch_size=ROWS, epochs=3, verbose=0).history["loss"]
    assert [epoch["train_loss"] for epoch in history] == pytest.approx(reference, abs=1e-5)
    np.testing.assert_allclose(ours.predict(X, distributed=False), theirs.predict(X, verbose=0), atol=1e-5)
    assert score(ours) == pytest.approx([theirs.evaluate(X, Y, verbose=0)], abs=1e-5)


def test_metrics_come_in_their_order() -> None:
    own = keras.metrics.SparseCategoricalAccuracy(name="theirs")
    model = sequential(metrics=["loss", own, Top5Accuracy(), Accuracy()])
    loss, theirs, top, accuracy = score(model)
    assert theirs == pytest.approx(accuracy) and top == 1.0
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert score(model) == pytest.approx([loss])


def test_labels_may_count_from_one_in_the_loss_and_its_metrics() -> None:
    model = sequential(SparseCategoricalCrossEntropy(zero_based_label=False))
    reference = score(sequential())
    assert model.evaluate(X, Y + 1, distributed=False) == pytest.approx(reference, abs=1e-6)
    found = model.predict_classes(X, zero_based_label=False, distributed=False)
    np.testing.assert_array_equal(found, sequential().predict_classes(X, distributed=False) + 1)


def test_on_spark_rows_of_predictions_are_an_rdd(on_spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sequential()
    alone = model.predict(X, distributed=False)
    monkeypatch.setattr(model._course.estimator, "predict", lambda data, **words: alone)  # the engine's tests have it
    rows = model.predict(X)
    assert rows.getNumPartitions() and hasattr(rows, "mapPartitions")
    np.testing.assert_array_equal(np.stack(rows.collect()), alone)
    assert model.predict_classes(X).collect() == alone.argmax(1).tolist()


@pytest.mark.slow
def test_several_ranks_train_the_same_model() -> None:
    alone, together = sequential(), sequential()
    alone.fit(X, Y, batch_size=16, nb_epoch=2, distributed=False)
    session.begin(LocalCluster(2))
    try:
        together.fit(X, Y, batch_size=16, nb_epoch=2, workers=2)
        rows = together.predict(X)
        assert together.predict_classes(X).collect() == list(alone.predict_classes(X, distributed=False))
    finally:
        session.end()
    for one, other in zip(alone.get_weights(), together.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(np.stack(rows.collect()), alone.predict(X, distributed=False), atol=1e-5)


def test_other_data_and_validation(inline: None, tmp_path: Path) -> None:
    model = sequential()
    model.set_tensorboard(str(tmp_path), "app")
    model.set_checkpoint(str(tmp_path / "checkpoints"))
    history = model.fit(XShards.partition({"x": X, "y": Y}, 3), nb_epoch=2, validation_data=(X, Y))
    assert history[-1]["val_Accuracy"] == pytest.approx(score(model)[0])
    assert model.get_train_summary("Loss").shape == (4, 3)
    assert model.get_validation_summary("Top1Accuracy")[-1, 1] == pytest.approx(score(model)[0])
    assert model._course.estimator.latest_checkpoint()
    cut = sequential()
    assert "val_Accuracy" in cut.fit(X, Y, nb_epoch=1, validation_split=0.25, distributed=False)[0]


def test_another_program_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    whole = sequential(optimizer=Adam(0.01))
    whole.fit(X, Y, nb_epoch=4, distributed=False)
    first = sequential(optimizer=Adam(0.01))
    first.fit(X, Y, nb_epoch=1, distributed=False)
    first.set_checkpoint(str(tmp_path))  # between two calls: nothing is forgotten
    first.fit(X, Y, nb_epoch=1, distributed=False)
    second = sequential(optimizer=Adam(0.01))
    second.load_checkpoint(str(tmp_path))
    np.testing.assert_array_equal(second.get_weights()[0], first.get_weights()[0])
    history = second.fit(X, Y, nb_epoch=2, distributed=False)
    assert [stats["epoch"] for stats in history] == [3, 4]
    for one, other in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(UsageError, match="compile"):
        Sequential().load_checkpoint(str(tmp_path))


def test_nothing_trains_without_a_cluster_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "adopt", lambda: None)  # other tests' Spark may run
    with pytest.raises(NoContext):
        sequential().fit(X, Y, nb_epoch=1)


def test_clipping_and_schedules() -> None:
    model = sequential(optimizer=Adam(0.1, schedule=Poly(1, 4)))
    model.set_constant_gradient_clipping(-0.1, 0.1)
    model.set_gradient_clipping_by_l2_norm(0.5)
    model.fit(X, Y, batch_size=ROWS, nb_epoch=4, distributed=False)
    before = model.get_weights()
    model.clear_gradient_clipping()
    model.fit(X, Y, batch_size=ROWS, nb_epoch=1, distributed=False)  # the rate is 0 from step 4 on
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fixed = sequential(optimizer=SGD(0.5))
    fixed.set_constant_gradient_clipping(0.0, 0.0)
    before = fixed.get_weights()
    fixed.fit(X, Y, nb_epoch=1, distributed=False)
    np.testing.assert_array_equal(before[0], fixed.get_weights()[0])


def test_poly_epoch_decay_and_bert_adam() -> None:
    model = sequential(optimizer=Adam(0.1, schedule=PolyEpochDecay(1.0, 1)))
    model.fit(X, Y, nb_epoch=1, distributed=False)
    before = model.get_weights()
    model.fit(X, Y, nb_epoch=1, distributed=False)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    bert = sequential(optimizer=AdamWeightDecay(0.1, warmup_portion=0.25, total=8, weight_decay=0.1))
    start, w = score(bert)[1], bert.get_weights()[0]
    bert.fit(X, Y, batch_size=ROWS, nb_epoch=1, distributed=False)
    np.testing.assert_array_equal(w, bert.get_weights()[0])  # the first step of the warm-up has the rate 0
    bert.fit(X, Y, batch_size=ROWS, nb_epoch=6, distributed=False)
    assert score(bert)[1] < start


# --- graphs ----------------------------------------------------------------------------------------------------------


def test_new_graph_shares_weights_and_freezing_holds_them() -> None:
    model = graph()
    part = model.new_graph(["hidden"])
    assert part.predict(X, distributed=False).shape == (ROWS, 8)
    model.freeze_up_to(["hidden"])
    model.compile(SGD(0.5), "sparse_categorical_crossentropy")
    hidden, scores = model.get_layer("hidden").get_weights(), model.get_layer("scores").get_weights()
    model.fit(X, Y, nb_epoch=1, distributed=False)
    np.testing.assert_array_equal(hidden[0], part.get_layer("hidden").get_weights()[0])
    assert np.abs(scores[0] - model.get_layer("scores").get_weights()[0]).max() > 0
    model.unfreeze()
    assert all(layer.trainable for layer in model.layers)
    model.freeze("scores")
    assert [layer.trainable for layer in model.flattened_layers()] == [True, True, False]
    assert model.node("hidden").shape == (None, 8)
    assert sequential().new_graph("hidden").predict(X, distributed=False).shape == (ROWS, 8)
    assert sequential().freeze_up_to("hidden").get_layer("scores").trainable


@pytest.mark.parametrize("call", ["new_graph", "freeze_up_to", "freeze", "node"])
def test_unknown_layers_are_named(call: str) -> None:
    with pytest.raises(UsageError, match="no layer 'hiden'. Did you mean 'hidden'"):
        getattr(graph(), call)("hiden")


def test_a_sequential_begins_in_several_ways() -> None:
    for model in (
        Sequential().add(InputLayer((4,), name="in")).add(Dense(1)),
        Sequential([Dense(1, input_shape=(4,))]),
        Sequential().add(Sequential().add(Dense(3, input_shape=(4,)))).add(Dense(1)),
    ):
        assert model.is_built() and model.predict(X, distributed=False).shape == (ROWS, 1)
    nested = (
        Sequential().add(Sequential(name="inner").add(Dense(3, input_shape=(4,), name="a"))).add(Dense(1, name="b"))
    )
    assert [layer.name for layer in nested.flattened_layers()] == ["a", "b"]
    assert len(nested.flattened_layers(include_container=True)) == 4
    assert nested.get_layer("inner") is nested.layers[0]
    with pytest.raises(UsageError, match="takes a layer or a model"):
        Sequential().add("dense")
    with pytest.raises(UsageError, match=r"layers of zoo.bigdl, go into zoo.bigdl.nn.layer.Sequential. Received: Lin"):
        Sequential().add(bigdl.Linear(4, 1))
    with pytest.raises(UsageError, match=r"nodes as Input of zoo.bigdl.nn.layer gives them. Received: zoo.pipeline"):
        bigdl.Linear(4, 1)(Input(shape=(4,)))
    if keras.backend.backend() != "torch":
        with pytest.raises(UsageError, match="of Keras.*go into Sequential and Model of zoo.pipeline.api.keras"):
            bigdl.Sequential().add(Dense(1))


MERGED = {
    "sum": lambda a, b: a + b, "mul": lambda a, b: a * b, "ave": lambda a, b: (a + b) / 2, "max": np.maximum,
    "min": np.minimum, "sub": lambda a, b: a - b, "div": lambda a, b: a / b,
    "concat": lambda a, b: np.concatenate([a, b], -1), "dot": lambda a, b: (a * b).sum(-1, keepdims=True),
    "cos": lambda a, b: (a * b).sum(-1, keepdims=True)
    / np.linalg.norm(a, axis=-1, keepdims=True) / np.linalg.norm(b, axis=-1, keepdims=True),
}  # fmt: skip


@pytest.mark.parametrize("mode", list(MERGED))
def test_merge(mode: str) -> None:
    one, other = X[:5] + 3, X[5:10] + 4
    a, b = Input((4,)), Input((4,))
    model = Model([a, b], merge([a, b], mode))
    expected = MERGED[mode](one, other)
    np.testing.assert_allclose(model.predict([one, other], distributed=False), expected, rtol=1e-5)
    copy = Model.from_config(model.get_config())
    np.testing.assert_allclose(copy.forward([one, other]), expected, rtol=1e-5)


def test_merge_of_branches_is_the_first_layer(inline: None) -> None:
    branches = [Sequential().add(Dense(3, input_shape=(4,))) for _ in range(2)]
    model = Sequential().add(Merge(branches, mode="concat")).add(Dense(1))
    model.compile("sgd", "mse")
    model.fit([X, X], X[:, :1], nb_epoch=1)
    assert np.stack(model.predict([X, X]).collect()).shape == (ROWS, 1)
    with pytest.raises(UsageError, match="no mode 'summ'. Did you mean 'sum'"):
        Merge(mode="summ")


# --- files, copies, gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [sequential, graph])
def test_saved_models_are_compiled_as_before(make: Any, tmp_path: Path) -> None:
    model = make()
    model.compile(Adam(0.01, schedule=Poly(0.5, 100)), SparseCategoricalCrossEntropy(), ["accuracy", "loss"])
    model.fit(X, Y, nb_epoch=1, distributed=False)
    path = str(tmp_path / "model.keras")
    with pytest.raises(UsageError, match="a whole model is kept as a .keras file"):
        model.save_model(str(tmp_path / "m.h5"))
    assert model.save_model(path, str(tmp_path / "weights.h5")) == path
    with pytest.raises(UsageError, match="is there already"):
        model.saveModel(path)
    loaded = load_model(path, str(tmp_path / "weights.h5"))
    assert type(loaded) is type(model) and loaded._course.optimizer == model._course.optimizer
    assert score(loaded) == pytest.approx(score(model))
    loaded.fit(X, Y, nb_epoch=1, distributed=False)
    copy = keras.models.clone_model(graph())
    assert isinstance(copy, Model)
    copy.set_weights(model.get_weights())
    np.testing.assert_allclose(copy.forward(X), model.predict(X, distributed=False), atol=1e-6)


FRESH = """
import sys
from zoo.engine.frameworks.keras import backends, files
backends.begin(backends.current())
ours = files.load_model(sys.argv[1])
assert "zoo.pipeline.api.net.graph_net" not in sys.modules, "that the next file needs this shall be learnt from it"
from zoo.pipeline.api.keras.models import load_model
print(type(ours).__name__, [type(one).__name__ for one in load_model(sys.argv[2]).layers])
"""


def test_files_are_read_in_a_process_that_has_imported_no_layer(tmp_path: Path) -> None:
    paths = [str(tmp_path / "ours.keras"), str(tmp_path / "net.keras")]
    model = Sequential().add(Dense(2, activation="hard_sigmoid", input_shape=(4,))).add(A.Lambda(A.square))
    model.compile("adam", A.CustomLoss(lambda y, found: A.abs(y - found), (2,)))
    model.save_model(paths[0])
    entry = keras.Input((4,))
    net = GraphNet(entry, Dense(3)(entry))
    keras.Model(entry, keras.layers.Dense(1, activation=hard_sigmoid)(net(entry))).save(paths[1])
    done = subprocess.run([sys.executable, "-c", FRESH, *paths], capture_output=True, text=True, timeout=100)
    assert done.stdout.split("\n")[0] == "Sequential ['InputLayer', 'GraphNet', 'Dense']", done.stderr


def test_gradients_of_a_model_are_those_of_its_arithmetic() -> None:
    model = Sequential().add(Dense(3, input_shape=(4,), name="only"))
    wanted = RNG.normal(size=(6, 3)).astype("float32")
    weight, bias = model.get_weights()
    np.testing.assert_allclose(model.forward(X[:6]), X[:6] @ weight.T + bias, atol=1e-5)
    np.testing.assert_allclose(model.backward(X[:6], wanted), wanted @ weight, atol=1e-5)
    model.backward(X[:6], wanted)
    held = model.parameters()["only"]
    np.testing.assert_allclose(held["gradWeight"], 2 * wanted.T @ X[:6], atol=1e-4)
    np.testing.assert_allclose(held["gradBias"], 2 * wanted.sum(0), atol=1e-4)
    np.testing.assert_array_equal(held["weight"], weight)
    model.zero_grad_parameters()
    assert not model.parameters()["only"]["gradWeight"].any()
    with pytest.raises(UsageError, match="shape of the output"):
        model.backward(X[:6], wanted[:, :2])


def test_parameters_of_a_normalised_model_are_those_that_are_trained() -> None:
    model = Sequential().add(Dense(3, name="dense", input_shape=(4,))).add(BatchNormalization(name="norm"))
    model.forward(X)
    model.backward(X, np.ones((ROWS, 3), "float32"))
    held = model.parameters()["norm"]
    assert {name: array.shape for name, array in held.items()} == dict.fromkeys(
        ("weight", "gradWeight", "bias", "gradBias"), (3,)
    )
    np.testing.assert_array_equal(held["weight"], 1)
    np.testing.assert_allclose(held["gradBias"], ROWS, rtol=1e-5)


def test_forward_drops_out_in_training_only() -> None:
    model = Sequential().add(InputLayer((4,))).add(keras.layers.Dropout(0.5))
    assert (model.forward(np.ones((50, 4), "float32")) == 0).any() and model.is_training()
    assert (model.set_evaluate_status().forward(np.ones((50, 4), "float32")) == 1).all()
    assert (model.set_training_status().forward(np.ones((50, 4), "float32")) == 0).any()


def test_the_graph_is_shown_by_tensorboard(tmp_path: Path) -> None:
    from zoo.engine.events.tensorboard import _events_of

    graph().save_graph_topology(str(tmp_path))
    graph_pb2 = pytest.importorskip("tensorboard.compat.proto.graph_pb2")
    drawn = [graph_pb2.GraphDef.FromString(e.graph_def) for e in _events_of(str(tmp_path)) if e.graph_def]
    assert [(n.name, n.op, list(n.input)) for n in drawn[0].node] == [
        ("given", "InputLayer", []), ("hidden", "Dense", ["given"]), ("scores", "Dense", ["hidden"]),
    ]  # fmt: skip


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, message", [
    ({"metrics": ["acuracy"]}, "Unsupported metric: acuracy. Did you mean 'accuracy'"),
    ({"metrics": [3]}, "Unsupported metric: 3"),
    ({"loss": "msee"}, "Unsupported loss: msee. Did you mean 'mse'"),
    ({"loss": 7}, "Unsupported loss: 7"),
    ({"optimizer": "adm"}, "Unsupported optimizer: adm. Did you mean 'adam'"),
])  # fmt: skip
def test_unknown_words_of_compile(words: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message) as found:
        sequential(**words)
    assert isinstance(found.value, UsageError)


@pytest.mark.parametrize("loss, labels, message", [
    ("categorical_crossentropy", Y, "sparse_categorical_crossentropy"),
    ("sparse_categorical_crossentropy", np.eye(2, dtype="float32")[Y], "categorical_crossentropy"),
    ("mse", np.zeros((ROWS, 3), "float32"), "labels: \\(3\\); output: \\(2\\)"),
    ("rank_hinge", np.zeros((ROWS, 3), "float32"), None),
])  # fmt: skip
def test_labels_that_do_not_fit_the_loss(loss: str, labels: Any, message: str | None) -> None:
    model = sequential(loss)
    if message is None:
        model.fit(X, labels, nb_epoch=1, distributed=False)  # pairs: labels are not looked at
        return
    with pytest.raises(UsageError, match=message):
        model.fit(X, labels, nb_epoch=1, distributed=False)


def test_what_a_model_needs_first() -> None:
    model = Sequential().add(Dense(1, input_shape=(4,)))
    for call in (model.fit, model.evaluate):
        with pytest.raises(UsageError, match="not compiled"):
            call(X, Y, distributed=False)
    with pytest.raises(UsageError, match="set_tensorboard"):
        sequential().get_train_summary()
    with pytest.raises(UsageError, match=r"input 0 .* has the shape \(4,\)"):
        sequential().fit(X[:, :3], Y, nb_epoch=1, distributed=False)
    with pytest.raises(UsageError, match="beginning and the end"):
        Model(Input((3,)))
    with pytest.raises(UsageError, match="validation_split"):
        sequential().fit(X, Y, validation_split=1.5, distributed=False)
    with pytest.raises(UsageError, match="not known yet"):
        Sequential().add(Dense(1)).new_graph("dense")
    assert A.epsilon() == pytest.approx(1e-7)
