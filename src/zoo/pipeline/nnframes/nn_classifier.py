"""Neural networks as stages of Spark ML: `Pipeline`, `CrossValidator`, `save` and `load` know them as their own.

Owns: the stages.
Leaves: training and applying (training), parameters (params, course), files (files).
"""

from __future__ import annotations

from typing import Any, Self

import pyarrow as pa
from pyspark.ml import Estimator, Model
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, FloatType, StructField, StructType

from zoo.engine.errors import ColumnNotFound, UsageError
from zoo.engine.jobs import Outputs
from zoo.orca.learn import preparation
from zoo.pipeline.nnframes import frameworks, training
from zoo.pipeline.nnframes.course import HasCourse
from zoo.pipeline.nnframes.files import StageReader, StageWriter
from zoo.pipeline.nnframes.params import (
    HasBatchSize,
    HasFeaturesCol,
    HasLabelCol,
    HasOptimMethod,
    HasPredictionCol,
    HasResumeFrom,
    HasThreshold,
    NoneIsNoValue,
    _at_least_one,
)

NNModelWriter = StageWriter


class _Stage(NoneIsNoValue, HasFeaturesCol, HasPredictionCol, HasBatchSize, MLWritable, MLReadable):
    """What all four have in common: columns, files, checks of a schema."""

    _parts: tuple[str, ...] = ()
    """Attributes that are saved beside the parameters."""

    def write(self) -> StageWriter:
        """A writer: ``stage.write().overwrite().save(path)``."""
        return StageWriter(self)

    @classmethod
    def read(cls) -> StageReader:
        """A reader: ``NNModel.read().load(path)``; see `StageReader.trust`."""
        return StageReader(cls)

    @classmethod
    def load(cls, path: str, trust: bool = False) -> Any:
        """Reads a saved stage.

        Args:
            path: where it was saved.
            trust: whether code in the files may run: a class, layer or function of one's own travels as such.

        Raises:
            UsageError: another stage, one of a newer zoo, or one with code and without trust.
        """
        return (cls.read().trust() if trust else cls.read()).load(path)

    def _columns(self, names: str | list[str]) -> tuple[str, ...]:
        return (names,) if isinstance(names, str) else tuple(names)

    @property
    def _features(self) -> tuple[str, ...]:
        return self._columns(self.getFeaturesCol())

    def _predicted(self, schema: StructType) -> StructType:
        if missing := [name for name in self._features if name not in schema.names]:
            raise ColumnNotFound.among(missing, schema.names, "featuresCol")
        if self.getPredictionCol() in schema.names:
            raise UsageError(
                f"the data have a column '{self.getPredictionCol()}' already. Name another: setPredictionCol(...)."
            )
        return StructType([*schema.fields, StructField(self.getPredictionCol(), self._kind(), True)])

    def _kind(self) -> Any:
        return ArrayType(FloatType())


class NNModel(_Stage, Model):  # type: ignore[misc]  # a Transformer
    """Applies a model to the rows of a DataFrame; lazy, with all columns kept.

    Attributes:
        model: the network.
        feature_preprocessing: what makes its inputs of the columns.
    """

    _parts = ("feature_preprocessing",)

    def __init__(self, model: Any, feature_preprocessing: Any = None) -> None:
        """A stage over a model.

        Args:
            model: a Keras 3 model, one of `zoo.pipeline.api.keras`, a loaded BigDL model, or a ``torch.nn.Module``.
            feature_preprocessing: None, sizes, or a `Preprocessing`; see `NNEstimator`.

        Raises:
            UsageError: neither of them.
        """
        super().__init__()
        frameworks.of(model)
        preparation.check(feature_preprocessing, "feature_preprocessing")
        self.model = model
        self.feature_preprocessing = feature_preprocessing
        self._setDefault(featuresCol="features", predictionCol="prediction", batchSize=256)

    def setSamplePreprocessing(self, val: Any) -> Self:
        """Takes the place of the preprocessing."""
        preparation.check(val, "the preprocessing")
        self.feature_preprocessing = val
        return self

    def getSamplePreprocessing(self) -> Any:
        """The preprocessing."""
        return self.feature_preprocessing

    def transformSchema(self, schema: StructType) -> StructType:
        """The schema with the predictions' column.

        Raises:
            ColumnNotFound: without the features' columns.
            UsageError: with the predictions' column already.
        """
        return self._predicted(schema)

    def save(self, path: str) -> None:
        """Writes the stage; ``write().overwrite().save(path)`` replaces one."""
        self.write().save(path)

    def _transform(self, dataset: DataFrame) -> DataFrame:
        training.refuse_others(dataset)
        self.transformSchema(dataset.schema)
        return training.apply(
            self.model, dataset, self._features, self.feature_preprocessing, self.getBatchSize(), self._outputs()
        )

    def _outputs(self) -> Outputs:
        return Outputs(pa.schema([(self.getPredictionCol(), pa.list_(pa.float32()))]), training.Flat())


