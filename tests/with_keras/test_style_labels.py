"""Labels that a loss of the Keras-style API does not take: before a run, and on the ranks; on every backend."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from zoo.engine import session
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.errors import DataError, TrainingDiverged, UsageError, WorkerFailed
from zoo.orca.data import XShards
from zoo.pipeline.api.keras.engine.topology import Input
from zoo.pipeline.api.keras.layers import Dense
from zoo.pipeline.api.keras.models import Model, Sequential
from zoo.pipeline.api.keras.objectives import SparseCategoricalCrossEntropy

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
FROM_ONE = r"3 classes, so labels count from 0 to 2. Received labels from 1.* to 3.*zero_based_label=False"
LOCAL = {"distributed": False}


def net(loss: Any = "sparse_categorical_crossentropy", optimizer: Any = "sgd", **words: Any) -> Sequential:
    model = Sequential().add(Dense(3, activation="softmax", input_shape=(4,)))
    model.compile(optimizer, loss, **words)
    return model


def forked() -> Model:
    given = Input((4,))
    model = Model(given, [Dense(1, name="value")(given), Dense(3, activation="softmax", name="kind")(given)])
    model.compile("sgd", {"kind": "sparse_categorical_crossentropy", "value": "mse"})
    return model


@pytest.mark.parametrize("labels, message", [
    (Y + 1, FROM_ONE),
    ((Y + 1.0)[:, None], FROM_ONE),
    ([Y + 1], FROM_ONE),
    (Y * 5, r"from 0 to 10\.$"),
    (Y + 0.5, "whole. Received: 0.5, 1.5, 2.5"),
    (np.where(Y == 2, np.nan, Y), "whole. Received: nan"),
    (np.array(["cat"] * 12), "class numbers. Received an array of <U3: .*cat"),
])  # fmt: skip
def test_arrays_are_looked_at_before_a_run(labels: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        net().fit(X, labels, **LOCAL)
    with pytest.raises(UsageError, match=message):
        net().evaluate(X, labels, **LOCAL)


def test_so_are_those_for_validation() -> None:
    model = net()
    before = model.get_weights()
    for given, message in (((X, Y + 1), FROM_ONE), ((X[:, :3], Y), "input 0"), ((X, np.eye(3)[Y]), "class numbers")):
        with pytest.raises(UsageError, match=message):
            model.fit(X, Y, validation_data=given, **LOCAL)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_so_are_those_of_each_output() -> None:
    values = X[:, :1]
    assert math.isfinite(forked().fit(X, [values, Y], nb_epoch=1, **LOCAL)[0]["train_loss"])
    for given, message in (
        ([values, Y + 1], f"label 1: .*{FROM_ONE}"),
        ([X[:, :2], Y], r"label 0: .*labels: \(2\); output: \(1\)"),
        ([Y, values[:, 0]], "label 1: .*whole"),
        (Y, r"2 outputs \(value, kind\).*Received: 1"),
        ([values, Y, Y], "2 outputs .*Received: 3"),
    ):
        with pytest.raises(UsageError, match=message):
            forked().fit(X, given, **LOCAL)
    with pytest.raises(UsageError, match="1 output.*Received: 2"):
        net().fit(X, [Y, Y], **LOCAL)


@pytest.mark.parametrize("wrong, message", [(Y + 1, FROM_ONE), (Y + 0.5, "whole. Received")])
def test_other_data_are_looked_at_where_the_loss_is_no_number(inline: None, wrong: Any, message: str) -> None:
    shards = XShards.partition({"x": X, "y": wrong}, 2)
    with pytest.raises(DataError, match=message):
        net().fit(shards, nb_epoch=1, batch_size=4)
    with pytest.raises(DataError, match=message):
        net().evaluate(shards)


def test_a_loss_that_diverges_is_not_put_down_to_its_labels(inline: None) -> None:
    broken = XShards.partition({"x": np.full((12, 4), np.nan, "float32"), "y": Y}, 2)
    with pytest.raises(TrainingDiverged, match="learning rate"):
        net().fit(broken, nb_epoch=1, batch_size=4)


@pytest.mark.slow
def test_the_rank_that_has_them_says_so() -> None:
    labels = np.where(np.arange(12) == 10, 7, Y)
    session.begin(LocalCluster(2))
    try:
        with pytest.raises((DataError, WorkerFailed), match="Received labels from 0 to 7") as found:
            net().fit(XShards.partition({"x": X, "y": labels}, 4), nb_epoch=1, batch_size=12, workers=2)
    finally:
        session.end()
    assert "learning rate" not in str(found.value)


def test_entries_of_padding_and_classes_of_a_loss_that_counts_from_one() -> None:
    loss = SparseCategoricalCrossEntropy(padding_value=9)
    net(loss).fit(X, np.where(Y == 2, 9, Y), nb_epoch=1, **LOCAL)
    assert math.isnan(loss.forward(np.full((1, 3), 1 / 3, "float32"), np.array([0.5])))
    with pytest.raises(UsageError, match="weights"):
        net(SparseCategoricalCrossEntropy(weights=[1.0, 2.0])).fit(X, Y, **LOCAL)
