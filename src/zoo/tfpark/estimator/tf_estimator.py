"""`TFEstimator`: models that are functions, which build their graph for training, evaluation or prediction.

Owns: the words of the call, calling the function.
Leaves: what is remembered between calls (course), graphs (zoo.engine.frameworks.graph), the job (zoo.orca.learn).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph.home import Home, updates_of
from zoo.engine.frameworks.graph.making import Measure, Tensors, graph_spec
from zoo.orca.learn import estimator
from zoo.orca.learn.rows import as_rdd
from zoo.orca.learn.tf.graph_estimator import GraphEstimator, serialised
from zoo.orca.learn.words import scores_of
from zoo.tfpark.course import Course
from zoo.tfpark.estimator.specs import EstimatorSpec, ModeKeys, RunConfig
from zoo.tfpark.tf_dataset import TFDataset, dataset_behind

v1 = tf.compat.v1
_SCORES = ("probabilities", "logits", "predictions")


@dataclass(frozen=True)
class ModelFunction:
    """A function that builds a graph, and what it is given.

    Attributes:
        model_fn: ``f(features, labels, mode, params, config)``, or any of these but for the first.
        model_dir: where checkpoints and summaries go.
        config: settings.
        params: the user's values.
    """

    model_fn: Callable[..., Any]
    model_dir: str | None = None
    config: Any = field(default_factory=RunConfig)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Fed:
    """A graph's data: who feeds it, and its placeholders."""

    dataset: TFDataset
    features: Any
    labels: Any

    def tensors(self, **words: Any) -> Tensors:
        inputs, labels = self.dataset.feeding(self.features, self.labels)
        return Tensors(inputs=inputs, labels=labels or None, **words)


