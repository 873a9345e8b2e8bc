"""`zoo.orca.learn.metrics`: what to measure, in the words of Orca.

Owns: the classes' names and constructors, and their conversion to a backend.
Leaves: the mathematics: each class is the engine's metric of that name (`zoo.engine.metrics`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zoo.engine import metrics as engine
from zoo.engine.errors import UsageError

_ENGINE_BACKENDS = ("bigdl", "spark", "ray", "local")
_TORCH_BACKENDS = ("pytorch", "torch_distributed")


class Metric:
    """Base of Orca's metrics: a description that holds no rows, so one object may serve many runs."""

    name: str

    def get_name(self) -> str:
        """The key in the results: the class name, e.g. ``"Accuracy"``, unless the constructor got another `name`."""
        return self.name

    @property
    def summary_tag(self) -> str:
        """The tag of `get_validation_summary` and TensorBoard: BigDL's name where it has one, e.g. Top1Accuracy."""
        return engine.summary_tag(self.name)

    def get_metric(self, backend: str = "bigdl") -> Any:
        """The metric as `backend` takes it.

        Args:
            backend: ``"bigdl"``, ``"spark"``, ``"ray"`` or ``"local"`` for the engine's (the object itself);
                ``"pytorch"`` or ``"torch_distributed"`` for a stateful callable of `pytorch_metrics`.

        Raises:
            UsageError: another backend.
        """
        if backend in _ENGINE_BACKENDS:
            return self
        if backend in _TORCH_BACKENDS:
            from zoo.orca.learn.pytorch.pytorch_metrics import PytorchMetric

            return PytorchMetric.over(self)
        raise UsageError(
            f"{self.name} is not supported for backend {backend!r}. "
            f"Supported: {', '.join(_ENGINE_BACKENDS + _TORCH_BACKENDS)}"
        )

    @staticmethod
    def convert_metrics_list(metrics: Any, backend: str = "bigdl") -> list[Any]:
        """The metrics as `backend` takes them, in order.

        Args:
            metrics: None, a metric, or several.
            backend: as in `get_metric`.

        Raises:
            UsageError: something that is no Orca metric.
        """
        return [metric.get_metric(backend) for metric in _listed(metrics)]

    @staticmethod
    def convert_metrics_dict(metrics: Any, backend: str = "bigdl") -> dict[str, Any]:
        """As `convert_metrics_list`, by name."""
        return {metric.get_name(): metric.get_metric(backend) for metric in _listed(metrics)}


class AUC(engine.AUC, Metric):
    """Area under the ROC curve from counts between `threshold_num` thresholds; outputs are probabilities."""


class MAE(engine.MAE, Metric):
    """Mean absolute error over all elements."""


class MSE(engine.MSE, Metric):
    """Mean squared error over all elements."""


class Accuracy(engine.Accuracy, Metric):
    """Accuracy of the kind that the shapes call for: binary, categorical, or sparse categorical."""


class SparseCategoricalAccuracy(engine.SparseCategoricalAccuracy, Metric):
    """How often the highest score is the label's; labels are class numbers from 0."""


class CategoricalAccuracy(engine.CategoricalAccuracy, Metric):
    """How often the highest score is where the one-hot target is."""


class BinaryAccuracy(engine.BinaryAccuracy, Metric):
    """How often an element lies on the target's side of the threshold."""


class Top5Accuracy(engine.Top5Accuracy, Metric):
    """How often the label's score is among the five highest."""


class BinaryCrossEntropy(engine.BinaryCrossEntropy, Metric):
    """Mean binary cross-entropy over all elements; outputs are probabilities."""


class CategoricalCrossEntropy(engine.CategoricalCrossEntropy, Metric):
    """Mean cross-entropy over rows; outputs are probabilities, targets one-hot."""


class SparseCategoricalCrossEntropy(engine.SparseCategoricalCrossEntropy, Metric):
    """Mean cross-entropy over rows; outputs are probabilities, labels class numbers from 0."""


class KLDivergence(engine.KLDivergence, Metric):
    """Mean Kullback-Leibler divergence of the outputs from the targets."""


class Poisson(engine.Poisson, Metric):
    """Mean Poisson loss over all elements; outputs are rates."""


class AUROC(engine.AUROC, Metric):
    """Exact area under the ROC curve; keeps all scores."""


class ROC(engine.ROC, Metric):
    """The ROC curve: (false positive rates, true positive rates, thresholds)."""


class F1Score(engine.F1Score, Metric):
    """The harmonic mean of precision and recall."""


class Precision(engine.Precision, Metric):
    """Of the rows given to a class, the share that belongs to it."""


class Recall(engine.Recall, Metric):
    """Of the rows that belong to a class, the share given to it."""


class PrecisionRecallCurve(engine.PrecisionRecallCurve, Metric):
    """The curve (precision, recall, thresholds)."""


def _listed(metrics: Any) -> list[Metric]:
    given = [] if metrics is None else list(metrics) if isinstance(metrics, Iterable) else [metrics]
    wrong = [metric for metric in given if not isinstance(metric, Metric)]
    if wrong:
        raise UsageError(f"metrics must be objects of zoo.orca.learn.metrics, e.g. Accuracy(). Received: {wrong[0]!r}")
    return given
