"""Stages of Spark ML on a standalone cluster, with a death: a driver program, run by test_standalone_nnframes.py.

Usage: python nnframes_program.py MASTER SCRATCH. Prints one JSON object: what was seen.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from driver import begin, frame, listen
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import functions as F
from torch import nn

from zoo.bigdl.optim.optimizer import SeveralIteration
from zoo.engine.events.sinks import MemorySink
from zoo.feature.common import ChainedPreprocessing
from zoo.feature.image import (
    ImageCenterCrop,
    ImageChannelNormalize,
    ImageFeatureToTensor,
    ImageMatToTensor,
    RowToImageFeature,
)
from zoo.orca import stop_orca_context
from zoo.pipeline.nnframes import NNClassifier, NNEstimator, NNImageReader, trusting

MASTER, SCRATCH = sys.argv[1], Path(sys.argv[2])


def draw(place: Path, count: int) -> str:
    """Pictures, dark and light by turns, with the class in the name."""
    place.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        light = number % 2
        pixels = random.integers(0, 120, (30, 40, 3), np.uint8) + 120 * light
        cv2.imwrite(str(place / f"{'dunkel' if not light else 'hell'} ä{number:03}.png"), pixels)
    return str(place)


def pictures(sc: Any) -> dict[str, Any]:
    """From image files to a pipeline's predictions, on two executors."""
    images = NNImageReader.readImages(draw(SCRATCH / "photos", 60), sc, minPartitions=4, resizeH=20, resizeW=20)
    named = images.withColumn("label", F.when(F.col("image.origin").contains("hell"), 1.0).otherwise(0.0))
    steps = [RowToImageFeature(), ImageCenterCrop(16, 16), ImageChannelNormalize(120.0, 120.0, 120.0, 60.0, 60.0, 60.0)]
    chain = ChainedPreprocessing([*steps, ImageMatToTensor(), ImageFeatureToTensor()])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    stage = NNClassifier(model, nn.CrossEntropyLoss(), chain).setFeaturesCol("image").setBatchSize(10).setMaxEpoch(6)
    fitted = Pipeline(stages=[stage.setLearningRate(0.05).setOptimMethod("adam")]).fit(named)
    right = fitted.transform(named).where("prediction = label").count()
    fitted.write().overwrite().save(str(SCRATCH / "pipeline"))
    with trusting():  # the model is code of torch's
        loaded = PipelineModel.load(str(SCRATCH / "pipeline"))
    again = loaded.transform(named).where("prediction = label").count()
    return {"partitions": images.rdd.getNumPartitions(), "right": right, "loaded": again}


class Struck(nn.Linear):
    """Ends the process of rank 1, once, at its tenth step."""

    def __init__(self, mark: Path | None) -> None:
        super().__init__(2, 1)
        self.mark, self.seen = mark, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        due = self.training and self.mark is not None and self.seen == 10 and not self.mark.exists()
        if due and torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += self.training
        return super().forward(x)


def trained(df: Any, mark: Path | None, checkpoints: Path | None = None) -> dict[str, Any]:
    """What a stage learns, and what the console is told."""
    heard = MemorySink()
    listen(heard)
    torch.manual_seed(1)
    stage = NNEstimator(Struck(mark), nn.MSELoss(), [2], [1]).setBatchSize(20).setMaxEpoch(3).setLearningRate(0.01)
    if checkpoints is not None:
        stage.setCheckpoint(str(checkpoints), SeveralIteration(4))
    model = stage.fit(df)
    weights = [float(value) for row in model.model.parameters() for value in row.detach().flatten()]
    kinds = {"Regrouped", "RankLeft", "Resumed"}
    return {"weights": weights, "told": [type(e).__name__ for e in heard.events if type(e).__name__ in kinds]}


def main() -> None:
    session = begin(MASTER)
    rows = VectorAssembler(inputCols=["a", "b"], outputCol="features").transform(frame(session, 101))
    rows = rows.selectExpr("features", "cast(y as double) label").cache()
    seen = {
        "pictures": pictures(session.sparkContext),
        "undisturbed": trained(rows, None),
        "struck": trained(rows, SCRATCH / "struck"),
        "from checkpoint": trained(rows, SCRATCH / "struck again", SCRATCH / "checkpoints"),
        "active stages": list(session.sparkContext.statusTracker().getActiveStageIds()),
    }
    stop_orca_context()
    print(json.dumps(seen))


main()
