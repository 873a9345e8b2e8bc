"""`Estimator.from_keras` and `Estimator.from_graph`: Keras models and TensorFlow graphs, trained where the data is.

Owns: the words of the calls.
Leaves: everything else (zoo.orca.learn.keras_estimator, zoo.engine).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.orca.learn.keras_estimator import KerasEstimator, make_estimator
from zoo.orca.learn.tf.graph_estimator import GraphEstimator, clip_of
from zoo.orca.learn.words import latest_checkpoint

BACKENDS = ("bigdl", "spark", "ray", "tf2", "horovod")


class Estimator:
    """Makes estimators of TensorFlow and Keras models."""

    @staticmethod
    def from_keras(
        keras_model: Any = None,
        metrics: Any = None,
        model_dir: str | None = None,
        optimizer: Any = None,
        backend: str = "bigdl",
        *,
        model_creator: Callable[..., Any] | None = None,
        compile_args_creator: Callable[..., Any] | None = None,
        config: Mapping[str, Any] | None = None,
        workers_per_node: int = 1,
        intra_threads: int | None = None,
        inter_threads: int | None = None,
        device: str | None = None,
        seed: int = 0,
        kind: type[KerasEstimator] = KerasEstimator,
        **legacy: Any,
    ) -> KerasEstimator:
        """An estimator that trains a Keras 3 model on the current cluster, with the backend that Keras has here.

        Args:
            keras_model: a compiled ``keras.Model``. After `fit` it holds the trained weights.
            metrics: of `zoo.orca.learn.metrics`, beside those that the model was compiled with.
            model_dir: where checkpoints and summaries go: a path or any fsspec URL.
            optimizer: of `zoo.orca.learn.optimizers` or of Keras, in place of the compiled one.
            backend: accepted for older programs; the context decides where ranks run.
            model_creator: in place of `keras_model`, a function ``f(config)`` that returns a compiled model.
            compile_args_creator: ``f(config)`` -> arguments of ``compile``, for a creator that does not compile.
            config: given to the creators.
            workers_per_node: ranks on each node (Spark executor); its cores are shared among them.
            intra_threads: threads of one operation in a rank's process; its share of the cores by default.
            inter_threads: operations that TensorFlow runs side by side there; 1 by default.
            device: ``"cuda"`` for the GPU that Spark gives to the rank; else the CPU.
            seed: of the order of rows, of the weights that a creator makes, and of the ranks' random numbers.
            kind: the class of the estimator: which words its results have.
            **legacy: verbose, cpu_binding, log_to_driver of older programs.

        Raises:
            UsageError: an argument that is missing or has an impossible value; all problems are listed.
        """
        _check(backend, legacy, keras_model, model_creator)
        return make_estimator(
            model_creator if keras_model is None else keras_model,
            metrics=metrics, model_dir=model_dir, optimizer=optimizer, compile_args_creator=compile_args_creator,
            config=dict(config or {}), workers_per_node=workers_per_node, device=device, seed=seed, kind=kind,
            threads=(intra_threads, inter_threads),
        )  # fmt: skip

    @staticmethod
    def from_graph(
        *,
        inputs: Any,
        outputs: Any = None,
        labels: Any = None,
        loss: Any = None,
        optimizer: Any = None,
        metrics: Any = None,
        clip_norm: float | None = None,
        clip_value: float | tuple[float, float] | None = None,
        updates: Sequence[Any] | None = None,
        sess: Any = None,
        model_dir: str | None = None,
        backend: str = "bigdl",
        workers_per_node: int = 1,
        intra_threads: int | None = None,
        inter_threads: int | None = None,
        seed: int = 0,
    ) -> GraphEstimator:
        """An estimator that trains a TensorFlow graph (``tf.compat.v1``) on the current cluster.

        Args:
            inputs: placeholders of the features: one, a list or a dict of them.
            outputs: tensors, rows first: what `predict` gives.
            labels: placeholders of the targets.
            loss: a scalar tensor, the mean over a batch.
            optimizer: of `zoo.orca.learn.optimizers`, or a ``tf.compat.v1.train.Optimizer``; a dict from the beginnings
                of variables' names to optimizers.
            metrics: a dict from names to scalar tensors, the means over a batch; or metrics of
                `zoo.orca.learn.metrics`, on `outputs` and `labels`.
            clip_norm: longest L2 norm of the averaged gradients, all together.
            clip_value: a bound of each element of the averaged gradients, or (min, max).
            updates: operations that run in each step, e.g. of moving averages; None for the graph's collection
                UPDATE_OPS, as far as it needs no further placeholder.
            sess: a session with values of the variables; None makes one.
            model_dir: where checkpoints and summaries go: a path or any fsspec URL.
            backend: accepted for older programs; the context decides where ranks run.
            workers_per_node: ranks on each node (Spark executor); its cores are shared among them.
            intra_threads: threads of one operation in a rank's process; its share of the cores by default.
            inter_threads: operations that TensorFlow runs side by side there; 1 by default.
            seed: of the order of rows and of random operations on the ranks.

        Raises:
            UsageError: an argument that is missing or has an impossible value; all problems are listed.
        """
        from zoo.engine.frameworks.graph.home import Home
        from zoo.engine.frameworks.graph.making import Tensors, graph_spec
        from zoo.engine.frameworks.tensorflow.process import Threads

        _check_backend(backend)
        given = Tensors(inputs=inputs, outputs=outputs, labels=labels, loss=loss, metrics=metrics, updates=updates)
        spec = graph_spec(
            given, Home(given.graph(), sess), optimizer=optimizer, clip=clip_of(clip_norm, clip_value), seed=seed,
            threads=Threads(intra_threads, inter_threads),
        )  # fmt: skip
        return GraphEstimator(spec, spec.placed, model_dir=model_dir, workers_per_node=workers_per_node, seed=seed)

    @staticmethod
    def load_keras_model(path: str, **words: Any) -> KerasEstimator:
        """An estimator over a model that was saved whole (``.keras`` or ``.h5``).

        Args:
            path: a path or any fsspec URL.
            **words: further arguments of `from_keras`.

        Raises:
            UsageError: the file holds weights only, a SavedModel, or something else.
        """
        from zoo.engine.frameworks.keras import backends, files

        backends.begin(backends.current())
        return Estimator.from_keras(files.load_model(path), **words)

    @staticmethod
    def latest_checkpoint(checkpoint_dir: str) -> str:
        """The path of the newest complete checkpoint under a `model_dir`.

        Raises:
            UsageError: there is none; damaged ones are named with what is wrong with them.
        """
        return latest_checkpoint(checkpoint_dir)


_LEGACY = frozenset({"verbose", "cpu_binding", "log_to_driver", "log_level"})


def _check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise UsageError(
            f"backend must be one of {', '.join(BACKENDS)} (the context decides where ranks run). Got: {backend!r}"
        )


def _check(backend: str, legacy: Mapping[str, Any], model: Any, creator: Any) -> None:
    _check_backend(backend)
    if unknown := [name for name in legacy if name not in _LEGACY]:
        known = inspect.signature(Estimator.from_keras).parameters.keys() - {"legacy", "kind"}
        raise UsageError.unknown_argument("from_keras", unknown, known | _LEGACY)
    if (model is None) == (creator is None):
        raise UsageError(
            "give from_keras a compiled model (keras_model=...) or a function that makes one (model_creator=...), one "
            f"of the two. Received: keras_model={model!r}, model_creator={creator!r}"
        )
