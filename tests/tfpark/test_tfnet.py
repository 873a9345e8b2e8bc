"""Graphs that only compute: from files and sessions; checkpoints of TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.orca.learn.metrics import MAE, MSE, Accuracy
from zoo.orca.learn.tf.estimator import Estimator
from zoo.tfpark import KerasModel, TFDataset, TFNet
from zoo.util.tf import export_tf, get_checkpoint_state, load_tf_checkpoint, save_tf_checkpoint

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
ROWS = 10
X = np.random.default_rng(7).normal(size=(ROWS, 3)).astype("float32")
Z = np.arange(ROWS, dtype="int32")
KERNEL = np.array([[1.0], [2.0], [3.0]], "float32")
OUT = X @ KERNEL + Z[:, None]


class Net:
    """``x @ kernel + z`` and ``x * 2``, of a session of its own."""

    def __init__(self) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x = v1.placeholder(tf.float32, [None, 3], "x")
            self.z = v1.placeholder(tf.int32, [None], "z")
            self.unused = v1.placeholder(tf.float32, [None], "unused")
            self.kernel = v1.get_variable("kernel", initializer=KERNEL)
            self.out = tf.add(self.x @ self.kernel, tf.cast(self.z, tf.float32)[:, None], "out")
            self.twice = tf.multiply(self.x, 2.0, "twice")
            self.session = v1.Session(graph=self.graph)
            self.session.run(v1.global_variables_initializer())

    def set(self, value: Any) -> None:
        with self.graph.as_default():
            self.kernel.load(value, self.session)


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net()
    with made.session:
        yield made


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# --- frozen graphs ---------------------------------------------------------------------------------------------------


def test_an_exported_graph_comes_back(net: Net, tmp_path: Path) -> None:
    folder = str(tmp_path / "net")
    assert export_tf(net.session, folder, [net.x, net.z], [net.out, net.twice]) == folder
    meta = json.loads((tmp_path / "net" / "graph_meta.json").read_text())
    assert meta == {"input_names": ["x:0", "z:0"], "output_names": ["out:0", "twice:0"]}
    for made in (TFNet.from_export_folder(folder), TFNet(Path(folder)), TFNet(folder, output_names=["out", "twice:0"])):
        assert (made.inputs, made.outputs) == (["x:0", "z:0"], ["out:0", "twice:0"])
        one, other = made.forward([X, Z])
        close(one, OUT)
        close(other, 2 * X)


def test_an_input_that_no_output_needs_comes_back(net: Net, tmp_path: Path) -> None:
    export_tf(net.session, str(tmp_path), [net.x, net.unused], net.twice)
    close(TFNet(str(tmp_path)).forward([X, X[:, 0]]), 2 * X)


def test_a_frozen_file_is_read_by_names(net: Net, tmp_path: Path) -> None:
    export_tf(net.session, str(tmp_path), net.x, net.twice)
    file = str(tmp_path / "frozen_inference_graph.pb")
    close(TFNet(file, "x", "twice:0").forward(X), 2 * X)
    with pytest.raises(UsageError, match="does not tell its inputs and outputs: give input_names, output_names"):
        TFNet(file)
    with pytest.raises(UsageError, match="no tensor 'nothing'.*x:0"):
        TFNet(file, ["nothing"], ["twice"])
    with pytest.raises(UsageError, match="no tensor 'twice:3'"):
        TFNet(file, ["x"], ["twice:3"])


def test_files_that_are_no_graph_are_told(net: Net, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no frozen graph at .*nowhere.*from_saved_model"):
        TFNet.from_export_folder(str(tmp_path / "nowhere"))
    (tmp_path / "other.pb").write_bytes(b"no graph at all")
    with pytest.raises(UsageError, match="other.pb is no graph of TensorFlow"):
        TFNet(str(tmp_path / "other.pb"), ["x"], ["y"])
    export_tf(net.session, str(tmp_path), net.x, net.twice)
    meta = tmp_path / "graph_meta.json"
    meta.write_text("{}")
    with pytest.raises(UsageError, match="graph_meta.json does not tell.*input_names"):
        TFNet(str(tmp_path))
    meta.unlink()
    with pytest.raises(UsageError, match="does not tell its inputs and outputs"):
        TFNet(str(tmp_path))
    close(TFNet(str(tmp_path), ["x"], ["twice"]).forward(X), 2 * X)


def test_a_session_without_values_is_not_exported(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 1])
        output = x * v1.get_variable("w", [1])
        with pytest.raises(UsageError, match=r"variable.* no value.*global_variables_initializer"):
            export_tf(session, str(tmp_path / "net"), x, output)
        with pytest.raises(UsageError, match=r"variable.* no value.*global_variables_initializer"):
            save_tf_checkpoint(session, str(tmp_path / "model.ckpt"))
    assert not (tmp_path / "net" / "graph_meta.json").exists()


# --- SavedModels -----------------------------------------------------------------------------------------------------


def test_a_saved_model_of_tensorflow_1_is_read(net: Net, tmp_path: Path) -> None:
    path = str(tmp_path / "saved")
    with net.graph.as_default():
        v1.saved_model.simple_save(net.session, path, {"x": net.x, "z": net.z}, {"out": net.out})
    made = TFNet.from_saved_model(path)
    assert (made.inputs, made.outputs) == (["x:0", "z:0"], ["out:0"])
    close(made.forward([X, Z]), OUT)
    close(TFNet.from_saved_model(Path(path), inputs=["x"], outputs="twice").forward(X), 2 * X)
    with pytest.raises(UsageError, match="no tensor 'twoce'"):
        TFNet.from_saved_model(path, inputs=["x"], outputs=["twoce"])


def test_tags_and_signatures_are_chosen(net: Net, tmp_path: Path) -> None:
    path = str(tmp_path / "saved")
    with net.graph.as_default():
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0]), -1.0)
        texts = v1.placeholder(tf.string, [None], "texts")
        found = table.lookup(texts)
        net.session.run(v1.tables_initializer())
        builder = v1.saved_model.Builder(path)
        signed = v1.saved_model.predict_signature_def
        signatures = {"twice": signed({"x": net.x}, {"y": net.twice}), "look": signed({"t": texts}, {"y": found})}
        builder.add_meta_graph_and_variables(net.session, ["mine"], signatures, main_op=v1.tables_initializer())
        builder.save()
    close(TFNet.from_saved_model(path, tag="mine", signature="twice").forward(X), 2 * X)
    looked = TFNet.from_saved_model(path, tag="mine", signature="look").forward(np.array(["b", "c"], object))
    close(looked, [2.0, -1.0])
    with pytest.raises(UsageError, match="no graph with the tag 'serve'. It has: mine"):
        TFNet.from_saved_model(path)
    with pytest.raises(UsageError, match="no signature 'serving_default'. It has: look, twice"):
        TFNet.from_saved_model(path, tag="mine")


class Module(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(KERNEL, name="kernel")

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None, 3], tf.float32, "x"), tf.TensorSpec([None], tf.int32, "z")],
    )
    def __call__(self, x: Any, z: Any) -> Any:
        return {"out": x @ self.kernel + tf.cast(z, tf.float32)[:, None], "twice": 2 * x}


def test_a_saved_model_of_tensorflow_2_is_read(inline: None, expected_leftovers: Any, tmp_path: Path) -> None:
    with expected_leftovers.during():  # TensorFlow removes its generated code at exit
        tf.saved_model.save(Module(), str(tmp_path))
    made = TFNet.from_saved_model(str(tmp_path))
    for one, other in (made.forward([X, Z]), made.predict([X, Z], batch_per_thread=3)):
        close(one, OUT)
        close(other, 2 * X)


def test_a_model_that_keras_has_exported_is_read(on_spark: Any, expected_leftovers: Any, tmp_path: Path) -> None:
    layers = [keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.BatchNormalization()]
    model = keras.Sequential(layers)
    with expected_leftovers.during():  # TensorFlow removes its generated code at exit
        model.export(str(tmp_path / "exported"), verbose=False)
    made = TFNet.from_saved_model(str(tmp_path / "exported"))
    expected = model.predict(X, verbose=0)
    close(made.forward(X), expected)
    close(made.predict(X), expected)


def test_what_is_no_saved_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no SavedModel at .*nowhere.*saved_model.pb"):
        TFNet.from_saved_model(str(tmp_path / "nowhere"))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(UsageError, match=r"no SavedModel at .*model.keras.*KerasModel.load_model"):
        TFNet.from_saved_model(str(tmp_path / "model.keras"))
    with pytest.raises(UsageError, match="a SavedModel is read from a path of this machine.*s3://bucket/model"):
        TFNet.from_saved_model("s3://bucket/model")
    (tmp_path / "saved_model.pb").write_bytes(b"no model at all")
    with pytest.raises(UsageError, match="saved_model.pb is no SavedModel"):
        TFNet.from_saved_model(str(tmp_path))


def test_a_saved_model_without_its_variables_is_told(net: Net, tmp_path: Path) -> None:
    with net.graph.as_default():
        v1.saved_model.simple_save(net.session, str(tmp_path / "saved"), {"x": net.x, "z": net.z}, {"out": net.out})
    for file in (tmp_path / "saved" / "variables").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="the SavedModel .* cannot be read"):
        TFNet.from_saved_model(str(tmp_path / "saved"))


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_sessions_variables_have_their_newest_values(net: Net, inline: None) -> None:
    made = TFNet.from_session(net.session, [net.x, net.z], [net.out])
    close(made.predict([X, Z]), OUT)
    net.set(2 * KERNEL)
    for found in (made.predict([X, Z]), made.forward([X, Z])):
        close(found, X @ (2 * KERNEL) + Z[:, None])


def test_sessions_and_tensors_that_do_not_fit_are_told(net: Net) -> None:
    with pytest.raises(UsageError, match="a TFNet only computes.*TFOptimizer.from_loss"):
        TFNet.from_session(net.session, net.x, net.twice, generate_backward=True)
    other = Net()
    with other.session, pytest.raises(UsageError, match="of another graph than the session"):
        TFNet.from_session(net.session, other.x, other.twice)
    with pytest.raises(UsageError, match="give tensors of a graph.*'x:0'"):
        TFNet.from_session(net.session, "x:0", net.twice)
    with pytest.raises(UsageError, match="names no outputs"):
        TFNet.from_session(net.session, net.x, [])


# --- computing -------------------------------------------------------------------------------------------------------


def test_forward_takes_as_many_arrays_as_there_are_inputs(net: Net) -> None:
    made = TFNet.from_session(net.session, [net.x, net.z], net.out)
    close(made.forward((X, Z)), OUT)
    close(made.forward([X.astype("float64"), Z.astype("int64")]), OUT)
    with pytest.raises(UsageError, match=r"takes 2 arrays \(x:0, z:0\). Received: 1"):
        made.forward(X)
    with pytest.raises(UsageError, match=r"x:0.*\(None, 3\).*\(10, 2\)"):
        made.forward([X[:, :2], Z])


def test_arrays_frames_rdds_and_data_sets_are_predicted(on_spark: Any, net: Net) -> None:
    made = TFNet.from_session(net.session, [net.x, net.z], [net.out])
    close(made.predict([X, Z], batch_per_thread=4), OUT)
    close(made.predict((X, Z)), OUT)
    close(made.predict([X, Z], distributed=False), OUT)
    pairs = list(zip(X, Z, strict=True))
    rdd = on_spark.sparkContext.parallelize([[x, z] for x, z in pairs], 2)
    close(made.predict(rdd).collect(), OUT)
    close(made.predict(TFDataset.from_ndarrays([X, Z], batch_per_thread=3)).collect(), OUT)
    frame = on_spark.createDataFrame(pd.DataFrame({"x": list(X), "z": Z}))
    rows = made.predict(TFDataset.from_dataframe(frame, ["x", "z"])).collect()
    close(rows, OUT)


def test_several_outputs_are_a_list(on_spark: Any, net: Net) -> None:
    made = TFNet.from_session(net.session, [net.x, net.z], [net.out, net.twice])
    for found in (made.predict([X, Z]), made.predict([X, Z], distributed=False)):
        close(found[0], OUT)
        close(found[1], 2 * X)
    rows = made.predict(TFDataset.from_ndarrays([X, Z])).collect()
    close([row[0] for row in rows], OUT)
    close([row[1] for row in rows], 2 * X)


def test_an_rdd_is_predicted_under_names_of_ones_own(on_spark: Any, net: Net) -> None:
    rdd = on_spark.sparkContext.parallelize(list(X), 2)
    est = Estimator.from_graph(inputs=net.x, outputs=[net.twice, net.twice[:, 0]], sess=net.session)
    rows = est.predict(rdd, output_cols=["a", "b"]).collect()
    close([row[0] for row in rows], 2 * X)
    close([row[1] for row in rows], 2 * X[:, 0])
    est = Estimator.from_graph(inputs=net.x, outputs=net.twice, sess=net.session)
    close(est.predict(rdd, output_cols=["a"]).collect(), 2 * X)


def test_outputs_are_measured(net: Net, inline: None) -> None:
    made = TFNet.from_session(net.session, [net.x, net.z], [net.out])
    target = OUT + 0.5
    expected = {"MSE": pytest.approx(0.25, abs=1e-4), "MAE": pytest.approx(0.5, abs=1e-4)}
    for data in (([X, Z], target), TFDataset.from_ndarrays(([X, Z], target), batch_per_thread=3)):
        assert made.evaluate(data, val_methods=[MSE(), MAE()]) == expected
    assert made.evaluate(TFDataset.from_ndarrays(([X, Z], target)), 4, "mae") == {"MAE": expected["MAE"]}
    with pytest.raises(UsageError, match="val_methods is None"):
        made.evaluate(([X, Z], target))
    with pytest.raises(UsageError, match="no labels"):
        made.evaluate(TFDataset.from_ndarrays([X, Z]), val_methods=[MSE()])


def test_classes_are_measured(net: Net, inline: None) -> None:
    made = TFNet.from_session(net.session, net.x, net.twice)
    data = TFDataset.from_ndarrays((X, np.where(Z < 8, X.argmax(1), X.argmin(1))), batch_per_thread=4)
    assert made.evaluate(data, val_methods=[Accuracy()]) == {"Accuracy": pytest.approx(0.8)}


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back(net: Net, tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "model.ckpt-3")
    assert save_tf_checkpoint(net.session, path) == path
    net.set(0 * KERNEL)
    load_tf_checkpoint(net.session, path)
    close(net.session.run(net.kernel), KERNEL)
    net.set(0 * KERNEL)
    load_tf_checkpoint(net.session, str(tmp_path / "deep"))
    close(net.session.run(net.kernel), KERNEL)
    state = get_checkpoint_state(str(tmp_path / "deep"))
    assert state.model_checkpoint_path == path
    assert get_checkpoint_state(str(tmp_path)) is None


def test_a_checkpoint_of_ones_own_saver_comes_back(net: Net, tmp_path: Path) -> None:
    with net.graph.as_default():
        saver = v1.train.Saver({"other_name": net.kernel})
    path = save_tf_checkpoint(net.session, str(tmp_path / "model.ckpt"), saver)
    net.set(0 * KERNEL)
    load_tf_checkpoint(net.session, path, saver)
    close(net.session.run(net.kernel), KERNEL)
    with pytest.raises(UsageError, match="does not fit the graph: of kernel it holds none.*It holds other_name"):
        load_tf_checkpoint(net.session, path)


def test_checkpoints_that_do_not_fit_are_told(net: Net, tmp_path: Path) -> None:
    path = save_tf_checkpoint(net.session, str(tmp_path / "model.ckpt"))
    with tf.Graph().as_default(), v1.Session() as session:
        with pytest.raises(UsageError, match="the graph has no variables"):
            save_tf_checkpoint(session, str(tmp_path / "none.ckpt"))
        v1.get_variable("kernel", [2, 1])
        with pytest.raises(UsageError, match=r"its kernel has the shape \[3, 1\], the graph's \[2, 1\]"):
            load_tf_checkpoint(session, path)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("another", [2, 1])
        with pytest.raises(UsageError, match="of another it holds none.*It holds kernel"):
            load_tf_checkpoint(session, path)
        with pytest.raises(UsageError, match="does not fit the graph: Key another not found.*It holds kernel"):
            load_tf_checkpoint(session, path, v1.train.Saver())
    for missing in (tmp_path / "model.ckpt-9", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="no TensorFlow checkpoint at"):
            load_tf_checkpoint(net.session, str(missing))


def test_checkpoints_are_of_this_machine(net: Net) -> None:
    for call in (
        lambda: save_tf_checkpoint(net.session, "s3://bucket/model.ckpt"),
        lambda: load_tf_checkpoint(net.session, "s3://bucket/model.ckpt"),
        lambda: get_checkpoint_state("s3://bucket"),
    ):
        with pytest.raises(UsageError, match="TensorFlow checkpoint is .*a path of this machine.*s3://bucket"):
            call()


def test_a_keras_file_is_read_where_the_message_says(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.keras")
    close(KerasModel.load_model(str(tmp_path / "model.keras")).predict(X), model.predict(X, verbose=0))
