"""The estimator of Keras models, as `zoo.orca.learn.tf` and `zoo.orca.learn.tf2` hand it out.

Owns: the words of Keras and TensorFlow programs: histories, files, arguments that `fit` has beyond the common ones.
Leaves: everything else (zoo.orca.learn.estimator, zoo.engine).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import freezing
from zoo.engine.triggers import SeveralEpoch
from zoo.orca.learn import estimator
from zoo.orca.learn.words import Names, names_of, scores_of


class KerasEstimator(estimator.Estimator):
    """Trains, evaluates and applies a Keras model on the current cluster."""

    _trained: tuple[Any, ...] = ()
    """The weights that the last `fit` trained."""

    def fit(  # type: ignore[override]
        self,
        data: Any,
        epochs: int | None = 1,
        batch_size: int | None = None,
        *,
        feature_cols: Names = None,
        label_cols: Names = None,
        validation_data: Any = None,
        verbose: int | str = 1,
        callbacks: Sequence[Any] | Any | None = None,
        class_weight: Mapping[int, float] | None = None,
        sample_weight_col: str | None = None,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_freq: int = 1,
        checkpoint_trigger: Any = None,
        session_config: Any = None,
        auto_shard_files: bool = True,
        data_config: Mapping[str, Any] | None = None,
        **words: Any,
    ) -> list[dict[str, float]]:
        """Trains; a second call goes on where the first one ended. The model given to the estimator gets the weights.

        Where layers were frozen or unfrozen in between, the optimizer begins without memory, as after ``compile``.

        Args:
            data: as in `Estimator.fit` of PyTorch.
            epochs: further epochs.
            batch_size: rows per step over ALL ranks (default 32).
            feature_cols: columns of the model's inputs, in their order, or by the keys of a dict of inputs.
            label_cols: columns of the targets.
            validation_data: scored behind every `validation_freq`-th epoch.
            verbose: accepted for older programs; progress is always shown.
            callbacks: of Keras. Those that write run on rank 0, the others on every rank.
            class_weight: class -> weight of its rows in the loss.
            sample_weight_col: a column that holds the weight of each row in the loss.
            steps_per_epoch: an epoch's steps, where it shall have fewer than the data give.
            validation_steps: batches of each rank that are scored at most.
            validation_freq: epochs between two validations.
            checkpoint_trigger: when a checkpoint goes to `model_dir`; every epoch by default.
            session_config: accepted for older programs; see `intra_threads` of from_keras.
            auto_shard_files: accepted for older programs; files are spread over ranks by row groups.
            data_config: further values for a data creator ``f(config, batch_size)``.
            **words: further arguments of the common `Estimator.fit`: max_steps, end_trigger, memory, shuffle, ...

        Returns:
            for each epoch ``{"epoch", "batch_count", "num_samples", "train_loss", "train_<metric>", "val_loss", ...}``.

        Raises:
            UsageError: a mistake in the call, before any process starts.
        """
        _refuse_unknown("fit", words)
        labels = names_of(label_cols)
        if sample_weight_col is not None:
            labels = (*(labels or ()), sample_weight_col)
        if validation_freq != 1:
            words.setdefault("validation_trigger", SeveralEpoch(validation_freq))
        self._spec = self._spec.weighing(sample_weight_col is not None, class_weight, data_config or {})
        self._follow_freezing()
        history = super().fit(
            data, epochs, batch_size, feature_cols, labels, validation_data, checkpoint_trigger,
            callbacks=callbacks, steps_per_epoch=steps_per_epoch, validation_steps=validation_steps, **words,
        )  # fmt: skip
        self._trained = freezing.trained_weights(self._spec.model)
        return history

    def _follow_freezing(self) -> None:
        """Forgets the optimizer's memory where it is of other weights than those that are trained now."""
        model = self._spec.model
        freezing.renew_optimizer(model)
        if self._trained and not self._loaded and freezing.differ(self._trained, freezing.trained_weights(model)):
            self._state = freezing.without_optimizer(self._state)

    def evaluate(  # type: ignore[override]
        self,
        data: Any,
        batch_size: int | None = None,
        *,
        feature_cols: Names = None,
        label_cols: Names = None,
        num_steps: int | None = None,
        verbose: int | str = 1,
        callbacks: Sequence[Any] | Any | None = None,
        auto_shard_files: bool = True,
        data_config: Mapping[str, Any] | None = None,
        **words: Any,
    ) -> dict[str, float]:
        """Scores the model.

        Args:
            data: of any kind that `fit` takes.
            batch_size: rows scored at once (default 32).
            feature_cols: columns of the model's inputs.
            label_cols: columns of the targets.
            num_steps: at most so many batches of each independent piece of the data.
            verbose: accepted for older programs.
            callbacks: accepted for older programs.
            auto_shard_files: accepted for older programs.
            data_config: further values for a data creator.
            **words: further arguments of the common `Estimator.evaluate`.

        Returns:
            ``{"loss", "<metric>", ...}``: the compiled metrics by Keras' names, then the estimator's own.
        """
        _refuse_unknown("evaluate", words)
        self._spec = self._spec.weighing(False, None, data_config or {})
        return scores_of(super().evaluate(data, batch_size, feature_cols, label_cols, **words, num_steps=num_steps))

    def predict(  # type: ignore[override]
        self,
        data: Any,
        batch_size: int | None = None,
        *,
        feature_cols: Names = None,
        verbose: int | str = 1,
        steps: int | None = None,
        callbacks: Sequence[Any] | Any | None = None,
        auto_shard_files: bool = True,
        data_config: Mapping[str, Any] | None = None,
        min_partition_num: int | None = None,
        **words: Any,
    ) -> Any:
        """Applies the model; on a DataFrame this is lazy and keeps all columns and the order of rows.

        Args:
            data: of any kind that `fit` takes; labels are not needed.
            batch_size: rows predicted at once (default 256).
            feature_cols: columns of the model's inputs.
            verbose: accepted for older programs.
            steps: accepted for older programs; all rows are predicted.
            callbacks: accepted for older programs.
            auto_shard_files: accepted for older programs.
            data_config: further values for a data creator.
            min_partition_num: accepted for older programs; rows are predicted where they lie.
            **words: further arguments of the common `Estimator.predict`, e.g. output_cols.
        """
        _refuse_unknown("predict", words)
        self._spec = self._spec.weighing(False, None, data_config or {})
        return super().predict(data, batch_size, feature_cols, **words)

    def keep_checkpoints(self, path: str) -> None:
        """Has the next `fit` write checkpoints below `path`, in place of the model_dir."""
        self._model_dir = path

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, model_path: str, overwrite: bool = True, **words: Any) -> str:  # type: ignore[override]
        """Writes the whole model, as ``.keras`` (``.h5`` where the path ends so), to a path or fsspec URL.

        Args:
            model_path: where.
            overwrite: whether a file there may be replaced.
            **words: accepted for older programs (include_optimizer, save_format, signatures, options).
        """
        return self.save_keras_model(model_path, overwrite)

    def load(self, model_path: str, **words: Any) -> None:  # type: ignore[override]
        """Reads the weights of a model, or weights alone, into the estimator's model.

        Args:
            model_path: a file of `save`, `save_keras_model`, `save_weights` or `save_keras_weights`.
            **words: accepted for older programs (custom_objects, compile).
        """
        self.load_keras_weights(model_path)

    def save_keras_model(self, path: str, overwrite: bool = True) -> str:
        """Writes the whole model; see `save`."""
        return str(self._spec.save(path, overwrite=overwrite))

    def save_keras_weights(self, filepath: str, overwrite: bool = True, save_format: str | None = None) -> str:
        """Writes the weights, as HDF5.

        Args:
            filepath: where.
            overwrite: whether a file there may be replaced.
            save_format: ``"h5"`` or None; ``"tf"`` is `save_tf_checkpoint`.
        """
        if save_format not in (None, "h5"):
            raise UsageError(f"save_format must be 'h5' or None; for 'tf' use save_tf_checkpoint. Got: {save_format!r}")
        return str(self._spec.save_weights(filepath, overwrite=overwrite))

    def load_keras_weights(self, filepath: str, by_name: bool = False) -> None:
        """Reads weights; with `by_name`, into the layers of the same names."""
        self._spec.load_weights(filepath, by_name=by_name)
        self._state = None  # the optimizer's memory was of other weights

    def save_weights(self, filepath: str, overwrite: bool = True, save_format: str | None = None) -> str:
        """Another name of `save_keras_weights`."""
        return self.save_keras_weights(filepath, overwrite, save_format)

    def load_weights(self, filepath: str, by_name: bool = False) -> None:
        """Another name of `load_keras_weights`."""
        self.load_keras_weights(filepath, by_name)

    def save_tf_checkpoint(self, path: str) -> str:
        """Writes a checkpoint of TensorFlow (``tf.train.Checkpoint``) with this prefix; returns it."""
        return str(self._spec.save_tf_checkpoint(path))

    def load_tf_checkpoint(self, path: str) -> None:
        """Reads a checkpoint that `save_tf_checkpoint` has written."""
        self._spec.load_tf_checkpoint(path)
        self._state = None

    def get_state_dict(self) -> Mapping[str, Any]:
        """The model's weights by their paths."""
        return {variable.path: variable.numpy() for variable in self.get_model().weights}


