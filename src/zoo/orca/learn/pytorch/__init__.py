"""PyTorch on the cluster that holds the data."""

from zoo.orca.learn.pytorch.estimator import Estimator

__all__ = ["Estimator"]
