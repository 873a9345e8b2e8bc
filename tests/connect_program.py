"""Training through Spark Connect: a program with a Connect session of its own, run by tests.

Usage: python connect_program.py REMOTE SCRATCH. REMOTE is a server's address, or a master for a server in this process.
Prints one JSON object: what was seen.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from pyspark.sql import SparkSession, functions
from torch import nn

import zoo
from zoo.common.nncontext import init_nncontext
from zoo.engine import session as contexts
from zoo.orca import OrcaContext, init_orca_context, stop_orca_context
from zoo.orca.learn.pytorch import Estimator
from zoo.orca.learn.pytorch.callbacks import Callback

REMOTE, SCRATCH = sys.argv[1], Path(sys.argv[2])
COLUMNS = {"feature_cols": ["a", "b"], "label_cols": ["y"]}


class Net(nn.Module):
    """Lives in __main__: it travels by value."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 4), nn.Linear(5, 2)
        self.fails = False

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if self.fails:
            raise KeyError("of the user")
        return self.out(torch.cat([a[:, None], self.embed(b)], 1))


class Mark(Callback):
    """Leaves a file for each process that trains."""

    def before_train_epoch(self, runner: Any) -> None:
        (SCRATCH / f"{runner.rank}-{os.getpid()}").touch()


class KillOnce(Callback):
    """Ends rank 1 at step 4, the first time."""

    def after_train_iter(self, runner: Any) -> None:
        mark = SCRATCH.with_name("killed")
        if runner.rank == 1 and runner.global_step == 4 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def trained(rows: Any, nodes: int, callbacks: list[Callback]) -> tuple[list[float], str]:
    """The weights of a run, and what is said of losses in its report."""
    torch.manual_seed(1)
    model = Net()
    made = Estimator.from_torch(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.05), loss=nn.CrossEntropyLoss(),
        workers_per_node=2 // nodes,
    )  # fmt: skip
    made.fit(rows, epochs=2, batch_size=20, reproducible=True, callbacks=callbacks, **COLUMNS)
    weights = [float(value) for parameter in model.parameters() for value in parameter.detach().flatten()]
    return weights, str(made.report())


def error_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def main() -> None:
    spark = SparkSession.builder.remote(REMOTE).getOrCreate()
    children = [child.pid for child in psutil.Process().children()]
    seen: dict[str, Any] = {"session": type(spark).__module__, "children": children}

    seen["beside"] = error_of(lambda: init_orca_context("standalone"))
    seen["returned"] = [init_orca_context() is spark, init_nncontext("a program") is spark]
    seen["SparkContext"] = error_of(OrcaContext.get_spark_context)
    seen["SQLContext"] = OrcaContext.get_sql_context().sparkSession is spark
    place = contexts.current()
    seen["size"] = [place.nodes, place.cores]

    rows = spark.range(0, 101, 1, 3).selectExpr("cast(id % 13 - 6 as float) a", "id % 5 b", "int(id % 13 > 6) y")
    torch.manual_seed(1)
    model = Net()
    made = Estimator.from_torch(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.05), loss=nn.CrossEntropyLoss(),
        metrics="accuracy", workers_per_node=2 // place.nodes,
    )  # fmt: skip
    made.predict(rows, feature_cols=["a", "b"])  # nothing has been trained yet: the code must travel for it, too
    seen["zoo"] = spark.range(1).select(functions.udf(lambda _: zoo.__file__)("id")).first()[0]
    history = made.fit(rows, epochs=2, batch_size=20, callbacks=[Mark()], **COLUMNS)
    seen["epochs"] = [epoch["num_samples"] for epoch in history]
    seen["ranks"] = sorted(path.name.split("-") for path in SCRATCH.iterdir())
    seen["evaluated"] = made.evaluate(rows, **COLUMNS)
    predicted = made.predict(rows, feature_cols=["a", "b"])
    seen["columns"] = predicted.columns
    answers = predicted.toPandas()
    with torch.no_grad():  # the trained weights are in the program's own model
        outputs = model(torch.tensor(answers["a"]), torch.tensor(answers["b"]))
        seen["loss"] = nn.functional.cross_entropy(outputs, torch.tensor(answers["y"]).long()).item()
    seen["apart"] = float((torch.tensor(answers["prediction"].tolist()) - outputs).abs().max())

    whole, _ = trained(rows, place.nodes, [])
    weights, seen["report"] = trained(rows, place.nodes, [KillOnce()])
    seen["equal"] = weights == whole

    model.fails = True
    seen["failed"] = error_of(lambda: made.fit(rows, epochs=1, batch_size=20, **COLUMNS))
    stop_orca_context()
    seen["left running"] = spark.range(3).count()
    spark.stop()
    print(json.dumps(seen))


logging.basicConfig()
main()
