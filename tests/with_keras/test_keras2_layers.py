"""Layers in the words of Keras 2 are those in the words of Keras 1."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from layercases import FLAT, IMAGE, STEPS
from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras import layers as old
from zoo.pipeline.api.keras2 import layers as new
from zoo.pipeline.api.variable import Variable


def numbers(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


PAIRS = {
    "Dense": (new.Dense(3, activation="hard_sigmoid"), old.Dense(3, activation="hard_sigmoid"), FLAT),
    "Activation": (new.Activation("hard_sigmoid"), old.Activation("hard_sigmoid"), FLAT),
    "Dropout": (new.Dropout(0.3), old.Dropout(0.3), FLAT),
    "Flatten": (new.Flatten(), old.Flatten(), IMAGE),
    "Conv1D": (new.Conv1D(3, 2, 2), old.Convolution1D(3, 2, subsample_length=2), STEPS),
    "Conv2D": (new.Conv2D(4, (3, 3), activation="relu"), old.Convolution2D(4, 3, 3, activation="relu"), IMAGE),
    "Cropping1D": (new.Cropping1D((1, 2)), old.Cropping1D((1, 2)), STEPS),
    "LocallyConnected1D": (new.LocallyConnected1D(3, 2, 3), old.LocallyConnected1D(3, 2, subsample_length=3), STEPS),
    "MaxPooling1D": (new.MaxPooling1D(), old.MaxPooling1D(), STEPS),
    "AveragePooling1D": (new.AveragePooling1D(), old.AveragePooling1D(), STEPS),
    "GlobalAveragePooling1D": (new.GlobalAveragePooling1D(), old.GlobalAveragePooling1D(), STEPS),
    "GlobalMaxPooling1D": (new.GlobalMaxPooling1D(), old.GlobalMaxPooling1D(), STEPS),
    "GlobalAveragePooling2D": (new.GlobalAveragePooling2D(), old.GlobalAveragePooling2D(), IMAGE),
}


@pytest.mark.parametrize("name", PAIRS)
def test_both_words_mean_one_layer(name: str) -> None:
    modern, plain, inputs = PAIRS[name]
    plain(inputs), modern(inputs)
    modern.set_weights(plain.get_weights())
    np.testing.assert_allclose(numbers(modern(inputs)), numbers(plain(inputs)), atol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(modern))
    assert type(again) is type(modern) and again.get_config() == modern.get_config()


@pytest.mark.parametrize("name", ["maximum", "minimum", "average"])
def test_merging_functions_take_variables(name: str) -> None:
    inputs = [Variable((6,)), Variable((6,))]
    model = keras.Model([one.node for one in inputs], getattr(new, name)(inputs).node)
    expected = {"maximum": np.maximum, "minimum": np.minimum, "average": lambda x, y: (x + y) / 2}[name](
        FLAT, -2 * FLAT
    )
    np.testing.assert_allclose(numbers(model([FLAT, -2 * FLAT])), expected, atol=1e-6)


def test_each_name_is_tested() -> None:
    assert {*PAIRS, "maximum", "minimum", "average", "Maximum", "Minimum", "Average"} == set(new.__all__)


def test_words_of_keras_1_are_told_apart() -> None:
    with pytest.raises(UsageError, match="Dense has no argument 'output_dim'"):
        new.Dense(output_dim=3)
    with pytest.raises(UsageError, match="data_format must be 'channels_first' or 'channels_last'. Received: 'th'"):
        new.Conv2D(3, 3, data_format="th")
