"""TensorFlow graphs under test, and a plain session as their users' loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from rooms import Weights

from zoo.engine.contracts import Batch, Feed, Rank, Ready, Replica, State
from zoo.engine.frameworks.graph.home import Home
from zoo.engine.frameworks.graph.making import Tensors, graph_spec
from zoo.engine.frameworks.graph.spec import GraphSpec
from zoo.engine.jobs import Columns
from zoo.engine.optim import NormClip

v1 = tf.compat.v1
EPSILON = 1e-3
"""Of Adam: with 1e-8 a gradient of nearly 0 makes a whole step out of a rounding error."""
SHAPES = {"x": (tf.float32, [None, 6]), "c": (tf.int32, [None])}


@dataclass(frozen=True)
class GraphModel:
    """One model of the suite."""

    features: tuple[str, ...]
    make: Callable[[Mapping[str, Any]], Any]
    optimizer: Callable[[], Any]
    clip: float = 0.0
    labels: tuple[str, ...] = ("y",)


def dense(x: Any, size: int, name: str) -> Any:
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", [x.shape[1], size], initializer=v1.glorot_uniform_initializer(seed=3))
        return x @ kernel + v1.get_variable("bias", [size], initializer=v1.zeros_initializer())


def mlp(inputs: Mapping[str, Any]) -> Any:
    return dense(tf.tanh(dense(inputs["x"], 8, "inner")), 1, "outer")[:, 0]


def many_inputs(inputs: Mapping[str, Any]) -> Any:
    """Its embedding's gradient names rows, some of them twice in a batch."""
    table = v1.get_variable("table", [5, 3], initializer=v1.glorot_uniform_initializer(seed=4))
    parts = [inputs["x"], inputs["a"][:, None], tf.nn.embedding_lookup(table, inputs["c"]), inputs["b"][:, None]]
    return dense(tf.tanh(dense(tf.concat(parts, 1), 8, "inner")), 1, "outer")[:, 0]


def squared_error(output: Any, target: Any) -> Any:
    return tf.reduce_mean(tf.square(output - target))


class DyingSpec:
    """A spec whose rank 1 ends its process at one step, the first time that it comes there."""

    def __init__(self, spec: GraphSpec, mark: Path, step: int) -> None:
        self.spec, self.mark, self.step = spec, mark, step

    def place(self, rank: Rank) -> Rank:
        return self.spec.place(rank)

    def absorb(self, state: State) -> None:
        self.spec.absorb(state)

    def refreshed(self, state: State) -> State:
        return self.spec.refreshed(state)

    def get_model(self) -> Any:
        return self.spec.get_model()

    def build(self, rank: Rank, group: Any = None) -> Replica:
        replica = self.spec.build(rank)
        backward, seen = replica.backward, [0]

        def dying(batch: Batch, ready: Ready) -> None:
            seen[0] += 1
            if seen[0] == self.step and rank.index == 1 and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            backward(batch, ready)

        replica.backward = dying  # type: ignore[method-assign]
        return replica


class GraphFramework:
    gaps: Mapping[str, str] = {}
    loss_source = (
        "import tensorflow as tf\n\n\ndef loss(output, target):\n    return tf.reduce_mean((output - target) ** 2)\n"
    )
    models: Mapping[str, GraphModel] = {
        "mlp-adam": GraphModel(("x",), mlp, lambda: v1.train.AdamOptimizer(0.01, epsilon=EPSILON)),
        "mlp-sgd-momentum-decay": GraphModel(("x",), mlp, lambda: v1.train.MomentumOptimizer(0.05, 0.9)),
        "many-inputs": GraphModel(
            ("x", "a", "c", "b"), many_inputs, lambda: v1.train.AdamOptimizer(0.01, epsilon=EPSILON)
        ),
        "mlp-clipped": GraphModel(("x",), mlp, lambda: v1.train.MomentumOptimizer(0.2, 0.5), clip=0.05),
    }

    def spec(self, model: str, loss: Callable[..., Any] = squared_error) -> GraphSpec:
        case = self.models[model]
        inputs, target, output, graph = self._fresh(case)
        with graph.as_default():
            given = Tensors(inputs=inputs, outputs=output, labels=target, loss=loss(output, target))
            home = Home(graph)
            clip = NormClip(case.clip) if case.clip else None
            made = graph_spec(given, home, optimizer=case.optimizer(), clip=clip)
        return made.for_training(Columns(case.features, case.labels), None, ())

    def weights(self, spec: GraphSpec) -> Weights:
        return _weights(spec.get_model())

    def plain(self, model: str, feed: Feed, epochs: int) -> Weights:
        case = self.models[model]
        inputs, target, output, graph = self._fresh(case)
        with graph.as_default(), v1.Session(graph=graph) as session:
            optimizer = case.optimizer()
            pairs = optimizer.compute_gradients(squared_error(output, target))
            if case.clip:
                clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], case.clip)
                pairs = list(zip(clipped, [variable for _, variable in pairs], strict=True))
            train = optimizer.apply_gradients(pairs)
            session.run(v1.global_variables_initializer())
            places = [inputs[name] for name in case.features]
            for epoch in range(epochs):
                for batch in feed.epoch(epoch):
                    fed = dict(zip(places, batch.features, strict=True)) | {target: batch.labels[0]}
                    session.run(train, fed)
            return _weights(session)

    def with_loss(self, spec: GraphSpec, loss: Callable[..., Any]) -> GraphSpec:
        return self.spec("mlp-adam", loss)

    def dying(self, spec: GraphSpec, mark: Path, step: int) -> DyingSpec:
        return DyingSpec(spec, mark, step)

    def _fresh(self, case: GraphModel) -> tuple[dict[str, Any], Any, Any, Any]:
        graph = tf.Graph()
        with graph.as_default():
            inputs = {name: v1.placeholder(*SHAPES.get(name, (tf.float32, [None]))) for name in case.features}
            target = v1.placeholder(tf.float32, [None])
            return inputs, target, case.make(inputs), graph


def _weights(session: Any) -> Weights:
    with session.graph.as_default():
        variables = v1.trainable_variables()
        return dict(zip((v.name for v in variables), session.run(variables), strict=True))
