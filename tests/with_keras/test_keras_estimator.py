"""What `from_keras` promises beside the numbers of the conformance suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from zoo.engine.errors import NotPicklable, TrainingDiverged, UsageError, WorkerFailed
from zoo.orca.data import XShards
from zoo.orca.learn import tf, tf2
from zoo.orca.learn.metrics import MAE
from zoo.orca.learn.optimizers import SGD, Adam
from zoo.orca.learn.optimizers.schedule import Poly

ROWS = 96
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, 4)).astype("float32")
Y = (X.sum(1) > 0).astype("int64")
DATA = (X, Y)


def classifier(**compiled: Any) -> keras.Model:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(2, "softmax")])
    words = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | compiled
    model.compile(**words)
    return model


def weights(model: keras.Model) -> list[np.ndarray]:
    return [np.array(array) for array in model.get_weights()]


def assert_same(ours: keras.Model, theirs: keras.Model, tolerance: float = 1e-6) -> None:
    for one, other in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


# --- results are Keras' own ------------------------------------------------------------------------------------------


def test_fit_evaluate_and_predict_give_what_keras_gives(inline: None) -> None:
    ours, theirs = classifier(), classifier()
    words = {"epochs": 3, "batch_size": ROWS, "validation_data": DATA}  # all rows a step: in any order the same
    history = tf.Estimator.from_keras(ours).fit(DATA, **words)
    reference = theirs.fit(X, Y, **words, verbose=0).history
    for name, other in (("train_loss", "loss"), ("train_accuracy", "accuracy"), ("val_loss", "val_loss")):
        assert [epoch[name] for epoch in history] == pytest.approx(reference[other], abs=1e-5)
    assert_same(ours, theirs)
    est = tf.Estimator.from_keras(theirs)
    found = est.evaluate(DATA)
    loss, accuracy = theirs.evaluate(X, Y, verbose=0)
    assert found == pytest.approx({"loss": loss, "accuracy": accuracy}, abs=1e-6)
    np.testing.assert_allclose(est.predict(X), theirs.predict(X, verbose=0), atol=1e-6)


def test_metrics_of_parts_are_the_metrics_of_the_whole(inline: None) -> None:
    model = classifier(metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(1, name="top")])
    shards = XShards.partition({"x": X, "y": Y}, 5)
    assert tf.Estimator.from_keras(model).evaluate(shards, batch_size=7) == pytest.approx(
        dict(model.evaluate(X, Y, verbose=0, return_dict=True)), abs=1e-6
    )


def test_several_outputs_have_metrics_of_their_own(inline: None) -> None:
    given = keras.Input((4,))
    model = keras.Model(given, [layers.Dense(1, name="one")(given), layers.Dense(1, name="two")(given)])
    model.compile("sgd", loss=["mse", "mae"], metrics={"one": ["mae"], "two": ["mse"]})
    targets = [X.sum(1), X.prod(1)]
    found = tf.Estimator.from_keras(model).evaluate((X, targets))
    reference = model.evaluate(X, targets, verbose=0, return_dict=True)
    assert found == pytest.approx({name: reference[name] for name in found}, abs=1e-5)
    assert {"loss", "one_mae", "two_mse"} <= found.keys()


def test_orcas_metrics_stand_beside_the_compiled_ones(inline: None) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    found = tf.Estimator.from_keras(model, metrics=MAE()).evaluate((X, X.sum(1)))
    assert found["MAE"] == pytest.approx(found["mae"], abs=1e-6)


def test_programs_of_tf2_get_their_own_words(inline: None) -> None:
    est = tf2.Estimator.from_keras(model_creator=lambda config: classifier(), config={})
    assert est.fit(DATA, epochs=2, batch_size=32, validation_data=DATA).keys() == {
        "train_loss", "last_train_loss", "train_accuracy", "validation_loss", "validation_accuracy"
    } - {"last_train_loss"}  # fmt: skip
    assert est.evaluate(DATA).keys() == {"validation_loss", "validation_accuracy"}


# --- rows and columns ------------------------------------------------------------------------------------------------


def test_inputs_that_are_a_dict_take_columns_by_name(inline: None) -> None:
    inputs = {"b": keras.Input((), name="b"), "a": keras.Input((), name="a")}
    difference = layers.Reshape((1,))(layers.Subtract()([inputs["a"], inputs["b"]]))
    model = keras.Model(inputs, difference)
    a, b = X[:, 0], X[:, 1]
    est = tf.Estimator.from_keras(model)
    for columns in (["a", "b"], ["b", "a"]):
        found = est.predict({"a": a, "b": b}, feature_cols=columns)
        np.testing.assert_allclose(np.ravel(found), a - b, atol=1e-6)


def test_weights_of_rows_and_of_classes_count_as_in_keras(inline: None) -> None:
    row_weights = np.linspace(0, 2, ROWS).astype("float32")
    for words, own in (
        ({"sample_weight_col": "w"}, {"sample_weight": row_weights}),
        ({"class_weight": {0: 0.2, 1: 3.0}}, {"class_weight": {0: 0.2, 1: 3.0}}),
    ):
        ours, theirs = classifier(optimizer="sgd"), classifier(optimizer="sgd")
        data = {"x": X, "y": Y, "w": row_weights}
        est = tf.Estimator.from_keras(ours)
        est.fit(data, batch_size=ROWS, feature_cols=["x"], label_cols=["y"], **words)
        theirs.fit(X, Y, batch_size=ROWS, verbose=0, **own)
        assert_same(ours, theirs)


def test_an_epoch_may_have_fewer_steps_than_the_data(inline: None) -> None:
    history = tf.Estimator.from_keras(classifier()).fit(DATA, epochs=2, batch_size=8, steps_per_epoch=3)
    assert [(epoch["batch_count"], epoch["num_samples"]) for epoch in history] == [(3, 24), (3, 24)]


def test_validation_may_be_rarer_than_epochs(inline: None) -> None:
    history = tf.Estimator.from_keras(classifier()).fit(DATA, epochs=4, validation_data=DATA, validation_freq=2)
    assert ["val_loss" in epoch for epoch in history] == [False, True, False, True]


# --- optimizers ------------------------------------------------------------------------------------------------------


def test_an_optimizer_of_orca_takes_the_place_of_the_compiled_one(inline: None) -> None:
    ours, theirs = classifier(), classifier(optimizer=keras.optimizers.Adam(0.05))
    tf.Estimator.from_keras(ours, optimizer=Adam(0.05, epsilon=1e-7)).fit(DATA, batch_size=ROWS, epochs=3)
    theirs.fit(X, Y, batch_size=ROWS, epochs=3, verbose=0)
    assert_same(ours, theirs)


def test_a_creators_model_with_another_optimizer_is_scored_with_what_it_has_learned(on_spark: Any) -> None:
    est = tf.Estimator.from_keras(
        model_creator=lambda config: classifier(), optimizer=SGD(0.1, momentum=0.9), workers_per_node=2
    )
    est.fit(DATA, epochs=2)
    expected = est.get_model().evaluate(X, Y, verbose=0, return_dict=True)
    assert est.evaluate(DATA) == pytest.approx(expected, abs=1e-5)
    est.fit(DATA)


def test_a_schedule_of_orca_sets_the_rate_of_each_step(inline: None, tmp_path: Path) -> None:
    est = tf.Estimator.from_keras(classifier(), optimizer=SGD(0.1, learningrate_schedule=Poly(1.0, 10)))
    est.set_tensorboard(str(tmp_path), "app")
    est.fit(DATA, batch_size=24, epochs=1)
    rates = [value for _, value, _ in est.get_train_summary("LearningRate")]
    assert rates == pytest.approx([0.1, 0.09, 0.08, 0.07])


@pytest.mark.parametrize("words", [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.0, "nesterov": True}])
def test_momentum_and_decay_are_those_of_torch(inline: None, words: dict[str, Any]) -> None:
    import torch

    from zoo.orca.learn.pytorch import Estimator

    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    linear = torch.nn.Linear(4, 1)
    linear.weight.data = torch.from_numpy(weights(model)[0].T.copy())
    linear.bias.data = torch.from_numpy(weights(model)[1].copy())
    optimizer = SGD(0.05, weightdecay=0.1, **words)
    data = (X, X.sum(1, keepdims=True))
    Estimator.from_torch(model=linear, optimizer=optimizer, loss=torch.nn.MSELoss()).fit(data, 3, batch_size=24)
    tf.Estimator.from_keras(model, optimizer=optimizer).fit(data, 3, batch_size=24)
    np.testing.assert_allclose(weights(model)[0].T, linear.weight.detach().numpy(), atol=1e-5)


def test_clipping_bounds_the_averaged_gradients(inline: None) -> None:
    model = classifier(optimizer=keras.optimizers.SGD(1.0))
    before = weights(model)
    est = tf.Estimator.from_keras(model)
    est.set_constant_gradient_clipping(-1e-3, 1e-3)
    est.fit(DATA, batch_size=ROWS)
    assert max(np.abs(b - a).max() for a, b in zip(before, weights(model), strict=True)) == pytest.approx(
        1e-3, rel=1e-3
    )


# --- callbacks -------------------------------------------------------------------------------------------------------


class Noting(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.heard.append("begin")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.heard.append((batch, sorted(logs)))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.heard.append((epoch, sorted(logs)))

    def on_train_end(self, logs: Any = None) -> None:
        self.heard.append("end")


def test_callbacks_hear_what_keras_tells_them(inline: None) -> None:
    noting = Noting()
    tf.Estimator.from_keras(classifier()).fit(DATA, batch_size=48, validation_data=DATA, callbacks=[noting])
    epoch = (0, ["accuracy", "loss", "val_accuracy", "val_loss"])
    assert noting.heard == ["begin", (0, ["loss"]), (1, ["loss"]), epoch, "end"]


def test_early_stopping_stops_and_restores(inline: None) -> None:
    model = classifier(optimizer=keras.optimizers.SGD(-0.1))  # uphill: the first epoch is the best
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True)
    first = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(weights(model)))
    kept: list[Any] = []
    history = tf.Estimator.from_keras(model).fit(DATA, epochs=9, validation_data=DATA, callbacks=[first, stopping])
    assert len(history) == 3
    for one, other in zip(weights(model), kept[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_callbacks_may_serve_again_elsewhere(on_spark: Any) -> None:
    class Gentle(layers.Dense):
        pass

    def made() -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), Gentle(2, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=1)
    first = made()
    stopping.set_model(first)  # as a run in this process does
    tf.Estimator.from_keras(made(), workers_per_node=2).fit(DATA, callbacks=[stopping])
    assert stopping.model is first


def test_a_callback_changes_the_rate(inline: None, tmp_path: Path) -> None:
    est = tf.Estimator.from_keras(classifier(optimizer=keras.optimizers.SGD(0.1)))
    est.set_tensorboard(str(tmp_path), "app")
    halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    est.fit(DATA, epochs=2, batch_size=ROWS, callbacks=[halving])
    assert [value for _, value, _ in est.get_train_summary("LearningRate")] == pytest.approx([0.1, 0.05])


def test_writers_run_on_rank_0_and_the_others_everywhere(on_spark: Any, tmp_path: Path) -> None:
    class Marking(keras.callbacks.Callback):
        def on_train_end(self, logs: Any = None) -> None:
            import torch

            (tmp_path / f"everywhere-{torch.distributed.get_rank()}").touch()

    class Writing(Marking):
        rank_zero_only = True

        def on_train_end(self, logs: Any = None) -> None:
            import torch

            (tmp_path / f"writer-{torch.distributed.get_rank()}").touch()

    saving = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"))
    est = tf.Estimator.from_keras(classifier(), workers_per_node=2)
    est.fit(DATA, callbacks=[Marking(), Writing(), saving])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.keras",
        "everywhere-0",
        "everywhere-1",
        "writer-0",
    ]
    assert_same(keras.saving.load_model(tmp_path / "best.keras"), est.get_model())


# --- a user's own classes, functions, random layers ------------------------------------------------------------------


PROGRAM = """
import keras, numpy as np
from keras import layers, ops
from zoo.orca import init_orca_context
from zoo.orca.learn.tf.estimator import Estimator

