"""TFPark: TensorFlow and Keras programs on the cluster that holds the data.

Names are looked up when they are used: executors import rooms of this package that need no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zoo.engine.optional import require

if TYPE_CHECKING:
    from zoo.engine.frameworks.graph.marks import ZooOptimizer
    from zoo.tfpark.estimator.tf_estimator import TFEstimator
    from zoo.tfpark.gan.gan_estimator import GANEstimator
    from zoo.tfpark.model import KerasModel
    from zoo.tfpark.tf_dataset import TFDataSet, TFDataset
    from zoo.tfpark.tf_optimizer import TFOptimizer
    from zoo.tfpark.tf_predictor import TFPredictor
    from zoo.tfpark.tfnet import TFNet

_ROOMS = {
    "GANEstimator": "zoo.tfpark.gan.gan_estimator",
    "KerasModel": "zoo.tfpark.model",
    "TFDataSet": "zoo.tfpark.tf_dataset",
    "TFDataset": "zoo.tfpark.tf_dataset",
    "TFEstimator": "zoo.tfpark.estimator.tf_estimator",
    "TFNet": "zoo.tfpark.tfnet",
    "TFOptimizer": "zoo.tfpark.tf_optimizer",
    "TFPredictor": "zoo.tfpark.tf_predictor",
    "ZooOptimizer": "zoo.engine.frameworks.graph.marks",
}

__all__ = [
    "GANEstimator",
    "KerasModel",
    "TFDataSet",
    "TFDataset",
    "TFEstimator",
    "TFNet",
    "TFOptimizer",
    "TFPredictor",
    "ZooOptimizer",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'zoo.tfpark' has no attribute {name!r}")
    require("tensorflow", extra="tensorflow", because="zoo.tfpark runs TensorFlow programs")
    return getattr(importlib.import_module(_ROOMS[name]), name)
