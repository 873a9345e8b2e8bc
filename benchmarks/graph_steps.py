"""TensorFlow graphs: epochs of `fit`, and of the plain ``Session.run`` loop, in turns, on the same rows.

Both sides are sessions of one process with one thread each, over equal graphs. The other loop gathers each batch by
index from arrays in memory, feeds it with ``feed_dict`` and reads the loss; the order of its rows is made beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras_steps import EPOCHS, STEPS, _Timed
from measure import Row, compared
from models import CLASSES, ITEMS, USERS, numbers, ratings

from zoo.engine import loop
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.clusters.seat import Here
from zoo.engine.contracts import Rank, Shards, Sink
from zoo.engine.data.shards import from_arrays
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.graph.home import Home
from zoo.engine.frameworks.graph.making import Tensors, graph_spec
from zoo.engine.jobs import FitJob
from zoo.engine.progress import Progress
from zoo.engine.triggers import MaxEpoch

v1 = tf.compat.v1


@dataclass(frozen=True)
class Setup:
    """One graph with its data.

    Attributes:
        name: shown in the table.
        inputs: (dtype, shape) of each feature.
        model: from placeholders to logits.
        batch_size: rows of a step.
        data: number of rows -> (features, labels).
    """

    name: str
    inputs: tuple[tuple[Any, list[int | None]], ...]
    model: Callable[..., Any]
    batch_size: int
    data: Callable[[int], tuple[tuple[np.ndarray, ...], np.ndarray]]


def _dense(x: Any, width: int, name: str) -> Any:
    with v1.variable_scope(name):
        return x @ v1.get_variable("kernel", [x.shape[1], width]) + v1.get_variable("bias", [width])


def _mlp(x: Any) -> Any:
    return _dense(tf.nn.relu(_dense(tf.nn.relu(_dense(x, 256, "a")), 128, "b")), CLASSES * 2, "c")


def _ncf(user: Any, item: Any) -> Any:
    def table(name: str, size: int, index: Any) -> Any:
        return tf.nn.embedding_lookup(v1.get_variable(name, [size, 20]), index)

    deep = tf.concat([table("u", USERS, user), table("i", ITEMS, item)], 1)
    for number, width in enumerate((40, 20, 10)):
        deep = tf.nn.relu(_dense(deep, width, f"d{number}"))
    product = table("mu", USERS, user) * table("mi", ITEMS, item)
    return _dense(tf.concat([deep, product], 1), CLASSES, "out")


def _cnn(x: Any) -> Any:
    image = x[..., None]
    for number, channels in enumerate((8, 16)):
        kernel = v1.get_variable(f"conv{number}", [3, 3, image.shape[-1], channels])
        image = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "VALID")), 2, 2, "VALID")
    return _dense(tf.reshape(image, [-1, 5 * 5 * 16]), 10, "out")


SETUPS = (
    Setup("MLP 784-256-128-10, batch 128", ((tf.float32, [None, 784]),), _mlp, 128, lambda rows: numbers(rows, 784)),
    Setup("NCF, batch 1024", ((tf.int32, [None]), (tf.int32, [None])), _ncf, 1024, ratings),
    Setup("CNN 28x28, batch 128", ((tf.float32, [None, 28, 28]),), _cnn, 128, lambda rows: numbers(rows, 28, 28)),
)


@dataclass(frozen=True)
class Built:
    """A setup's tensors in the current graph."""

    inputs: list[Any]
    labels: Any
    loss: Any


def rows(size: str) -> Iterator[Row]:
    """All rows."""
    for setup in SETUPS[: 1 if size == "tiny" else None]:
        ours, theirs = _one_rank(setup, size)
        yield compared((f"TensorFlow graph, 1 rank: {setup.name}", "`fit`", "`Session.run` loop"), ours, theirs, 0.95)
        labels = (f"TensorFlow graph: {setup.name}", "`fit`, 2 local ranks", "`fit`, 1 rank")
        yield compared(labels, _two_ranks(setup, size), ours, None)


def _built(setup: Setup) -> Built:
    v1.set_random_seed(0)
    inputs = [v1.placeholder(dtype, shape) for dtype, shape in setup.inputs]
    labels = v1.placeholder(tf.int64, [None])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=setup.model(*inputs))
    return Built(inputs, labels, tf.reduce_mean(losses))


def _job(setup: Setup, size: str) -> tuple[FitJob, Shards]:
    features, labels = setup.data(STEPS[size] * setup.batch_size)
    shards, columns = from_arrays(features, labels)
    with tf.Graph().as_default() as graph:
        built = _built(setup)
        given = Tensors(inputs=built.inputs, labels=built.labels, loss=built.loss)
        spec = graph_spec(given, Home(graph), optimizer=v1.train.AdamOptimizer(1e-3)).for_training(columns, None, ())
    end = MaxEpoch(EPOCHS[size])
    return FitJob(spec=spec, columns=columns, batch_size=setup.batch_size, end=end, start=Progress()), shards


def _one_rank(setup: Setup, size: str) -> tuple[list[float], list[float]]:
    job, shards = _job(setup, size)
    rival = _Rival(setup, size)
    timed = _Timed(shards, rival.epoch)
    loop.fit(job, Rank(), {loop.TRAIN: timed}, Here(MemorySink()))
    return timed.seconds[1:], rival.seconds[1:]


def _two_ranks(setup: Setup, size: str) -> list[float]:
    job, shards = _job(setup, size)

    def task(rank: Rank, given: Mapping[str, Shards], sink: Sink) -> list[float]:
        timed = _Timed(given[loop.TRAIN], lambda: None)
        loop.fit(job, rank, {loop.TRAIN: timed}, Here(sink))
        return timed.seconds[1:]

    first, second = LocalCluster(2).gang(task, {loop.TRAIN: shards}, 2, MemorySink())
    return [max(pair) for pair in zip(first, second, strict=True)]


class _Rival:
    """The plain loop, epoch by epoch."""

    def __init__(self, setup: Setup, size: str) -> None:
        self.seconds: list[float] = []
        features, labels = setup.data(STEPS[size] * setup.batch_size)
        self._columns, self._setup = [*features, labels], setup
        with tf.Graph().as_default() as graph:
            self._built = _built(setup)
            self._train = v1.train.AdamOptimizer(1e-3).minimize(self._built.loss)
            config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
            self._session = v1.Session(graph=graph, config=config)
            self._session.run(v1.global_variables_initializer())

    def epoch(self) -> None:
        """One epoch."""
        order = np.random.default_rng(len(self.seconds)).permutation(len(self._columns[0]))
        steps = np.split(order, len(order) // self._setup.batch_size)
        places = [*self._built.inputs, self._built.labels]
        began = time.perf_counter()
        total = 0.0
        for chosen in steps:
            fed = {place: column[chosen] for place, column in zip(places, self._columns, strict=True)}
            total += self._session.run([self._built.loss, self._train], fed)[0]
        self.seconds.append(time.perf_counter() - began)
