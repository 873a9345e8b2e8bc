"""What all layers can do: BigDL's words on torch modules."""

import copy

import numpy as np
import pytest
import torch

from zoo.bigdl.nn import initialization_method as begin
from zoo.bigdl.nn.layer import (
    CAddTable,
    Input,
    JoinTable,
    Linear,
    LogSoftMax,
    Model,
    ReLU,
    Sequential,
    SpatialBatchNormalization,
    SpatialConvolution,
    SpatialFullConvolution,
)
from zoo.bigdl.optim.optimizer import L1L2Regularizer, L1Regularizer, L2Regularizer
from zoo.engine.errors import UsageError

X = np.random.default_rng(0).normal(size=(5, 4))


def mlp():
    return Sequential().add(Linear(4, 3).set_name("fc1")).add(ReLU()).add(Linear(3, 2).set_name("fc2"))


def test_forward_and_backward_on_arrays_are_torch_s():
    model, gradient = mlp(), np.random.default_rng(1).normal(size=(5, 2))
    x = torch.from_numpy(X).float().requires_grad_()
    output = model(x)
    output.backward(torch.from_numpy(gradient).float())
    wanted = [one.grad.clone() for one in model.parameters()]
    model.zero_grad_parameters()
    assert np.allclose(model.forward(X), output.detach(), atol=1e-6) and model.forward(X).dtype == np.float32
    assert np.allclose(model.backward(X, gradient), x.grad, atol=1e-6)
    assert all(torch.allclose(one.grad, two) for one, two in zip(model.parameters(), wanted, strict=True))
    model.backward(X, gradient)  # gradients add up
    assert all(torch.allclose(one.grad, 2 * two) for one, two in zip(model.parameters(), wanted, strict=True))


def test_backward_of_other_input_computes_it_first():
    model, ones = mlp(), np.ones((5, 2))
    model.forward(X)
    expected = mlp()
    expected.set_weights(model.get_weights())
    expected.forward(2 * X)
    assert np.allclose(model.backward(2 * X, ones), expected.backward(2 * X, ones))


def test_parameters_are_torch_s_iterator_and_bigdl_s_dict():
    model = mlp()
    assert [tuple(one.shape) for one in model.parameters()] == [(3, 4), (3,), (2, 3), (2,)]
    assert next(model.parameters()) is model.layers[0].core.weight
    torch.optim.SGD(model.parameters(), 0.1)
    model.zero_grad_parameters()
    model.backward(X, np.ones((5, 2)))
    found = dict(model.parameters())
    assert set(found) == {"fc1", "fc2"} and set(found["fc1"]) == {"weight", "bias", "gradWeight", "gradBias"}
    assert np.array_equal(found["fc2"]["gradBias"], [5, 5])
    before = model.get_weights()
    model.update_parameters(0.1)
    assert np.allclose(model.get_weights()[3], before[3] - 0.5)


def test_evaluating_without_a_method_says_what_one_is():
    with pytest.raises(UsageError, match="validation method is Top1Accuracy"):
        mlp().evaluate(np.zeros((2, 4), np.float32), 2)


def test_names_modes_and_freezing():
    model = mlp()
    assert model.layers[0].name() == "fc1" and Linear(2, 2).name() != Linear(2, 2).name()
    assert model.is_training() and not model.evaluate().is_training() and model.train().is_training()
    model.freeze(["fc1"])
    assert [one.requires_grad for one in model.parameters()] == [False, False, True, True]
    assert model.freeze() is model and not any(one.requires_grad for one in model.parameters())
    model.unfreeze("fc2")
    assert [one.requires_grad for one in model.parameters()] == [False, False, True, True]


def test_predict_in_batches_and_classes_from_1():
    model = mlp().add(LogSoftMax())
    outputs = model.predict(X, batch_size=2)
    assert np.allclose(outputs, model.forward(X), atol=1e-6) and model.is_training()
    assert np.array_equal(model.predict_class(X), outputs.argmax(1) + 1)
    two = JoinTable(2).predict([X, 2 * X], batch_size=3)
    assert np.allclose(two, np.concatenate([X, 2 * X], 1), atol=1e-6)


