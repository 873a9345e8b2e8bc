"""Training with ``workers=(1, 2)`` where Spark allocates executors as tasks wait: a program, run by test_recovery.py.

Usage: python allocating_program.py MASTER SCRATCH. Prints one JSON object: what was seen.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from driver import begin, digest, frame, listen
from torch import nn

from zoo.engine import session as sessions
from zoo.engine.events.events import RunStarted
from zoo.engine.events.sinks import MemorySink
from zoo.orca import stop_orca_context
from zoo.orca.learn.pytorch import Estimator

MASTER, HURRY = sys.argv[1], Path(sys.argv[2]) / "hurry"


class Net(nn.Module):
    """Takes its time while there is no more than one rank."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.drop, self.out = nn.Embedding(5, 4), nn.Dropout(0.2), nn.Linear(5, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if not HURRY.exists():
            time.sleep(0.06)
        return self.out(self.drop(torch.cat([a[:, None], self.embed(b)], 1)))


class Worlds(MemorySink):
    """Lets the ranks hurry once there are two."""

    def put(self, event: Any) -> None:
        super().put(event)
        if isinstance(event, RunStarted) and event.world == 2:
            HURRY.touch()


def run(df: Any, **words: Any) -> tuple[str, list[int]]:
    torch.manual_seed(1)
    model, heard = Net(), Worlds()
    listen(heard)
    made = Estimator.from_torch(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.01), loss=nn.CrossEntropyLoss()
    )
    made.fit(
        df, epochs=40, batch_size=34, feature_cols=["a", "b"], label_cols=["y"], reproducible=True, **words
    )  # fmt: skip
    return digest(model), [event.world for event in heard.events if isinstance(event, RunStarted)]


def main() -> None:
    session = begin(
        MASTER, spark_dynamicAllocation_enabled=True, spark_dynamicAllocation_shuffleTracking_enabled=True,
        spark_dynamicAllocation_minExecutors=0, spark_dynamicAllocation_maxExecutors=2,
        spark_dynamicAllocation_executorIdleTimeout="5s", spark_dynamicAllocation_shuffleTracking_timeout="5s",
        spark_dynamicAllocation_sustainedSchedulerBacklogTimeout="15s",  # until it asks for the second executor
    )  # fmt: skip
    rows = frame(session, 203)
    HURRY.touch()
    seen: dict[str, Any] = {"undisturbed": run(rows, workers=1)[0]}
    HURRY.unlink()
    cluster, until = sessions.current(), time.monotonic() + 60
    while cluster.slots and time.monotonic() < until:
        time.sleep(0.5)
    seen["executors before"] = cluster.slots
    seen["weights"], seen["worlds"] = run(rows, workers=(1, 2))
    stop_orca_context()
    print(json.dumps(seen))


main()
