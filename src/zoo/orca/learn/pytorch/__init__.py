"""PyTorch on the cluster that holds the data."""

from zoo.orca.learn.pytorch.estimator import Estimator
from zoo.orca.learn.pytorch.training_operator import TrainingOperator

__all__ = ["Estimator", "TrainingOperator"]
