"""Training on a standalone cluster while ranks are killed at random moments: a driver program, run by test_recovery.py.

Usage: python recovery_program.py MASTER KILLS SCRATCH. Prints one JSON object: what was seen.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from driver import begin, digest, frame, listen
from torch import nn

from zoo.engine.events.events import RankLeft, Regrouped, StepsEnded
from zoo.orca import stop_orca_context
from zoo.orca.learn.pytorch import Estimator

MASTER, KILLS, SCRATCH = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
STEPS = 36  # of a run: 6 epochs of 6
FIT = {"epochs": 6, "batch_size": 34, "feature_cols": ["a", "b"], "label_cols": ["y"], "reproducible": True}


class Net(nn.Module):
    """Lives in __main__, draws random numbers, keeps statistics; a step takes long enough to be hit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(5, 4), nn.BatchNorm1d(5)
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(5, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        time.sleep(0.015)
        return self.out(self.drop(self.norm(torch.cat([a[:, None], self.embed(b)], 1))))


class Executioner:
    """A listener that kills a process of a rank some moments after a step was told of, never two ranks at once."""

    def __init__(self, deeds: list[tuple[int, int, str]], draw: random.Random) -> None:
        self.deeds, self.draw = deeds, draw  # (step, rank, what)
        self.left: list[float] = []
        self.again: list[tuple[float, int]] = []
        self.last = 0
        self.lost_steps: list[int] = []
        self.timer: threading.Timer | None = None

    def put(self, event: Any) -> None:
        if isinstance(event, StepsEnded):
            self.last = event.first_step + len(event.losses) - 1
            if self.deeds and self.timer is None and self.last >= self.deeds[0][0]:
                _, rank, what = self.deeds.pop(0)
                self.timer = threading.Timer(self.draw.uniform(0, 0.3), self.kill, (rank, what))
                self.timer.start()
        elif isinstance(event, RankLeft):
            self.left.append(round(time.monotonic() - self.killed_at, 2))
        elif isinstance(event, Regrouped):
            self.timer = None
            self.again.append((round(time.monotonic() - self.killed_at, 2), event.step))
            self.lost_steps.append(max(0, self.last - event.step))

    def kill(self, rank: int, what: str) -> None:
        self.killed_at = time.monotonic()
        kill(rank, what)

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


def note_pid() -> None:
    """On each rank, when it makes its model."""
    (SCRATCH / str(os.getpid())).touch()


def ranks() -> list[int]:
    """Processes of the ranks that are alive."""
    return sorted(int(path.name) for path in SCRATCH.iterdir() if Path("/proc", path.name).exists())


def kill(rank: int, what: str) -> None:
    victims = ranks()
    victim = victims[rank % len(victims)]
    if what == "executor":
        victim = psutil.Process(psutil.Process(victim).ppid()).ppid()  # worker <- pyspark.daemon <- JVM
    os.kill(victim, signal.SIGSTOP if what == "stop" else signal.SIGKILL)


DRAW = random.Random(4)


def run(df: Any, deeds: list[tuple[int, int, str]], **words: Any) -> tuple[str, Executioner, float]:
    torch.manual_seed(1)
    model = Net()
    heard = Executioner(deeds, DRAW)
    for path in SCRATCH.iterdir():
        path.unlink()
    listen(heard)
    made = Estimator.from_torch(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.01), loss=nn.CrossEntropyLoss(),
        initialization_hook=note_pid,
    )  # fmt: skip
    history = made.fit(df, **{**FIT, **words})
    assert [epoch["num_samples"] for epoch in history] == [203] * 6, history
    return digest(model), heard, history[-1]["train_loss"]


def main() -> None:
    rows = frame(begin(MASTER), 203).cache()
    undisturbed, _, loss = run(rows, [])
    seen: dict[str, Any] = {"undisturbed": undisturbed, "loss": loss, "runs": []}
    kills = 0
    while kills < KILLS:
        steps = sorted(DRAW.sample(range(1, STEPS - 12), 2))
        deeds = [(step, DRAW.randrange(2), "executor" if DRAW.random() < 0.25 else "rank") for step in steps]
        planned = list(deeds)
        weights, heard, _ = run(rows, deeds)
        kills += len(heard.left)
        seen["runs"].append(
            {"weights": weights, "planned": planned, "left": heard.left, "again": heard.again, "lost": heard.lost_steps}
        )
        print(seen["runs"][-1], file=sys.stderr, flush=True)
    weights, heard, _ = run(rows, [(8, 1, "stop")], stall_timeout=4.0)
    seen["stopped"] = {"weights": weights, "left": heard.left, "again": heard.again, "lost": heard.lost_steps}
    stop_orca_context()
    print(json.dumps(seen))


main()
