"""`TFNet`, which lives in zoo.orca.learn.tf.net."""

from zoo.orca.learn.tf.net import TFNet

__all__ = ["TFNet"]
