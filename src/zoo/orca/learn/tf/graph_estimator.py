"""The estimator of TensorFlow graphs, which `Estimator.from_graph` hands out.

Owns: the words of the call, what graphs cannot do.
Leaves: everything else (zoo.orca.learn.estimator, zoo.engine.frameworks.graph).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from zoo.engine.errors import UsageError
from zoo.engine.optim import Clip, ConstantClip, NormClip
from zoo.engine.progress import Progress
from zoo.orca.learn import estimator
from zoo.orca.learn.words import Names, scores_of


class GraphEstimator(estimator.Estimator):
    """Trains, evaluates and applies a graph on the current cluster; its variables stay those of the session."""

    def go_on_from(self, progress: Progress) -> None:
        """Counts steps and epochs from there on, as one who has trained so far already."""
        self._progress = replace(progress, step_in_epoch=0)

    @property
    def made_elsewhere(self) -> bool:
        """Whether the program has made the train operation itself."""
        return self._spec.optimizer is None

    @property
    def sess(self) -> Any:
        """The session: after `fit` its variables hold the trained values."""
        return self._spec.get_model()

    def fit(  # type: ignore[override]
        self,
        data: Any,
        epochs: int | None = 1,
        batch_size: int | None = None,
        feature_cols: Names = None,
        label_cols: Names = None,
        validation_data: Any = None,
        session_config: Any = None,
        checkpoint_trigger: Any = None,
        auto_shard_files: bool = False,
        feed_dict: Mapping[Any, tuple[Any, Any]] | None = None,
        **words: Any,
    ) -> list[dict[str, float]]:
        """Trains; a second call goes on where the first one ended.

        Args:
            data: elements match `inputs` and `labels`; of any kind that `zoo.orca.learn.pytorch` takes, and tf.data.
            epochs: further epochs.
            batch_size: rows per step over ALL ranks (default 32).
            feature_cols: columns of the inputs, in their order, or by the keys of a dict of inputs.
            label_cols: columns of the labels.
            validation_data: scored behind every epoch.
            session_config: a ``tf.compat.v1.ConfigProto`` for the ranks' sessions.
            checkpoint_trigger: when a checkpoint goes to `model_dir`; every epoch by default.
            auto_shard_files: accepted for older programs; files are spread over ranks by row groups.
            feed_dict: tensor -> (its value in training, its value in validation, evaluation and prediction).
            **words: further arguments of the common `Estimator.fit`: max_steps, end_trigger, memory, shuffle, ...

        Returns:
            for each epoch ``{"epoch", "batch_count", "num_samples", "train_loss", "val_loss", "val_<metric>", ...}``.

        Raises:
            UsageError: a mistake in the call, before any process starts.
        """
        self._spec = self._spec.feeding(_feeds(feed_dict), serialised(session_config))
        return super().fit(
            data, epochs, batch_size, feature_cols, label_cols, validation_data, checkpoint_trigger, **words
        )

    def evaluate(  # type: ignore[override]
        self,
        data: Any,
        batch_size: int | None = None,
        feature_cols: Names = None,
        label_cols: Names = None,
        auto_shard_files: bool = False,
        **words: Any,
    ) -> dict[str, float]:
        """Scores the graph.

        Args:
            data: of any kind that `fit` takes.
            batch_size: rows scored at once (default 32).
            feature_cols: columns of the inputs.
            label_cols: columns of the labels.
            auto_shard_files: accepted for older programs.
            **words: further arguments of the common `Estimator.evaluate`.

        Returns:
            ``{"loss", "<metric>", ...}``.

        Raises:
            UsageError: there is nothing to measure.
        """
        if not self._spec.measures:
            raise UsageError("metrics is None, it should not be None in evaluate")
        return scores_of(super().evaluate(data, batch_size, feature_cols, label_cols, **words))

    def predict(  # type: ignore[override]
        self,
        data: Any,
        batch_size: int | None = None,
        feature_cols: Names = None,
        auto_shard_files: bool = False,
        **words: Any,
    ) -> Any:
        """Computes the outputs; on a DataFrame this is lazy and keeps all columns and the order of rows.

        Args:
            data: of any kind that `fit` takes; labels are not needed.
            batch_size: rows at once (default 256).
            feature_cols: columns of the inputs.
            auto_shard_files: accepted for older programs.
            **words: further arguments of the common `Estimator.predict`, e.g. output_cols.
        """
        if not self._spec.program.outputs:
            raise UsageError("outputs is None, it should not be None in prediction")
        return super().predict(data, batch_size, feature_cols, **words)

    # --- files -------------------------------------------------------------------------------------------------------

    def save_tf_checkpoint(self, path: str) -> str:
        """Writes the session's variables with a ``tf.compat.v1.train.Saver``; returns the path."""
        from zoo.engine.frameworks.graph import files

        return files.save_checkpoint(self.sess, path)

    def load_tf_checkpoint(self, path: str) -> None:
        """Reads what `save_tf_checkpoint`, or any Saver of this graph, has written."""
        from zoo.engine.frameworks.graph import files

        files.load_checkpoint(self.sess, path)
        self._state = None

    def save(self, model_path: str, entire: bool = False) -> str:
        """Another name of `save_tf_checkpoint`."""
        return self.save_tf_checkpoint(model_path)

    def load(self, model_path: str) -> None:
        """Another name of `load_tf_checkpoint`."""
        self.load_tf_checkpoint(model_path)

    # --- what graphs cannot do ---------------------------------------------------------------------------------------

    def get_model(self) -> NoReturn:
        """There is no model object."""
        raise UsageError("get_model is not supported for a graph: its variables are in the session, est.sess.")

    def set_constant_gradient_clipping(self, min: float, max: float) -> NoReturn:
        """See `clip_value` of from_graph."""
        raise UsageError("set_constant_gradient_clipping is not supported for a graph: use from_graph(clip_value=...).")

    def set_l2_norm_gradient_clipping(self, clip_norm: float) -> NoReturn:
        """See `clip_norm` of from_graph."""
        raise UsageError("set_l2_norm_gradient_clipping is not supported for a graph: use from_graph(clip_norm=...).")

    def clear_gradient_clipping(self) -> NoReturn:
        """See from_graph."""
        raise UsageError("clear_gradient_clipping is not supported for a graph: leave clip_norm and clip_value out.")


def clip_of(norm: float | None, value: float | tuple[float, float] | None) -> Clip | None:
    """What `clip_norm` and `clip_value` mean: at most one of them, `value` a number or (min, max).

    Raises:
        UsageError: both, or a number that is no bound.
    """
    if norm is not None and value is not None:
        raise UsageError(f"give clip_norm or clip_value, not both. Received: {norm!r} and {value!r}")
    if norm is not None:
        return NormClip(norm)
    if value is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise UsageError(f"clip_value must be a number or (min, max). Received: {value!r}")
        return ConstantClip(*value)
    if not isinstance(value, int | float) or value <= 0:
        raise UsageError(f"clip_value must be a number above 0, or (min, max). Received: {value!r}")
    return ConstantClip(-value, value)


def _feeds(given: Mapping[Any, Any] | None) -> dict[str, tuple[Any, Any]]:
    for tensor, values in (given or {}).items():
        if not isinstance(values, tuple | list) or len(values) != 2:
            raise UsageError(
                f"feed_dict maps a tensor to (its value in training, its value in validation). For {tensor!r} "
                f"received: {values!r}"
            )
    return {tensor.name: (values[0], values[1]) for tensor, values in (given or {}).items()}


def serialised(config: Any) -> bytes:
    """A ``ConfigProto`` as it travels."""
    return b"" if config is None else bytes(config.SerializeToString())
