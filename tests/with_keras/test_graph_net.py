"""`GraphNet`: the six files that BigDL wrote, cut, frozen, composed, trained, kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from bigdlfiles import GOLDEN, box, encoded, m, seq
from zoo.engine import session
from zoo.engine.errors import UsageError
from zoo.orca.learn.keras_estimator import make_estimator
from zoo.pipeline.api.keras.layers import Dense
from zoo.pipeline.api.keras.models import Sequential
from zoo.pipeline.api.keras.objectives import SparseCategoricalCrossEntropy
from zoo.pipeline.api.net import GraphNet, Net
from zoo.pipeline.api.variable import Variable

FILES = sorted(path.stem for path in GOLDEN.glob("*.bigdl"))
RANDOM = np.random.default_rng(5)


def known(name: str) -> tuple[np.ndarray, np.ndarray]:
    arrays = np.load(GOLDEN / f"{name}.npz")
    return arrays["input_0"], arrays["output_0"]


def loaded(name: str) -> GraphNet:
    return Net.load_bigdl(str(GOLDEN / f"{name}.bigdl"))


def computed(model: Any, x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize("name", FILES)
def test_a_file_by_bigdl_computes_what_bigdl_computed(name):
    x, expected = known(name)
    np.testing.assert_allclose(computed(loaded(name), x), expected, atol=1e-4)


def test_predict_takes_batches(inline):
    x, expected = known("mlp")
    for distributed in (False, True):
        found = loaded("mlp").predict(np.tile(x, (3, 1)), batch_per_thread=5, distributed=distributed)
        np.testing.assert_allclose(found, np.tile(expected, (3, 1)), atol=1e-5)


def test_a_graph_that_ends_earlier():
    net, (x, _) = loaded("resnet_graph"), known("resnet_graph")
    head = net.new_graph(["pool5"])
    assert head.output_shape[:2] == (None, 8) and [layer.name for layer in head.layers][-1] == "pool5"
    rest = GraphNet(*between(net, "flat", head.output_shape))
    np.testing.assert_allclose(computed(rest, computed(head, x)), known("resnet_graph")[1], atol=1e-4)
    both = net.new_graph(["pool5", "relu1"])(x)
    assert [tuple(one.shape) for one in both] == [(2, 8, 1, 1), (2, 8, 8, 8)]
    by_layer = computed(net.new_graph([net.get_layer("pool5")]), x)
    np.testing.assert_array_equal(computed(head, x), by_layer)


def between(net: GraphNet, first: str, shape: Any) -> tuple[Any, Any]:
    """The layers from `first` on, on an input of their own."""
    x = entry = keras.Input((8, 1, 1))
    names = [layer.name for layer in net.layers]
    for layer in net.layers[names.index(first) :]:
        x = layer(x)
    return entry, x


def test_unknown_names_are_listed():
    with pytest.raises(UsageError, match=r"'pool4'. Did you mean 'pool5'\?"):
        loaded("resnet_graph").new_graph(["pool4"])


def test_names_with_slashes_and_of_containers_are_found(tmp_path):
    weight = RANDOM.normal(size=(3, 4)).astype(np.float32)
    module = seq(seq(m("Linear", weight, name="block/fc", inputSize=4), m("Tanh"), name="block one"), m("Exp"))
    (tmp_path / "m.bigdl").write_bytes(encoded(module))
    net, x = Net.load_bigdl(str(tmp_path / "m.bigdl")), RANDOM.normal(size=(2, 4)).astype(np.float32)
    np.testing.assert_allclose(computed(net.new_graph("block/fc"), x), x @ weight.T, atol=1e-5)
    np.testing.assert_allclose(computed(net.new_graph(["block one"]), x), np.tanh(x @ weight.T), atol=1e-5)


def test_freezing_goes_from_the_inputs_to_the_named_layer():
    net = loaded("resnet_graph").freeze_up_to(["bn1"])
    frozen = {layer.name for layer in net.layers if not layer.trainable}
    assert frozen == {"Inputcfe3b10e", "conv1_pad", "conv1", "bn1"}
    assert len(net.trainable_weights) == 6
    net.unfreeze(["conv1"])
    assert len(net.trainable_weights) == 7
    net.unfreeze()
    assert len(net.trainable_weights) == 9
    net.freeze(["fc10"])
    assert len(net.trainable_weights) == 7


def test_layers_and_layers_within_layers(tmp_path):
    held = seq(m("Linear", np.ones((6, 4), np.float32), name="inner", inputSize=4), m("View", sizes=[2, 3]))
    (tmp_path / "m.bigdl").write_bytes(encoded(m("TimeDistributed", layer=held, name="outer")))
    net = Net.load_bigdl(str(tmp_path / "m.bigdl"))
    assert [layer.name for layer in net.layers[1:]] == ["outer"]
    flat = {layer.name for layer in net.flattened_layers()}
    assert "inner" in flat and "outer" not in flat
    assert "outer" in {layer.name for layer in net.flattened_layers(include_container=True)}


def transfer(net: GraphNet) -> keras.Model:
    inputs = keras.Input((3, 16, 16))
    features = net.new_graph(["pool5"]).freeze_up_to(["relu1"]).to_keras()(inputs)
    outputs = keras.layers.Dense(1, activation="sigmoid", name="new")(keras.layers.Flatten()(features))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def data(rows: int = 24) -> dict[str, np.ndarray]:
    x = RANDOM.normal(size=(rows, 3, 16, 16)).astype(np.float32)
    return {"x": x, "y": (x.mean((1, 2, 3)) > 0).astype(np.float32)[:, None]}


def test_a_composed_model_trains_what_is_not_frozen(inline, tmp_path):
    net = loaded("resnet_graph")
    model = transfer(net)
    before = {layer.name: [np.array(one) for one in layer.get_weights()] for layer in net.layers}
    make_estimator(model).fit(data(), epochs=2, batch_size=8)
    for layer in net.layers:
        same = all(np.array_equal(a, b) for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
        assert same == (layer.name not in ("conv2a", "bn2a")), layer.name
    x = data()["x"]
    model.save(str(tmp_path / "model.keras"))
    again = Net.load(str(tmp_path / "model.keras"))
    np.testing.assert_allclose(computed(again, x), computed(model, x), atol=1e-5)
    assert any(isinstance(layer, GraphNet) for layer in again.layers)
    assert len(again.trainable_weights) == len(model.trainable_weights) == 6


def test_composed_models_train_in_other_processes():
    session.begin_local(2)
    try:
        model = transfer(loaded("resnet_graph"))
        before = [np.array(one) for one in model.get_weights()]
        history = make_estimator(model, workers_per_node=2).fit(data(), epochs=1, batch_size=8)
    finally:
        session.end()
    assert np.isfinite(history[0]["train_loss"])
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert any(changed) and not all(changed)


def test_a_net_trains_as_a_model_does(inline, tmp_path):
    net, x = loaded("lenet"), RANDOM.normal(size=(32, 28, 28)).astype(np.float32)
    classes = RANDOM.integers(10, size=32)
    with pytest.raises(UsageError, match="not compiled"):
        net.fit(x, classes)
    net.compile("adam", SparseCategoricalCrossEntropy(log_prob_as_input=True), ["accuracy"])
    net.set_tensorboard(str(tmp_path), "app")
    net.set_gradient_clipping_by_l2_norm(1.0)
    history = net.fit(x, classes, batch_size=8, nb_epoch=2, validation_data=(x, classes))
    assert [one["epoch"] for one in history] == [1, 2] and len(net.get_train_summary("Loss")) == 8
    (accuracy,) = net.evaluate(x, classes)
    assert 0 <= accuracy <= 1 and set(net.predict_classes(x).collect()) <= set(range(10))
    net.save_model(str(tmp_path / "net.keras"))
    again = Net.load(str(tmp_path / "net.keras"))
    assert type(again) is GraphNet and again.evaluate(x, classes) == [pytest.approx(accuracy)]
    with pytest.raises(UsageError, match="input 0 of the model '.*' has the shape"):
        net.fit(x[:, :27], classes)


def test_a_node_is_a_name(inline):
    net, (x, _) = loaded("resnet_graph"), known("resnet_graph")
    by_node = net.new_graph(net.node("pool5"))
    np.testing.assert_array_equal(computed(by_node, x), computed(net.new_graph("pool5"), x))


def test_predictions_on_spark_are_an_rdd(on_spark):
    x, expected = known("resnet_graph")
    rows = loaded("resnet_graph").predict(x).collect()
    np.testing.assert_allclose(np.stack(rows), expected, atol=1e-4)


READER = """
import sys
from zoo.pipeline.api.net import Net
net = Net.load(sys.argv[1])
part = net.new_graph(["hidden"]).freeze_up_to(["hidden"])
print(type(net).__name__, part.output_shape, len(part.trainable_weights))
"""


def test_a_keras_style_file_is_read_by_a_fresh_process_that_says_nothing_else(tmp_path):
    model = Sequential().add(Dense(3, input_shape=(4,), name="hidden")).add(Dense(2))
    model.compile("adam", "mse")
    path = model.save_model(str(tmp_path / "model.keras"))
    done = subprocess.run(
        [sys.executable, "-c", READER, path], capture_output=True, text=True, timeout=100, check=False,
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend(), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("Sequential (None, 3) 0\n", "")


@pytest.mark.parametrize("name", FILES)
def test_a_kept_net_is_read_again(name, tmp_path):
    net, (x, expected) = loaded(name), known(name)
    path = str(tmp_path / "net.keras")
    assert net.save_model(path) == path
    again = Net.load(path)
    assert type(again) is GraphNet and [one.name for one in again.layers] == [one.name for one in net.layers]
    np.testing.assert_allclose(computed(again, x), expected, atol=1e-4)
    with pytest.raises(UsageError, match="there already"):
        net.saveModel(path)
    net.save_model(path, str(tmp_path / "w.h5"), over_write=True)
    cloned = keras.models.clone_model(net)
    keras.Model.set_weights(cloned, net.get_weights())
    np.testing.assert_allclose(computed(cloned, x), expected, atol=1e-4)


def test_net_load_reads_bigdl_files_too():
    x, expected = known("mlp")
    np.testing.assert_allclose(computed(Net.load(str(GOLDEN / "mlp.bigdl")), x), expected, atol=1e-4)


def test_a_net_is_a_layer_of_variables():
    x, expected = known("mlp")
    entry = Variable(input_shape=(12,))
    out = loaded("mlp").to_keras()(entry)
    assert isinstance(out, Variable) and out.shape == (None, 5)
    np.testing.assert_allclose(computed(keras.Model(entry.node, (out * 2.0).node), x), 2 * expected, atol=1e-4)


def test_a_net_that_begins_with_a_reshape_takes_any_shape_of_as_many_numbers():
    net, (x, expected) = loaded("lenet"), known("lenet")
    for shape in ((2, 28, 28), (2, 784), (2, 1, 28, 28)):
        np.testing.assert_allclose(computed(net, x.reshape(shape)), expected, atol=1e-4)
        np.testing.assert_allclose(net.predict(x.reshape(shape), distributed=False), expected, atol=1e-4)
    entry = keras.Input((28, 28))
    assert net.to_keras()(entry).shape == (None, 10)


@pytest.mark.parametrize(
    "name, shape, said",
    [
        ("resnet_graph", (2, 4, 16, 16), r"layer 'conv1_pad' takes .*\(None, 3, None, None\).*Received: \(None, 4, 16"),
        ("resnet_graph", (2, 3, 16), "layer 'conv1_pad'"),
        (
            "resnet_graph",
            (2, 3, 32, 32),
            r"layer 'flat' cannot take an input of shape \(None, 8, 9, 9\): ",
        ),
        ("mlp", (2, 13), "layer 'Linear949c7a44' takes"),
        ("lenet", (2, 27, 28), "layer 'Reshape31f9d157' takes"),
    ],
)
def test_a_wrong_shape_names_the_layer(name, shape, said):
    with pytest.raises(UsageError, match=said):
        loaded(name).predict(np.zeros(shape, np.float32))
    with pytest.raises(UsageError, match="1 inputs. Received 2 arrays"):
        loaded(name).predict([np.zeros(shape)] * 2)


def test_several_outputs(inline, tmp_path):
    (tmp_path / "m.bigdl").write_bytes(encoded(box("ConcatTable", m("Tanh"), m("Abs"))))
    net = Net.load_bigdl(str(tmp_path / "m.bigdl"), input_shape=(4,))
    x = RANDOM.normal(size=(3, 4)).astype(np.float32)
    rows = net.predict(x).collect()
    for one, other in (net.predict(x, distributed=False), zip(*rows, strict=True)):
        np.testing.assert_allclose(np.array(one), np.tanh(x), atol=1e-5)
        np.testing.assert_allclose(np.array(other), np.abs(x), atol=1e-5)


def small() -> keras.Model:
    entry = keras.Input((4,))
    return keras.Model(entry, keras.layers.Dense(2, name="out")(keras.layers.Dense(3, name="mid")(entry)))


def test_models_of_keras(tmp_path):
    model, x = small(), RANDOM.normal(size=(3, 4)).astype(np.float32)
    (tmp_path / "m.json").write_text(model.to_json())
    model.save_weights(str(tmp_path / "m.weights.h5"))
    model.save(str(tmp_path / "m.keras"))
    whole = Net.load_keras(hdf5_path=str(tmp_path / "m.keras"))
    parts = Net.load_keras(str(tmp_path / "m.json"), str(tmp_path / "m.weights.h5"))
    named = Net.load_keras(str(tmp_path / "m.json"), str(tmp_path / "m.weights.h5"), by_name=True)
    for net in (whole, parts, named):
        assert isinstance(net, GraphNet)
        np.testing.assert_allclose(computed(net, x), computed(model, x), atol=1e-6)
    assert whole.new_graph(["mid"]).output_shape == (None, 3)


def test_keras_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="needs json_path, hdf5_path or both"):
        Net.load_keras()
    (tmp_path / "m.json").write_text('{"class_name": "Sequential", "keras_version": "1.2.2", "config": []}')
    with pytest.raises(UsageError, match=r"written by Keras 1.2.2; Keras 3 cannot read it"):
        Net.load_keras(str(tmp_path / "m.json"))
    for text in ("no json", "[]", '{"class_name": "Nothing", "config": {}}'):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(UsageError, match="no architecture of Keras"):
            Net.load_keras(str(tmp_path / "m.json"))


def test_caffe_says_what_to_do():
    with pytest.raises(UsageError, match="ONNX"):
        Net.load_caffe("a", "b")


def test_nothing_stays_on_disk(tmp_path):
    loaded("mlp").save_model(str(tmp_path / "a.keras"))
    assert [path.name for path in Path(tmp_path).iterdir()] == ["a.keras"]
