"""`Estimator`: trains a model with a criterion that each call gives."""

from zoo.pipeline.estimator.estimator import Estimator

__all__ = ["Estimator"]
