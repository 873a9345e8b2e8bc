"""`GANEstimator`: whose turn it is, what is remembered, both losses in the summaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.triggers import MaxIteration
from zoo.tfpark import GANEstimator, TFDataset
from zoo.tfpark.gan.gan_estimator import GANEstimator as AtItsOldAddress

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
NOISE = np.linspace(-1, 1, 64, dtype="float32").reshape(64, 1)
REAL = NOISE + 3


def variable(name: str) -> Any:
    return v1.get_variable(name, [], initializer=v1.zeros_initializer())


def generator(noise: Any) -> Any:
    return noise + variable("shift")


def discriminator(data: Any, noise: Any) -> Any:
    return data * variable("slope")


def words(**changes: Any) -> dict[str, Any]:
    return {
        "generator_fn": generator,
        "discriminator_fn": discriminator,
        "generator_loss_fn": lambda fake: tf.reduce_mean(-fake),
        "discriminator_loss_fn": lambda real, fake: tf.reduce_mean(fake) - tf.reduce_mean(real),
        "generator_optimizer": v1.train.GradientDescentOptimizer(1.0),
        "discriminator_optimizer": v1.train.GradientDescentOptimizer(1.0),
    } | changes


def data(rows: int = 64) -> TFDataset:
    return TFDataset.from_ndarrays((NOISE[:rows], REAL[:rows]), batch_size=rows, sequential_order=True)


def path_of(steps: int, d_steps: int, g_steps: int) -> tuple[float, float]:
    """(shift, slope) by hand: the discriminator climbs by 3 - shift, the generator by the slope."""
    shift = slope = 0.0
    for step in range(steps):
        if step % (d_steps + g_steps) < d_steps:
            slope += 3 - shift
        else:
            shift += slope
    return shift, slope


def reached(gan: GANEstimator) -> tuple[float, float]:
    values = gan._course._values
    return float(values["Generator/shift:0"]), float(values["Discriminator/slope:0"])


@pytest.mark.parametrize(("d_steps", "g_steps"), [(1, 1), (2, 1), (1, 3)])
def test_the_discriminator_begins_and_they_take_turns(inline: None, d_steps: int, g_steps: int) -> None:
    gan = GANEstimator(**words(discriminator_steps=d_steps, generator_steps=g_steps))
    gan.train(data, MaxIteration(5))
    assert reached(gan) == pytest.approx(path_of(5, d_steps, g_steps), abs=1e-4)
    gan.train(data, MaxIteration(2))  # counts anew; whose turn it is goes on
    assert reached(gan) == pytest.approx(path_of(7, d_steps, g_steps), abs=1e-4)


def test_ranks_give_the_numbers_of_one_rank(on_spark: Any) -> None:
    gan = GANEstimator(**words(workers_per_node=2))
    gan.train(data, MaxIteration(4))
    assert reached(gan) == pytest.approx(path_of(4, 1, 1), abs=1e-4)


def test_both_losses_are_in_the_summaries_and_in_the_statistics(inline: None, tmp_path: Path) -> None:
    gan = GANEstimator(**words(model_dir=str(tmp_path)))
    assert gan.get_train_summary() is None
    epochs = gan.train(data, MaxIteration(3)) + gan.train(data, MaxIteration(1))
    found = {name: gan.get_train_summary(f"{name}_loss") for name in ("generator", "discriminator")}
    assert [[step for step, *_ in rows] for rows in found.values()] == [[1, 2, 3, 4]] * 2
    shift, slope = path_of(3, 1, 1)
    assert found["generator"][-1][1] == pytest.approx(-slope * shift, rel=1e-4)
    assert found["discriminator"][-1][1] == pytest.approx(-slope * (3 - shift), abs=1e-4)
    assert {"train_generator_loss", "train_discriminator_loss"} <= epochs[0].keys()


def test_an_earlier_program_is_gone_on_from(inline: None, tmp_path: Path) -> None:
    GANEstimator(**words(model_dir=str(tmp_path))).train(data, MaxIteration(3))
    later = GANEstimator(**words(model_dir=str(tmp_path)))
    later.train(data, MaxIteration(2))
    assert reached(later) == pytest.approx(path_of(5, 1, 1), abs=1e-4)
    assert v1.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-5")


def test_functions_may_ask_for_the_step_and_penalties_of_their_scope_count(inline: None) -> None:
    def penalised(data: Any, noise: Any, counter: Any) -> Any:
        assert counter.dtype == tf.int64
        slope = variable("slope")
        if not v1.get_variable_scope().reuse:
            v1.losses.add_loss(slope, v1.GraphKeys.REGULARIZATION_LOSSES)
        return data * slope

    gan = GANEstimator(**words(discriminator_fn=penalised))
    gan.train(data, MaxIteration(1))
    assert reached(gan)[1] == pytest.approx(2.0, abs=1e-5)  # 3, less the penalty's 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator_steps": 0}, "generator_steps must be a whole number, at least 1. Received: 0"),
        ({"generator_optimizer": "adam"}, "ZooOptimizer wraps"),
        ({"model_dir": "s3://bucket"}, "path of this machine"),
    ],
)
def test_mistakes_are_told_when_it_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GANEstimator(**words(**changes))


@pytest.mark.parametrize(
    ("changes", "made", "message"),
    [
        ({}, lambda: 3, "input_fn must give a TFDataset. It gave: int"),
        ({}, lambda: TFDataset.from_ndarrays(NOISE, batch_size=8), r"has two parts, \(generator_inputs, real_data\)"),
        ({}, lambda: TFDataset.from_ndarrays((NOISE, REAL)), "The batch_size of TFDataset must be specified"),
        ({"generator_fn": lambda noise: noise}, data, "the generator has no trainable variables"),
        ({"generator_loss_fn": lambda fake: -fake}, data, "generator_loss_fn must give a scalar"),
    ],
)
def test_mistakes_are_told_before_anything_trains(
    inline: None, changes: dict[str, Any], made: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        GANEstimator(**words(**changes)).train(made, MaxIteration(1))


def test_the_old_address_is_the_same() -> None:
    assert AtItsOldAddress is GANEstimator
