"""TensorFlow and Keras on the cluster that holds the data."""

from zoo.orca.learn.tf.estimator import Estimator

__all__ = ["Estimator"]
