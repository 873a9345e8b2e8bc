"""`TorchNet` and `TorchCriterion`: programs of TorchScript and modules of torch where BigDL's layers fit."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

from zoo.bigdl.nn.layer import Linear, Sequential
from zoo.engine.errors import UsageError
from zoo.engine.triggers import MaxEpoch
from zoo.orca.learn.optimizers import Adam
from zoo.pipeline.api.net import Net, TorchCriterion, TorchNet
from zoo.pipeline.estimator import Estimator
from zoo.pipeline.nnframes import NNEstimator, NNModel

X = np.random.default_rng(3).normal(size=(64, 4)).astype(np.float32)
Y = X @ np.array([[1.0], [2.0], [-1.0], [0.5]], np.float32)


def module() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def computed(net: Any) -> np.ndarray:
    with torch.no_grad():
        return net.to_pytorch()(torch.from_numpy(X)).numpy()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return TorchNet.from_pytorch(module(), [1, 4]).savePytorch(str(tmp_path / "net.pt"))


def test_a_kept_module_is_a_program(path: str) -> None:
    net = Net.load_torch(path)
    expected = module()(torch.from_numpy(X)).detach().numpy()
    assert isinstance(net, TorchNet)
    np.testing.assert_allclose(net.predict(X, 10), expected, atol=1e-6)
    np.testing.assert_allclose(net.forward(X), expected, atol=1e-6)
    with pytest.raises(UsageError, match="there already"):
        net.savePytorch(path)


def test_a_program_travels_with_its_weights(path: str) -> None:
    net = TorchNet(path)
    with torch.no_grad():
        next(net.parameters()).mul_(2)
    net.freeze()
    for again in (cloudpickle.loads(cloudpickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_allclose(computed(again), computed(net), atol=1e-6)
        assert not any(one.requires_grad for one in again.parameters())
        assert again.to_pytorch().training == net.to_pytorch().training
    net.savePytorch(path, over_write=True)
    np.testing.assert_allclose(computed(TorchNet(path)), computed(net), atol=1e-6)


def test_programs_are_trained(path: str, inline: None) -> None:
    net = TorchNet(path)
    loss = TorchCriterion.from_pytorch(torch.nn.MSELoss(), [2, 1])
    before = float(((computed(net) - Y) ** 2).mean())
    model = Sequential().add(net).add(Linear(1, 1))
    Estimator(model, Adam(learningrate=0.05)).train((X, Y), loss, MaxEpoch(10), batch_size=16)
    assert float(((model.predict(X) - Y) ** 2).mean()) < before / 2


def test_stages_train_and_keep_a_program(path: str, on_spark: Any, tmp_path: Path) -> None:
    rows = [(x.tolist(), y.tolist()) for x, y in zip(X, Y, strict=True)]
    frame = on_spark.createDataFrame(rows, "features array<float>, label array<float>")
    stage = NNEstimator(TorchNet(path), TorchCriterion.from_pytorch(torch.nn.MSELoss))
    made = stage.setMaxEpoch(2).setBatchSize(16).setOptimMethod(Adam(learningrate=0.05)).fit(frame)
    made.save(str(tmp_path / "stage"))
    assert (tmp_path / "stage" / "model.pt").exists(), "no code of Python, so that no trust is asked for"
    found = [row.prediction for row in NNModel.load(str(tmp_path / "stage")).transform(frame).collect()]
    np.testing.assert_allclose(found, [row.prediction for row in made.transform(frame).collect()], atol=1e-6)
    assert ((np.array(found) - Y) ** 2).mean() < ((computed(TorchNet(path)) - Y) ** 2).mean()


def test_functions_and_classes_are_taken() -> None:
    np.testing.assert_allclose(TorchNet.from_pytorch(lambda x: 2 * x, [2, 4]).predict(X), 2 * X)
    two = TorchNet.from_pytorch(lambda a, b: (a + b, a), ([1, 4], torch.ones(1, 4)))
    np.testing.assert_allclose(two.predict([X, X])[0], 2 * X)

    class Own(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 2)

    assert TorchNet.from_pytorch(Own, np.zeros((1, 4), np.float32)).predict(X).shape == (64, 2)


def test_modes_stay() -> None:
    net = TorchNet.from_pytorch(torch.nn.Sequential(torch.nn.Dropout(0.5)), [1, 4])
    np.testing.assert_array_equal(net.predict(X), X)
    assert net.to_pytorch().training and net.to_pytorch()[0].training


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot take arrays of float32 \(1, 5\)"):
        TorchNet.from_pytorch(module(), [1, 5])
    with pytest.raises(UsageError, match="an example is a shape.*Received: 'here'"):
        TorchNet.from_pytorch(module(), "here")
    with pytest.raises(UsageError, match="traced on an example"):
        TorchNet.from_pytorch(module()).savePytorch(str(tmp_path / "m.pt"))
    with pytest.raises(UsageError, match="made of a torch.nn.Module. Received: 3"):
        TorchNet.from_pytorch(3)
    with pytest.raises(UsageError, match=r"one number for a batch. It gave an array of shape \(2, 1\)"):
        TorchCriterion.from_pytorch(torch.nn.MSELoss(reduction="none"), [2, 1])
    assert list(tmp_path.iterdir()) == []


def test_a_loss_comes_from_a_file(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.MSELoss()), str(tmp_path / "loss.pt"))
    loss = TorchCriterion(str(tmp_path / "loss.pt"))
    assert loss.forward(X, np.zeros_like(X)) == pytest.approx(float((X**2).mean()), rel=1e-5)
