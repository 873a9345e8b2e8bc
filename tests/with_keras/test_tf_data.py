"""tf.data as data: a program's own data set and those of creator functions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow
from keras import layers

from zoo.engine.contracts import Feed, FeedRequest
from zoo.engine.data.adapters import adapt
from zoo.engine.errors import DataError, UsageError
from zoo.engine.events.sinks import MemorySink
from zoo.engine.values import Rank
from zoo.orca.learn import tf, tf2

data = tensorflow.data
ROWS = 40
X = np.random.default_rng(1).normal(size=(ROWS, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


def regression() -> keras.Model:
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def feed_of(given: Any, index: int, world: int, batch_size: int = 8, **words: Any) -> Feed:
    request = FeedRequest(
        rank=Rank(index, world), features=(), labels=(), batch_size=batch_size, sink=MemorySink(), **words
    )
    return adapt(given).shards.feed(request)


def steps_of(given: Any, world: int, steps: int, **words: Any) -> list[list[float]]:
    """The rows of each step, over all ranks, in order."""
    feeds = [feed_of(given, index, world, **words).epoch(0) for index in range(world)]
    batches = [[batch for _, batch in zip(range(steps), feed, strict=False)] for feed in feeds]
    return [
        [float(row) for batch in step if batch.weight for row in batch.features[0][:, 0]]
        for step in zip(*batches, strict=True)
    ]


def numbers(rows: int = ROWS) -> Any:
    return data.Dataset.from_tensor_slices((np.arange(rows, dtype=np.float32)[:, None], np.zeros(rows)))


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "dataset", [numbers(), numbers().shuffle(16), numbers().batch(5), numbers().shuffle(ROWS).batch(7).prefetch(1)]
)
def test_a_step_has_the_same_rows_on_any_number_of_ranks(dataset: Any) -> None:
    alone = steps_of(dataset, 1, 5)
    assert sorted(row for step in alone for row in step) == list(range(ROWS))
    assert [len(step) for step in alone] == [8] * 5
    for world in (2, 3):
        assert steps_of(dataset, world, 5) == alone


@pytest.mark.one_backend
def test_a_shuffle_without_a_seed_draws_from_the_estimators() -> None:
    tensorflow.random.set_seed(None)  # other tests set TensorFlow's own
    dataset = numbers().shuffle(ROWS)
    assert steps_of(dataset, 1, 5, seed=1) == steps_of(dataset, 1, 5, seed=1) != steps_of(dataset, 1, 5, seed=2)


def test_training_on_two_ranks_is_training_on_one(on_spark: Any) -> None:
    dataset = data.Dataset.from_tensor_slices((X, Y)).shuffle(ROWS).batch(10)
    models = []
    for ranks in (1, 2):
        est = tf.Estimator.from_keras(regression(), workers_per_node=ranks)
        history = est.fit(dataset, epochs=2, batch_size=8)
        assert [(epoch["batch_count"], epoch["num_samples"]) for epoch in history] == [(5, ROWS)] * 2
        models.append(est.get_model().get_weights())
    for one, other in zip(*models, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_rows_have_weights_and_inputs_are_dicts(inline: None) -> None:
    given = {"a": keras.Input((1,), name="a"), "b": keras.Input((1,), name="b")}
    model = keras.Model(given, layers.Dense(1, use_bias=False)(layers.Subtract()([given["a"], given["b"]])))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    reference = keras.models.clone_model(model)
    reference.set_weights(model.get_weights())
    reference.compile(keras.optimizers.SGD(0.1), "mse")
    features = {"b": X[:, :1], "a": X[:, 1:2]}  # another order than the model's
    dataset = data.Dataset.from_tensor_slices((features, Y, np.linspace(0, 1, ROWS, dtype="float32")))
    tf.Estimator.from_keras(model).fit(dataset, batch_size=ROWS)
    reference.fit(dataset.batch(ROWS), verbose=0, shuffle=False)
    np.testing.assert_allclose(model.get_weights()[0], reference.get_weights()[0], atol=1e-6)


def test_it_is_evaluated_and_predicted_too(inline: None) -> None:
    dataset = data.Dataset.from_tensor_slices((X, Y)).batch(16)
    est = tf.Estimator.from_keras(regression())
    assert est.evaluate(dataset)["loss"] == pytest.approx(est.get_model().evaluate(X, Y, verbose=0), abs=1e-5)
    np.testing.assert_allclose(est.predict(dataset), est.get_model().predict(X, verbose=0), atol=1e-6)


def make(config: dict[str, Any], batch_size: int) -> Any:
    from tensorflow import data

    return data.Dataset.from_tensor_slices((X * config.get("by", 1), Y)).shuffle(ROWS).batch(batch_size)


def test_creators_split_what_they_make(on_spark: Any) -> None:
    est = tf2.Estimator.from_keras(model_creator=lambda config: regression(), workers_per_node=2, config={"by": 1})
    first = est.fit(make, epochs=1, batch_size=8)
    last = est.fit(make, epochs=4, batch_size=8, validation_data=make)
    assert last["train_loss"] < first["train_loss"]
    assert last["validation_loss"] == pytest.approx(est.evaluate((X, Y))["validation_loss"], rel=1e-4)


@pytest.mark.one_backend
@pytest.mark.parametrize("world", [2, 3])
def test_every_row_that_a_creator_gives_is_on_one_rank(world: int) -> None:
    seen = steps_of(lambda config, size: numbers().shuffle(ROWS).batch(size), world, ROWS)
    assert sorted(row for step in seen for row in step) == list(range(ROWS))


@pytest.mark.one_backend
def test_files_are_spread_over_ranks(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("\n".join(f"{number}{line}" for line in range(6)))

    def lines(config: dict[str, Any], size: int) -> Any:
        names = data.Dataset.list_files(str(tmp_path / "*.txt"), shuffle=False)
        return names.interleave(data.TextLineDataset, cycle_length=1).batch(size)

    ranks = [
        {line[:1] for batch, _ in zip(feed_of(lines, index, 2).epoch(0), range(9), strict=False) if batch.weight
         for line in batch.features[0].tolist()}
        for index in range(2)
    ]  # fmt: skip
    assert ranks[0] | ranks[1] == {b"0", b"1", b"2", b"3"} and not ranks[0] & ranks[1]


@pytest.mark.one_backend
def test_functions_of_a_creator_leave_no_files_of_their_translation() -> None:
    def create(config: Any, batch_size: int) -> Any:
        def doubled(x: Any, y: Any) -> Any:
            return (x * 2 if y < 1 else x), y

        return numbers().map(doubled).batch(batch_size)

    found = [row for step in steps_of(create, 1, 5) for row in step]
    assert found == [2 * number for number in range(ROWS)]
    assert not list(Path(tempfile.gettempdir()).glob("__autograph_generated_file*"))


@pytest.mark.parametrize("pack", [tuple, lambda pair: dict(zip(("one", "two"), pair, strict=True))])
def test_several_targets_of_a_creator_are_no_weights(inline: None, pack: Any) -> None:
    given = keras.Input((3,))
    model = keras.Model(given, [layers.Dense(1, name="one")(given), layers.Dense(1, name="two")(given)])
    model.compile("sgd", loss=["mse", "mae"], metrics={"one": ["mae"], "two": ["mae"]})
    targets = (Y, 3 * Y)

    def make(config: dict[str, Any], size: int) -> Any:
        return data.Dataset.from_tensor_slices((X, pack(targets))).batch(size)

    (epoch,) = tf.Estimator.from_keras(model).fit(make, batch_size=8, validation_data=make)
    reference = model.evaluate(X, list(targets), verbose=0, return_dict=True)
    assert epoch["val_one_mae"] == pytest.approx(reference["one_mae"], abs=1e-5)
    assert epoch["val_two_mae"] == pytest.approx(reference["two_mae"], abs=1e-5)


@pytest.mark.one_backend
def test_python_code_cannot_travel_but_a_creator_can(inline: None) -> None:
    def rows() -> Any:
        yield from zip(X, Y, strict=True)

    def make(config: dict[str, Any], size: int) -> Any:
        signature = (tensorflow.TensorSpec((3,)), tensorflow.TensorSpec((1,)))
        return data.Dataset.from_generator(rows, output_signature=signature).batch(size)

    est = tf.Estimator.from_keras(regression())
    with pytest.raises(UsageError, match=r"cannot travel.*\n.*Give a function that makes it there"):
        est.fit(make({}, 8))
    (history,) = est.fit(make, batch_size=8)
    assert history["num_samples"] == ROWS


@pytest.mark.one_backend
def test_data_sets_that_never_end_or_never_begin(inline: None) -> None:
    est = tf.Estimator.from_keras(regression())
    endless = data.Dataset.from_tensor_slices((X, Y)).repeat()
    for given in (endless, lambda config, size: endless.batch(size)):
        with pytest.raises(UsageError, match=r"training data set never ends.*steps_per_epoch"):
            est.fit(given)
        (history,) = est.fit(given, batch_size=8, steps_per_epoch=3)
        assert history["num_samples"] == 24
    with pytest.raises(UsageError, match="validation data set never ends"):
        est.fit((X, Y), validation_data=endless)
    assert "val_loss" in est.fit((X, Y), validation_data=endless, validation_steps=2)[0]
    with pytest.raises(DataError, match="no rows"):
        est.fit(data.Dataset.from_tensor_slices((X[:0], Y[:0])))


@pytest.mark.one_backend
def test_a_creator_that_hands_its_config_on_reads_its_own_chunks(tmp_path: Path) -> None:
    from zoo.orca.data.image import DType, FeatureType, ParquetDataset, SchemaField, read_parquet

    schema = {name: SchemaField(FeatureType.SCALAR, DType.FLOAT32, ()) for name in ("x", "y")}
    ParquetDataset.write(str(tmp_path), ({"x": n, "y": 0} for n in range(50)), schema, block_size=7)
    configs = []

    def creator(config: dict[str, Any], batch_size: int) -> data.Dataset:
        configs.append(config)
        types = {"x": tensorflow.float32, "y": tensorflow.float32}
        records = read_parquet("tf_dataset", str(tmp_path), output_types=types, config=config)
        return records.shuffle(20).map(lambda record: (record["x"], record["y"])).batch(batch_size)

    read = []
    for rank in (0, 1):
        batches = feed_of(creator, rank, 2).epoch(0)
        some = [batch for batch, _ in zip(batches, range(10), strict=False) if batch.weight]
        read.append([value for batch in some for value in batch.features[0].tolist()])
    assert configs == [{"num_shards": 2, "rank": 0}, {"num_shards": 2, "rank": 1}]
    assert sorted(read[0] + read[1]) == list(range(50))
    assert set(read[0]) == {n for n in range(50) if n // 7 % 2 == 0}


@pytest.mark.one_backend
def test_a_creator_alone_is_given_its_own_config(tmp_path: Path) -> None:
    configs = []

    def creator(config: dict[str, Any], batch_size: int) -> data.Dataset:
        configs.append(config)
        return data.Dataset.from_tensor_slices((X, Y)).batch(batch_size)

    feed_of(creator, 0, 1)
    assert configs == [{}]
