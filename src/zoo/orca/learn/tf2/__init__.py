"""TensorFlow 2 on the cluster that holds the data: models made by creator functions."""

from zoo.orca.learn.tf2.estimator import Estimator

__all__ = ["Estimator"]
