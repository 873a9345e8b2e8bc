"""BigDL layers that a program changes between two runs, and what it is told where it errs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.bigdl.nn.criterion import MSECriterion
from zoo.bigdl.nn.layer import Linear, ReLU, Sequential
from zoo.bigdl.optim.optimizer import MAE, SGD, EveryEpoch, MaxEpoch, Optimizer
from zoo.bigdl.util.common import Sample
from zoo.engine.errors import DataError, UsageError
from zoo.orca.learn.pytorch import Estimator
from zoo.orca.learn.rows import LocalRows
from zoo.pipeline.estimator import Estimator as PipelineEstimator

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


def test_a_container_is_not_added_to_what_is_in_it() -> None:
    inner = Sequential()
    outer = Sequential().add(ReLU()).add(inner)
    for wrong in (inner, outer):
        with pytest.raises(UsageError, match="takes a layer that the container is not in. Received: (itself|Seq)"):
            inner.add(wrong)
    assert outer.forward(X).shape == X.shape


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


MOMENTUM = {"learningrate": 0.05, "momentum": 0.9, "dampening": 0.0}


def regression() -> Sequential:
    torch.manual_seed(0)
    return Sequential().add(Linear(4, 3)).add(ReLU()).add(Linear(3, 1))


def optimizer_of(model: Sequential, epochs: int) -> Optimizer:
    return Optimizer(model, (X, Y), MSECriterion(), MaxEpoch(epochs), 4, SGD(**MOMENTUM))


def undisturbed(epochs: int) -> list[np.ndarray]:
    return optimizer_of(regression(), epochs).optimize().get_weights()


def agree(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("changed", ["validation", "checkpoint", "criterion", "all"])
def test_what_is_said_between_two_runs_forgets_nothing(inline: None, tmp_path: Path, changed: str) -> None:
    optimizer = optimizer_of(regression(), 2)
    optimizer.optimize()
    optimizer.set_end_when(MaxEpoch(4))
    if changed in ("validation", "all"):
        optimizer.set_validation(4, (X, Y), EveryEpoch(), [MAE()])
    if changed in ("checkpoint", "all"):
        optimizer.set_checkpoint(EveryEpoch(), str(tmp_path))
    if changed in ("criterion", "all"):
        optimizer.set_criterion(MSECriterion())
    agree(optimizer.optimize().get_weights(), undisturbed(4))


def test_another_optimizer_counts_from_the_beginning(inline: None) -> None:
    optimizer = optimizer_of(regression(), 1)
    model = optimizer.optimize()
    before = model.get_weights()
    optimizer.set_optim_method(SGD(0.1))
    optimizer.optimize()
    assert any((one != other).any() for one, other in zip(before, model.get_weights(), strict=True))


def test_another_program_goes_on_from_a_checkpoint(inline: None, tmp_path: Path) -> None:
    optimizer = optimizer_of(regression(), 2)
    optimizer.set_checkpoint(EveryEpoch(), str(tmp_path))
    optimizer.optimize()
    torch.manual_seed(5)
    later = optimizer_of(Sequential().add(Linear(4, 3)).add(ReLU()).add(Linear(3, 1)), 4)
    later.load_checkpoint(str(tmp_path))
    later.set_checkpoint(EveryEpoch(), str(tmp_path))
    agree(later.optimize().get_weights(), undisturbed(4))


def test_the_older_estimator_goes_on_with_new_criteria_and_methods(inline: None) -> None:
    model = regression()
    estimator = PipelineEstimator(model, SGD(**MOMENTUM))
    for epoch in range(4):
        estimator.train((X, Y), MSECriterion(), MaxEpoch(epoch + 1), None, (X, Y), [MAE()], 4)
    agree(model.get_weights(), undisturbed(4))


def test_samples_of_different_shapes_are_an_error_of_the_data(on_spark: Any, tmp_path: Path) -> None:
    """No rank was lost: with checkpoints, another gang would be started for nothing."""
    samples = [Sample.from_ndarray(np.ones(3 + place % 2, "float32"), 1.0) for place in range(8)]
    rows = on_spark.sparkContext.parallelize(samples, 2)
    optimizer = Optimizer(Linear(3, 1), rows, MSECriterion(), MaxEpoch(1), 4)
    optimizer.set_checkpoint(EveryEpoch(), str(tmp_path))
    with pytest.raises(DataError, match=r"^the elements of the RDD have different shapes: \[\(3,\), \(4,\)\]. Pad"):
        optimizer.optimize()