def test_a_graph_shares_layers_and_has_several_inputs_and_outputs():
    a, b = Input("a"), Input()
    shared = Linear(4, 3)
    left, right = shared(a), shared(b)
    added = CAddTable()([left, right])
    model = Model([a, b], [added, left])
    x, y = torch.from_numpy(X).float(), torch.ones(5, 4)
    total, first = model(x, y)
    assert torch.equal(total, shared(x) + shared(y)) and torch.equal(first, shared(x))
    assert len(list(model.parameters())) == 2
    assert model.node("a") is a
    assert [one.shape for one in model.forward([X, X])] == [(5, 3), (5, 3)]


def test_a_long_graph_needs_no_deep_stack():
    node = start = Input()
    for _ in range(3000):
        node = ReLU()(node)
    assert Model([start], [node]).forward(X).shape == (5, 4)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda a, b: Model([a, b], [Linear(4, 2)(a)]), "no output of the Model depends on its input"),
        (lambda a, b: Model([a], [CAddTable()([a, b])]), "is none of the Model's inputs"),
        (lambda a, b: Model([a], Linear(4, 2)), "Model's outputs are nodes"),
        (lambda a, b: Model([a, b], [CAddTable()([a, b])])(torch.ones(2)), "has 2 inputs. Received: 1"),
        (lambda a, b: Model([a], [ReLU()(a)]).node("fc9"), "no node is called 'fc9'"),
    ],
)
def test_mistakes_in_graphs(wrong, told):
    with pytest.raises(UsageError, match=told):
        wrong(Input(), Input())


# --- files ---


def graph():
    start = Input("start")
    body = Linear(4, 4, wRegularizer=L2Regularizer(0.1))(start)
    return Model([start], [CAddTable()([ReLU()(body), start])])


def test_a_saved_graph_is_the_same_graph(tmp_path):
    model = graph()
    model.freeze([model.order[1].layer.name()])
    path = model.saveModel(str(tmp_path / "model.zoo"))
    loaded = Model.loadModel(path)
    assert np.array_equal(loaded.forward(X), model.forward(X))
    assert [one.layer.name() for one in loaded.order] == [one.layer.name() for one in model.order]
    assert not any(one.requires_grad for one in loaded.parameters())
    assert loaded.order[1].layer.arguments["wRegularizer"] == L1L2Regularizer(0.0, 0.1)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "model.zoo"]


def test_weights_may_go_elsewhere(tmp_path):
    model, path, weights = mlp(), str(tmp_path / "model"), str(tmp_path / "weights")
    model.saveModel(path, weights)
    assert np.array_equal(Model.loadModel(path, weights).forward(X), model.forward(X))
    with pytest.raises(UsageError, match="weightPath"):
        Model.loadModel(path)
    with pytest.raises(UsageError, match="is there already. Say over_write=True"):
        model.saveModel(path)
    model.saveModel(path, over_write=True)
    assert np.array_equal(Model.load(path).forward(X), model.forward(X))


def test_statistics_are_saved(tmp_path):
    norm = SpatialBatchNormalization(2).set_running_mean([1, 2]).set_running_std([4, 9]).evaluate()
    image = np.random.default_rng(0).normal(size=(2, 2, 3, 3)).astype(np.float32)
    found = Model.load(norm.save(str(tmp_path / "norm"))).evaluate().forward(image)
    wanted = (image - np.float32([1, 2])[:, None, None]) / np.float32([2, 3])[:, None, None]
    assert np.allclose(found, wanted, atol=1e-4)


