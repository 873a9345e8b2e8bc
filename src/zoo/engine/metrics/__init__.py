"""Metrics that merge exactly: measured on any pieces of the rows, anywhere, they give the value of the whole.

Owns: the contract `Metric`, and the metrics that need numpy alone.
Leaves: other people's metrics (frameworks), the mean loss (loop), how states travel (loop, run).
"""

from zoo.engine.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    Top5Accuracy,
)
from zoo.engine.metrics.counts import F1Score, Precision, Recall
from zoo.engine.metrics.curves import AUC, AUROC, ROC, PrecisionRecallCurve
from zoo.engine.metrics.means import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    FunctionMetric,
    KLDivergence,
    Poisson,
    SparseCategoricalCrossEntropy,
)
from zoo.engine.metrics.metric import Metric, MetricState, Value
from zoo.engine.metrics.names import CLASSES, by_name, metric_of, summary_tag

__all__ = [
    "AUC",
    "AUROC",
    "CLASSES",
    "MAE",
    "MSE",
    "ROC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossEntropy",
    "CategoricalAccuracy",
    "CategoricalCrossEntropy",
    "F1Score",
    "FunctionMetric",
    "KLDivergence",
    "Metric",
    "MetricState",
    "Poisson",
    "Precision",
    "PrecisionRecallCurve",
    "Recall",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossEntropy",
    "Top5Accuracy",
    "Value",
    "by_name",
    "metric_of",
    "summary_tag",
]