class TFEstimator:
    """Trains, evaluates and applies the model of a function, on the cluster.

    Args:
        tf_estimator: one of `zoo.tfpark.estimator` (`LinearClassifier`, ...), or any object with `model_fn`,
            `model_dir`, `config` and `params`.
        workers_per_node: ranks on each node (Spark executor).
    """

    def __init__(self, tf_estimator: Any, workers_per_node: int = 1) -> None:
        if not callable(getattr(tf_estimator, "model_fn", None)):
            raise UsageError(
                "TFEstimator takes an estimator of zoo.tfpark.estimator, e.g. LinearClassifier(...); a model function "
                f"is given to TFEstimator.from_model_fn. Received: {tf_estimator!r}"
            )
        self._model, self._workers = tf_estimator, workers_per_node
        self._course = Course(getattr(tf_estimator, "model_dir", None))
        self._warm: str | None = None

    @classmethod
    def from_model_fn(
        cls,
        model_fn: Callable[..., EstimatorSpec],
        model_dir: str | None = None,
        config: RunConfig | None = None,
        params: Mapping[str, Any] | None = None,
        warm_start_from: str | None = None,
        workers_per_node: int = 1,
    ) -> TFEstimator:
        """Of a model function.

        Args:
            model_fn: ``f(features, labels, mode, params, config)``, or any of these but for the first, that returns an
                `EstimatorSpec`, whose `train_op` is made with `ZooOptimizer`.
            model_dir: where checkpoints and summaries go; a directory of this machine.
            config: settings.
            params: given to the function.
            warm_start_from: a checkpoint of TensorFlow whose values the trainable variables begin with, where no
                earlier call or program has left any in `model_dir`.
            workers_per_node: ranks on each node (Spark executor).
        """
        if not callable(model_fn):
            raise UsageError(f"model_fn must be a function that returns an EstimatorSpec. Received: {model_fn!r}")
        settings = config or RunConfig()
        made = cls(
            ModelFunction(model_fn, model_dir or settings.model_dir, settings, dict(params or {})), workers_per_node
        )
        made._warm = warm_start_from
        return made

    # --- the three verbs ---------------------------------------------------------------------------------------------

    def train(self, input_fn: Callable[..., Any], steps: int | None = None, session_config: Any = None) -> TFEstimator:
        """Trains; a second call goes on where the first one ended.

        Args:
            input_fn: gives a `TFDataset`, a ``tf.data.Dataset`` (of rows or batches), or the tensors of a `TFDataset`.
            steps: further ones; the data are read again as often as that takes. None: once through the data.
            session_config: a ``tf.compat.v1.ConfigProto`` for the ranks' sessions.
        """
        fed = self._fed(input_fn, ModeKeys.TRAIN)
        with fed.graph.as_default():
            spec = self._called(fed, ModeKeys.TRAIN)
            home = Home(fed.graph)
            turn = home.turn_of(spec.train_op, spec.loss.name, updates_of(fed.graph, spec.train_op))
            reached = self._course.recall(home)
            if reached < 0 and self._warm is not None:
                self._course.warm(home, self._warm)
            made = graph_spec(
                fed.tensors(loss=spec.loss), home, seed=self._seed, session_config=serialised(session_config)
            ).with_turns([turn])
            made.memory = {"step": max(0, reached)}
            trainer = self._estimator(made)
            once = steps is None
            self._course.run(
                trainer, home, fed.dataset, 1 if once else None, fed.dataset.rows_at_once, max_steps=steps,
                shuffle=fed.dataset.shuffle, steps_per_epoch=None if once else fed.dataset.steps_per_epoch,
            )  # fmt: skip
        return self

    def evaluate(
        self,
        input_fn: Callable[..., Any],
        eval_methods: Any = None,
        steps: int | None = None,
        checkpoint_path: str | None = None,
    ) -> dict[str, float]:
        """Scores the model.

        Args:
            input_fn: as for `train`.
            eval_methods: names (``"acc"``, ...) or metrics of `zoo.orca.learn.metrics`, on the predictions (of a dict:
                its ``probabilities``, ``logits`` or ``predictions``); beside the function's own `eval_metric_ops`.
            steps: at most so many batches of each independent piece of the data.
            checkpoint_path: of a checkpoint of TensorFlow; None for the newest values.

        Returns:
            ``{"loss", "<metric>", ...}``.
        """
        fed = self._fed(input_fn, ModeKeys.EVAL)
        with fed.graph.as_default():
            spec = self._called(fed, ModeKeys.EVAL)
            home = Home(fed.graph)
            self._course.require(home, checkpoint_path)
            measured = {**_own_metrics(spec), **_asked(eval_methods, spec, fed.labels)}
            made = graph_spec(fed.tensors(loss=spec.loss, metrics=measured), home, seed=self._seed)
            results = estimator.Estimator.evaluate(
                self._estimator(made), fed.dataset, fed.dataset.rows_at_once, num_steps=steps
            )
        return scores_of(results)

    def predict(
        self, input_fn: Callable[..., Any], predict_keys: Any = None, checkpoint_path: str | None = None
    ) -> Any:
        """The predictions of each row.

        Args:
            input_fn: as for `train`; labels are not needed.
            predict_keys: of a dict of predictions, those that are wanted: one or several.
            checkpoint_path: of a checkpoint of TensorFlow; None for the newest values.

        Returns:
            an RDD where Spark runs, else a list with the words of one: an array for each row, or a dict of arrays.
        """
        fed = self._fed(input_fn, ModeKeys.PREDICT)
        with fed.graph.as_default():
            spec = self._called(fed, ModeKeys.PREDICT)
            home = Home(fed.graph)
            self._course.require(home, checkpoint_path)
            wanted = _wanted(spec.predictions, predict_keys)
            made = graph_spec(fed.tensors(outputs=[_rows(one) for one in wanted.values()]), home, seed=self._seed)
            predicted = as_rdd(self._estimator(made).predict(fed.dataset, fed.dataset.rows_at_once))
        if not isinstance(spec.predictions, Mapping):
            return predicted
        return predicted.map(_Keyed(tuple(wanted)))

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _seed(self) -> int:
        return int(getattr(self._model.config, "tf_random_seed", None) or 0)

    def _estimator(self, spec: Any) -> GraphEstimator:
        return GraphEstimator(
            spec, spec.placed, model_dir=self._course.model_dir, workers_per_node=self._workers, seed=self._seed
        )

    def _fed(self, input_fn: Callable[..., Any], mode: str) -> _Ready:
        """The data, and a new graph with its placeholders."""
        with tf.Graph().as_default() as graph:
            given = input_fn(mode) if _takes_mode(input_fn) else input_fn()
            if isinstance(given, TFDataset):
                return _Ready(given, given.feature_tensors, given.label_tensors, graph)
            if not hasattr(given, "element_spec"):
                return _of_tensors(given, graph)
            dataset = TFDataset.from_tf_data_dataset(given, remove_checking=True)
        with tf.Graph().as_default() as graph:  # the data set's own operations stay where they are
            return _Ready(dataset, dataset.feature_tensors, dataset.label_tensors, graph)

    def _called(self, fed: _Ready, mode: str) -> EstimatorSpec:
        v1.set_random_seed(self._seed)
        v1.train.get_or_create_global_step()
        model = self._model
        words = {
            "labels": None if mode == ModeKeys.PREDICT else fed.labels, "mode": mode,
            "params": dict(model.params or {}), "config": model.config,
        }  # fmt: skip
        known = inspect.signature(model.model_fn).parameters
        if words["labels"] is not None and "labels" not in known:
            raise UsageError("the data have labels, and the model function takes none: f(features, labels, mode).")
        spec = model.model_fn(fed.features, **{name: value for name, value in words.items() if name in known})
        if not all(hasattr(spec, name) for name in ("mode", "predictions", "loss", "train_op")):
            raise UsageError(f"a model function must return an EstimatorSpec. It returned: {type(spec).__name__}")
        made: EstimatorSpec = spec
        return made


