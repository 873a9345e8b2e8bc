"""How long until training is again where a rank was killed: `fit`, and TorchDistributor, whose user starts again.

Both train the same slow model in two processes, of which one kills itself at the same step, once. Seconds are those
from the kill until that step is done; both write down when their steps are.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from measure import Row, compared
from places import folder, spark
from spark_fit import quietly
from torch import nn

from zoo.engine import loop, run
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.data.shards import from_arrays
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.jobs import FitJob
from zoo.engine.progress import Progress
from zoo.engine.triggers import MaxEpoch

TURNS = {"tiny": 1, "quick": 3, "full": 7}
LOST_AT = {"tiny": 4, "quick": 100, "full": 300}
STEP_SECONDS = 0.02
BATCH = 64
SCRIPT = str(Path(__file__).with_name("recovery_script.py"))


class Slow(nn.Linear):
    """A step takes its time, is written down by rank 0, and is the last one of rank 1, once."""

    def __init__(self, place: str, lost_at: int) -> None:
        super().__init__(8, 2)
        self.place, self.lost_at = place, lost_at
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of shape (rows, 2)."""
        time.sleep(STEP_SECONDS)
        if self.training:
            self.steps += 1
            self._note(int(self.steps))
        return super().forward(x)

    def _note(self, step: int) -> None:
        place = Path(self.place)
        if dist.get_rank() == 0:
            with (place / "steps").open("a") as file:
                file.write(f"{step} {time.time()}\n")
        elif step == self.lost_at and not (place / "killed").exists():
            (place / "killed").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)


def rows(size: str) -> Iterator[Row]:
    """The seconds, and the steps that were done twice."""
    lost_at = LOST_AT[size]
    ours, theirs, again = [], [], []
    with spark():
        for _ in range(TURNS[size]):
            with folder() as place:
                _fit(str(place), lost_at)
                seconds, steps = _back_after(place, lost_at)
                ours.append(seconds)
                again.append(float(steps))
            with folder() as place:
                _distribute(str(place), lost_at)
                theirs.append(_back_after(place, lost_at)[0])
    what = f"one of 2 processes killed at step {lost_at} of {1000 * STEP_SECONDS:.0f} ms"
    labels = (f"{what}: until that step is done", "`fit`", "`TorchDistributor`, started again")
    yield compared(labels, ours, theirs, 1.0)
    labels = (f"{what}: steps done again", "`fit`", f"`TorchDistributor`: {lost_at - 1}")
    yield Row(*labels, tuple(again), 0, "steps", at_most=True)


def data(lost_at: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows for some steps more than are needed."""
    draw = np.random.default_rng(0)
    count = (lost_at + 5) * BATCH
    return draw.random((count, 8), np.float32), draw.integers(0, 2, count)


def _fit(place: str, lost_at: int) -> None:
    shards, columns = from_arrays(*data(lost_at))
    model = Slow(place, lost_at)
    spec = TorchSpec(model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), loss=nn.CrossEntropyLoss())
    job = FitJob(spec=spec, columns=columns, batch_size=BATCH, end=MaxEpoch(1), start=Progress())
    run.fit(job, {loop.TRAIN: shards}, LocalCluster(2), 2, MemorySink())


def _distribute(place: str, lost_at: int) -> None:
    from pyspark.ml.torch.distributor import TorchDistributor

    distributor = TorchDistributor(num_processes=2, local_mode=True, use_gpu=False)
    with mock.patch.dict(os.environ, TMPDIR=place):  # torchrun leaves its files behind
        for _ in range(2):  # the first run is lost, though `run` returns as if it had ended well
            quietly(lambda: distributor.run(SCRIPT, place, str(lost_at)))


def _back_after(place: Path, lost_at: int) -> tuple[float, int]:
    """(seconds from the kill until the step that it hit was done, steps before it that were done a second time)."""
    killed = float((place / "killed").read_text())
    noted = [line.split() for line in (place / "steps").read_text().splitlines()]
    later = [(int(step), float(when)) for step, when in noted if float(when) > killed]
    back = next(when for step, when in later if step > lost_at)  # it begins when the one before is done
    return back - killed, sum(step < lost_at for step, when in later if when < back)
