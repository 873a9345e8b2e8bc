"""Recurrence from BigDL's files: known cells as Keras' layers, others by the graph of a step that the file holds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from bigdlfiles import GOLDEN, M, box, encoded, graph, m, seq
from zoo.bigdl.nn import layer as bigdl
from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.layers import LSTM, Dense
from zoo.pipeline.api.keras.models import Sequential
from zoo.pipeline.api.net import Net, recurrent
from zoo.pipeline.api.net.bigdl_file import read_module
from zoo.pipeline.api.net.loading import load_bigdl

RANDOM = np.random.default_rng(3)
BATCH, STEPS, IN, UNITS = 3, 7, 4, 5


def w(*shape: int) -> np.ndarray:
    return RANDOM.normal(scale=0.5, size=shape).astype(np.float32)


def fed(module: M, *sources: str) -> M:
    module.sources = sources
    return module


def lstm(kind: str = "LSTM", peephole: bool = False, **attributes: Any) -> M:
    """As the one in golden/bigdl/lstm.bigdl: gates stand as input, new, forget, output."""
    before = m("Linear", w(4 * UNITS, IN), w(4 * UNITS), inputSize=IN)
    hidden = m("Linear", w(4 * UNITS, UNITS), name="h2g", inputSize=UNITS, withBias=False)
    nodes = [m("Input", name="x"), m("Input", name="h"), m("Input", name="c"), fed(hidden, "h"),
             fed(m("CAddTable", name="sum"), "x", "h2g"),
             fed(m("Reshape", name="gates", size=[4, UNITS], batchMode=0), "sum")]  # fmt: skip
    for place, (gate, function) in enumerate([("i", "Sigmoid"), ("g", "Tanh"), ("f", "Sigmoid"), ("o", "Sigmoid")]):
        nodes.append(fed(m("Select", name=f"s{gate}", dimension=2, index=place + 1), "gates"))
        source = f"s{gate}"
        if peephole and gate in "if":
            nodes.append(fed(m("CMul", w(UNITS), name=f"p{gate}", size=[UNITS]), "c"))
            nodes.append(fed(m("CAddTable", name=f"a{gate}"), source, f"p{gate}"))
            source = f"a{gate}"
        nodes.append(fed(m(function, name=gate), source))
    nodes += [fed(m("CMulTable", name="new"), "i", "g"), fed(m("CMulTable", name="kept"), "f", "c"),
              fed(m("CAddTable", name="state"), "new", "kept"), fed(m("Tanh", name="shown"), "state"),
              fed(m("CMulTable", name="out"), "shown", "o"), fed(m("Identity", name="out1"), "out"),
              fed(m("Identity", name="out2"), "out")]  # fmt: skip
    step = seq(m("FlattenTable"), graph(nodes, ["x", "h", "c"], ["out1", "out2", "state"]),
               box("ConcatTable", m("SelectTable", index=1), m("NarrowTable", offset=2, length=2)))  # fmt: skip
    return m(kind, inputSize=IN, hiddenSize=UNITS, p=0.0, cell=step, preTopology=before, includePreTopology=False,
             is_cell_module=True, **attributes)  # fmt: skip


def simple() -> M:
    before = m("Linear", w(UNITS, IN), w(UNITS), inputSize=IN)
    step = seq(box("ParallelTable", m("Identity"), m("Linear", w(UNITS, UNITS), w(UNITS), inputSize=UNITS)),
               m("CAddTable"), m("Tanh"), box("ConcatTable", m("Identity"), m("Identity")))  # fmt: skip
    return m("RnnCell", inputSize=IN, hiddenSize=UNITS, activation=m("Tanh"), cell=step, preTopology=before,
             includePreTopology=False)  # fmt: skip


def gru() -> M:
    """Gates stand as reset, update, new."""
    before = m("Linear", w(3 * UNITS, IN), w(3 * UNITS), inputSize=IN)
    nodes = [
        m("Input", name="x"), m("Input", name="h"),
        fed(m("Narrow", name="xg", dimension=2, offset=1, length=2 * UNITS), "x"),
        fed(m("Linear", w(2 * UNITS, UNITS), name="hg", inputSize=UNITS), "h"),
        fed(m("CAddTable", name="sum"), "xg", "hg"), fed(m("Reshape", name="two", size=[2, UNITS]), "sum"),
        fed(m("Select", name="sr", dimension=2, index=1), "two"), fed(m("Sigmoid", name="r"), "sr"),
        fed(m("Select", name="sz", dimension=2, index=2), "two"), fed(m("Sigmoid", name="z"), "sz"),
        fed(m("Narrow", name="xn", dimension=2, offset=1 + 2 * UNITS, length=UNITS), "x"),
        fed(m("CMulTable", name="rh"), "h", "r"),
        fed(m("Linear", w(UNITS, UNITS), name="hn", inputSize=UNITS), "rh"),
        fed(m("CAddTable", name="sn"), "xn", "hn"), fed(m("Tanh", name="n"), "sn"),
        fed(m("MulConstant", name="minus", scalar=-1.0), "z"),
        fed(m("AddConstant", name="rest", constant_scalar=1.0), "minus"),
        fed(m("CMulTable", name="new"), "n", "rest"), fed(m("CMulTable", name="kept"), "h", "z"),
        fed(m("CAddTable", name="out"), "new", "kept"), fed(m("Identity", name="o1"), "out"),
        fed(m("Identity", name="o2"), "out"),
    ]  # fmt: skip
    return m("GRU", inputSize=IN, outputSize=UNITS, p=0.0, cell=graph(nodes, ["x", "h"], ["o1", "o2"]),
             preTopology=before, includePreTopology=False)  # fmt: skip


def values(module: M, folder: Any, x: np.ndarray) -> np.ndarray:
    path = folder / "model.bigdl"
    path.write_bytes(encoded(module))
    return keras.ops.convert_to_numpy(Net.load_bigdl(str(path))(x))


@pytest.mark.parametrize("cell", [lstm, simple, gru], ids=["LSTM", "RnnCell", "GRU"])
def test_keras_own_layers_compute_what_the_steps_graph_does(cell, tmp_path, monkeypatch):
    module, x = m("Recurrent", topology=cell(), bnorm=False), w(BATCH, STEPS, IN)
    fast = values(module, tmp_path, x)
    monkeypatch.setattr(recurrent, "_KNOWN", {})
    np.testing.assert_allclose(values(module, tmp_path, x), fast, atol=1e-5)
    assert fast.shape == (BATCH, STEPS, UNITS)


def test_bigdls_own_lstm_by_the_graph_of_its_step(monkeypatch):
    monkeypatch.setattr(recurrent, "_KNOWN", {})
    known = np.load(GOLDEN / "lstm.npz")
    net = load_bigdl(str(GOLDEN / "lstm.bigdl"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(net(known["input_0"])), known["output_0"], atol=1e-5)
    again = keras.models.clone_model(net)
    again.set_weights(net.get_weights())
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(known["input_0"])), known["output_0"], atol=1e-5)


def test_weights_of_bigdls_own_lstm_fit_the_layers_of_both_apis():
    """The one recurrent file of BigDL's: what `get_weights` of an LSTM means, is read from it."""
    known, module = np.load(GOLDEN / "lstm.npz"), read_module(str(GOLDEN / "lstm.bigdl"))
    cell, linear = module.children[0].get("topology"), module.children[2].weights
    weight, bias = recurrent._input_part(cell)
    weights = [weight, bias, *recurrent._hidden_part(cell)]
    assert [array.shape for array in weights] == [(20, 6), (20,), (20, 5)]
    torch_style = bigdl.Sequential().add(bigdl.Recurrent().add(bigdl.LSTM(6, 5))).add(bigdl.Select(2, -1))
    torch_style.add(bigdl.Linear(5, 2))
    keras_style = Sequential().add(LSTM(5, inner_activation="sigmoid", input_shape=(None, 6))).add(Dense(2))
    for model in (torch_style, keras_style):
        model.set_weights([*weights, *linear])
        np.testing.assert_allclose(model.forward(known["input_0"]), known["output_0"], atol=1e-5)


