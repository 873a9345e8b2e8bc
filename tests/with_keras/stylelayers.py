"""Layers for the tests of Keras-style models; `zoo.pipeline.api.keras.layers` has the real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.library import library

keras = library()


@keras.saving.register_keras_serializable("tests")
class Dense(ZooKerasLayer, keras.layers.Dense):
    def __init__(self, output_dim: int | None = None, input_shape: Any = None, **words: Any) -> None:
        super().__init__(**({} if output_dim is None else {"units": output_dim}), **words)
        self.given_input_shape = input_shape

    def to_bigdl(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        return [weights[0].T, *weights[1:]] if weights else weights

    from_bigdl = to_bigdl
