"""Gradient-boosted trees as stages of Spark ML, under Analytics Zoo's names: XGBoost's own stages with other words.

Owns: the names, setters, files of single boosters.
Leaves: everything else (`xgboost.spark`).
"""

from __future__ import annotations

import difflib
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.engine.optional import require

require("xgboost.spark", extra="xgboost", because="XGBClassifier and XGBRegressor train with it")

import xgboost  # noqa: E402  the line above says what is missing
from xgboost.spark import (  # noqa: E402
    SparkXGBClassifier,
    SparkXGBClassifierModel,
    SparkXGBRegressor,
    SparkXGBRegressorModel,
)

from zoo.pipeline.nnframes.params import _at_least_one  # noqa: E402

_log = logging.getLogger("zoo")

_WORDS: Mapping[str, str] = {
    "eta": "learning_rate", "lambda": "reg_lambda", "alpha": "reg_alpha", "num_round": "n_estimators",
    "numRound": "n_estimators", "numWorkers": "num_workers", "seed": "random_state", "min_split_loss": "gamma",
    "featuresCol": "features_col", "labelCol": "label_col", "predictionCol": "prediction_col",
}  # fmt: skip
_BY_SPARK = ("nthread", "n_jobs", "nThread")


class _Words:
    """Setters that estimators and models share."""

    def setFeaturesCol(self, features: str | Sequence[str]) -> Self:
        """Names the column of a vector or array, or several columns of numbers."""
        if isinstance(features, str):
            return self._set(featuresCol=features)
        return self._set(features_cols=list(features))

    def setLabelCol(self, value: str) -> Self:
        """Names the target's column."""
        return self._set(labelCol=value)

    def setPredictionCol(self, prediction: str) -> Self:
        """Names the predictions' column."""
        return self._set(predictionCol=prediction)

    def setMissing(self, value: float) -> Self:
        """Says which number stands for a missing value."""
        return self._set(missing=float(value))

    def setInferBatchSize(self, value: int) -> Self:
        """Accepted for older programs: rows are predicted in Arrow's batches."""
        if value < 1:
            raise UsageError(f"the batch size must be at least 1. Received: {value!r}")
        return self


class _Trainer(_Words):
    """Setters of the estimators."""

    def setNthread(self, value: int) -> Self:
        """Accepted for older programs: ``spark.task.cpus`` says how many threads a worker has."""
        _log.warning("XGBoost takes spark.task.cpus threads in each Spark task; setNthread(%d) changes nothing.", value)
        return self

    def setNumRound(self, value: int) -> Self:
        """Sets the number of trees."""
        return self._set(n_estimators=_at_least_one(value))

    def setNumWorkers(self, value: int) -> Self:
        """Sets the number of Spark tasks that train."""
        return self._set(num_workers=_at_least_one(value))

    def _take(self, params: Mapping[str, Any] | None) -> None:
        self._refuse_misspelt(params or {})
        words = {_WORDS.get(name, name): value for name, value in (params or {}).items() if name not in _BY_SPARK}
        try:
            self.setParams(**words)
        except (ValueError, TypeError) as error:
            raise UsageError(f"XGBoost does not take these params: {error}. Received: {dict(params or {})}") from error

    def _refuse_misspelt(self, names: Iterable[str]) -> None:
        """XGBoost leaves out what it does not know, and has more parameters than its stages tell of."""
        known = {*(param.name for param in self.params), *_WORDS, *_WORDS.values(), *_BY_SPARK}
        for name in names:
            near = [] if name in known else difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            if near:
                raise UsageError(f"XGBoost has no parameter {name!r}. Did you mean {near[0]!r}?")


class XGBClassifier(_Trainer, SparkXGBClassifier):  # type: ignore[misc]  # XGBoost's stage
    """Trains boosted trees that tell classes, numbered from 0; `fit` gives an `XGBClassifierModel`."""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        """A stage.

        Args:
            params: of XGBoost, by the names of its parameters or of its scikit-learn interface, e.g.
                ``{"eta": 0.1, "max_depth": 4, "num_round": 50}``.

        Raises:
            UsageError: a parameter that XGBoost does not have on Spark.
        """
        super().__init__()
        self._take(params)

    @classmethod
    def _pyspark_model_cls(cls) -> type:
        return XGBClassifierModel


class XGBClassifierModel(_Words, SparkXGBClassifierModel):  # type: ignore[misc]  # XGBoost's stage
    """Adds prediction, probability and raw prediction to a DataFrame."""

    @staticmethod
    def loadModel(path: str, numClasses: int) -> XGBClassifierModel:
        """Reads a booster that XGBoost itself has written (``.json``, ``.ubj``).

        Args:
            path: a path or URL.
            numClasses: as a check.

        Raises:
            UsageError: the file has another number of classes.
        """
        found = _booster(path, xgboost.XGBClassifier())
        if found.n_classes_ != numClasses:
            raise UsageError(f"{storage.masked(path)} tells {found.n_classes_} classes. Received: {numClasses=}")
        return _complete(XGBClassifierModel(found), XGBClassifier())


class XGBRegressor(_Trainer, SparkXGBRegressor):  # type: ignore[misc]  # XGBoost's stage
    """Trains boosted trees that estimate a number; `fit` gives an `XGBRegressorModel`."""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        """A stage; see `XGBClassifier`."""
        super().__init__()
        self._take(params)

    @classmethod
    def _pyspark_model_cls(cls) -> type:
        return XGBRegressorModel


class XGBRegressorModel(_Words, SparkXGBRegressorModel):  # type: ignore[misc]  # XGBoost's stage
    """Adds a prediction to a DataFrame."""

    @classmethod
    def load(cls, path: str) -> XGBRegressorModel:
        """Reads a saved stage, or a booster that XGBoost itself has written."""
        if storage.is_file(path):
            return _complete(XGBRegressorModel(_booster(path, xgboost.XGBRegressor())), XGBRegressor())
        return super().load(path)


def _complete(model: Any, stage: Any) -> Any:
    """A model with the defaults that `fit` of a stage would have given it."""
    return stage._copyValues(model)


def _booster(path: str, model: Any) -> Any:
    with tempfile.TemporaryDirectory(prefix="zoo-xgb-") as folder:
        copy = Path(folder, "booster" + (Path(path).suffix or ".json"))
        copy.write_bytes(storage.read_bytes(path))
        try:
            model.load_model(copy)
        except xgboost.core.XGBoostError as error:
            first = str(error).partition("\n")[0]
            raise UsageError(f"{storage.masked(path)} is no model of XGBoost: {first}") from error
    return model
