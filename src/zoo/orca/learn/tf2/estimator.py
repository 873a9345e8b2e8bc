"""`Estimator.from_keras` of TensorFlow 2 programs, which make their model in a creator function.

Owns: the words of results there.
Leaves: everything else (zoo.orca.learn.tf.estimator, zoo.orca.learn.keras_estimator).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zoo.orca.learn import tf
from zoo.orca.learn.keras_estimator import KerasEstimator


class TF2Estimator(KerasEstimator):
    """A `KerasEstimator` that gives results as programs of `zoo.orca.learn.tf2` know them."""

    def fit(self, *data: Any, **words: Any) -> dict[str, float]:  # type: ignore[override]
        """Trains; see `KerasEstimator.fit`.

        Returns:
            of the last epoch ``{"train_loss", "train_<metric>", "validation_loss", "validation_<metric>"}``.
        """
        last = super().fit(*data, **words)[-1]
        return {_renamed(name): value for name, value in last.items() if name.startswith(("train_", "val_"))}

    def evaluate(self, *data: Any, **words: Any) -> dict[str, float]:
        """Scores the model; see `KerasEstimator.evaluate`.

        Returns:
            ``{"validation_loss", "validation_<metric>", ...}``.
        """
        return {f"validation_{name}": value for name, value in super().evaluate(*data, **words).items()}


class Estimator:
    """Makes estimators of Keras models; both forms of `from_keras` are those of `zoo.orca.learn.tf`."""

    @staticmethod
    def from_keras(
        *, model_creator: Callable[..., Any] | None = None, keras_model: Any = None, backend: str = "tf2", **words: Any
    ) -> KerasEstimator:
        """An estimator that trains a Keras 3 model on the current cluster.

        Args:
            model_creator: a function ``f(config)`` that returns a compiled ``keras.Model``.
            keras_model: in its place, a compiled model.
            backend: accepted for older programs; the context decides where ranks run.
            **words: further arguments of `zoo.orca.learn.tf.estimator.Estimator.from_keras`: config, workers_per_node,
                compile_args_creator, model_dir, ...

        Raises:
            UsageError: an argument that is missing or has an impossible value; all problems are listed.
        """
        return tf.Estimator.from_keras(
            keras_model, model_creator=model_creator, backend=backend, kind=TF2Estimator, **words
        )

    latest_checkpoint = staticmethod(tf.Estimator.latest_checkpoint)


def _renamed(name: str) -> str:
    return f"validation_{name.removeprefix('val_')}" if name.startswith("val_") else name
