"""BigDL layers that a program changes between two runs, and what it is told where it errs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.bigdl.nn.criterion import MSECriterion
from zoo.bigdl.nn.layer import Linear, ReLU, Sequential
from zoo.bigdl.optim.optimizer import SGD, MaxEpoch, Optimizer
from zoo.engine.errors import UsageError
from zoo.orca.learn.pytorch import Estimator
from zoo.orca.learn.rows import LocalRows

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = X[:, :1]


def test_weights_that_the_program_sets_between_runs_are_trained_on(inline: None) -> None:
    model = Linear(4, 1)
    optimizer = Optimizer(model, (X, Y), MSECriterion(), MaxEpoch(1), 4, SGD(1e-9))
    optimizer.optimize()
    model.set_weights([np.full_like(array, 0.5) for array in model.get_weights()])
    optimizer.set_end_when(MaxEpoch(2))
    optimizer.optimize()
    for array in model.get_weights():
        np.testing.assert_allclose(array, 0.5, atol=1e-6)


def test_the_estimator_of_a_torch_module_does_so_too(inline: None) -> None:
    model = torch.nn.Linear(4, 1)
    estimator = Estimator.from_torch(model=model, loss=torch.nn.MSELoss(), optimizer=SGD(1e-9))
    estimator.fit((X, Y), batch_size=4)
    torch.nn.init.constant_(model.weight, 0.5)
    estimator.fit((X, Y), batch_size=4)
    np.testing.assert_allclose(model.weight.detach(), 0.5, atol=1e-6)


def test_a_transposed_weight_is_refused() -> None:
    layer = Linear(4, 3)
    with pytest.raises(UsageError, match=r"\(3, 4\). Received: \(4, 3\)"):
        layer.set_weights([np.zeros((4, 3)), np.zeros(3)])
    layer.set_weights([np.ones((1, 3, 4)), np.zeros((3, 1))])
    assert (layer.forward(np.ones((1, 4))) == 4).all()


def test_a_layer_that_cannot_take_its_input_is_named() -> None:
    model = Sequential().add(Linear(4, 3)).add(ReLU()).add(Linear(5, 2).set_name("fc2"))
    with pytest.raises(RuntimeError) as caught:
        model.forward(X)
    assert caught.value.__notes__ == ["This was Linear 'fc2', given the shape (12, 3)."]


def test_a_model_prints_what_a_program_said_of_it() -> None:
    model = (
        Sequential().add(Linear(4, 3).set_name("fc1")).add(Linear(3, 2, with_bias=False, init_weight=np.ones((2, 3))))
    )
    assert str(model).splitlines()[1:3] == [
        "  (0): Linear 'fc1'(input_size=4, output_size=3)",
        "  (1): Linear(input_size=3, output_size=2, with_bias=False, init_weight=array(2, 3))",
    ]


def test_classes_of_an_rdd_are_an_rdd(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Linear(4, 3)
    outputs = model.predict(X)
    monkeypatch.setattr(type(model), "predict", lambda *_: LocalRows(list(outputs)))
    assert model.predict_class("an RDD").collect() == (outputs.argmax(1) + 1).tolist()
    monkeypatch.setattr(type(model), "predict", lambda *_: [outputs, outputs])
    with pytest.raises(UsageError, match="one output"):
        model.predict_class("an RDD")