class Scale(layers.Layer):
    def __init__(self, by=2.0, **words):
        super().__init__(**words)
        self.by = by
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")
    def call(self, x):
        return x * self.factor * self.by
    def get_config(self):
        return {**super().get_config(), "by": self.by}

class Cubed(keras.losses.Loss):
    def call(self, y, p):
        return ops.mean(ops.abs(y - p) ** 3, axis=-1)

def swish_like(x):
    return x * ops.sigmoid(1.5 * x)

def mean_error(y, p):
    return ops.mean(ops.abs(y - p))

init_orca_context(runtime="python", cores=2)
keras.utils.set_random_seed(0)  # a cubed error diverges from some beginnings
model = keras.Sequential([keras.Input((4,)), Scale(3.0), layers.Dense(5, swish_like), layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.001), loss=Cubed(), metrics=[mean_error])
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
before = model.get_weights()
est = Estimator.from_keras(model, workers_per_node=2)
history = est.fit((x, x.sum(1, keepdims=True)), epochs=2, batch_size=16)
assert any(abs(a - b).max() > 0 for a, b in zip(before, model.get_weights()))
assert {"train_loss", "train_mean_error"} <= history[0].keys(), history
found = est.evaluate((x, x.sum(1, keepdims=True)))
assert abs(found["loss"] - float(model.evaluate(x, x.sum(1, keepdims=True), verbose=0)[0])) < 1e-4
print("WELL")
"""


def test_classes_and_functions_of_the_main_program_travel(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=110)
    assert done.stdout.rstrip().endswith("WELL"), done.stdout + done.stderr


class Shapeless(keras.Model):
    """Learns its shapes from the first rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop, self.norm = layers.Dense(8, "relu"), layers.Dropout(0.5), layers.BatchNormalization()
        self.outer = layers.Dense(2, "softmax")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.outer(self.norm(self.drop(self.inner(x), training=training), training=training))


