"""Model functions, ready-made models, and their words, in place of ``tf.estimator``, which TensorFlow no longer has."""

from zoo.tfpark.estimator.canned import (
    DNNClassifier,
    DNNLinearCombinedClassifier,
    DNNRegressor,
    LinearClassifier,
    LinearRegressor,
)
from zoo.tfpark.estimator.specs import EstimatorSpec, ModeKeys, RunConfig

__all__ = [
    "DNNClassifier",
    "DNNLinearCombinedClassifier",
    "DNNRegressor",
    "EstimatorSpec",
    "LinearClassifier",
    "LinearRegressor",
    "ModeKeys",
    "RunConfig",
]
