"""The small rooms of Keras: backends, structures, the layout of a buffer, states."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from zoo.engine.contracts import Batch, State
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.keras import backends
from zoo.engine.frameworks.keras import state as states
from zoo.engine.frameworks.keras.callbacks import logs_of, writes
from zoo.engine.frameworks.keras.passes import Layout, Passes
from zoo.engine.frameworks.keras.structures import Structure, described, zeros_like
from zoo.engine.frameworks.tensorflow import process

HERE = keras.backend.backend()


def test_only_tensorflows_greetings_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with process.without_greetings():
        os.write(2, b"I0000 00:00:1 cpu_feature_guard.cc:227] optimized\nsomebody else's line\n")
        os.write(2, b"To enable the following instructions: AVX\n")
    assert capfd.readouterr().err == "somebody else's line\n"


@pytest.mark.skipif(HERE != "tensorflow", reason="TensorFlow traces")
def test_tensorflow_does_not_warn_of_the_first_trace_of_each_of_many_models() -> None:
    import tensorflow as tf

    from zoo.engine.frameworks.keras import steps_tensorflow as steps

    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    tf.get_logger().addHandler(listener)
    try:
        for _ in range(6):
            model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
            steps.CompiledSteps(Passes(model)).predict(np.zeros((3, 2), "float32"))
    finally:
        tf.get_logger().removeHandler(listener)
    assert said == []


def test_a_variable_is_for_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_TEST", raising=False)
    with backends._variable("ZOO_TEST", "1"):
        assert os.environ["ZOO_TEST"] == "1"
    assert "ZOO_TEST" not in os.environ


def test_names_that_are_no_backend() -> None:
    with pytest.raises(UsageError, match="one of tensorflow, jax, torch. Received: 'theano'"):
        backends.begin("theano")
    assert backends.begin(HERE) is keras
    assert backends.current() == HERE


def test_columns_become_what_a_model_takes() -> None:
    a, b, y = np.arange(3), np.ones(3), np.zeros(3)
    one = Structure().data(Batch((a,), (y,), 3))
    assert one.x is a and one.y is y and one.weights is None
    two = Structure().data(Batch((a, b), (y, b), 3))
    assert [two.x[0] is a, two.x[1] is b, two.y[1] is b] == [True] * 3
    named = Structure(features=("b", "a"), inputs=("a", "b")).data(Batch((b, a), (), 3))
    assert named.x["a"] is a and named.x["b"] is b and named.y is None
    placed = Structure(features=("p", "q"), inputs=("a", "b")).data(Batch((a, b), (), 3))
    assert placed.x["a"] is a and placed.x["b"] is b
    with pytest.raises(UsageError, match=r"2 named arrays \(a, b\). Received 1 columns: p"):
        Structure(features=("p",), inputs=("a", "b")).data(Batch((a,), (), 3))
    weighted = Structure(weighted=True).data(Batch((a,), (y, b), 3))
    assert weighted.y is y and weighted.weights is b


def test_classes_have_weights() -> None:
    by_class = {0: 0.5, 2: 4.0}
    for labels in (np.array([0, 1, 2]), np.array([[0], [1], [2]]), np.eye(3)):
        data = Structure(class_weight=by_class).data(Batch((labels,), (labels,), 3))
        assert data.weights.tolist() == [0.5, 1.0, 4.0]
    with pytest.raises(DataError, match="whole numbers or one-hot"):
        Structure(class_weight=by_class).data(Batch((np.ones(2),), (np.array([0.5, 1]),), 2))
    with pytest.raises(UsageError, match="models with one output"):
        Structure(class_weight=by_class).data(Batch((np.ones(2),), (np.ones(2), np.ones(2)), 2))


@given(st.recursive(st.sampled_from(["float32", "int64"]), lambda inner: st.one_of(
    st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.text("ab", min_size=1), inner, min_size=1, max_size=3)
), max_leaves=5))  # fmt: skip
def test_a_description_makes_a_row_of_the_same_structure(structure: Any) -> None:
    def arrays(part: Any) -> Any:
        if isinstance(part, str):
            return np.ones((4, 2, 3), part)
        return [arrays(one) for one in part] if isinstance(part, list) else {k: arrays(v) for k, v in part.items()}

    x = arrays(structure)
    assert described(zeros_like(described(x))) == described(x)


def test_a_buffer_comes_apart_as_it_was_laid() -> None:
    layout = Layout(((2, 3), (4,)), ((2,),), "float32")
    assert (layout.loss, layout.stop, layout.size, layout.sizes) == (10, 11, 14, [6, 4])
    gradients, statistics = layout.pieces(keras.ops.convert_to_tensor(np.arange(14, dtype="float32")))
    found = [np.array(keras.ops.convert_to_numpy(piece)).tolist() for piece in (*gradients, *statistics)]
    assert found == [[[0, 1, 2], [3, 4, 5]], [6, 7, 8, 9], [12, 13]]


def test_statistics_are_what_layers_compute_from_rows() -> None:
    frozen, moving = layers.BatchNormalization(), layers.BatchNormalization()
    frozen.trainable = False
    model = keras.Sequential([keras.Input((3,)), frozen, layers.Dropout(0.5), moving])
    assert [v.path for v in Passes(model).statistics] == [v.path for v in (moving.moving_mean, moving.moving_variance)]


def network() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.Dropout(0.5, seed=1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_state_goes_into_another_model_and_random_numbers_differ_by_rank() -> None:
    one, other = network(), network()
    state = states.take(one, one.optimizer)
    assert {name.partition("/")[0] for name in state.arrays} == {"model", "optimizer", "rng"}
    states.give(state, other, other.optimizer)
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert states.reseeded(state, 0) is state
    second, third = states.reseeded(state, 1), states.reseeded(state, 2)
    (rng,) = [name for name in state.arrays if name.startswith("rng/")]
    assert len({tuple(one.arrays[rng].tolist()) for one in (state, second, third)}) == 3
    assert second.arrays[rng].dtype == state.arrays[rng].dtype
    np.testing.assert_array_equal(second.arrays[rng], states.reseeded(state, 1).arrays[rng])


def test_a_state_of_another_model_is_refused() -> None:
    wide = keras.Sequential([keras.Input((3,)), layers.Dense(5)])
    with pytest.raises(UsageError, match=r"do not fit the model \(model/0000.kernel: \(3, 2\) for \(3, 5\)\)"):
        states.give(states.take(network()), wide)
    with pytest.raises(UsageError, match="1 arrays for 2"):
        states.give(State({"model/0000.kernel": np.zeros((3, 5))}, {}), wide)


def test_who_writes() -> None:
    class Own(keras.callbacks.CSVLogger):
        pass

    assert writes(Own("x.csv")) and writes(keras.callbacks.TensorBoard("x"))
    assert not writes(keras.callbacks.EarlyStopping()) and not writes(keras.callbacks.LambdaCallback())


def test_logs_have_keras_names() -> None:
    stats = {"epoch": 1, "batch_count": 2, "num_samples": 3, "train_loss": 0.5, "last_train_loss": 0.4,
             "train_accuracy": 0.7, "val_loss": 0.6, "val_accuracy": 0.8}  # fmt: skip
    assert logs_of(stats) == {"loss": 0.5, "accuracy": 0.7, "val_loss": 0.6, "val_accuracy": 0.8}


@pytest.mark.skipif(HERE != "tensorflow", reason="a program of TensorFlow 1")
def test_a_program_that_builds_graphs_is_told_that_keras_cannot() -> None:
    program = """
import tensorflow as tf
tf.compat.v1.disable_eager_execution()
import keras
from zoo.orca.learn.tf.estimator import Estimator
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
Estimator.from_keras(model)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "this program builds graphs" in done.stderr.splitlines()[-1]


@pytest.mark.one_backend
def test_a_process_of_another_backend_stays_without_tensorflow(tmp_path: Any) -> None:
    program = """
import sys
import keras, numpy as np
from zoo.engine.frameworks.keras import backends, files, travel
model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
model.compile("sgd", "mse")
keras.random.normal((1,))
with backends.without_tensorflow():
    keras.utils.set_random_seed(5)
ours = [float(np.random.rand()), keras.ops.convert_to_numpy(keras.random.normal((2,))).tolist()]
travel.unpack(travel.pack(model))
files.save_model(model, sys.argv[1])
files.load_model(sys.argv[1])
assert "tensorflow" not in sys.modules, "imported"
keras.utils.set_random_seed(5)
assert ours == [float(np.random.rand()), keras.ops.convert_to_numpy(keras.random.normal((2,))).tolist()]
assert "tensorflow" in sys.modules, "whoever asks for it gets it"
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.keras")], env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
