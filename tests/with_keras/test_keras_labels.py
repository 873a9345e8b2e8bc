"""Class numbers that a plain Keras model does not have: told in words, on each backend, also where Keras is silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.keras import labels
from zoo.orca.learn.tf.estimator import Estimator

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.usefixtures("inline")

ROWS, CLASSES = 12, 3
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
FROM_ONE = np.arange(ROWS) % CLASSES + 1


class Subclassed(keras.Model):
    """A model whose outputs' shapes Keras does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(CLASSES, activation="softmax")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Subclassed:
        return cls()

    def call(self, x: Any) -> Any:
        return self.dense(x)


def dense() -> Any:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(CLASSES, activation="softmax")])


def estimator(model: Any, loss: Any) -> Any:
    model.compile("sgd", loss)
    return Estimator.from_keras(model)


@pytest.mark.parametrize("model", [dense, Subclassed], ids=["sequential", "subclassed"])
@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.SparseCategoricalCrossentropy(),
    ],
    ids=["name", "function", "object"],
)
def test_labels_that_count_from_1_are_told(model: Any, loss: Any) -> None:
    told = "^the output has 3 classes, so labels count from 0 to 2. Received labels from 1 to 3. Number them from 0"
    made = estimator(model(), loss)
    with pytest.raises(DataError, match=told):
        made.fit((X, FROM_ONE), epochs=1, batch_size=ROWS)
    with pytest.raises(DataError, match="^the output has 3 classes"):  # of the piece that is scored first
        made.evaluate((X, FROM_ONE), batch_size=ROWS)


def test_labels_between_classes_are_told() -> None:
    halves = np.where(np.arange(ROWS) == 5, 0.5, 1.0).astype("float32")
    with pytest.raises(DataError, match="class numbers, which are whole. Received: 0.5"):
        estimator(dense(), "sparse_categorical_crossentropy").fit((X, halves), epochs=1, batch_size=ROWS)


def test_several_outputs_say_which_label_is_wrong() -> None:
    given = keras.Input((4,))
    model = keras.Model(given, [keras.layers.Dense(CLASSES, activation="softmax")(given) for _ in range(2)])
    made = estimator(model, ["sparse_categorical_crossentropy"] * 2)
    with pytest.raises(DataError, match="^label 1: the output has 3 classes"):
        made.fit((X, (FROM_ONE - 1, FROM_ONE)), epochs=1, batch_size=ROWS)


def test_the_ignored_class_is_no_mistake() -> None:
    some = np.where(np.arange(ROWS) % 4, FROM_ONE - 1, -1)
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    (epoch,) = estimator(dense(), loss).fit((X, some), epochs=1, batch_size=ROWS)
    assert np.isfinite(epoch["train_loss"])


def test_an_error_of_the_model_itself_stays_what_it_is() -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  each backend has its own
        estimator(dense(), "sparse_categorical_crossentropy").fit((X[:, :3], FROM_ONE - 1), epochs=1, batch_size=ROWS)
    assert "labels count" not in str(caught.value) and not isinstance(caught.value, DataError | UsageError)
    assert "The model was given" in "".join(getattr(caught.value, "__notes__", ()))


@pytest.mark.parametrize(
    ("shape", "output", "mistaken"),
    [
        ((2,), (3,), True),
        ((2, 1), (3,), True),
        ((2, 5), (5, 3), True),
        ((2, 5), (None, 3), True),
        ((2, 5, 1), (None, 3), True),
        ((2, 4, 4), (3, 4, 5), False),  # classes along another axis
        ((2,), (None,), False),
    ],
)
def test_classes_are_looked_for_where_they_are(shape: Any, output: Any, mistaken: bool) -> None:
    class Compiled:
        loss = "sparse_categorical_crossentropy"

    assert bool(labels.mistakes(Compiled(), [np.full(shape, 3)], [output])) is mistaken


def test_other_losses_have_nothing_to_say() -> None:
    class Compiled:
        loss = "mse"

    assert not labels.explains(Compiled()) and not labels.silent(Compiled())
    assert labels.mistakes(Compiled(), [np.full(2, 3)], [(3,)]) == []