def test_an_lstm_computes_what_torch_does(tmp_path):
    cell, x = lstm(), w(BATCH, STEPS, IN)
    weight, bias = cell.attributes["preTopology"].weights
    hidden = cell.attributes["cell"].children[1].children[-4].weights[0]
    twin = torch.nn.LSTM(IN, UNITS, batch_first=True)
    order = np.arange(4 * UNITS).reshape(4, UNITS)[[0, 2, 1, 3]].ravel()  # torch: input, forget, new, output
    with torch.no_grad():
        for parameter, value in zip(twin.parameters(), (weight, hidden, bias, 0 * bias), strict=True):
            parameter.copy_(torch.from_numpy(value[order]))
        expected = twin(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(values(m("Recurrent", topology=cell), tmp_path, x), expected, atol=1e-5)


def test_a_cell_that_keras_has_not_runs_by_its_graph(tmp_path):
    x = w(BATCH, STEPS, IN)
    module = m("Recurrent", topology=lstm("LSTMPeephole", peephole=True))
    first, again = values(module, tmp_path, x), values(module, tmp_path, x[:, :3])
    assert first.shape == (BATCH, STEPS, UNITS)
    np.testing.assert_allclose(first[:, :3], again, atol=1e-6)


@pytest.mark.parametrize("merge", [None, m("JoinTable", dimension=2, nInputDims=2)], ids=["added", "joined"])
def test_two_directions(merge, tmp_path):
    there, back = m("Recurrent", topology=lstm()), m("Recurrent", topology=lstm())
    x = w(BATCH, STEPS, IN)
    one, other = values(there, tmp_path, x), values(back, tmp_path, x[:, ::-1])[:, ::-1]
    expected = one + other if merge is None else np.concatenate([one, other], 2)
    whole = m("BiRecurrent", layer=there, revLayer=back, merge=merge)
    np.testing.assert_allclose(values(whole, tmp_path, x), expected, atol=1e-5)


def test_a_module_for_each_step(tmp_path):
    weight = w(6, IN)
    held = seq(m("Linear", weight, inputSize=IN), m("View", sizes=[2, 3]))
    x = w(BATCH, STEPS, IN)
    found = values(m("TimeDistributed", layer=held, maskZero=False), tmp_path, x)
    np.testing.assert_allclose(found, (x @ weight.T).reshape(BATCH, STEPS, 2, 3), atol=1e-5)


def test_what_is_missing_is_named(tmp_path):
    for module, said in [(m("Recurrent", name="r"), "'r'.*no cell"), (m("TimeDistributed", name="t"), "'t'.*no layer"),
                         (m("BiRecurrent", name="b", isSplitInput=True), "'b'.*isSplitInput")]:  # fmt: skip
        (tmp_path / "m.bigdl").write_bytes(encoded(module))
        with pytest.raises(UsageError, match=said):
            Net.load_bigdl(str(tmp_path / "m.bigdl"), input_shape=(STEPS, IN))
