"""Parameters that the stages share, as Spark ML knows parameters.

Owns: names, defaults' types, setters and getters.
Leaves: what a stage does with them (nn_classifier).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

from pyspark.ml.param import Param, Params, TypeConverters

from zoo.engine.errors import UsageError

Names = str | list[str]


def _columns(value: Any) -> Names:
    """One column, or one for each input of the model."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and value and all(isinstance(name, str) for name in value):
        return list(value)
    raise TypeError(f"a column is a name, or a list of names. Received: {value!r}")


def _at_least_one(value: Any) -> int:
    number = TypeConverters.toInt(value)
    if number < 1:
        raise UsageError(f"a number of rows or epochs must be at least 1. Received: {value!r}")
    return number


def _path(value: Any) -> str:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UsageError(f"a place of checkpoints is the path or URL of a directory. Received: {value!r}")
    return os.fspath(value)  # type: ignore[no-any-return]


class NoneIsNoValue(Params):
    """Refuses None, which Spark ML would keep in the place of a value."""

    def _set(self, **kwargs: Any) -> Self:
        if empty := [name for name, value in kwargs.items() if value is None]:
            raise UsageError(
                f"{empty[0]} must have a value. Received: None. stage.clear(stage.{empty[0]}) forgets one."
            )
        return super()._set(**kwargs)  # type: ignore[no-any-return]

    def _forget(self, param: Param[Any]) -> Self:
        self.clear(param)
        return self


class HasFeaturesCol(Params):
    """The columns of the model's inputs."""

    featuresCol: Param[Any] = Param(
        Params._dummy(), "featuresCol", "columns of the model's inputs: one, or several", _columns
    )

    def setFeaturesCol(self, value: str | Sequence[str]) -> Self:
        """Names them: one column, or one for each input of the model."""
        return self._set(featuresCol=value)

    def getFeaturesCol(self) -> Names:
        """Their names."""
        return self.getOrDefault(self.featuresCol)


class HasLabelCol(Params):
    """The columns of the targets."""

    labelCol: Param[Any] = Param(Params._dummy(), "labelCol", "column of the target", _columns)

    def setLabelCol(self, value: str | Sequence[str]) -> Self:
        """Names it."""
        return self._set(labelCol=value)

    def getLabelCol(self) -> Names:
        """Its name."""
        return self.getOrDefault(self.labelCol)


class HasPredictionCol(Params):
    """The column of the predictions."""

    predictionCol: Param[str] = Param(
        Params._dummy(), "predictionCol", "column of the predictions", TypeConverters.toString
    )

    def setPredictionCol(self, value: str) -> Self:
        """Names it."""
        return self._set(predictionCol=value)

    def getPredictionCol(self) -> str:
        """Its name."""
        return self.getOrDefault(self.predictionCol)


class HasBatchSize(Params):
    """Rows that the model gets at once."""

    batchSize: Param[int] = Param(Params._dummy(), "batchSize", "rows at once, over all ranks", _at_least_one)

    def setBatchSize(self, val: int) -> Self:
        """Sets it; for training it is the rows of a step over all ranks."""
        return self._set(batchSize=val)

    def getBatchSize(self) -> int:
        """How many."""
        return self.getOrDefault(self.batchSize)


class HasThreshold(Params):
    """Where a model of one output has its border between classes."""

    threshold: Param[float] = Param(
        Params._dummy(), "threshold", "outputs above it are class 1", TypeConverters.toFloat
    )

    def setThreshold(self, val: float) -> Self:
        """Sets it."""
        return self._set(threshold=val)

    def getThreshold(self) -> float:
        """Its value."""
        return self.getOrDefault(self.threshold)


class HasOptimMethod(NoneIsNoValue):
    """The optimizer and its rate."""

    optimMethod: Param[Any] = Param(Params._dummy(), "optimMethod", "the optimizer")
    learningRate: Param[float] = Param(
        Params._dummy(), "learningRate", "in place of the optimizer's own", TypeConverters.toFloat
    )
    learningRateDecay: Param[float] = Param(
        Params._dummy(), "learningRateDecay", "in place of the optimizer's own", TypeConverters.toFloat
    )

    def setOptimMethod(self, val: Any) -> Self:
        """Sets it: of `zoo.orca.learn.optimizers`, its name, or one of Keras or torch for their models."""
        return self._set(optimMethod=val)

    def getOptimMethod(self) -> Any:
        """The optimizer; plain SGD where none was given."""
        from zoo.engine.optim import SGD

        return self.getOrDefault(self.optimMethod) if self.isDefined(self.optimMethod) else SGD()

    def setLearningRate(self, val: float | None) -> Self:
        """Sets the rate, whatever the optimizer says; None leaves it to the optimizer."""
        return self._forget(self.learningRate) if val is None else self._set(learningRate=val)

    def getLearningRate(self) -> float | None:
        """The rate; None where the optimizer says it."""
        return self.getOrDefault(self.learningRate) if self.isDefined(self.learningRate) else None

    def setLearningRateDecay(self, val: float | None) -> Self:
        """Sets the decay: the rate of update n is lr / (1 + n * decay); None leaves it to the optimizer."""
        return self._forget(self.learningRateDecay) if val is None else self._set(learningRateDecay=val)

    def getLearningRateDecay(self) -> float | None:
        """The decay; None where the optimizer says it."""
        return self.getOrDefault(self.learningRateDecay) if self.isDefined(self.learningRateDecay) else None


class HasResumeFrom(NoneIsNoValue):
    """The checkpoint that training goes on from."""

    resumeFrom: Param[str] = Param(
        Params._dummy(), "resumeFrom", "checkpoint, or directory of checkpoints, that fit goes on from", _path
    )

    def setResumeFrom(self, val: str | os.PathLike[str] | None) -> Self:
        """Has `fit` go on from a checkpoint, or the newest below a directory, as `setCheckpoint` wrote it.

        Weights, the optimizer's memory, the order of rows and the count of epochs are the checkpoint's: `fit` trains
        what is left of `maxEpoch`. None has `fit` begin with the weights of the stage's own model again.
        """
        return self._forget(self.resumeFrom) if val is None else self._set(resumeFrom=val)

    def getResumeFrom(self) -> str | None:
        """Its path; None where `fit` begins with the stage's own model."""
        return self.getOrDefault(self.resumeFrom) if self.isDefined(self.resumeFrom) else None
