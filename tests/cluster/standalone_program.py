"""Training on a standalone cluster, with deaths: a driver program, run by test_standalone_training.py.

Usage: python standalone_program.py MASTER SCRATCH. Prints one JSON object: what was seen.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from driver import begin, frame, listen
from torch import nn

from zoo.engine import session as sessions
from zoo.engine.events.sinks import MemorySink
from zoo.orca import stop_orca_context
from zoo.orca.learn.metrics import Accuracy
from zoo.orca.learn.pytorch import Estimator
from zoo.orca.learn.pytorch.callbacks import Callback
from zoo.orca.learn.trigger import SeveralIteration

MASTER, SCRATCH = sys.argv[1], Path(sys.argv[2])
FIT = {"epochs": 3, "batch_size": 20, "feature_cols": ["a", "b"], "label_cols": ["y"]}


class Net(nn.Module):
    """Lives in __main__: it travels by value."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(5, 4), nn.Linear(5, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([a[:, None], self.embed(b)], 1))


def executor_of(rank: int) -> int:
    """Worker <- pyspark.daemon <- JVM."""
    return psutil.Process(psutil.Process(rank).ppid()).ppid()


class Kill(Callback):
    """Ends a process at one step, once: the rank itself, or the executor's JVM above it."""

    def __init__(self, what: str, step: int, once: Path) -> None:
        self.what, self.step, self.once = what, step, once

    def after_train_iter(self, runner: Any) -> None:
        if runner.rank != 1 or runner.global_step != self.step or self.once.exists():
            return
        self.once.touch()
        victim = executor_of(os.getpid()) if self.what == "executor" else os.getpid()
        os.kill(victim, signal.SIGKILL)
        time.sleep(60)


def estimator(model_dir: str | None = None) -> tuple[Any, Net]:
    torch.manual_seed(1)
    model = Net()
    made = Estimator.from_torch(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), 0.01),
        loss=nn.CrossEntropyLoss(),
        metrics=[Accuracy()],
        model_dir=model_dir,
    )
    return made, model


def weights(model: nn.Module) -> list[float]:
    return [round(float(v), 5) for p in model.parameters() for v in p.detach().flatten()]


def undisturbed(df: Any) -> list[float]:
    made, model = estimator()
    made.fit(df, **FIT)
    return weights(model)


def killed(df: Any, what: str) -> dict[str, Any]:
    heard = MemorySink()
    listen(heard)
    made, model = estimator(str(SCRATCH / what))
    callback = Kill(what, 13, SCRATCH / f"{what}-once")
    history = made.fit(
        df, **FIT, checkpoint_trigger=SeveralIteration(5), callbacks=[callback], recovery="checkpoint"
    )  # fmt: skip
    resumed = [event for event in heard.events if type(event).__name__ == "Resumed"]
    return {"weights": weights(model), "epochs": len(history), "resumed_at": [event.step for event in resumed]}


def with_keras(df: Any) -> list[float]:
    """Losses of a Keras model with a layer that lives in __main__, and what is predicted of it."""
    import keras

    from zoo.orca.learn.tf import Estimator

    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    keras.utils.set_random_seed(0)
    a, b = keras.Input((1,)), keras.Input((1,), dtype="int32")
    row = keras.layers.Concatenate()([Doubled()(a), keras.layers.Flatten()(keras.layers.Embedding(5, 4)(b))])
    model = keras.Model([a, b], keras.layers.Dense(2, "softmax")(row))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    made = Estimator.from_keras(model)
    history = made.fit(df, **FIT)
    found = made.evaluate(df, feature_cols=["a", "b"], label_cols=["y"])
    rows = made.predict(df, feature_cols=["a", "b"]).count()
    return [history[0]["train_loss"], history[-1]["train_loss"], found["loss"], rows]


def without_checkpoints(df: Any) -> str:
    made, _ = estimator()
    try:
        made.fit(df, **FIT, callbacks=[Kill("rank", 7, SCRATCH / "bare-once")], recovery="checkpoint")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def too_many(df: Any) -> str:
    made, _ = estimator()
    made._workers_per_node = 4
    try:
        made.fit(df, **FIT)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def pids(rank: Any, shards: Any, sink: Any) -> tuple[int, int]:
    return os.getpid(), executor_of(os.getpid())


def main() -> None:
    session = begin(MASTER)
    rows = frame(session, 101).cache()
    seen: dict[str, Any] = {}
    cluster = sessions.current()
    seen["executors"] = len({jvm for _, jvm in cluster.gang(pids, {}, 2, MemorySink())})
    seen["undisturbed"] = undisturbed(rows)
    seen["rank"] = killed(rows, "rank")
    seen["executor"] = killed(rows, "executor")
    seen["without checkpoints"] = without_checkpoints(rows)
    seen["too many"] = too_many(rows)
    made, model = estimator()
    made.fit(rows, **FIT)  # the cluster is as good as before
    seen["after all that"] = weights(model)
    predicted = made.predict(rows, feature_cols=["a", "b"])
    seen["predicted"] = [predicted.count(), predicted.columns]
    seen["evaluated"] = made.evaluate(rows, feature_cols=["a", "b"], label_cols=["y"])["num_samples"]
    seen["keras"] = with_keras(rows)
    seen["active stages"] = list(session.sparkContext.statusTracker().getActiveStageIds())
    stop_orca_context()
    print(json.dumps(seen))


main()
