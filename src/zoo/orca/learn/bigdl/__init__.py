"""Estimators of BigDL models: layers of `zoo.bigdl.nn`, Keras-style models, and any torch module."""

from zoo.orca.learn.bigdl.estimator import Estimator

__all__ = ["Estimator"]