class NNClassifierModel(NNModel, HasThreshold):
    """Applies a classifier: `prediction` is a double, the number of the class with the highest score.

    Classes count from 1, as BigDL's criteria count them, or from 0 where the criterion of `NNClassifier` does. A model
    with one output gives 1.0 above the threshold, else 0.0.
    """

    zeroBasedLabel: Param[bool] = Param(
        Params._dummy(), "zeroBasedLabel", "whether classes count from 0", TypeConverters.toBoolean
    )

    def __init__(self, model: Any, feature_preprocessing: Any = None) -> None:
        """As `NNModel`."""
        super().__init__(model, feature_preprocessing)
        self._setDefault(threshold=0.5, zeroBasedLabel=False)

    def setZeroBasedLabel(self, value: bool) -> Self:
        """Says whether classes count from 0."""
        return self._set(zeroBasedLabel=value)

    def isZeroBasedLabel(self) -> bool:
        """Whether classes count from 0."""
        return self.getOrDefault(self.zeroBasedLabel)

    def _kind(self) -> Any:
        return DoubleType()

    def _outputs(self) -> Outputs:
        made = training.Classes(self.getThreshold(), 0 if self.isZeroBasedLabel() else 1)
        return Outputs(pa.schema([(self.getPredictionCol(), pa.float64())]), made)