def test_files_that_are_no_models(tmp_path):
    import safetensors.numpy

    (tmp_path / "text").write_text("no model")
    safetensors.numpy.save_file({"a": X}, tmp_path / "arrays")
    for name in ("text", "arrays"):
        with pytest.raises(UsageError, match=r"not written by saveModel.*load_bigdl"):
            Model.load(str(tmp_path / name))
    safetensors.numpy.save_file({}, tmp_path / "new", {"zoo.bigdl": '{"version": 99}'})
    with pytest.raises(UsageError, match="version 99 of the format"):
        Model.load(str(tmp_path / "new"))
    with pytest.raises(UsageError, match="torch.nn.modules.linear.Identity is no layer of zoo.bigdl.nn"):
        Sequential().add(torch.nn.Identity()).save(str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


# --- how weights begin, and penalties ---


@pytest.mark.parametrize(
    ("method", "check"),
    [
        (begin.Zeros(), lambda w: (w == 0).all()),
        (begin.Ones(), lambda w: (w == 1).all()),
        (begin.ConstInitMethod(0.3), lambda w: np.allclose(w, 0.3)),
        (begin.RandomUniform(-0.2, 0.6), lambda w: w.min() > -0.2 and w.max() < 0.6 and abs(w.mean() - 0.2) < 0.02),
        (begin.RandomUniform(upper=0.6, lower=0.5), lambda w: w.min() > 0.5 and w.max() < 0.6),
        (begin.RandomUniform(), lambda w: 0.09 < np.abs(w).max() < 0.1001),
        (begin.RandomNormal(1.0, 0.1), lambda w: abs(w.mean() - 1) < 0.01 and abs(w.std() - 0.1) < 0.01),
        (begin.Xavier(), lambda w: 0.14 < np.abs(w).max() < (6 / 300) ** 0.5 + 1e-6),
        (begin.MsraFiller(), lambda w: abs(w.std() - (2 / 150) ** 0.5) < 0.005),
        (begin.MsraFiller(False), lambda w: abs(w.std() - (2 / 100) ** 0.5) < 0.005),
    ],
    ids=lambda value: repr(value) if isinstance(value, begin.InitializationMethod) else "so",
)
def test_weights_begin_as_asked(method, check):
    torch.manual_seed(0)
    layer = Linear(100, 200).set_init_method(method, begin.Zeros())
    weight, bias = layer.get_weights()
    assert check(weight) and not bias.any()


def test_bilinear_filler_enlarges():
    layer = SpatialFullConvolution(1, 1, 4, 4, 2, 2, 1, 1, no_bias=True).set_init_method(begin.BilinearFiller())
    ramp = np.tile(np.arange(6, dtype=np.float32), (1, 1, 6, 1))
    assert np.allclose(layer.forward(ramp)[0, 0, 6, 2:10], np.arange(8) / 2 + 0.75)


def test_mistakes_in_ways_to_begin():
    with pytest.raises(UsageError, match="takes Xavier"):
        Linear(2, 2).set_init_method("xavier")
    with pytest.raises(UsageError, match="has no bias. It has: weight"):
        Linear(2, 2, with_bias=False).set_init_method(bias_init_method=begin.Zeros())
    with pytest.raises(UsageError, match="square kernels"):
        SpatialConvolution(1, 1, 2, 3).set_init_method(begin.BilinearFiller())


def test_given_first_weights():
    layer = Linear(2, 1, init_weight=np.array([[3.0, 4.0]]), init_bias=np.array([1.0]))
    assert np.array_equal(layer.forward(np.ones((1, 2))), [[8.0]])


def test_penalties_are_added_to_gradients_once_and_in_training_only():
    penalised = Linear(4, 3, wRegularizer=L1L2Regularizer(0.1, 0.2), bRegularizer=L1Regularizer(0.5))
    plain = Linear(4, 3)
    plain.set_weights(penalised.get_weights())
    for layer in (penalised, copy.deepcopy(penalised)):
        for _ in range(2):
            layer.zero_grad_parameters()
            plain.zero_grad_parameters()
            layer(torch.ones(2, 4)).square().sum().backward()
            plain(torch.ones(2, 4)).square().sum().backward()
        weight, bias = plain.core.weight, plain.core.bias
        wanted = weight.grad + 0.1 * weight.sign() + 0.2 * weight
        assert torch.allclose(layer.core.weight.grad, wanted)
        assert torch.allclose(layer.core.bias.grad, bias.grad + 0.5 * bias.sign())
    fresh = copy.deepcopy(penalised).evaluate()
    fresh.zero_grad_parameters()
    fresh(torch.ones(2, 4)).square().sum().backward()
    assert torch.allclose(fresh.core.weight.grad, weight.grad)
