"""A program whose driver is killed while a stage trains; the test of it has another one go on.

Usage: python killed_driver.py CHECKPOINTS. It kills itself (SIGKILL) in the second of four epochs.
"""

from __future__ import annotations

import glob
import os
import signal
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn

ROWS, BATCH, EPOCHS = 48, 16, 4
PATIENCE = 30.0
STEPS = EPOCHS * ROWS // BATCH


class Deadly:
    """A preprocessing that kills the driver in the second epoch, once there is a checkpoint; no step follows."""

    def __init__(self, driver: int, place: str) -> None:
        self.driver, self.place, self.seen = driver, place, 0

    def apply(self, value: Any) -> np.ndarray:
        self.seen += 1
        if self.seen > ROWS + BATCH // 2:
            until = time.monotonic() + PATIENCE
            while not glob.glob(f"{self.place}/*/checkpoint-*/manifest.json") and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(self.driver, signal.SIGKILL)
            time.sleep(PATIENCE)  # this process goes with its JVM
        return np.float32(value)


def frame(spark: Any) -> Any:
    """The same rows in the same two partitions, in any process."""
    return spark.range(0, ROWS, 1, 2).selectExpr("array(cos(id), sin(id)) features", "cos(id) - 2 * sin(id) label")


def stage(feature_preprocessing: Any = None) -> Any:
    """An estimator whose optimizer has a memory to lose."""
    from zoo.orca.learn.optimizers import Adam
    from zoo.pipeline.nnframes import NNEstimator

    torch.manual_seed(7)
    made = NNEstimator(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), nn.MSELoss(), feature_preprocessing)
    return made.setOptimMethod(Adam(0.05)).setBatchSize(BATCH).setMaxEpoch(EPOCHS)


def main() -> None:
    from pyspark.sql import SparkSession

    from zoo.util.triggers import SeveralIteration

    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    stage(Deadly(os.getpid(), sys.argv[1])).setCheckpoint(sys.argv[1], SeveralIteration(2)).fit(frame(spark))


if __name__ == "__main__":
    main()
