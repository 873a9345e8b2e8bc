"""Keras under test, with the backend of this process, and ``model.train_on_batch`` as its users' plain loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rooms import KERAS, Weights

os.environ.setdefault("KERAS_BACKEND", KERAS.removeprefix("keras-"))

import keras
from keras import layers

from zoo.engine.contracts import Feed
from zoo.engine.frameworks.keras.spec import KerasSpec
from zoo.engine.optim import NormClip

EPSILON = 1e-3
"""Of Adam: with Keras' 1e-7 a gradient of nearly 0 makes a whole step out of a rounding error."""


@dataclass(frozen=True)
class KerasModel:
    """One model of the suite."""

    features: tuple[str, ...]
    make: Callable[[], keras.Model]
    optimizer: Callable[[], Any]
    clip: float = 0.0
    labels: tuple[str, ...] = ("y",)


def mlp() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(1)])


def many_inputs() -> keras.Model:
    x, a, c, b = keras.Input((6,)), keras.Input(()), keras.Input((), dtype="int32"), keras.Input(())
    row = layers.Reshape((1,))
    whole = layers.Concatenate()([x, row(a), layers.Embedding(5, 3)(c), row(b)])
    return keras.Model([x, a, c, b], layers.Dense(1)(layers.Dense(8, "tanh")(whole)))


class DiesOnce(keras.callbacks.Callback):
    """Ends its process at one step, the first time that it comes there."""

    def __init__(self, mark: Path, step: int) -> None:
        super().__init__()
        self.mark, self.step, self.seen = mark, step, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        import torch

        self.seen += 1
        if self.seen == self.step and not self.mark.exists() and torch.distributed.get_rank() == 1:
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class KerasFramework:
    gaps: Mapping[str, str] = {}
    loss_source = (
        "from keras import ops\n\n\ndef loss(target, output):\n    return ops.mean(ops.square(output - target))\n"
    )
    models: Mapping[str, KerasModel] = {
        "mlp-adam": KerasModel(("x",), mlp, lambda: keras.optimizers.Adam(0.01, epsilon=EPSILON)),
        "mlp-sgd-momentum-decay": KerasModel(
            ("x",), mlp, lambda: keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=1e-3)
        ),
        "many-inputs": KerasModel(
            ("x", "a", "c", "b"), many_inputs, lambda: keras.optimizers.Adam(0.01, epsilon=EPSILON)
        ),
        "mlp-clipped": KerasModel(("x",), mlp, lambda: keras.optimizers.SGD(0.2, momentum=0.5), clip=0.05),
    }

    def spec(self, model: str) -> KerasSpec:
        case, made = self._fresh(model)
        made.compile(optimizer=case.optimizer(), loss="mse")
        return KerasSpec(model=made, backend=keras.backend.backend(), clip=NormClip(case.clip) if case.clip else None)

    def weights(self, spec: KerasSpec) -> Weights:
        return _weights(spec.get_model())

    def plain(self, model: str, feed: Feed, epochs: int) -> Weights:
        case, made = self._fresh(model)
        optimizer = case.optimizer()
        optimizer.global_clipnorm = case.clip or None
        _add_rows_up(optimizer)
        made.compile(optimizer=optimizer, loss="mse")
        for epoch in range(epochs):
            for batch in feed.epoch(epoch):
                features = list(batch.features) if len(batch.features) > 1 else batch.features[0]
                made.train_on_batch(features, batch.labels[0])
        return _weights(made)

    def with_loss(self, spec: KerasSpec, loss: Callable[..., Any]) -> KerasSpec:
        spec.model.compile(optimizer=spec.model.optimizer, loss=loss)
        return spec

    def dying(self, spec: KerasSpec, mark: Path, step: int) -> KerasSpec:
        spec.callbacks = (DiesOnce(mark, step),)
        return spec

    def _fresh(self, model: str) -> tuple[KerasModel, keras.Model]:
        case = self.models[model]
        keras.utils.set_random_seed(3)
        return case, case.make()


def _add_rows_up(optimizer: Any) -> None:
    """On TensorFlow, Keras takes a row that a batch names twice for two gradients: see `steps_tensorflow`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        apply = optimizer.apply
        optimizer.apply = lambda grads, to=None: apply([tf.convert_to_tensor(gradient) for gradient in grads], to)


def _weights(model: keras.Model) -> Weights:
    arrays = map(keras.ops.convert_to_numpy, (variable.value for variable in model.weights))
    return {
        f"{number}.{v.name}": np.array(array)
        for number, (v, array) in enumerate(zip(model.weights, arrays, strict=True))
    }