class NNEstimator(_Stage, HasLabelCol, HasOptimMethod, HasResumeFrom, HasCourse, Estimator):  # type: ignore[misc]  # an Estimator
    """Trains a model on the rows of a DataFrame, where they are; `fit` gives an `NNModel` over a trained copy.

    Attributes:
        model: the network; `fit` leaves it as it is, so that equal fits give equal models.
        criterion: what it is trained for.
        feature_preprocessing: what makes its inputs of the columns.
        label_preprocessing: what makes its targets of the label's column.
    """

    maxEpoch: Param[int] = Param(Params._dummy(), "maxEpoch", "how often all rows are trained on", _at_least_one)
    cachingSample: Param[bool] = Param(
        Params._dummy(), "cachingSample", "accepted for older programs", TypeConverters.toBoolean
    )
    _parts = ("criterion", "feature_preprocessing", "label_preprocessing")
    _makes: type[NNModel] = NNModel
    _sample_preprocessing: Any = None

    def __init__(
        self, model: Any, criterion: Any, feature_preprocessing: Any = None, label_preprocessing: Any = None
    ) -> None:
        """A stage over a model.

        Args:
            model: a Keras 3 model, one of `zoo.pipeline.api.keras`, a loaded BigDL model, or a ``torch.nn.Module``.
            criterion: a loss of the model's framework, an objective, or a criterion of `zoo.bigdl.nn.criterion`.
            feature_preprocessing: None (numbers, arrays and ML vectors as they are), a list of ints (the tensor's
                size), a list of such lists (one for each input), or a `Preprocessing`: an object with
                ``apply(value) -> array``, which gets each row's value; of an image its struct as a dict.
            label_preprocessing: likewise, of the label.

        Raises:
            UsageError: an argument of another kind, or a criterion of another framework.
        """
        super().__init__()
        framework, _ = frameworks.of(model)
        framework.loss(criterion)
        preparation.check(feature_preprocessing, "feature_preprocessing")
        preparation.check(label_preprocessing, "label_preprocessing")
        self.model, self.criterion = model, criterion
        self.feature_preprocessing, self.label_preprocessing = feature_preprocessing, label_preprocessing
        self._setDefault(
            featuresCol="features", labelCol="label", predictionCol="prediction", batchSize=32, maxEpoch=50,
            cachingSample=True,
        )  # fmt: skip

    def setSamplePreprocessing(self, val: Any) -> Self:
        """Takes the place of both preprocessings.

        Args:
            val: a `FeatureLabelPreprocessing`: one step for the feature and one for the label.

        Raises:
            UsageError: something else, of which nobody could tell what it does to rows without a label.
        """
        if not hasattr(val, "feature_transformer") or not hasattr(val, "label_transformer"):
            raise UsageError(
                "setSamplePreprocessing takes FeatureLabelPreprocessing(feature_step, label_step) of "
                f"zoo.feature.common. Received: {val!r}"
            )
        self.feature_preprocessing, self.label_preprocessing = val.feature_transformer, val.label_transformer
        self._sample_preprocessing = val
        return self

    def getSamplePreprocessing(self) -> Any:
        """What was set, or None."""
        return self._sample_preprocessing

    def setMaxEpoch(self, val: int) -> Self:
        """Says how often all rows are trained on."""
        return self._set(maxEpoch=val)

    def getMaxEpoch(self) -> int:
        """How often."""
        return self.getOrDefault(self.maxEpoch)

    def setCachingSample(self, val: bool) -> Self:
        """Accepted for older programs: rows are read once, and prepared when a step takes them."""
        return self._set(cachingSample=val)

    def isCachingSample(self) -> bool:
        """What was set."""
        return self.getOrDefault(self.cachingSample)

    def transformSchema(self, schema: StructType) -> StructType:
        """The schema that the model of `fit` makes.

        Raises:
            ColumnNotFound: without the columns of features and label.
            UsageError: with the predictions' column already.
        """
        labels = self._columns(self.getLabelCol())
        if missing := [name for name in labels if name not in schema.names]:
            raise ColumnNotFound.among(missing, schema.names, "labelCol")
        return self._predicted(schema)

    def save(self, path: str) -> None:
        """Writes the stage; ``write().overwrite().save(path)`` replaces one."""
        self.write().save(path)

    def _fit(self, dataset: DataFrame) -> NNModel:
        training.refuse_others(dataset)
        self.transformSchema(dataset.schema)
        return self._model_of(training.fit(self._plan(), dataset))

    def _model_of(self, fitted: training.Fitted) -> NNModel:
        made = self._makes(fitted.model, self.feature_preprocessing)
        made._resetUid(self.uid)
        return made.setFeaturesCol(self.getFeaturesCol()).setPredictionCol(self.getPredictionCol())

    def _plan(self) -> training.Plan:
        forever = self._course.end is not None and not self.isSet(self.maxEpoch)
        return training.Plan(
            model=self.model,
            criterion=self.criterion,
            features=self._features,
            labels=self._columns(self.getLabelCol()),
            preparing=(self.feature_preprocessing, self.label_preprocessing),
            optimizer=(self.getOptimMethod(), self.getLearningRate(), self.getLearningRateDecay()),
            batch_size=self.getBatchSize(),
            epochs=None if forever else self.getMaxEpoch(),
            course=self._course,
            resume_from=self.getResumeFrom(),
        )


class NNClassifier(NNEstimator):
    """Trains a classifier; `fit` gives an `NNClassifierModel`, whose predictions count classes as the labels do.

    The label is a number: of classes from 1 for the criteria of BigDL (``ClassNLLCriterion``,
    ``CrossEntropyCriterion``), from 0 for those of torch and Keras; 0 or 1 for a model with one output.
    """

    _parts = ("criterion", "feature_preprocessing")
    _makes = NNClassifierModel

    def __init__(self, model: Any, criterion: Any, feature_preprocessing: Any = None) -> None:
        """As `NNEstimator`."""
        super().__init__(model, criterion, feature_preprocessing)

    def _model_of(self, fitted: training.Fitted) -> NNModel:
        made = super()._model_of(fitted)
        if fitted.loss.classes and fitted.loss.first == 0:
            made._set(zeroBasedLabel=True)
        return made
