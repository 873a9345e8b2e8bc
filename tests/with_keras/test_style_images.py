"""Sets of images through Keras-style models: the predictions come back beside the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pictures
from zoo.feature.image import ImageMatToTensor, ImageResize, ImageSet, ImageSetToSample
from zoo.pipeline.api.keras.engine.topology import Input
from zoo.pipeline.api.keras.layers import Dense, Flatten
from zoo.pipeline.api.keras.models import Model

LOCAL = {"distributed": False}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pictures.folders(tmp_path, kätzchen=2, Dogs=1)
    return tmp_path


def prepared(images: ImageSet) -> ImageSet:
    return images.transform(ImageResize(4, 4)).transform(ImageMatToTensor()).transform(ImageSetToSample())


def net(outputs: int = 1) -> Model:
    given = Input((3, 4, 4))
    flat = Flatten()(given)
    ends = [Dense(2)(flat) for _ in range(outputs)]
    return Model(given, ends if outputs > 1 else ends[0])


def test_images_here_come_back_with_what_the_model_says(photos: Path) -> None:
    images, model = prepared(ImageSet.read(str(photos), image_codec=1, with_label=True)), net()
    found = model.predict(images, **LOCAL)
    arrays = np.stack(images.get_image("imageTensor"))
    for (name, row), wanted in zip(found.get_predict(), model.predict(arrays, **LOCAL), strict=True):
        assert Path(name).is_file()
        np.testing.assert_allclose(row, wanted, rtol=1e-5)
    assert found.get_label() == images.get_label() and found.label_map == {"Dogs": 1, "kätzchen": 2}
    assert [row for _, row in images.get_predict()] == [None] * 3  # the set that was given stays as it was
    two = net(outputs=2).predict(images, **LOCAL).get_predict()
    assert [[one.shape for one in row] for _, row in two] == [[(2,), (2,)]] * 3


@pytest.mark.one_backend
def test_images_on_spark_do_so_lazily(on_spark: Any, photos: Path) -> None:
    model = net()
    there = model.predict(prepared(ImageSet.read(str(photos), on_spark.sparkContext, 2, image_codec=1)))
    assert there.is_distributed()
    here = model.predict(prepared(ImageSet.read(str(photos), image_codec=1)), **LOCAL)
    for (name, row), (other, wanted) in zip(there.get_predict().collect(), here.get_predict(), strict=True):
        assert name == other
        np.testing.assert_allclose(row, wanted, rtol=1e-5)
