"""Ranks, executors and Workers are killed at random moments: each run ends with the weights of an undisturbed one.

What is promised: a killed rank is noticed within 5 s, and training goes on within 15 s, at the step where it was.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from driver import answer, command, digest, environment
from torch import nn

import warmranks
from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.clusters.local import LocalCluster
from zoo.engine.clusters.spark.standalone import StandaloneCluster
from zoo.engine.events.events import RankLeft, Regrouped, Resumed, StepsEnded
from zoo.engine.events.sinks import MemorySink
from zoo.orca.learn.pytorch import Estimator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]
NOTICED, AGAIN = 5.0, 15.0


# --- a standalone Spark cluster -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answer("recovery_program.py", 8, tmp_path_factory.mktemp("scratch"), timeout=400)


def assert_soon(seconds: list[float], promised: float) -> None:
    """As promised most of the time; a machine that does other things, too, may take some times as long."""
    assert median(seconds) < promised
    assert max(seconds) < 6 * promised


def test_every_run_with_kills_makes_the_weights_of_the_undisturbed_one(seen: dict[str, Any]) -> None:
    assert {run["weights"] for run in seen["runs"]} == {seen["undisturbed"]}
    assert sum(len(run["left"]) for run in seen["runs"]) >= 8


def test_no_kill_costs_a_step(seen: dict[str, Any]) -> None:
    assert [step for run in seen["runs"] for step in run["lost"] if step] == []


def test_a_kill_is_noticed_soon(seen: dict[str, Any]) -> None:
    assert_soon([seconds for run in seen["runs"] for seconds in run["left"]], NOTICED)


def test_training_goes_on_soon_after_each_kill(seen: dict[str, Any]) -> None:
    assert all(len(run["again"]) == len(run["left"]) for run in seen["runs"])
    assert_soon([seconds for run in seen["runs"] for seconds, _ in run["again"]], AGAIN)


def test_a_rank_that_is_stopped_is_replaced_after_the_stall_timeout(seen: dict[str, Any]) -> None:
    stopped = seen["stopped"]
    assert stopped["weights"] == seen["undisturbed"]
    assert stopped["lost"] == [0]
    (noticed,) = stopped["left"]
    assert noticed < 4.0 + NOTICED  # stall_timeout=4


def test_a_run_grows_when_a_worker_comes_and_shrinks_when_it_goes(tmp_path: Path) -> None:
    with StandaloneCluster(workers=1, cores=1, memory="700m") as cluster, (tmp_path / "log").open("w+") as log:
        program = subprocess.Popen(
            command("growing_program.py", cluster.master, tmp_path),
            env=environment(), stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        assert program.stdout is not None
        deadline = threading.Timer(300, program.kill)
        deadline.start()
        line = ""
        try:
            for line in program.stdout:
                if line == "more\n":
                    cluster.add_workers(1)
                elif line == "less\n":
                    os.killpg(cluster.worker_pids[1], signal.SIGKILL)  # the Worker with its executor
            program.wait(30)
        finally:
            deadline.cancel()
            program.kill()
            program.wait(10)
            program.stdout.close()
        assert program.returncode == 0, (tmp_path / "log").read_text()[-6000:]
        grown = json.loads(line)
    assert grown["worlds"] == [1, 2, 1]
    assert grown["weights"] == grown["undisturbed"]
    assert grown["lost"] == [0, 0]
    assert [path for path, _, _ in grown["resumed"]] == ["", ""]
    assert "room for more than 1 ranks" in grown["resumed"][0][2]
    assert grown["epochs"] == list(range(1, 26))


def test_a_run_grows_with_the_executors_that_spark_allocates_to_it(tmp_path: Path) -> None:
    seen = answer("allocating_program.py", tmp_path, timeout=200)
    assert seen["executors before"] == 0  # the program had been idle, and Spark has taken them back
    assert seen["worlds"] == [1, 2]
    assert seen["weights"] == seen["undisturbed"]


# --- processes of this machine --------------------------------------------------------------------------------------

KILLS = 7  # of each run
WORDS: dict[str, Any] = {
    "feature_cols": ["x"], "label_cols": ["y"], "batch_size": 48, "epochs": 60, "reproducible": True, "virtual_ranks": 6
}  # fmt: skip


class Slow(nn.Module):
    """Keeps statistics, draws random numbers, and takes long enough to be hit anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.drop = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2)
        self.outer = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.distributed.is_initialized():
            time.sleep(0.008)
        return self.outer(self.drop(self.norm(torch.tanh(self.inner(x))))).squeeze(-1)


