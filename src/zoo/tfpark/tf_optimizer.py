"""`TFOptimizer`: trains the loss of a graph, or a Keras model, on a `TFDataset`.

Owns: the words of its three forms.
Leaves: graphs and Keras models (zoo.engine.frameworks), the job (zoo.orca.learn.estimator).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph.home import Home
from zoo.engine.frameworks.graph.making import Measure, Tensors, graph_spec
from zoo.engine.triggers import MaxEpoch
from zoo.orca.learn import estimator
from zoo.orca.learn.keras_estimator import KerasEstimator, make_estimator
from zoo.orca.learn.summary import Summary
from zoo.orca.learn.tf.graph_estimator import GraphEstimator, clip_of, serialised
from zoo.tfpark.tf_dataset import TFDataset, dataset_behind

v1 = tf.compat.v1


class BigDLMetric:
    """A metric on tensors of the graph, for the `metrics` of `TFOptimizer.from_loss`.

    Args:
        val_method: of `zoo.orca.learn.metrics`, or a name.
        outputs: tensors that it takes for outputs.
        labels: tensors that it takes for targets.
    """

    def __init__(self, val_method: Any, outputs: Any, labels: Any) -> None:
        self.val_method, self.outputs, self.labels = val_method, outputs, labels


class TFOptimizer:
    """Trains in data parallel. Made by `from_loss`, `from_train_op` or `from_keras`."""

    def __init__(self, trainer: GraphEstimator | KerasEstimator, dataset: TFDataset) -> None:
        if dataset.batch_size < 1:
            raise UsageError(
                "The batch_size of TFDataset must be specified when used for training: it is the number of rows of a "
                f"step over all ranks. Received: batch_size={dataset.batch_size}, batch_per_thread="
                f"{dataset.batch_per_thread}"
            )
        self._estimator, self._dataset = trainer, dataset

    # --- the three forms ---------------------------------------------------------------------------------------------

    @classmethod
    def from_loss(
        cls,
        loss: Any,
        optim_method: Any,
        session: Any = None,
        inputs: Any = None,
        dataset: TFDataset | None = None,
        val_outputs: Any = None,
        val_labels: Any = None,
        val_method: Any = None,
        clip_norm: float | None = None,
        clip_value: float | tuple[float, float] | None = None,
        metrics: Mapping[str, Any] | None = None,
        tensor_with_value: Mapping[Any, tuple[Any, Any]] | None = None,
        session_config: Any = None,
        model_dir: str | None = None,
        updates: Sequence[Any] | None = None,
        workers_per_node: int = 1,
        seed: int = 0,
    ) -> TFOptimizer:
        """Trains the variables that a loss depends on.

        Args:
            loss: a scalar tensor that depends on the tensors of a `TFDataset`.
            optim_method: of `zoo.orca.learn.optimizers`, or a ``tf.compat.v1.train.Optimizer``; a dict from the
                beginnings of variables' names to optimizers.
            session: with values of the variables; None makes one.
            inputs: with `dataset`: the tensors that it feeds, ``(features, labels)``.
            dataset: None for the one whose tensors the loss depends on.
            val_outputs: tensors that `val_method` takes for outputs.
            val_labels: tensors that it takes for targets.
            val_method: metrics of the validation data.
            clip_norm: longest L2 norm of the averaged gradients, all together.
            clip_value: a bound of each element of the averaged gradients, or (min, max).
            metrics: name -> scalar tensor, or `BigDLMetric`.
            tensor_with_value: tensor -> (its value in training, in validation).
            session_config: a ``tf.compat.v1.ConfigProto`` for the ranks' sessions.
            model_dir: where checkpoints and summaries go.
            updates: operations that run in each step; None for the graph's collection UPDATE_OPS, as far as it needs
                no further placeholder.
            workers_per_node: ranks on each node (Spark executor).
            seed: of the order of rows and of random operations on the ranks.

        Raises:
            UsageError: no data set behind the loss, or another mistake in the call.
        """
        given = _tensors(loss, inputs, dataset)
        measured = _measures(metrics, val_outputs, val_labels, val_method)
        trained = _graph_estimator(
            given, session, metrics=measured, updates=updates, feeds=tensor_with_value, model_dir=model_dir,
            workers_per_node=workers_per_node, seed=seed,
            spec={"optimizer": optim_method, "clip": clip_of(clip_norm, clip_value),
                  "session_config": serialised(session_config)},
        )  # fmt: skip
        return cls(trained, given.dataset)

    @classmethod
    def from_train_op(
        cls,
        train_op: Any,
        loss: Any,
        *,
        inputs: Any = None,
        labels: Any = None,
        metrics: Mapping[str, Any] | None = None,
        updates: Sequence[Any] | None = None,
        sess: Any = None,
        dataset: TFDataset | None = None,
        tensor_with_value: Mapping[Any, tuple[Any, Any]] | None = None,
        session_config: Any = None,
        model_dir: str | None = None,
        workers_per_node: int = 1,
        seed: int = 0,
    ) -> TFOptimizer:
        """Runs a train operation that was made with `ZooOptimizer`.

        Args:
            train_op: as `ZooOptimizer.minimize` gives it.
            loss: a scalar tensor that depends on the tensors of a `TFDataset`.
            inputs: with `dataset`: the tensors that its features feed.
            labels: likewise of its labels.
            metrics: as in `from_loss`, like all further arguments.
            updates: as there.
            sess: as `session` there.
            dataset: as there.
            tensor_with_value: as there.
            session_config: as there.
            model_dir: as there.
            workers_per_node: as there.
            seed: as there.

        Raises:
            UsageError: the operation applies no marked gradients; see also `from_loss`.
        """
        given = _tensors(loss, None if inputs is None else (inputs, labels), dataset)
        trained = _graph_estimator(
            given, sess, metrics=_measures(metrics, None, None, None), updates=updates, feeds=tensor_with_value,
            model_dir=model_dir, workers_per_node=workers_per_node, seed=seed, train_op=train_op,
            spec={"session_config": serialised(session_config)},
        )  # fmt: skip
        return cls(trained, given.dataset)

    @classmethod
    def from_keras(
        cls,
        keras_model: Any,
        dataset: TFDataset,
        session_config: Any = None,
        model_dir: str | None = None,
        metrics: Any = None,
        optimizer: Any = None,
        workers_per_node: int = 1,
        seed: int = 0,
    ) -> TFOptimizer:
        """Trains a compiled Keras model.

        Args:
            keras_model: with the backend that Keras has here.
            dataset: of (features, labels).
            session_config: accepted for older programs.
            model_dir: where checkpoints and summaries go.
            metrics: of `zoo.orca.learn.metrics`, beside those that the model was compiled with.
            optimizer: in place of the compiled one.
            workers_per_node: ranks on each node (Spark executor).
            seed: of the order of rows and of the ranks' random numbers.
        """
        trained = make_estimator(
            keras_model, metrics=metrics, model_dir=model_dir, optimizer=optimizer, workers_per_node=workers_per_node,
            seed=seed,
        )  # fmt: skip
        return cls(trained, dataset)

    # --- training ----------------------------------------------------------------------------------------------------

    def optimize(self, end_trigger: Any = None, checkpoint_trigger: Any = None) -> list[dict[str, float]]:
        """Trains until a trigger fires, which counts over all calls; the session, or the model, gets the values.

        Args:
            end_trigger: ``MaxEpoch(1)`` by default.
            checkpoint_trigger: when a checkpoint goes to `model_dir`; every epoch by default.

        Returns:
            the statistics of each epoch.
        """
        end = MaxEpoch(1) if end_trigger is None else end_trigger
        return self._estimator.fit(
            self._dataset, None, self._dataset.batch_size, validation_data=self._dataset.get_validation_data(),
            checkpoint_trigger=checkpoint_trigger, end_trigger=end, shuffle=self._dataset.shuffle,
            steps_per_epoch=self._dataset.steps_per_epoch,
        )  # fmt: skip

    @property
    def sess(self) -> Any:
        """The session of a graph."""
        if not isinstance(self._estimator, GraphEstimator):
            raise UsageError("a Keras model has no session; its weights are in the model itself.")
        return self._estimator.sess

    def set_train_summary(self, summary: Summary) -> None:
        """Writes TensorBoard summaries to ``<log_dir>/<app_name>/train`` and ``/validation``."""
        self._estimator.set_tensorboard(summary.log_dir, summary.app_name)

    def set_val_summary(self, summary: Summary) -> None:
        """The same: both kinds go beside each other."""
        self.set_train_summary(summary)

    def get_train_summary(self, tag: str = "Loss") -> list[list[float]] | None:
        """``[[step, value, unix seconds], ...]``; None where no place for summaries was given."""
        return self._estimator.get_train_summary(tag)

    def get_validation_summary(self, tag: str = "Loss") -> list[list[float]] | None:
        """Likewise of the validation metrics."""
        return self._estimator.get_validation_summary(tag)

    def set_constant_gradient_clipping(self, min_value: float, max_value: float) -> None:
        """Clamps every element of the averaged gradients."""
        self._refuse_made("set_constant_gradient_clipping")
        estimator.Estimator.set_constant_gradient_clipping(self._estimator, min_value, max_value)

    def set_gradient_clipping_by_l2_norm(self, clip_norm: float) -> None:
        """Scales the averaged gradients, all together, to an L2 norm of at most `clip_norm`."""
        self._refuse_made("set_gradient_clipping_by_l2_norm")
        estimator.Estimator.set_l2_norm_gradient_clipping(self._estimator, clip_norm)

    def load_checkpoint(self, path: str, version: int | None = None) -> None:
        """Goes back to a checkpoint of a `model_dir`.

        Args:
            path: the model_dir, or a run's directory in it.
            version: the step; None for the newest.
        """
        self._estimator.load_orca_checkpoint(path, version)

    def _refuse_made(self, what: str) -> None:
        if isinstance(self._estimator, GraphEstimator) and self._estimator.made_elsewhere:
            raise UsageError(f"{what} has no effect on from_train_op: clip between compute_ and apply_gradients.")


class _Given:
    """A loss, its data set, and which tensors that feeds."""

    def __init__(self, loss: Any, dataset: TFDataset, inputs: dict[str, Any], labels: dict[str, Any]) -> None:
        self.loss, self.dataset, self.inputs, self.labels = loss, dataset, inputs, labels


def _tensors(loss: Any, inputs: Any, dataset: TFDataset | None) -> _Given:
    if inputs is not None:
        if dataset is None:
            raise UsageError("inputs= needs dataset= too: which data set feeds them?")
        pair = isinstance(inputs, tuple | list) and len(inputs) == 2
        return _Given(loss, dataset, *dataset.feeding(*(inputs if pair else (inputs, None))))
    found = dataset or dataset_behind(loss)
    if found is None:
        raise UsageError(
            f"the loss {getattr(loss, 'name', loss)!r} depends on no tensors of a TFDataset. Build the model on "
            "dataset.tensors, or name its placeholders with inputs=... and dataset=..."
        )
    with loss.graph.as_default():
        return _Given(loss, found, *found.feeding(found.feature_tensors, found.label_tensors))


def _measures(metrics: Mapping[str, Any] | None, outputs: Any, labels: Any, methods: Any) -> dict[str, Any]:
    """Name -> scalar tensor or `Measure`."""
    made: dict[str, Any] = {}
    for name, one in (metrics or {}).items():
        made[name] = Measure(one.val_method, one.outputs, one.labels) if isinstance(one, BigDLMetric) else one
    if methods is not None:
        if outputs is None or labels is None:
            raise UsageError("val_method needs val_outputs and val_labels, the tensors that it compares.")
        for method in methods if isinstance(methods, list | tuple) else [methods]:
            name = method if isinstance(method, str) else type(method).__name__
            made[name] = Measure(method, outputs, labels)
    return made


def _graph_estimator(
    given: _Given, session: Any, *, metrics: Any, updates: Any, feeds: Any, spec: dict[str, Any], train_op: Any = None,
    **words: Any,
) -> GraphEstimator:  # fmt: skip
    tensors = Tensors(
        inputs=given.inputs, labels=given.labels or None, loss=given.loss, metrics=metrics, updates=updates,
        feeds=feeds or {},
    )  # fmt: skip
    home = Home(tensors.graph(), session)
    made = graph_spec(tensors, home, seed=words["seed"], **spec)
    if train_op is not None:
        made = made.with_turns([home.turn_of(train_op, given.loss.name, made.updates or ())])
    return GraphEstimator(made, made.placed, **words)
