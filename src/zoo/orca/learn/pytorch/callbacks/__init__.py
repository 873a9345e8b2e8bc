"""Callbacks of the PyTorch estimator; each runs on every rank. Importing them loads neither torch nor a logger."""

from zoo.orca.learn.pytorch.callbacks.base import Callback
from zoo.orca.learn.pytorch.callbacks.maincallback import MainCallback, make_only_mainCallback
from zoo.orca.learn.pytorch.callbacks.maxsteps import MaxstepsCallback
from zoo.orca.learn.pytorch.callbacks.model_checkpoint import ModelCheckpoint
from zoo.orca.learn.pytorch.callbacks.tensorboard import TensorBoardCallback
from zoo.orca.learn.pytorch.callbacks.tqdm import TqdmCallback
from zoo.orca.learn.pytorch.callbacks.wandb import WandbLoggerCallback

__all__ = [
    "Callback",
    "MainCallback",
    "MaxstepsCallback",
    "ModelCheckpoint",
    "TensorBoardCallback",
    "TqdmCallback",
    "WandbLoggerCallback",
    "make_only_mainCallback",
]
