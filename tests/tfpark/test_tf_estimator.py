"""`TFEstimator`: model functions and ready-made models, trained on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.orca.learn.metrics import MAE
from zoo.tfpark import TFDataset, TFEstimator, ZooOptimizer
from zoo.tfpark.estimator import (
    DNNClassifier,
    DNNLinearCombinedClassifier,
    EstimatorSpec,
    LinearClassifier,
    ModeKeys,
    RunConfig,
)

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 3)).astype("float32")
Y = X.sum(1)
CLASSES = (Y > 0).astype("int64")
WORD = np.where(Y > 0, "yes", "no").astype(object)


def model_fn(features: Any, labels: Any, mode: str, params: Any) -> EstimatorSpec:
    kernel = v1.get_variable("kernel", [3, 1], initializer=v1.zeros_initializer())
    output = (features @ kernel)[:, 0]
    if mode == ModeKeys.PREDICT:
        return EstimatorSpec(mode, predictions={"sum": output, "twice": tf.stack([output, output], 1)})
    loss = tf.reduce_mean(tf.square(output - labels))
    if mode == ModeKeys.EVAL:
        return EstimatorSpec(
            mode, predictions=output, loss=loss, eval_metric_ops={"mae": tf.reduce_mean(tf.abs(output - labels))}
        )
    counter = v1.train.get_or_create_global_step()
    train = ZooOptimizer(v1.train.AdamOptimizer(params["rate"])).minimize(loss, global_step=counter)
    return EstimatorSpec(mode, loss=loss, train_op=train)


def arrays(**words: Any) -> Callable[[], TFDataset]:
    return lambda: TFDataset.from_ndarrays((X, Y), **words)


def dataset(batch: int = 0, repeat: bool = False, labels: Any = Y) -> Callable[[], Any]:
    def make() -> Any:
        made = tf.data.Dataset.from_tensor_slices((X, labels))
        made = made.batch(batch) if batch else made
        return made.repeat() if repeat else made

    return make


def estimator(**words: Any) -> TFEstimator:
    return TFEstimator.from_model_fn(model_fn, params={"rate": 0.1}, **words)


def test_a_model_function_trains_is_measured_and_predicts(inline: None) -> None:
    est = estimator()
    assert est.train(arrays(batch_size=16), steps=200) is est
    found = est.evaluate(arrays(batch_per_thread=7), [MAE()])
    assert found["mae"] == pytest.approx(found["MAE"], abs=1e-5)
    assert found["loss"] < 1e-3
    rows = est.predict(arrays(batch_per_thread=7))
    np.testing.assert_allclose([row["sum"] for row in rows], Y, atol=0.1)
    assert rows.first()["twice"].shape == (2,)
    (only,) = est.predict(arrays(batch_per_thread=7), predict_keys="sum").take(1)
    assert set(only) == {"sum"}
    with pytest.raises(UsageError, match="no predictions named.*There are: sum, twice"):
        est.predict(arrays(), predict_keys=["other"])


def test_once_through_the_data_by_default(inline: None) -> None:
    est = estimator()
    est.train(dataset(batch=16))
    assert est._course.progress.step == 6
    est.train(dataset(), steps=10)
    assert est._course.progress.step == 16


def test_ranks_give_the_numbers_of_one_rank(on_spark: Any) -> None:
    def trained(workers: int) -> np.ndarray:
        est = estimator(workers_per_node=workers)
        est.train(dataset(batch=16), steps=9)
        est.train(dataset(batch=16, repeat=True), steps=7)
        found: np.ndarray = est._course._values["kernel:0"]
        return found

    np.testing.assert_allclose(trained(1), trained(2), atol=1e-6)


def test_an_earlier_program_is_gone_on_from(inline: None, tmp_path: Path) -> None:
    straight = estimator()
    straight.train(dataset(batch=16), steps=8)
    first = estimator(model_dir=str(tmp_path))
    first.train(dataset(batch=16), steps=4)
    second = estimator(model_dir=str(tmp_path))
    second.train(dataset(batch=16), steps=4)  # the optimizer's memory goes on too, the data begin anew
    assert v1.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-8")
    assert second.evaluate(arrays(batch_per_thread=8))["loss"] < first.evaluate(arrays(batch_per_thread=8))["loss"]
    older = second.evaluate(arrays(batch_per_thread=8), checkpoint_path=str(tmp_path / "model.ckpt-4"))
    assert older["loss"] == pytest.approx(first.evaluate(arrays(batch_per_thread=8))["loss"], rel=1e-5)


def test_values_to_begin_with(inline: None, tmp_path: Path) -> None:
    first = estimator(model_dir=str(tmp_path))
    first.train(dataset(batch=16), steps=50)
    warm = estimator(warm_start_from=str(tmp_path))
    warm.train(dataset(batch=16), steps=1)
    cold = estimator()
    cold.train(dataset(batch=16), steps=1)
    losses = [est.evaluate(arrays(batch_per_thread=8))["loss"] for est in (warm, cold)]
    assert losses[0] < losses[1] / 2


def test_values_to_begin_with_do_not_take_the_place_of_what_was_trained(inline: None, tmp_path: Path) -> None:
    other = estimator(model_dir=str(tmp_path / "other"))
    other.train(dataset(batch=16), steps=50)
    words = {"model_dir": str(tmp_path / "own"), "warm_start_from": str(tmp_path / "other")}
    estimator(**words).train(dataset(batch=16), steps=4)
    assert v1.train.latest_checkpoint(words["model_dir"]).endswith("model.ckpt-4")  # the steps are its own
    estimator(**words).train(dataset(batch=16), steps=4)
    assert v1.train.latest_checkpoint(words["model_dir"]).endswith("model.ckpt-8")


COLUMNS: list[Any] = [tf.feature_column.numeric_column("x", shape=(3,))]


def features(mode: str) -> Callable[[], Any]:
    """Named features, a text among them; no labels to predict."""

    def make() -> Any:
        named = {"x": X, "word": WORD}
        return tf.data.Dataset.from_tensor_slices(named if mode == ModeKeys.PREDICT else (named, CLASSES)).batch(32)

    return make


def _column(*words: str) -> Any:
    return tf.feature_column.categorical_column_with_vocabulary_list("word", list(words))


CANNED = {
    "linear": lambda: LinearClassifier([*COLUMNS, _column("yes", "no")], optimizer=v1.train.FtrlOptimizer(0.5)),
    "deep": lambda: DNNClassifier([8], COLUMNS, optimizer="Adam", batch_norm=True),
    "both": lambda: DNNLinearCombinedClassifier(
        linear_feature_columns=[_column("yes", "no")], dnn_feature_columns=COLUMNS, dnn_hidden_units=[8]
    ),
}


@pytest.mark.parametrize("name", CANNED)
def test_ready_made_models_learn_on_two_ranks(on_spark: Any, name: str) -> None:
    est = TFEstimator(CANNED[name](), workers_per_node=2)
    est.train(features(ModeKeys.TRAIN), steps=60)
    found = est.evaluate(features(ModeKeys.EVAL), ["acc"])
    assert found["accuracy"] == pytest.approx(found["Accuracy"], abs=1e-6)
    assert found["accuracy"] > 0.85
    rows = est.predict(features(ModeKeys.PREDICT)).collect()
    assert np.mean([row["class_ids"][0] == label for row, label in zip(rows, CLASSES, strict=True)]) > 0.85
    assert rows[0]["classes"] in (b"0", b"1")


def test_functions_take_what_they_name_and_input_functions_too(inline: None) -> None:
    seen = []

    def plain(features: Any, labels: Any) -> EstimatorSpec:
        seen.append(labels)
        kernel = v1.get_variable("kernel", [3, 1], initializer=v1.zeros_initializer())
        loss = tf.reduce_mean(tf.square((features @ kernel)[:, 0] - labels))
        return EstimatorSpec(
            ModeKeys.TRAIN, loss=loss, train_op=ZooOptimizer(v1.train.AdagradOptimizer(0.1)).minimize(loss)
        )

    def input_fn(mode: str) -> Any:
        seen.append(mode)
        return TFDataset.from_ndarrays((X, Y), batch_size=32).tensors

    est = TFEstimator.from_model_fn(plain, config=RunConfig(tf_random_seed=3))
    est.train(input_fn)
    assert seen[0] == ModeKeys.TRAIN and seen[1].dtype == tf.float32
    assert est._course.progress.step == 3


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_model_that_was_never_trained_is_told(inline: None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no trained model yet: call train\(\) first"):
        estimator(model_dir=str(tmp_path)).predict(arrays(batch_per_thread=4))


def test_a_function_as_an_estimator_is_told_where_it_goes() -> None:
    with pytest.raises(UsageError, match="is given to TFEstimator.from_model_fn"):
        TFEstimator(model_fn)
    with pytest.raises(UsageError, match="model_fn must be a function"):
        TFEstimator.from_model_fn("model")  # type: ignore[arg-type]


def test_tensors_of_an_iterator_are_refused(inline: None) -> None:
    def input_fn() -> Any:
        return v1.data.make_one_shot_iterator(v1.data.Dataset.from_tensor_slices((X, Y)).batch(8)).get_next()

    with pytest.raises(UsageError, match="return the data set itself"):
        estimator().train(input_fn)


def test_streaming_metrics_are_refused_with_the_way_out(inline: None) -> None:
    def measured(features: Any, labels: Any, mode: str, params: Any) -> Any:
        spec = model_fn(features, labels, mode, params)
        if mode != ModeKeys.EVAL:
            return spec
        pair = v1.metrics.mean_absolute_error(labels, spec.predictions)
        return EstimatorSpec(mode, predictions=spec.predictions, loss=spec.loss, eval_metric_ops={"mae": pair})

    est = TFEstimator.from_model_fn(measured, params={"rate": 0.1})
    est.train(arrays(batch_size=32))
    with pytest.raises(UsageError, match=r"eval_metric_ops\['mae'\] must be a scalar tensor"):
        est.evaluate(arrays(batch_per_thread=8))


def test_a_function_that_returns_something_else_is_told(inline: None) -> None:
    with pytest.raises(UsageError, match="must return an EstimatorSpec. It returned: NoneType"):
        TFEstimator.from_model_fn(lambda features, labels: None).train(arrays(batch_size=8))


def test_a_model_that_changes_between_calls_is_told(inline: None) -> None:
    sizes = iter([1, 2])

    def growing(features: Any, labels: Any) -> EstimatorSpec:
        kernel = v1.get_variable("kernel", [3, next(sizes)], initializer=v1.zeros_initializer())
        loss = tf.reduce_mean(tf.square(tf.reduce_sum(features @ kernel, 1) - labels))
        train = ZooOptimizer(v1.train.AdagradOptimizer(0.1)).minimize(loss)
        return EstimatorSpec(ModeKeys.TRAIN, loss=loss, train_op=train)

    est = TFEstimator.from_model_fn(growing)
    est.train(arrays(batch_size=32))
    with pytest.raises(UsageError, match=r"the variable kernel:0 had the shape \(3, 1\) in an earlier call"):
        est.train(arrays(batch_size=32))


def test_a_model_dir_must_be_of_this_machine() -> None:
    with pytest.raises(UsageError, match="model_dir must be a path of this machine"):
        estimator(model_dir="s3://bucket/models")


def test_a_program_that_was_cut_off_within_a_call_is_gone_on_from(inline: None, tmp_path: Path) -> None:
    straight = estimator()
    straight.train(dataset(batch=16), steps=8)
    first = estimator(model_dir=str(tmp_path))
    first.train(dataset(batch=16))  # six steps; a checkpoint of ours behind its epoch
    for file in (*tmp_path.glob("model.ckpt*"), tmp_path / "checkpoint"):  # as if it had ended before it wrote them
        file.unlink()
    second = estimator(model_dir=str(tmp_path))
    second.train(dataset(batch=16), steps=2)
    assert v1.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-8")
    np.testing.assert_allclose(second._course._values["kernel:0"], straight._course._values["kernel:0"], atol=1e-6)
    assert second._course.progress.step == 8
