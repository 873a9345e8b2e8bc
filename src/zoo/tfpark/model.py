"""`KerasModel`: a compiled Keras model that trains here, as Keras does it, or on the cluster.

Owns: the words of the call, which of the two it is.
Leaves: training on the cluster (zoo.orca.learn.keras_estimator), everything else (Keras).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import backends, files
from zoo.orca.learn.keras_estimator import make_estimator
from zoo.orca.learn.rows import as_rdd
from zoo.tfpark import nests
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
        if not hasattr(model, "compile") or isinstance(model, type):
            raise UsageError(
                "KerasModel wraps a compiled keras.Model; one in a file is read by KerasModel.load_model(path). "
                f"Received: {model!r}"
            )
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
            _check_words(x, y, ("batch_size", batch_size, x.batch_size), "fit")
            _check_parts(self.model, x)
            kwargs = {"shuffle": x.shuffle, "steps_per_epoch": x.steps_per_epoch} | kwargs
            validation = _validation(x, validation_data)
            return self._estimator.fit(x, epochs, x.batch_size, validation_data=validation, **kwargs)
        if distributed:
            given = _pair(x, y)
            return self._estimator.fit(given, epochs, batch_size, validation_data=validation_data, **kwargs)
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
            _check_words(x, y, ("batch_per_thread", batch_per_thread, x.batch_per_thread), "evaluate")
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
            _check_words(x, None, ("batch_per_thread", batch_per_thread, x.batch_per_thread), "predict")
            return as_rdd(self._estimator.predict(x, x.rows_at_once))
        if distributed:
            return self._estimator.predict(_pair(x, None), batch_per_thread)
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
        """``"loss"`` and the compiled metrics; none for a model that is not compiled."""
        if not self.model.compiled:
            return []
        try:
            return list(self.model.get_metrics_result())
        except ValueError:  # Keras makes the metrics when it sees the first batch
            given = getattr(self.model._compile_metrics, "_user_metrics", None) or []
            return ["loss", *(_name(one) for one in _flat(given))]

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
    return x if y is None and not isinstance(x, Mapping) else (x, y)


def _validation(dataset: TFDataset, given: Any) -> TFDataset | None:
    """What was given, else the data set's own."""
    if given is None:
        return dataset.get_validation_data()
    made: TFDataset = given if isinstance(given, TFDataset) else TFDataset.from_ndarrays(given)
    dataset.require_alike(made)
    return made


def _flat(given: Any) -> list[Any]:
    if isinstance(given, Mapping):
        given = list(given.values())
    return [leaf for one in given for leaf in _flat(one)] if isinstance(given, list | tuple) else [given]


def _name(metric: Any) -> str:
    return metric if isinstance(metric, str) else getattr(metric, "name", None) or metric.__name__


def _check_parts(model: Any, dataset: TFDataset) -> None:
    """Refuses data of other parts than the model's, as far as the model tells its own."""
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        return
    features, labels = dataset.names
    structure = getattr(model, "input", None)
    own = list(structure) if isinstance(structure, Mapping) else [tensor.name for tensor in inputs]
    found = [list(nests.leaves(nest)) for nest in (features, labels)]
    if len(found[0]) != len(own):
        raise UsageError(
            f"model_input number does not match data number: the model takes {len(own)} ({', '.join(own)}), and the "
            f"data have {len(found[0])} ({', '.join(found[0])})."
        )
    if len(own) > 1 and isinstance(features, Mapping) and set(own) - set(features):
        raise UsageError(f"all model_input names should exist in data: expected {own}. Received: {list(features)}")
    if len(found[1]) > len(outputs) or (not found[1] and model.compiled and model.loss):
        raise UsageError(
            f"model_target number does not match data number: the model has {len(outputs)} output(s) with a loss, and "
            f"the data have {len(found[1])} label(s). Give TFDataset (features, labels)."
        )


def _check_words(dataset: TFDataset, y: Any, size: tuple[str, int | None, int], what: str) -> None:
    word, given, own = size
    if own < 1:
        raise UsageError(f"The {word} of TFDataset must be specified when used in KerasModel {what}.")
    if y is not None:
        raise UsageError(
            f"a TFDataset has its own labels: leave y out of KerasModel {what}. Received: {type(y).__name__}"
        )
    if given not in (None, own):
        raise UsageError(f"a TFDataset has its own {word}, {own}: leave it out of KerasModel {what}. Received: {given}")
