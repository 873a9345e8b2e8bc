"""Steps of zoo.feature as `transform=` of an estimator: they get the same picture as everywhere, in BGR order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import imagesets
from zoo.engine.jobs import Columns, ImageTransform
from zoo.feature.common import ChainedPreprocessing
from zoo.feature.image import ImageBrightness, ImageFeatureToTensor, ImageMatToTensor
from zoo.orca.learn.preparation import OnPixels, with_transform

torch = pytest.importorskip("torch")

RGB = np.zeros((5, 4, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
STEPS = [ImageMatToTensor(), ImageFeatureToTensor(), lambda tensor: tensor.mean((1, 2))]


def chain() -> ChainedPreprocessing:
    """The means of blue, green and red."""
    return ChainedPreprocessing(STEPS)


def table() -> pa.Table:
    pixels = {"origin": "a", "height": 5, "width": 4, "nChannels": 3, "mode": 16, "data": RGB[..., ::-1].tobytes()}
    return pa.table({
        "file": pa.array([{"bytes": imagesets.encoded(RGB)}]),
        "pixels": pa.array([pixels]),
        "numbers": pa.array([[1.0, 2.0, 3.0]]),
    })  # fmt: skip


def given_to_the_model(column: str, transform: Any) -> list[float]:
    from zoo.orca.learn.pytorch import Estimator

    predicted = Estimator.from_torch(model=torch.nn.Identity()).predict(
        table(), feature_cols=[column], transform=transform
    )
    return list(predicted["prediction"].to_pylist()[0])


@pytest.mark.parametrize("column", ["file", "pixels"])
@pytest.mark.parametrize(
    "wrapped", [lambda steps, _: steps, lambda steps, name: {name: steps}, lambda steps, _: ImageTransform(steps)]
)
def test_a_chain_sees_blue_first(inline: None, column: str, wrapped: Any) -> None:
    assert given_to_the_model(column, wrapped(chain(), column)) == [50.0, 100.0, 200.0]


def test_a_function_sees_red_first_as_before(inline: None) -> None:
    assert given_to_the_model("file", lambda image: image.mean((0, 1))) == [200.0, 100.0, 50.0]


def test_a_chain_for_numbers_gets_them_whole(inline: None) -> None:
    doubled = ChainedPreprocessing([lambda values: 2 * np.asarray(values, np.float32)])
    assert given_to_the_model("numbers", {"numbers": doubled}) == [2.0, 4.0, 6.0]


def test_each_epoch_has_its_own_draws() -> None:
    steps = ImageBrightness(-50, 50) >> ChainedPreprocessing(STEPS)
    asked = with_transform(Columns(("file",)), table().schema, ImageTransform(steps))
    assert isinstance(asked.of_epoch(0, 1).transform.function, OnPixels)
    first, again, other = (asked.of_epoch(0, epoch).transform.function(RGB) for epoch in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
