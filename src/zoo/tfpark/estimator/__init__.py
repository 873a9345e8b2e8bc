"""Model functions, ready-made models, and their words, in place of ``tf.estimator``, which TensorFlow no longer has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.tfpark.estimator.canned import (
    DNNClassifier,
    DNNLinearCombinedClassifier,
    DNNRegressor,
    LinearClassifier,
    LinearRegressor,
)
from zoo.tfpark.estimator.specs import EstimatorSpec, ModeKeys, RunConfig

if TYPE_CHECKING:
    from zoo.tfpark.estimator.tf_estimator import TFEstimator

__all__ = [
    "DNNClassifier",
    "DNNLinearCombinedClassifier",
    "DNNRegressor",
    "EstimatorSpec",
    "LinearClassifier",
    "LinearRegressor",
    "ModeKeys",
    "RunConfig",
    "TFEstimator",
]


def __getattr__(name: str) -> Any:
    if name != "TFEstimator":
        raise AttributeError(f"module 'zoo.tfpark.estimator' has no attribute {name!r}")
    from zoo.tfpark.estimator.tf_estimator import TFEstimator  # imports TensorFlow

    return TFEstimator
