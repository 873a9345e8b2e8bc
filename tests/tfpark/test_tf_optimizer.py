"""`TFOptimizer`: three forms, triggers, summaries, checkpoints, mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.triggers import MaxEpoch, MaxIteration, SeveralIteration
from zoo.orca.learn.metrics import MAE
from zoo.orca.learn.optimizers import SGD
from zoo.orca.learn.summary import TrainSummary, ValidationSummary
from zoo.tfpark import TFDataset, TFOptimizer, ZooOptimizer
from zoo.tfpark.tf_optimizer import BigDLMetric

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
Y = X.sum(1)


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as made:
        yield made


def dataset(**words: Any) -> TFDataset:
    return TFDataset.from_ndarrays((X, Y), **{"batch_size": 16} | words)


def model(features: Any, labels: Any) -> tuple[Any, Any]:
    """(output, loss) of a linear model."""
    kernel = v1.get_variable("kernel", [3, 1], initializer=v1.zeros_initializer())
    output = (features @ kernel)[:, 0]
    return output, tf.reduce_mean(tf.square(output - labels))


def kernel_of(optimizer: TFOptimizer) -> np.ndarray:
    with optimizer.sess.graph.as_default():
        (kernel,) = v1.trainable_variables()
        found: np.ndarray = optimizer.sess.run(kernel)
        return found


# --- training --------------------------------------------------------------------------------------------------------


def test_the_data_set_behind_the_loss_is_found_and_triggers_count_over_all_calls(inline: None) -> None:
    _, loss = model(*dataset().tensors)
    optimizer = TFOptimizer.from_loss(loss, SGD(0.1))
    assert [epoch["batch_count"] for epoch in optimizer.optimize(MaxIteration(6))] == [4, 2]
    assert optimizer.optimize(MaxIteration(6)) == []
    assert optimizer.optimize(MaxEpoch(3))[-1]["epoch"] == 3
    np.testing.assert_allclose(kernel_of(optimizer), np.ones((3, 1)), atol=0.2)


def test_one_epoch_by_default(inline: None) -> None:
    _, loss = model(*dataset().tensors)
    assert len(TFOptimizer.from_loss(loss, SGD(0.1)).optimize()) == 1


def test_train_operations_of_programs_train_alike_on_any_number_of_ranks(on_spark: Any) -> None:
    def trained(workers: int) -> np.ndarray:
        with tf.Graph().as_default():
            data = dataset(sequential_order=True)
            _, loss = model(*data.tensors)
            counter = v1.train.get_or_create_global_step()
            train = ZooOptimizer(v1.train.MomentumOptimizer(0.05, 0.9)).minimize(loss, global_step=counter)
            optimizer = TFOptimizer.from_train_op(train, loss, workers_per_node=workers)
            optimizer.optimize(MaxEpoch(2))
            assert optimizer.sess.run(counter) == 8
            return kernel_of(optimizer)

    np.testing.assert_allclose(trained(1), trained(2), atol=1e-6)


def test_a_program_may_clip_between_its_two_calls(inline: None) -> None:
    _, loss = model(*dataset().tensors)
    zoo = ZooOptimizer(v1.train.GradientDescentOptimizer(1.0))
    clipped = [
        (tf.clip_by_value(gradient, -1e-3, 1e-3), variable) for gradient, variable in zoo.compute_gradients(loss)
    ]
    optimizer = TFOptimizer.from_train_op(zoo.apply_gradients(clipped), loss)
    optimizer.optimize(MaxIteration(5))
    assert np.abs(kernel_of(optimizer)).max() == pytest.approx(5e-3, rel=1e-4)
    with pytest.raises(UsageError, match="between compute_ and apply_gradients"):
        optimizer.set_constant_gradient_clipping(-1.0, 1.0)


@pytest.mark.parametrize("form", ["arguments", "setters"])
def test_gradients_are_clipped(inline: None, form: str) -> None:
    _, loss = model(*dataset().tensors)
    if form == "arguments":
        optimizer = TFOptimizer.from_loss(loss, v1.train.GradientDescentOptimizer(1.0), clip_value=1e-3)
    else:
        optimizer = TFOptimizer.from_loss(loss, v1.train.GradientDescentOptimizer(1.0))
        optimizer.set_constant_gradient_clipping(-1e-3, 1e-3)
    optimizer.optimize(MaxIteration(2))
    assert np.abs(kernel_of(optimizer)).max() == pytest.approx(2e-3, rel=1e-4)
    optimizer.set_gradient_clipping_by_l2_norm(1e-4)
    before = kernel_of(optimizer)
    optimizer.optimize(MaxIteration(3))
    assert np.linalg.norm(kernel_of(optimizer) - before) == pytest.approx(1e-4, rel=1e-2)


def test_validation_data_are_measured_each_epoch(inline: None) -> None:
    data = dataset(val_tensors=(X, Y))
    features, labels = data.tensors
    output, loss = model(features, labels)
    measured = {"mae": tf.reduce_mean(tf.abs(output - labels)), "ours": BigDLMetric(MAE(), output, labels)}
    optimizer = TFOptimizer.from_loss(
        loss, SGD(0.1), metrics=measured, val_outputs=output, val_labels=labels, val_method=[MAE()]
    )
    (stats,) = optimizer.optimize()
    expected = np.abs(X @ kernel_of(optimizer)[:, 0] - Y).mean()
    for name in ("val_mae", "val_MAE"):
        assert stats[name] == pytest.approx(expected, rel=1e-4)
    assert stats["val_loss"] > 0


def test_values_are_given_to_tensors(inline: None) -> None:
    features, labels = dataset(val_tensors=(X, Y)).tensors
    factor = v1.placeholder(tf.float32, [])
    _, loss = model(features, labels)
    optimizer = TFOptimizer.from_loss(loss * factor, SGD(0.1), tensor_with_value={factor: (0.0, 1.0)})
    (stats,) = optimizer.optimize()
    assert stats["train_loss"] == 0.0 and stats["val_loss"] > 1.0


def test_summaries_and_checkpoints(inline: None, tmp_path: Path) -> None:
    _, loss = model(*dataset(val_tensors=(X, Y)).tensors)
    optimizer = TFOptimizer.from_loss(loss, SGD(0.1), model_dir=str(tmp_path / "model"))
    train, valid = TrainSummary(str(tmp_path), "app"), ValidationSummary(str(tmp_path), "app")
    optimizer.set_train_summary(train)
    optimizer.set_val_summary(valid)
    optimizer.optimize(MaxEpoch(2), checkpoint_trigger=SeveralIteration(3))
    assert [step for step, *_ in train.read_scalar("Loss")] == list(range(1, 9))
    assert len(valid.read_scalar("Loss")) == 2
    assert optimizer.get_train_summary("Loss") == train.read_scalar("Loss")
    end = kernel_of(optimizer)
    optimizer.load_checkpoint(str(tmp_path / "model"), 6)
    assert np.abs(kernel_of(optimizer) - end).max() > 1e-4
    optimizer.optimize(MaxEpoch(2))
    np.testing.assert_allclose(kernel_of(optimizer), end, atol=1e-6)


def test_inputs_may_be_named(inline: None) -> None:
    features, labels = v1.placeholder(tf.float32, [None, 3]), v1.placeholder(tf.float32, [None])
    _, loss = model(features, labels)
    optimizer = TFOptimizer.from_loss(loss, SGD(0.1), inputs=(features, labels), dataset=dataset())
    optimizer.optimize(MaxEpoch(5))
    np.testing.assert_allclose(kernel_of(optimizer), np.ones((3, 1)), atol=0.3)


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_loss_without_a_data_set_is_refused() -> None:
    _, loss = model(v1.placeholder(tf.float32, [None, 3]), v1.placeholder(tf.float32, [None]))
    with pytest.raises(UsageError, match="depends on no tensors of a TFDataset. Build the model on dataset.tensors"):
        TFOptimizer.from_loss(loss, SGD(0.1))
    with pytest.raises(UsageError, match="inputs= needs dataset="):
        TFOptimizer.from_loss(loss, SGD(0.1), inputs=[1])


def test_a_loss_of_two_data_sets_is_refused() -> None:
    features, _ = dataset().tensors
    _, labels = dataset().tensors
    _, loss = model(features, labels)
    with pytest.raises(UsageError, match="the tensors of 2 TFDatasets"):
        TFOptimizer.from_loss(loss, SGD(0.1))


def test_a_data_set_for_prediction_is_refused() -> None:
    _, loss = model(*dataset(batch_size=-1, batch_per_thread=4).tensors)
    with pytest.raises(UsageError, match="The batch_size of TFDataset must be specified when used for training"):
        TFOptimizer.from_loss(loss, SGD(0.1))


def test_a_train_operation_without_marks_is_refused() -> None:
    _, loss = model(*dataset().tensors)
    with pytest.raises(UsageError, match="applies no gradients that the ranks could average"):
        TFOptimizer.from_train_op(v1.train.GradientDescentOptimizer(0.1).minimize(loss), loss)


@pytest.mark.parametrize("given", ["adam", None, 3])
def test_zoo_optimizer_wraps_optimizers_of_tensorflow(given: Any) -> None:
    with pytest.raises(UsageError, match=r"ZooOptimizer wraps a tf.compat.v1.train.Optimizer"):
        ZooOptimizer(given)


def test_a_metric_needs_what_it_compares() -> None:
    output, loss = model(*dataset().tensors)
    with pytest.raises(UsageError, match="val_method needs val_outputs and val_labels"):
        TFOptimizer.from_loss(loss, SGD(0.1), val_outputs=output, val_method=MAE())