def table() -> pa.Table:
    x = np.random.default_rng(3).normal(size=(480, 4)).astype(np.float32)
    return pa.table({"x": pa.array(list(x), pa.list_(pa.float32())), "y": pa.array(x.sum(axis=1))})


def trained(ranks: int) -> tuple[str, list[Any]]:
    """The digest of the weights, and the history."""
    torch.manual_seed(1)
    model = Slow()
    made = Estimator.from_torch(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.01), loss=nn.MSELoss(), workers_per_node=ranks
    )
    history = made.fit(table(), validation_data=table().slice(0, 50), **WORDS)
    return digest(model), history


class Executioner(MemorySink):
    """Kills a rank at random moments: while all train, and now and then another one while they regroup."""

    def __init__(self, kills: int, both: bool, draw: random.Random) -> None:
        super().__init__()
        self.kills, self.both, self.draw = kills, both, draw
        self.timers: list[threading.Timer] = []
        self.killed: dict[int, float] = {}
        self.waits: list[tuple[float, float]] = []  # (until it was noticed, until training went on)
        self.last = 0
        self.lost: list[int] = []
        self.armed = False

    def put(self, event: Any) -> None:
        super().put(event)
        if isinstance(event, StepsEnded):
            self.last = event.first_step + len(event.losses) - 1
            if not self.armed and self.kills:
                self.armed = True
                self.later()
        elif isinstance(event, RankLeft):
            self.noticed = time.monotonic() - self.killed_at
            if self.both and self.kills and self.draw.random() < 0.4:
                self.later(1.5)
        elif isinstance(event, Regrouped):
            self.waits.append((self.noticed, time.monotonic() - self.killed_at))
            self.lost.append(max(0, self.last - event.step))
            self.armed = False

    def later(self, within: float = 0.3) -> None:
        self.kills -= 1
        self.timers.append(threading.Timer(self.draw.uniform(0, within), self.kill))
        self.timers[-1].start()

    def kill(self) -> None:
        """The oldest ranks stay longest: there must be one that has the model."""
        alive = sorted(warmranks.alive(), key=lambda one: one.create_time())
        if len(alive) > 1:
            self.killed_at = time.monotonic()
            self.draw.choice(alive[1:] if self.both else alive).kill()

    def close(self) -> None:
        for timer in self.timers:
            timer.cancel()


@pytest.fixture(scope="module")
def undisturbed() -> tuple[str, list[Any]]:
    session.begin(InlineCluster())
    made = trained(1)
    session.end()
    return made


@pytest.mark.parametrize(("ranks", "both"), [(2, False), (3, True)])
def test_local_ranks_that_are_killed_at_random_moments_cost_nothing(
    undisturbed: tuple[str, list[Any]], ranks: int, both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Executioner(KILLS, both, random.Random(6))
    monkeypatch.setattr("zoo.orca.learn.listeners.ConsoleSink", lambda: heard)
    session.begin(LocalCluster(cores=ranks))
    made = trained(ranks)
    session.end()
    left = [event for event in heard.events if isinstance(event, RankLeft)]
    assert len(left) >= KILLS - 1
    assert not [event for event in heard.events if isinstance(event, Resumed)]
    assert made == undisturbed
    assert [steps for steps in heard.lost if steps] == []
    assert_soon([noticed for noticed, _ in heard.waits], NOTICED)
    assert_soon([again for _, again in heard.waits], AGAIN)
