"""What weights that are equal to the bit cost: `fit(reproducible=True)` and `fit`, on two local ranks, in turns."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import torch
from measure import Row, compared
from models import MLP, NCF_8192, Setup, adam, cnn, mlp, numbers
from torch import nn

from zoo.engine import loop, run
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.data.shards import from_arrays
from zoo.engine.events.events import EpochEnded
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.torch.spec import TorchSpec
from zoo.engine.jobs import FitJob
from zoo.engine.progress import Progress
from zoo.engine.triggers import MaxEpoch

TURNS = {"tiny": 1, "quick": 3, "full": 9}
STEPS = {"tiny": 2, "quick": 20, "full": 60}
EPOCHS = {"tiny": 2, "quick": 4, "full": 6}  # the first one does not count
TARGET = 1 / 1.3
SETUPS = (
    Setup("MLP 784-256-128-10, batch 1024", mlp, 1024, lambda rows: numbers(rows, 784)),
    Setup("CNN 28x28, batch 512", cnn, 512, lambda rows: numbers(rows, 28, 28)),
    NCF_8192,
    MLP,
)


def rows(size: str) -> Iterator[Row]:
    """One row for each model; small batches show what many small passes cost."""
    for setup in SETUPS[: 1 if size == "tiny" else None]:
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(TURNS[size]):
            for which in (0, 1) if turn % 2 else (1, 0):
                seconds[which].append(_epoch(setup, size, virtual_ranks=(8, 0)[which]))
        labels = (f"equal to the bit, 2 local ranks: {setup.name}", "`reproducible=True`, 8 virtual ranks", "`fit`")
        yield compared(labels, *seconds, TARGET if setup is not MLP else None)


def _epoch(setup: Setup, size: str, virtual_ranks: int) -> float:
    """Seconds of an epoch, in a gang of its own."""
    shards, columns = from_arrays(*setup.data(STEPS[size] * setup.batch_size))
    torch.manual_seed(0)
    model = setup.model()
    spec = TorchSpec(model=model, optimizer=adam(model), loss=nn.CrossEntropyLoss())
    job = FitJob(
        spec=spec, columns=columns, batch_size=setup.batch_size, end=MaxEpoch(EPOCHS[size]), start=Progress(),
        virtual_ranks=virtual_ranks,
    )  # fmt: skip
    heard = MemorySink()
    run.fit(job, {loop.TRAIN: shards}, LocalCluster(2), 2, heard)
    return median([event.seconds for event in heard.events if isinstance(event, EpochEnded)][1:])