@dataclass(frozen=True)
class _Ready(_Fed):
    """With the graph."""

    graph: Any


@dataclass(frozen=True)
class _Keyed:
    """(for the executors) A row's predictions by their keys."""

    keys: tuple[str, ...]

    def __call__(self, row: Any) -> dict[str, Any]:
        return dict(zip(self.keys, row if len(self.keys) > 1 else [row], strict=True))


def _of_tensors(given: Any, graph: Any) -> _Ready:
    pair = isinstance(given, tuple) and len(given) == 2
    features, labels = given if pair else (given, None)
    dataset = dataset_behind(given)
    if dataset is None:
        raise UsageError(
            "input_fn must give a TFDataset, a tf.data.Dataset, or the tensors of a TFDataset; tensors of an iterator "
            f"belong to this process: return the data set itself. It gave: {given!r}"
        )
    return _Ready(dataset, features, labels, graph)


def _takes_mode(function: Callable[..., Any]) -> bool:
    return "mode" in inspect.signature(function).parameters


def _own_metrics(spec: EstimatorSpec) -> dict[str, Any]:
    found = {}
    for name, one in (spec.eval_metric_ops or {}).items():
        if not isinstance(one, tf.Tensor):
            raise UsageError(
                f"eval_metric_ops[{name!r}] must be a scalar tensor, the mean over a batch: those of tf.metrics keep "
                "their sums in one process. E.g. tf.reduce_mean(tf.cast(tf.equal(labels, classes), tf.float32)); or "
                "use eval_methods."
            )
        found[name] = one
    return found


def _asked(methods: Any, spec: EstimatorSpec, labels: Any) -> dict[str, Measure]:
    if methods is None:
        return {}
    outputs = spec.predictions
    if isinstance(outputs, Mapping):
        key = next((name for name in _SCORES if name in outputs), next(iter(outputs)))
        outputs = outputs[key]
    if outputs is None or labels is None:
        raise UsageError("eval_methods need the model function's predictions, and labels in the data.")
    given = methods if isinstance(methods, list | tuple) else [methods]
    return {
        (method if isinstance(method, str) else type(method).__name__): Measure(method, outputs, labels)
        for method in given
    }


def _wanted(predictions: Any, keys: Any) -> dict[str, Any]:
    if not isinstance(predictions, Mapping):
        return {"": predictions}
    names = sorted(predictions) if keys is None else [keys] if isinstance(keys, str) else list(keys)
    if missing := [name for name in names if name not in predictions]:
        raise UsageError(f"no predictions named {missing}. There are: {', '.join(sorted(predictions))}")
    return {name: predictions[name] for name in names}


def _rows(tensor: Any) -> Any:
    """Texts as one for each row."""
    texts = tensor.dtype == tf.string and tensor.shape.rank == 2
    return tensor[:, 0] if texts else tensor
