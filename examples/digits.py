"""Handwritten digits: a PyTorch network trained, tested and applied where the Spark data is.

    make demo                            (or: python examples/digits.py)

The same program runs on a cluster: only the arguments of `init_orca_context` change.
"""

import statistics
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from zoo.engine.errors import NoContext
from zoo.orca import OrcaContext, init_orca_context, stop_orca_context
from zoo.orca.learn.metrics import Accuracy
from zoo.orca.learn.optimizers import Adam
from zoo.orca.learn.pytorch import Estimator

GOAL = 0.97  # of the test images, which the model never sees in training
LOGS, RUN = "logs/digits", datetime.now().strftime("%Y-%m-%d_%H-%M-%S")

# 1. Spark on this machine. Without a Java it is processes of this machine, and a line says so.
print("Running on", init_orca_context("local", cores=2))
try:
    spark = OrcaContext.get_spark_session()
except NoContext:
    spark = None

# 2. The data: 1,797 images of 8 x 8 grey values, as rows of a DataFrame with a column `image` (array<float>) and a
#    column `digit`. On a cluster this would be `spark.read.parquet(...)` and any transformations.
digits = load_digits()
table = pd.DataFrame({"image": list((digits.data / 16).astype(np.float32)), "digit": digits.target})
train, test = train_test_split(table, test_size=0.2, stratify=table["digit"], random_state=0)
train, valid = train_test_split(train, test_size=0.1, stratify=train["digit"], random_state=0)
if spark:
    train, valid, test = (spark.createDataFrame(part) for part in (train, valid, test))

# 3. The model: ordinary PyTorch.
torch.manual_seed(0)
model = nn.Sequential(
    nn.Unflatten(1, (1, 8, 8)),
    nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
    nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
    nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5),
    nn.Flatten(),
    nn.Linear(64 * 2 * 2, 10),
)  # fmt: skip

# 4. Training, on two ranks that average their gradients at each step of 64 rows.
estimator = Estimator.from_torch(
    model=model, optimizer=Adam(3e-3), loss=nn.CrossEntropyLoss(), metrics=Accuracy(), workers_per_node=2
)
estimator.set_tensorboard(LOGS, RUN)
columns = {"feature_cols": ["image"], "label_cols": ["digit"]}
estimator.fit(train, epochs=20, batch_size=64, validation_data=valid, **columns)

# 5. The test.
accuracy = estimator.evaluate(test, **columns)["Accuracy"]

# 6. Predictions: a lazy column `prediction` beside the others, here a vector of ten scores for each image.
predicted = estimator.predict(test, feature_cols=["image"])
if spark:
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    scores = vector_to_array("prediction", "float32")
    guess = F.array_position(scores, F.array_max(scores)) - 1
    rounded = F.transform(scores, lambda score: F.round(score, 1))
    predicted.select("digit", guess.alias("guess"), rounded.alias("prediction")).show(8, truncate=False)
else:
    scores = np.stack(predicted["prediction"])
    shown = predicted.assign(guess=scores.argmax(axis=1), prediction=list(scores.round(1)))
    print(shown[["digit", "guess", "prediction"]].head(8).to_string(index=False))

speed = statistics.median(value for _, value, _ in estimator.get_train_summary("Throughput"))
stop_orca_context()

print(f"Test accuracy {accuracy:.4f}, training at {speed:,.0f} rows/s (median).")
print(f"Its curves: {Path(sys.executable).with_name('tensorboard')} --logdir {Path(LOGS).resolve()}")
if accuracy < GOAL:
    sys.exit(f"The test accuracy is {accuracy:.4f}; {GOAL} was to be reached. Please report this, with your versions.")
