"""Keras: epochs of `fit` and of ``model.fit``, in turns; two ranks and one; all-reduce of each backend's own arrays.

One process has Keras with one backend, so each backend is a benchmark of its own. Both sides train equal models on the
same arrays with the same batch size, each in its own order. ``model.fit`` is called once, in a thread that waits at
each border of an epoch while ours runs, so that what a call costs at its start counts for neither.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from measure import Row, compared
from models import CLASSES, ITEMS, USERS, numbers, ratings

from zoo.engine import loop
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.clusters.seat import Here
from zoo.engine.collectives import join
from zoo.engine.contracts import Batch, Collective, Feed, FeedRequest, Rank, Shards, Sink
from zoo.engine.data.shards import from_arrays
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.keras.spec import KerasSpec
from zoo.engine.jobs import FitJob
from zoo.engine.progress import Progress
from zoo.engine.triggers import MaxEpoch

STEPS = {"tiny": 3, "quick": 25, "full": 50}
EPOCHS = {"tiny": 2, "quick": 10, "full": 31}  # the first one does not count
REDUCED = {"400 KB": 400_000, "40 MB": 40_000_000}
REDUCE_TURNS = {"tiny": 2, "quick": 11, "full": 31}


@dataclass(frozen=True)
class Setup:
    """One model with its data; fields as in `models.Setup`, but a Keras model."""

    name: str
    model: Callable[[dict[str, Any]], Any]
    batch_size: int
    data: Callable[[int], tuple[tuple[np.ndarray, ...], np.ndarray]]


def _mlp(config: dict[str, Any]) -> Any:
    import keras

    dense = keras.layers.Dense
    return _compiled(keras.Sequential([keras.Input((784,)), dense(256, "relu"), dense(128, "relu"), dense(10)]))


def _cnn(config: dict[str, Any]) -> Any:
    import keras

    layers = keras.layers
    body = [layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(16, 3, activation="relu")]
    whole = [keras.Input((28, 28)), layers.Reshape((28, 28, 1)), *body, layers.MaxPooling2D(), layers.Flatten()]
    return _compiled(keras.Sequential([*whole, layers.Dense(10)]))


def _ncf(config: dict[str, Any]) -> Any:
    import keras

    layers = keras.layers
    user, item = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    deep = layers.Concatenate()([layers.Embedding(USERS, 20)(user), layers.Embedding(ITEMS, 20)(item)])
    for width in (40, 20, 10):
        deep = layers.Dense(width, "relu")(deep)
    product = layers.Multiply()([layers.Embedding(USERS, 20)(user), layers.Embedding(ITEMS, 20)(item)])
    return _compiled(keras.Model([user, item], layers.Dense(CLASSES)(layers.Concatenate()([deep, product]))))


def _compiled(model: Any) -> Any:
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
    return model


SETUPS = (
    Setup("MLP 784-256-128-10, batch 128", _mlp, 128, lambda rows: numbers(rows, 784)),
    Setup("NCF, batch 1024", _ncf, 1024, ratings),
    Setup("CNN 28x28, batch 128", _cnn, 128, lambda rows: numbers(rows, 28, 28)),
)


def rows(backend: str, size: str) -> Iterator[Row]:
    """All rows of one backend; in a process of its own."""
    os.environ["KERAS_BACKEND"] = backend
    for setup in SETUPS[: 1 if size == "tiny" else None]:
        ours, theirs = _one_rank(setup, backend, size)
        labels = (f"Keras on {backend}, 1 rank: {setup.name}", "`fit`", "`model.fit`")
        yield compared(labels, ours, theirs, 0.95)
        alone, both = ours, _two_ranks(setup, backend, size)
        labels = (f"Keras on {backend}: {setup.name}", "`fit`, 2 local ranks", "`fit`, 1 rank")
        yield compared(labels, both, alone, None)
    yield from _all_reduce(backend, size)


def _job(setup: Setup, backend: str, size: str, world: int) -> tuple[FitJob, Shards]:
    features, labels = setup.data(STEPS[size] * setup.batch_size)
    shards, columns = from_arrays(features, labels)
    spec = KerasSpec(model=setup.model, backend=backend, columns=columns)
    end = MaxEpoch(EPOCHS[size])
    return FitJob(spec=spec, columns=columns, batch_size=setup.batch_size, end=end, start=Progress()), shards


def _one_rank(setup: Setup, backend: str, size: str) -> tuple[list[float], list[float]]:
    job, shards = _job(setup, backend, size, 1)
    features, labels = setup.data(STEPS[size] * setup.batch_size)
    rival = _Rival(partial(_their_fit, setup, features, labels, EPOCHS[size]))
    paired = _Timed(shards, rival.epoch)
    loop.fit(job, Rank(), {loop.TRAIN: paired}, Here(MemorySink()))
    rival.join()
    return paired.seconds[1:], rival.seconds[1:]


def _their_fit(setup: Setup, features: tuple[np.ndarray, ...], labels: np.ndarray, epochs: int, callback: Any) -> None:
    x = list(features) if len(features) > 1 else features[0]
    setup.model({}).fit(x, labels, batch_size=setup.batch_size, epochs=epochs, verbose=0, callbacks=[callback])


def _two_ranks(setup: Setup, backend: str, size: str) -> list[float]:
    job, shards = _job(setup, backend, size, 2)

    def task(rank: Rank, given: Mapping[str, Shards], sink: Sink) -> list[float]:
        timed = _Timed(given[loop.TRAIN], lambda: None)
        loop.fit(job, rank, {loop.TRAIN: timed}, Here(sink))
        return timed.seconds[1:]

    first, second = LocalCluster(2).gang(task, {loop.TRAIN: shards}, 2, MemorySink())
    return [max(pair) for pair in zip(first, second, strict=True)]


class _Timed:
    """Shards whose feed times the epochs of who reads it, and calls something behind each."""

    def __init__(self, shards: Shards, between: Callable[[], None]) -> None:
        self._shards, self._between = shards, between
        self.seconds: list[float] = []

    def feed(self, request: FeedRequest) -> _Timed:
        """The feed, timed."""
        self._feed: Feed = self._shards.feed(request)
        return self

    def settle(self, group: Collective) -> None:
        """As the feed does."""
        self._feed.settle(group)
        self.extent = self._feed.extent

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """An epoch, from the first batch that is asked for until there is no more."""
        began = time.perf_counter()
        yield from self._feed.epoch(epoch, start)
        self.seconds.append(time.perf_counter() - began)
        self._between()

    def close(self) -> None:
        """Gives back the rows."""
        self._feed.close()


class _Rival:
    """``model.fit`` in a thread, epoch by epoch when it is its turn."""

    def __init__(self, fit: Callable[[Any], None]) -> None:
        import keras

        self.seconds: list[float] = []
        self._turn, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._began = 0.0
        callback = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin, on_epoch_end=self._end)
        self._thread = threading.Thread(target=fit, args=(callback,), daemon=True)
        self._thread.start()

    def epoch(self) -> None:
        """One epoch of the other side."""
        self._turn.release()
        if not self._done.acquire(timeout=300):
            raise RuntimeError("model.fit did not end its epoch")

    def join(self) -> None:
        """Waits for its end."""
        self._thread.join(60)

    def _begin(self, epoch: int, logs: Any) -> None:
        self._turn.acquire()
        self._began = time.perf_counter()

    def _end(self, epoch: int, logs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)
        self._done.release()


def _all_reduce(backend: str, size: str) -> Iterator[Row]:
    def task(rank: Rank, shards: Mapping[str, Shards], sink: Sink) -> list[list[tuple[float, float]]]:
        with closing(join(rank, 60.0)) as collective:
            return [_reductions(backend, collective, count, REDUCE_TURNS[size]) for count in REDUCED.values()]

    first, second = LocalCluster(2).gang(task, {}, 2, MemorySink())
    for name, mine, other in zip(REDUCED, first, second, strict=True):
        slowest = [(max(a, c), max(b, d)) for (a, b), (c, d) in zip(mine, other, strict=True)]
        ours, theirs = zip(*slowest, strict=True)
        labels = (f"all-reduce of {name} that {backend} made", "`Collective.average`", "gloo, a torch tensor")
        yield compared(labels, ours, theirs, None)


def _reductions(backend: str, collective: Any, size_bytes: int, turns: int) -> list[tuple[float, float]]:
    """Seconds of (from an array of the backend to one with the sums, gloo's own) in each turn."""
    import torch
    import torch.distributed as dist

    make = _makers()[backend]
    plain = torch.ones(size_bytes // 4)
    found = []
    for _ in range(turns):
        made = make(size_bytes // 4)
        dist.barrier()
        began = time.perf_counter()
        with collective.average([0.5]) as (ready,):
            ready(torch.utils.dlpack.from_dlpack(made) if backend != "torch" else made)
        ours = time.perf_counter() - began
        dist.barrier()
        began = time.perf_counter()
        plain.mul_(0.5)
        dist.all_reduce(plain)
        found.append((ours, time.perf_counter() - began))
    return found[1:]


def _makers() -> dict[str, Callable[[int], Any]]:
    def of_tensorflow(count: int) -> Any:
        import tensorflow as tf

        return tf.experimental.dlpack.to_dlpack(tf.concat([tf.ones(count - 1), tf.zeros(1)], 0))

    def of_jax(count: int) -> Any:
        import jax

        return jax.block_until_ready(jax.numpy.ones(count))

    def of_torch(count: int) -> Any:
        import torch

        return torch.ones(count)

    return {"tensorflow": of_tensorflow, "jax": of_jax, "torch": of_torch}


tensorflow, jax, torch = (partial(rows, backend) for backend in ("tensorflow", "jax", "torch"))
