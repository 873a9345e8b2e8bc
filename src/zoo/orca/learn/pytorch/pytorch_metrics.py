"""`zoo.orca.learn.pytorch.pytorch_metrics`: metrics that are called with each batch and remember.

Owns: remembering.
Leaves: the mathematics (`zoo.engine.metrics`), tensors (`zoo.engine.frameworks.torch`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from zoo.engine import metrics as engine


class PytorchMetric:
    """``m(preds, targets)`` adds a batch of torch tensors, ``m.compute()`` gives the value over all of them.

    Takes the arguments of the engine's metric of the same name.

    Attributes:
        metric: the engine's metric.
        state: what was seen.
    """

    made_of: ClassVar[type[Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.metric: engine.Metric = self.made_of(*args, **kwargs)
        self.state = self.metric.start()

    @classmethod
    def over(cls, metric: Any) -> PytorchMetric:
        """The stateful form of an engine or Orca metric."""
        made = object.__new__(_BY_NAME.get(type(metric).__name__, cls))
        made.metric, made.state = metric, metric.start()
        return made

    def __call__(self, preds: Any, targets: Any) -> None:
        """Adds a batch.

        Args:
            preds: the model's output, a tensor with rows first, or a tuple of them.
            targets: the labels, likewise.

        Raises:
            DataError: the shapes or values do not fit each other.
        """
        from zoo.engine.frameworks.torch.tensors import arrays_of

        self.state = self.metric.update(self.state, arrays_of(preds), arrays_of(targets))

    def compute(self) -> Any:
        """The value over all batches; NaN before the first."""
        return self.metric.compute(self.state)

    def reset(self) -> Self:
        """Forgets all batches."""
        self.state = self.metric.start()
        return self

    def to_engine(self) -> engine.Metric:
        """The engine's metric, without what was seen."""
        return self.metric


class Accuracy(PytorchMetric):
    """Accuracy of the kind that the shapes call for: binary, categorical, or sparse categorical."""

    made_of = engine.Accuracy


class SparseCategoricalAccuracy(PytorchMetric):
    """How often the highest score is the label's; labels are class numbers from 0."""

    made_of = engine.SparseCategoricalAccuracy


class CategoricalAccuracy(PytorchMetric):
    """How often the highest score is where the one-hot target is."""

    made_of = engine.CategoricalAccuracy


class BinaryAccuracy(PytorchMetric):
    """How often an element lies on the target's side of the threshold."""

    made_of = engine.BinaryAccuracy

    def __call__(self, preds: Any, targets: Any, threshold: float | None = None) -> None:
        """Adds a batch; `threshold` overrides the constructor's (0.5) for this batch."""
        from zoo.engine.frameworks.torch.tensors import arrays_of

        judge = self.metric if threshold is None else engine.BinaryAccuracy(threshold)
        self.state = judge.update(self.state, arrays_of(preds), arrays_of(targets))


class Top5Accuracy(PytorchMetric):
    """How often the label's score is among the five highest."""

    made_of = engine.Top5Accuracy


class MSE(PytorchMetric):
    """Mean squared error over all elements."""

    made_of = engine.MSE


class MAE(PytorchMetric):
    """Mean absolute error over all elements."""

    made_of = engine.MAE


class BinaryCrossEntropy(PytorchMetric):
    """Mean binary cross-entropy over all elements; outputs are probabilities."""

    made_of = engine.BinaryCrossEntropy


class CategoricalCrossEntropy(PytorchMetric):
    """Mean cross-entropy over rows; outputs are probabilities, targets one-hot."""

    made_of = engine.CategoricalCrossEntropy


class SparseCategoricalCrossEntropy(PytorchMetric):
    """Mean cross-entropy over rows; outputs are probabilities, labels class numbers from 0."""

    made_of = engine.SparseCategoricalCrossEntropy


class KLDivergence(PytorchMetric):
    """Mean Kullback-Leibler divergence of the outputs from the targets."""

    made_of = engine.KLDivergence


class Poisson(PytorchMetric):
    """Mean Poisson loss over all elements; outputs are rates."""

    made_of = engine.Poisson


class AUC(PytorchMetric):
    """Area under the ROC curve from counts between `threshold_num` thresholds; outputs are probabilities."""

    made_of = engine.AUC


class AUROC(PytorchMetric):
    """Exact area under the ROC curve; keeps all scores."""

    made_of = engine.AUROC


class ROC(PytorchMetric):
    """The ROC curve: (false positive rates, true positive rates, thresholds)."""

    made_of = engine.ROC


class F1Score(PytorchMetric):
    """The harmonic mean of precision and recall."""

    made_of = engine.F1Score


class Precision(PytorchMetric):
    """Of the rows given to a class, the share that belongs to it."""

    made_of = engine.Precision


class Recall(PytorchMetric):
    """Of the rows that belong to a class, the share given to it."""

    made_of = engine.Recall


class PrecisionRecallCurve(PytorchMetric):
    """The curve (precision, recall, thresholds)."""

    made_of = engine.PrecisionRecallCurve


_BY_NAME = {made.__name__: made for made in PytorchMetric.__subclasses__()}