def _refuse_unknown(verb: str, words: Mapping[str, Any]) -> None:
    """Names what neither class takes, with the nearest that one does."""
    both = (getattr(KerasEstimator, verb), getattr(estimator.Estimator, verb))
    known = {name for function in both for name in inspect.signature(function).parameters} - {"self", "words"}
    if unknown := [name for name in words if name not in known]:
        raise UsageError.unknown_argument(verb, unknown, known)


def make_estimator(
    model: Any,
    *,
    metrics: Any = None,
    model_dir: str | None = None,
    workers_per_node: int = 1,
    seed: int = 0,
    threads: tuple[int | None, int | None] = (None, None),
    kind: type[KerasEstimator] = KerasEstimator,
    **spec: Any,
) -> KerasEstimator:
    """An estimator over a Keras model or its creator.

    Args:
        model: a compiled ``keras.Model`` or a function ``f(config)``.
        metrics: beside those that the model was compiled with.
        model_dir: where checkpoints and summaries go.
        workers_per_node: ranks on each node.
        seed: of the order of rows and of the ranks' random numbers.
        threads: of a rank's process: that share one operation, that run operations side by side.
        kind: which words results have.
        **spec: further attributes of `KerasSpec`.
    """
    from zoo.engine.frameworks.keras import backends
    from zoo.engine.frameworks.keras.metrics import adapt_all
    from zoo.engine.frameworks.keras.spec import KerasSpec
    from zoo.engine.frameworks.tensorflow.process import Threads

    made = KerasSpec(
        model=model, backend=backends.current(), seed=seed, threads=Threads(*threads), **spec
    )  # fmt: skip
    return kind(made, adapt_all, metrics=metrics, model_dir=model_dir, workers_per_node=workers_per_node, seed=seed)
