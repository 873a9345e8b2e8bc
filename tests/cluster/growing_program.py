"""Training with ``workers=(1, 2)`` while a Worker comes and goes: a driver program, run by test_recovery.py.

Usage: python growing_program.py MASTER SCRATCH. Prints a line when it wants a Worker more (``more``) and one less
(``less``), then one JSON object: what was seen.
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

from zoo.engine.clusters.spark import sessions
from zoo.engine.events.events import EpochEnded, Resumed, RunStarted, StepsEnded
from zoo.orca import stop_orca_context
from zoo.orca.learn.pytorch import Estimator

MASTER, HURRY = sys.argv[1], Path(sys.argv[2]) / "hurry"
EPOCHS = 25  # of 6 steps
FIT = {"epochs": EPOCHS, "batch_size": 34, "feature_cols": ["a", "b"], "label_cols": ["y"], "reproducible": True}


class Net(nn.Module):
    """Takes its time until a file tells it to hurry."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(5, 4), nn.BatchNorm1d(5)
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(5, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if not HURRY.exists():
            time.sleep(0.06)
        return self.out(self.drop(self.norm(torch.cat([a[:, None], self.embed(b)], 1))))


class Listener:
    """Says when the cluster is to change, and what became of the run."""

    def __init__(self) -> None:
        self.worlds: list[int] = []
        self.resumed: list[tuple[str, int, str]] = []
        self.epochs: list[int] = []
        self.last, self.lost = 0, []
        self.asked = ""

    def put(self, event: Any) -> None:
        if isinstance(event, RunStarted):
            self.worlds.append(event.world)
            if len(self.worlds) == 3:
                HURRY.touch()
        elif isinstance(event, Resumed):
            self.resumed.append((event.path, event.step, event.reason))
            self.lost.append(max(0, self.last - event.step))
        elif isinstance(event, EpochEnded):
            self.epochs.append(event.epoch)
        elif isinstance(event, StepsEnded):
            self.last = event.first_step + len(event.losses) - 1
            for world, word in enumerate(("more", "less"), 1):
                if (
                    not HURRY.exists()
                    and self.worlds == [1, 2][:world]
                    and self.asked != word
                    and self.since_start(event) > 2
                ):
                    self.asked = word
                    print(word, flush=True)
        if not HURRY.exists():
            print(round(time.monotonic(), 1), str(event)[:150], file=sys.stderr, flush=True)

    def since_start(self, event: StepsEnded) -> int:
        return self.last - (self.resumed[-1][1] if self.resumed else 0)

    def close(self) -> None:
        """Nothing is held."""


def run(df: Any, **words: Any) -> tuple[str, Listener]:
    torch.manual_seed(1)
    model, heard = Net(), Listener()
    listen(heard)
    made = Estimator.from_torch(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.01), loss=nn.CrossEntropyLoss()
    )  # fmt: skip
    history = made.fit(df, **{**FIT, **words})
    assert [epoch["num_samples"] for epoch in history] == [203] * EPOCHS, history
    return digest(model), heard


def main() -> None:
    sessions._REGISTER_SECONDS = 5.0  # the second executor does not come before it is asked for
    rows = frame(begin(MASTER), 203)
    HURRY.touch()
    undisturbed, _ = run(rows, workers=1)
    HURRY.unlink()
    weights, heard = run(rows, workers=(1, 2))
    stop_orca_context()
    seen = {
        "undisturbed": undisturbed, "weights": weights, "worlds": heard.worlds, "resumed": heard.resumed,
        "lost": heard.lost, "epochs": heard.epochs,
    }  # fmt: skip
    print(json.dumps(seen))


main()