def shapeless(config: dict[str, Any]) -> keras.Model:
    model = Shapeless()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_subclassed_model_made_by_a_creator_trains_on_two_ranks(on_spark: Any, tmp_path: Path) -> None:
    est = tf.Estimator.from_keras(
        model_creator=shapeless, workers_per_node=2, model_dir=str(tmp_path), config={}
    )  # fmt: skip
    history = est.fit(DATA, epochs=8, batch_size=32)
    found = est.evaluate(DATA)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert len(est.get_model().get_weights()) == 8
    again = tf.Estimator.from_keras(model_creator=shapeless, workers_per_node=2, config={})
    again.load_checkpoint(str(tmp_path))
    assert again.evaluate(DATA) == pytest.approx(found, abs=1e-6)


def test_ranks_drop_out_differently_and_a_run_repeats(on_spark: Any) -> None:
    runs = []
    for _ in range(2):
        est = tf.Estimator.from_keras(model_creator=shapeless, workers_per_node=2, config={}, seed=5)
        est.fit(DATA, epochs=1, batch_size=32)
        runs.append(weights(est.get_model()))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_statistics_of_frozen_layers_stay(on_spark: Any) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(2, "softmax")])
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = weights(model)[:4]
    tf.Estimator.from_keras(model, workers_per_node=2).fit(DATA)
    for one, other in zip(before, weights(model)[:4], strict=True):
        np.testing.assert_array_equal(one, other)


