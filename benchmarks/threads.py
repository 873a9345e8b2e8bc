"""Threads and ranks: the same training with the cores of one machine divided in different ways.

TensorFlow keeps the threads that a process began with, so each division is measured in processes of its own, one after
the other, again and again. What is compared are medians over the epochs of one such run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Row, compared

TURNS = {"tiny": 1, "quick": 3, "full": 7}
STEPS = {"tiny": 2, "quick": 10, "full": 20}
EPOCHS = {"tiny": 2, "quick": 6, "full": 9}  # the first one does not count
BATCH = 1024


@dataclass(frozen=True)
class Division:
    """How two cores are used.

    Attributes:
        ranks: processes that train together.
        intra: threads that share one operation, in each.
        inter: operations side by side, in each.
    """

    ranks: int
    intra: int
    inter: int = 1

    def __str__(self) -> str:
        told = f"{self.ranks} rank{'s' if self.ranks > 1 else ''}, {self.intra} thread{'s' if self.intra > 1 else ''}"
        return told + (f", {self.inter} operations side by side" if self.inter > 1 else "")


ALONE = Division(1, 1)
OTHERS = (Division(1, 2), Division(1, 1, 2), Division(2, 1))


def rows(size: str) -> Iterator[Row]:
    """Each division against one rank with one thread."""
    for name in ("MLP 784-256-128-10", "CNN 28x28")[: 1 if size == "tiny" else None]:
        seconds: dict[Division, list[float]] = {division: [] for division in (ALONE, *OTHERS)}
        for _ in range(TURNS[size]):
            for division, found in seconds.items():
                found.append(_measured(name, division, size))
        for division in OTHERS:
            labels = (f"Keras on tensorflow, {name}, batch {BATCH}", str(division), str(ALONE))
            yield compared(labels, seconds[division], seconds[ALONE], None)


def _measured(name: str, division: Division, size: str) -> float:
    """Seconds of an epoch, in processes of their own."""
    command = [sys.executable, __file__, name, size, *map(str, (division.ranks, division.intra, division.inter))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return float(json.loads(done.stdout.splitlines()[-1]))


def _main(name: str, size: str, division: Division) -> float:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras_steps

    from zoo.engine import loop
    from zoo.engine.clusters.local import LocalCluster
    from zoo.engine.clusters.seat import Here
    from zoo.engine.contracts import Rank, Shards, Sink
    from zoo.engine.data.shards import from_arrays
    from zoo.engine.events.sinks import MemorySink
    from zoo.engine.frameworks.keras.spec import KerasSpec
    from zoo.engine.frameworks.tensorflow.process import Threads
    from zoo.engine.jobs import FitJob
    from zoo.engine.progress import Progress
    from zoo.engine.triggers import MaxEpoch

    setup = next(setup for setup in keras_steps.SETUPS if setup.name.startswith(name))
    shards, columns = from_arrays(*setup.data(STEPS[size] * BATCH))
    threads = Threads(division.intra, division.inter)
    spec = KerasSpec(model=setup.model, backend="tensorflow", columns=columns, threads=threads)
    job = FitJob(spec=spec, columns=columns, batch_size=BATCH, end=MaxEpoch(EPOCHS[size]), start=Progress())

    def task(rank: Rank, given: Mapping[str, Shards], sink: Sink) -> list[float]:
        timed: Any = keras_steps._Timed(given[loop.TRAIN], lambda: None)
        loop.fit(job, rank, {loop.TRAIN: timed}, Here(sink))
        return timed.seconds[1:]

    found = LocalCluster(2).gang(task, {loop.TRAIN: shards}, division.ranks, MemorySink())
    return statistics.median(max(seconds) for seconds in zip(*found, strict=True))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.stdout.write(f"{_main(sys.argv[1], sys.argv[2], Division(*map(int, sys.argv[3:])))}\n")
