"""`KerasModel`: a compiled Keras model that trains here, as Keras does it, or on the cluster.

Owns: the words of the call, which of the two it is.
Leaves: training on the cluster (zoo.orca.learn.keras_estimator), everything else (Keras).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import backends, files
from zoo.orca.learn.keras_estimator import make_estimator
from zoo.tfpark.answers import as_rdd
from zoo.tfpark.tf_dataset import TFDataset


class KerasModel:
    """A compiled ``keras.Model``.

    Args:
        model: the model; after `fit` it holds the trained weights.
        model_dir: where checkpoints and summaries of distributed training go.
        optimizer: of `zoo.orca.learn.optimizers` or of Keras, in place of the compiled one, in distributed training.
        workers_per_node: ranks on each node (Spark executor).
    """

    def __init__(
        self, model: Any, model_dir: str | None = None, optimizer: Any = None, workers_per_node: int = 1
    ) -> None:
        self.model = model
        self._estimator = make_estimator(
            model, model_dir=model_dir, optimizer=optimizer, workers_per_node=workers_per_node
        )

    # --- training ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        validation_data: Any = None,
        distributed: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Trains.

        Args:
            x: a `TFDataset`, or arrays (one, a list or a dict of them).
            y: the targets of arrays.
            batch_size: rows of a step over all ranks (default 32); a `TFDataset` has its own.
            epochs: further ones.
            validation_data: a `TFDataset`, or ``(x, y)``.
            distributed: whether arrays train on the cluster; a `TFDataset` always does.
            **kwargs: further arguments of ``keras.Model.fit``, or of `KerasEstimator.fit`: callbacks, class_weight, ...

        Returns:
            what ``keras.Model.fit`` returns, or, of distributed training, the statistics of each epoch.
        """
        if isinstance(x, TFDataset):
            if x.batch_size < 1:
                raise UsageError("The batch_size of TFDataset must be specified when used in KerasModel fit.")
            return self._estimator.fit(
                x, epochs, x.batch_size, validation_data=_first(validation_data, x.get_validation_data()),
                shuffle=kwargs.pop("shuffle", x.shuffle), **kwargs,
            )  # fmt: skip
        if distributed:
            return self._estimator.fit(_pair(x, y), epochs, batch_size, validation_data=validation_data, **kwargs)
        return self.model.fit(x, y, batch_size, epochs, validation_data=validation_data, **kwargs)

    def evaluate(
        self, x: Any = None, y: Any = None, batch_per_thread: int | None = None, distributed: bool = False
    ) -> dict[str, float]:
        """The loss and the compiled metrics, by name.

        Args:
            x: a `TFDataset`, or arrays.
            y: the targets of arrays.
            batch_per_thread: rows scored at once (default 32); a `TFDataset` has its own.
            distributed: whether arrays are scored on the cluster.
        """
        if isinstance(x, TFDataset):
            _check_per_thread(x, "evaluate")
            return self._estimator.evaluate(x, x.rows_at_once)
        if distributed:
            return self._estimator.evaluate(_pair(x, y), batch_per_thread)
        return dict(self.model.evaluate(x, y, batch_per_thread, verbose=0, return_dict=True))

    def predict(self, x: Any, batch_per_thread: int | None = None, distributed: bool = False) -> Any:
        """The outputs.

        Args:
            x: a `TFDataset`, or arrays.
            batch_per_thread: rows predicted at once; a `TFDataset` has its own.
            distributed: whether arrays are predicted on the cluster.

        Returns:
            arrays for arrays; for a `TFDataset` an RDD of one array for each row, see `TFPredictor.predict`.
        """
        if isinstance(x, TFDataset):
            _check_per_thread(x, "predict")
            return as_rdd(self._estimator.predict(x, x.rows_at_once))
        if distributed:
            return self._estimator.predict(x, batch_per_thread)
        return self.model.predict(x, batch_per_thread, verbose=0)

    def train_on_batch(self, x: Any, y: Any = None, **words: Any) -> Any:
        """As Keras does it, here."""
        return self.model.train_on_batch(x, y, **words)

    def test_on_batch(self, x: Any, y: Any = None, **words: Any) -> Any:
        """As Keras does it, here."""
        return self.model.test_on_batch(x, y, **words)

    def predict_on_batch(self, x: Any) -> Any:
        """As Keras does it, here."""
        return self.model.predict_on_batch(x)

    # --- weights and files -------------------------------------------------------------------------------------------

    @property
    def metrics_names(self) -> list[str]:
        """``"loss"`` and the compiled metrics."""
        return list(self.model.metrics_names)

    def get_weights(self) -> list[np.ndarray]:
        """As those of Keras."""
        weights: list[np.ndarray] = self.model.get_weights()
        return weights

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """As those of Keras."""
        self.model.set_weights(weights)

    def save_weights(self, filepath: str, overwrite: bool = True, save_format: str | None = None) -> str:
        """Writes the weights as HDF5 to a path or any fsspec URL."""
        return self._estimator.save_keras_weights(filepath, overwrite, save_format)

    def load_weights(self, filepath: str, by_name: bool = False) -> None:
        """Reads weights; with `by_name`, into the layers of the same names."""
        self._estimator.load_keras_weights(filepath, by_name)

    def save_model(self, path: str, overwrite: bool = True) -> str:
        """Writes the whole model, as ``.keras`` (``.h5`` where the path ends so), to a path or any fsspec URL."""
        return self._estimator.save_keras_model(path, overwrite)

    @staticmethod
    def load_model(path: str) -> KerasModel:
        """Reads what `save_model` has written.

        Raises:
            UsageError: the file holds weights only, a SavedModel, or something else.
        """
        backends.begin(backends.current())
        return KerasModel(files.load_model(path))

    def add_metric(self, tensor: Any, name: str) -> None:
        """Refused: Keras 3 has no tensors outside of a model.

        Raises:
            UsageError: always, with the way out.
        """
        raise UsageError(
            f"Keras 3 takes no tensors as metrics. Write {name!r} as a function of (y_true, y_pred) and give it to "
            "model.compile(metrics=[...])."
        )


def _pair(x: Any, y: Any) -> Any:
    return x if y is None else (x, y)


def _first(given: Any, own: Any) -> Any:
    return own if given is None else given


def _check_per_thread(dataset: TFDataset, what: str) -> None:
    if dataset.batch_per_thread < 1:
        raise UsageError(f"The batch_per_thread of TFDataset must be specified when used in KerasModel {what}.")