# --- files -----------------------------------------------------------------------------------------------------------


def test_models_and_weights_go_to_files_and_come_back(inline: None, tmp_path: Path) -> None:
    est = tf.Estimator.from_keras(classifier())
    est.fit(DATA)
    expected = est.predict(X)
    whole, bare, old = (str(tmp_path / name) for name in ("model.keras", "weights", "model.h5"))
    est.save_keras_model(whole)
    est.save_keras_weights(bare)
    est.save(old)
    np.testing.assert_allclose(tf.Estimator.load_keras_model(whole).predict(X), expected, atol=1e-6)
    for path in (whole, bare, old):
        other = tf.Estimator.from_keras(classifier())
        for variable in other.get_model().weights:
            variable.assign(np.zeros(variable.shape))
        other.load(path)
        np.testing.assert_allclose(other.predict(X), expected, atol=1e-6)
    with pytest.raises(UsageError, match="overwrite=False"):
        est.save_keras_model(whole, overwrite=False)


def test_the_wrong_file_is_told_from_the_right_one(inline: None, tmp_path: Path) -> None:
    est = tf.Estimator.from_keras(classifier())
    weights_file, text, saved = tmp_path / "w", tmp_path / "t", tmp_path / "saved"
    est.save_keras_weights(str(weights_file))
    text.write_text("a,b\n1,2\n")
    saved.mkdir()
    (saved / "saved_model.pb").touch()
    with pytest.raises(UsageError, match="neither a .keras nor an HDF5 file"):
        est.load(str(text))
    with pytest.raises(UsageError, match="TensorFlow SavedModel"):
        tf.Estimator.load_keras_model(str(saved))
    with pytest.raises(UsageError, match="weights only"):
        tf.Estimator.load_keras_model(str(weights_file))
    narrow = keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh"), layers.Dense(2)])
    narrow.compile("sgd", "mse")
    with pytest.raises(UsageError, match="do not fit the model"):
        tf.Estimator.from_keras(narrow).load(str(weights_file))


