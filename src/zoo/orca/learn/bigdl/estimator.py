"""`Estimator.from_bigdl`: models in BigDL's words, trained where the data is.

Owns: the words of the calls, columns that become tensors of given sizes.
Leaves: everything else (zoo.orca.learn.estimator, keras_estimator, preparation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from zoo.engine.data import columns
from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.engine.jobs import Columns
from zoo.orca.learn import estimator, preparation
from zoo.orca.learn.keras_estimator import KerasEstimator, make_estimator
from zoo.orca.learn.kinds import is_keras, is_torch
from zoo.orca.learn.words import Names, names_of

FEATURES, LABEL = "features", "label"


class Estimator:
    """Makes estimators of BigDL models."""

    @staticmethod
    def from_bigdl(
        *,
        model: Any,
        loss: Any = None,
        optimizer: Any = None,
        metrics: Any = None,
        feature_preprocessing: Any = None,
        label_preprocessing: Any = None,
        model_dir: str | None = None,
        workers_per_node: int = 1,
        seed: int = 0,
    ) -> Any:
        """An estimator that trains a model on the current cluster.

        Args:
            model: a layer of `zoo.bigdl.nn.layer`, any torch module, or a Keras-style (or Keras 3) model. After `fit`
                it holds the trained weights.
            loss: a criterion of `zoo.bigdl.nn.criterion` or a torch loss; of a Keras model one that its ``compile``
                takes, or None where it is compiled.
            optimizer: of `zoo.orca.learn.optimizers`, which are BigDL's. Needed by `fit` only.
            metrics: validation methods of `zoo.bigdl.optim.optimizer`, metrics of `zoo.orca.learn.metrics`, or a list.
            feature_preprocessing: of the feature columns' values: a list of ints, the size of a row's tensor; a list of
                such lists, one for each input; or a `Preprocessing` (``apply(value) -> array``), or a function. It runs
                on the ranks. None: numbers as they are, a single one as a tensor of size 1.
            label_preprocessing: likewise of the label columns; None: as they are.
            model_dir: where checkpoints and summaries go: a path or any fsspec URL.
            workers_per_node: ranks on each node (Spark executor).
            seed: of the order of rows and of the ranks' random numbers.

        Raises:
            UsageError: an argument that is missing or has an impossible value; all problems are listed.
        """
        asked = _Preprocessing(feature_preprocessing, label_preprocessing)
        words = {"metrics": metrics, "model_dir": model_dir, "workers_per_node": workers_per_node, "seed": seed}
        made = _of_torch(model, loss, optimizer, words) if is_torch(model) else None
        made = made or _of_keras(model, loss, optimizer, words)
        made._preprocessing = asked
        return made


@dataclass(frozen=True)
class _Preprocessing:
    """What becomes of columns; see `from_bigdl`."""

    features: Any = None
    labels: Any = None

    def __post_init__(self) -> None:
        preparation.check(self.features, "feature_preprocessing")
        preparation.check(self.labels, "label_preprocessing")

    def transforms(self, adapted: Adapted) -> dict[str, Any]:
        """For each column that does not stay as it is."""
        asked = adapted.columns
        found = dict(preparation.transforms(self.features, _specs(adapted, asked.features), "feature_preprocessing"))
        if self.labels is not None:
            found |= preparation.transforms(self.labels, _specs(adapted, asked.labels), "label_preprocessing")
        return found


@dataclass(frozen=True)
class _Known:
    """Data that has been looked at."""

    adapted: Adapted

    def __zoo_shards__(self, asked: Columns) -> Adapted:
        return self.adapted


class _Words:
    """BigDL's words of an estimator, before a class that does the work."""

    _preprocessing = _Preprocessing()

    def fit(
        self,
        data: Any,
        epochs: int,
        batch_size: int = 32,
        feature_cols: Names = FEATURES,
        label_cols: Names = LABEL,
        caching_sample: bool = True,
        validation_data: Any = None,
        validation_trigger: Any = None,
        checkpoint_trigger: Any = None,
        **words: Any,
    ) -> Any:
        """Trains; a second call goes on where the first one ended.

        Args:
            data: a Spark DataFrame, XShards, arrays, or any data of `Estimator.from_torch`'s `fit`.
            epochs: further epochs.
            batch_size: rows per step over ALL ranks.
            feature_cols: columns of the model's inputs; of data without columns, the default is none.
            label_cols: columns of the targets, likewise.
            caching_sample: accepted for older programs: rows are kept in memory, beyond `memory` on disk.
            validation_data: measured at every `validation_trigger`; of any accepted kind.
            validation_trigger: every epoch by default.
            checkpoint_trigger: when a checkpoint goes to `model_dir`; every epoch by default.
            **words: further arguments of the common `Estimator.fit`: max_steps, end_trigger, memory, shuffle, ...

        Returns:
            for each epoch ``{"epoch", "batch_count", "num_samples", "train_loss", "val_..."}``.

        Raises:
            UsageError: a mistake in the call, before any process starts.
        """
        return super().fit(  # type: ignore[misc]
            data, epochs, batch_size, feature_cols=feature_cols, label_cols=label_cols,
            validation_data=validation_data, validation_trigger=validation_trigger,
            checkpoint_trigger=checkpoint_trigger, **words,
        )  # fmt: skip

    def predict(
        self,
        data: Any,
        batch_size: int = 4,
        feature_cols: Names = FEATURES,
        sample_preprocessing: Any = None,
        **words: Any,
    ) -> Any:
        """Applies the model; on a DataFrame this is lazy and keeps all columns and the order of rows.

        Args:
            data: of any kind that `fit` takes; labels are not needed.
            batch_size: rows predicted at once.
            feature_cols: columns of the model's inputs.
            sample_preprocessing: in place of the estimator's feature_preprocessing.
            **words: further arguments of the common `Estimator.predict`, e.g. output_cols.
        """
        before = self._preprocessing
        if sample_preprocessing is not None:
            self._preprocessing = _Preprocessing(sample_preprocessing, before.labels)
        try:
            return super().predict(data, batch_size, feature_cols=feature_cols, **words)  # type: ignore[misc]
        finally:
            self._preprocessing = before

    def evaluate(
        self, data: Any, batch_size: int = 32, feature_cols: Names = FEATURES, label_cols: Names = LABEL, **words: Any
    ) -> dict[str, float]:
        """Measures the model; arguments as of `fit`.

        Returns:
            each metric by its name, the loss as ``"val_loss"`` (of Keras models ``"loss"``).
        """
        found = super().evaluate(data, batch_size, feature_cols=feature_cols, label_cols=label_cols, **words)  # type: ignore[misc]
        return dict(found)

    def load(
        self,
        checkpoint: str,
        optimizer: Any = None,
        loss: Any = None,
        feature_preprocessing: Any = None,
        label_preprocessing: Any = None,
        model_dir: str | None = None,
        is_checkpoint: bool = False,
    ) -> Any:
        """Reads weights, or goes back to a checkpoint; what else is given takes the place of what there was.

        Args:
            checkpoint: a file of `save`, or with `is_checkpoint` a checkpoint, a run's directory or a model_dir.
            optimizer: as of `from_bigdl`.
            loss: likewise.
            feature_preprocessing: likewise.
            label_preprocessing: likewise.
            model_dir: likewise.
            is_checkpoint: which of both.

        Returns:
            the estimator.
        """
        if optimizer is not None or loss is not None:
            self._retrained(loss, optimizer)
        kept = self._preprocessing
        self._preprocessing = _Preprocessing(
            kept.features if feature_preprocessing is None else feature_preprocessing,
            kept.labels if label_preprocessing is None else label_preprocessing,
        )
        if model_dir is not None:
            self._model_dir = model_dir
        if is_checkpoint:
            self.load_orca_checkpoint(checkpoint)  # type: ignore[attr-defined]
        else:
            super().load(checkpoint)  # type: ignore[misc]
        return self

    def _adapt(self, data: Any, features: Names, labels: Names, transform: Any = None) -> Adapted:
        """As the common one, with the preprocessing of columns."""
        adapted = _adapted(data, features, labels, self._spec.config)  # type: ignore[has-type]
        if transform is None and adapted.shards.schema.names:
            transform = self._preprocessing.transforms(adapted) or None
        known = super()._adapt(_Known(adapted), features, labels, transform)  # type: ignore[misc]
        return replace(adapted, columns=known.columns)

    def _retrained(self, loss: Any, optimizer: Any) -> None:
        changes = {"loss": loss, "optimizer": optimizer}
        spec = replace(self._spec, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[has-type]
        if problems := spec.problems():
            raise UsageError.listing(problems)
        self._spec = spec


class BigDLEstimator(_Words, estimator.Estimator):
    """Of torch modules, which the layers of `zoo.bigdl.nn` are."""


class BigDLKerasEstimator(_Words, KerasEstimator):
    """Of Keras models."""

    def _retrained(self, loss: Any, optimizer: Any) -> None:
        if loss is not None:
            _compile(self._spec.get_model(), loss)
        if optimizer is not None:
            super()._retrained(None, optimizer)


def _of_torch(model: Any, loss: Any, optimizer: Any, words: dict[str, Any]) -> BigDLEstimator:
    from zoo.engine.frameworks.torch.metrics import adapt_all
    from zoo.engine.frameworks.torch.spec import TorchSpec

    spec = TorchSpec(model=model, optimizer=optimizer, loss=loss, seed=words["seed"])
    return BigDLEstimator(spec, adapt_all, **words)


def _of_keras(model: Any, loss: Any, optimizer: Any, words: dict[str, Any]) -> BigDLKerasEstimator:
    if getattr(model, "only_computes", ""):
        raise UsageError(model.only_computes)
    if not is_keras(model):
        raise UsageError(
            "from_bigdl takes a layer of zoo.bigdl.nn.layer, a torch module, or a Keras-style model. Received: "
            f"{type(model).__module__}.{type(model).__qualname__}"
        )
    if loss is not None:
        _compile(model, loss)
    made = make_estimator(model, optimizer=optimizer, kind=BigDLKerasEstimator, **words)
    assert isinstance(made, BigDLKerasEstimator)
    return made


def _compile(model: Any, loss: Any) -> None:
    """With the optimizer that the model has, or BigDL's default one."""
    model.compile(optimizer=model.optimizer if model.compiled and model.optimizer else "sgd", loss=_keras_loss(loss))


def _keras_loss(loss: Any) -> Any:
    """A loss for ``compile``; torch's, and BigDL's criteria, on Keras' torch backend."""
    if not is_torch(loss):
        return loss
    from zoo.engine.frameworks.keras import backends

    if backends.current() != "torch":
        raise UsageError(
            f"{type(loss).__name__} computes with torch, and Keras runs on {backends.current()}. Give a Keras model a "
            "loss of zoo.pipeline.api.keras.objectives or of Keras, or start the program with KERAS_BACKEND=torch."
        )

    def in_keras_order(y_true: Any, y_pred: Any) -> Any:
        return loss(y_pred, y_true)

    in_keras_order.__name__ = in_keras_order.__qualname__ = type(loss).__name__
    in_keras_order.__module__ = "__main__"  # a program's own: it travels beside the model, by value
    return in_keras_order


def _adapted(data: Any, features: Names, labels: Names, config: Any) -> Adapted:
    """The data, whose default columns are left out where it has none by names.

    Raises:
        UsageError: as of `adapt`.
    """
    try:
        return adapt(data, names_of(features), names_of(labels), config)
    except ColumnNotFound:
        if names_of(features) != (FEATURES,) or names_of(labels) not in ((LABEL,), None):
            raise
        try:
            return adapt(data, None, None, config)
        except UsageError:
            pass
        raise


def _specs(adapted: Adapted, names: Any) -> Any:
    return columns.describe(adapted.shards.schema, names)