def test_checkpoints_of_tensorflow_are_for_its_backend(inline: None, tmp_path: Path) -> None:
    est = tf.Estimator.from_keras(classifier())
    prefix = str(tmp_path / "ckpt")
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(UsageError, match="checkpoints of TensorFlow need its backend"):
            est.save_tf_checkpoint(prefix)
        return
    est.save_tf_checkpoint(prefix)
    expected = weights(est.get_model())
    est.fit(DATA)
    est.load_tf_checkpoint(prefix)
    for one, other in zip(weights(est.get_model()), expected, strict=True):
        np.testing.assert_array_equal(one, other)


# --- mistakes --------------------------------------------------------------------------------------------------------


class OwnStep(keras.Model):
    def train_step(self, *data: Any) -> Any:
        raise AssertionError


def uncompiled() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), layers.Dense(2)])


def lossless() -> keras.Model:
    model = uncompiled()
    model.compile("sgd")
    return model


def own_step() -> keras.Model:
    given = keras.Input((4,))
    model = OwnStep(given, layers.Dense(2)(given))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("make", "match"),
    [(uncompiled, "is not compiled"), (lossless, "without a loss"), (own_step, "train_step of its own")],
)
def test_models_that_cannot_be_trained_are_refused_first(inline: None, make: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        tf.Estimator.from_keras(make()).fit(DATA)


def test_data_without_targets_are_refused_where_the_loss_needs_them(inline: None) -> None:
    with pytest.raises(UsageError, match="compares outputs with targets, and the data have none. Give label_cols="):
        tf.Estimator.from_keras(classifier()).fit(DATA[0])


def test_calls_that_cannot_be_meant(inline: None) -> None:
    with pytest.raises(UsageError, match="one of the two"):
        tf.Estimator.from_keras()
    with pytest.raises(UsageError, match="no argument 'model_dirs'. Did you mean 'model_dir'"):
        tf.Estimator.from_keras(classifier(), model_dirs="x")
    with pytest.raises(UsageError, match="give a compiled keras.Model"):
        tf.Estimator.from_keras("model.h5")
    with pytest.raises(UsageError, match="must return a keras.Model"):
        tf.Estimator.from_keras(model_creator=lambda config: 3).fit(DATA)
    with pytest.raises(UsageError, match="not an optimizer"):
        tf.Estimator.from_keras(classifier(), optimizer="adamm")
    with pytest.raises(UsageError, match="device='cuda'"):
        tf.Estimator.from_keras(classifier(), device="cuda").fit(DATA)


def test_a_model_of_keras_2_is_told_apart(inline: None) -> None:
    legacy = type("Sequential", (), {"__module__": "tf_keras.src.engine.sequential", "__call__": lambda self: None})
    with pytest.raises(UsageError, match="of Keras 2"):
        tf.Estimator.from_keras(legacy())


def test_a_loss_that_is_no_number_ends_the_run(inline: None) -> None:
    model = classifier(optimizer=keras.optimizers.SGD(0.1))
    features = X.copy()
    features[50] = np.nan
    with pytest.raises(TrainingDiverged, match="the loss is nan"):
        tf.Estimator.from_keras(model).fit((features, Y))
    assert len(tf.Estimator.from_keras(classifier()).fit((features, Y), stop_on_nan=False)) == 1


def test_a_step_may_have_fewer_rows_than_ranks(on_spark: Any) -> None:
    ours, theirs = classifier(optimizer="sgd"), classifier(optimizer="sgd")
    few = (X[:3], Y[:3])
    tf.Estimator.from_keras(ours, workers_per_node=2).fit(few, epochs=2, batch_size=1, shuffle=False)
    tf.Estimator.from_keras(theirs).fit(few, epochs=2, batch_size=1, shuffle=False)
    assert_same(ours, theirs)


def test_a_rank_may_have_no_row_at_all(on_spark: Any) -> None:
    model = classifier()
    (epoch,) = tf.Estimator.from_keras(model, workers_per_node=2).fit((X[:1], Y[:1]))
    assert epoch["train_accuracy"] in (0, 1) and epoch["num_samples"] == 1


class Misspelt(keras.callbacks.Callback):
    def on_epoch_ends(self, epoch: int, logs: Any = None) -> None:
        raise AssertionError


def test_callbacks_that_nobody_would_call(inline: None) -> None:
    est = tf.Estimator.from_keras(classifier())
    with pytest.raises(UsageError, match=r"on_epoch_ends is no hook of Keras.*Did you mean 'on_epoch_end'\?"):
        est.fit(DATA, callbacks=[Misspelt()])
    with pytest.raises(UsageError, match="must be keras.callbacks.Callback objects"):
        est.fit(DATA, callbacks=[print])


def test_labels_of_another_shape_are_named_by_keras(inline: None) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(Exception) as raised:  # noqa: PT011  each backend has a class and words of its own
        tf.Estimator.from_keras(model).fit((X, RNG.normal(size=(ROWS, 2)).astype("float32")), batch_size=32)
    assert "given float32 (32, 4); the loss was given the label float32 (32, 2)" in "".join(raised.value.__notes__)


def test_a_layer_without_a_configuration_cannot_travel(on_spark: Any) -> None:
    class Stubborn(layers.Layer):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

        def call(self, x: Any) -> Any:
            return x * self.size

    model = keras.Sequential([keras.Input((4,)), Stubborn(2), layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(NotPicklable, match="model_creator"):
        tf.Estimator.from_keras(model, workers_per_node=2).fit(DATA)


def test_a_rank_that_has_another_backend_refuses(on_spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.engine.frameworks.keras import backends

    other = next(name for name in backends.BACKENDS if name != keras.backend.backend())
    with pytest.raises(UsageError, match="has imported Keras with the backend"):
        backends.begin(other)

    def importing(config: dict[str, Any]) -> keras.Model:
        raise ValueError("made on the rank")

    with pytest.raises((WorkerFailed, ValueError), match="made on the rank"):
        tf.Estimator.from_keras(model_creator=importing, workers_per_node=2).fit(DATA)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_a_model_of_an_hdf5_file_goes_on_training(inline: None, tmp_path: Path, loss: str) -> None:
    """Keras finds neither the short names of losses in such a file nor the variables that its optimizer is for."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile(optimizer="adam", loss=loss, metrics=["mae"])
    est = tf.Estimator.from_keras(model)
    est.fit((X, X.sum(1)), batch_size=32)
    est.save(str(tmp_path / "model.h5"))
    again = tf.Estimator.load_keras_model(str(tmp_path / "model.h5"))
    assert_same(again.get_model(), model, 0.0)
    losses = [stats["train_loss"] for stats in again.fit((X, X.sum(1)), epochs=30, batch_size=32)]
    assert losses[-1] < losses[0]


def test_weights_find_layers_by_their_names(inline: None, tmp_path: Path) -> None:
    def model(*names: str, width: int = 4) -> keras.Model:
        made = keras.Sequential([keras.Input((4,)), *(layers.Dense(width, name=name) for name in names)])
        made.compile(optimizer="sgd", loss="mse")
        return made

    path = str(tmp_path / "weights.h5")
    first = model("shared", "own")
    tf.Estimator.from_keras(first).save_keras_weights(path)
    second = model("other", "shared")
    before = weights(second)
    est = tf.Estimator.from_keras(second)
    est.load_keras_weights(path, by_name=True)
    for found, wanted in zip(weights(second), [*before[:2], *weights(first)[:2]], strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UsageError, match="no layer of the model has a name that is in the file"):
        tf.Estimator.from_keras(model("stranger")).load_keras_weights(path, by_name=True)
    with pytest.raises(UsageError, match="do not fit the model"):
        tf.Estimator.from_keras(model("shared", width=3)).load_keras_weights(path, by_name=True)
