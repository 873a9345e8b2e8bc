"""Processes that are killed, interrupted, stuck or without room: an end, one error, and nothing left behind.

How a gang of local processes ends is tested without torch, in engine/clusters/test_local.py.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from broken_models import WORDS, Line, estimator, rows
from fields import Field

from zoo.engine.clusters.spark.tasks import Stage
from zoo.engine.errors import RankLost, RankStalled, StorageFailed
from zoo.engine.events.console import ConsoleSink


class AtStep(Line):
    """Does something at one step of rank 1."""

    def __init__(self, step: int, deed: Any) -> None:
        super().__init__()
        self.step, self.deed, self.seen = step, deed, 0

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        if self.seen == self.step and torch.distributed.get_rank() == 1:
            self.deed()
        return super().forward(*inputs)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stuck() -> None:
    time.sleep(60)


def test_a_killed_rank_is_named_and_recovery_explained(on_spark: Field) -> None:
    with pytest.raises(RankLost, match="(?s)^[12] of 2 ranks were lost:\n.*give the estimator a model_dir") as caught:
        estimator(AtStep(2, killed), workers_per_node=2).fit(on_spark.keep(rows()), recovery="checkpoint", **WORDS)
    assert 1 in caught.value.ranks
    made = estimator(workers_per_node=2)
    assert made.fit(on_spark.keep(rows()), **WORDS)[0]["num_samples"] == 40


def test_a_gang_that_is_lost_again_and_again_is_given_up(local: Field, tmp_path: Path) -> None:
    made = estimator(AtStep(2, killed), workers_per_node=2, model_dir=str(tmp_path))
    with pytest.raises(RankLost, match=r"2 gangs were lost \(attempts=2\)"):
        made.fit(rows(), attempts=2, recovery="checkpoint", **WORDS)


def test_a_rank_that_stalls_shows_every_ranks_stack(on_spark: Field) -> None:
    with pytest.raises(RankStalled, match=r"^no rank has moved for 3 s \(stall_timeout\)") as caught:
        estimator(AtStep(2, stuck), workers_per_node=2).fit(on_spark.keep(rows()), stall_timeout=3, **WORDS)
    assert "in stuck" in str(caught.value) and "rank 0:" in str(caught.value) and "rank 1:" in str(caught.value)


def small_files() -> None:
    """As if the disk were full: no file may have more than 4 KB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_while_rows_are_spooled(local: Field) -> None:
    made = estimator(workers_per_node=2, initialization_hook=small_files)
    with pytest.raises(StorageFailed, match=r"is full .*TMPDIR.*memory="):
        made.fit(rows(4000), memory=1000, **WORDS)


def test_a_full_disk_while_a_checkpoint_is_written(local: Field, tmp_path: Path) -> None:
    made = estimator(workers_per_node=2, initialization_hook=small_files, model_dir=str(tmp_path))
    with pytest.raises(StorageFailed, match="(?i)space|full|large"):
        made.fit(rows(), **WORDS)
    assert not [path for path in tmp_path.rglob("*") if "unfinished" in path.name or path.name.endswith(".safetensors")]


class Interrupts(ConsoleSink):
    """Ctrl-C as soon as the ranks have begun."""

    def put(self, event: Any) -> None:
        if type(event).__name__ == "RunStarted":
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_a_gang_inside_spark(on_spark: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.orca.learn.listeners.ConsoleSink", Interrupts)
    with pytest.raises(KeyboardInterrupt):
        estimator(AtStep(1, stuck), workers_per_node=2).fit(on_spark.keep(rows()), epochs=1, **WORDS)


def test_a_stage_whose_gang_ends_early_is_cancelled(on_spark: Field, spark: Any) -> None:
    def patient(batches: Iterator[Any]) -> Iterator[Any]:
        time.sleep(60)
        yield from batches

    def interrupted() -> None:
        with stage:
            tracker, until = spark.sparkContext.statusTracker(), time.monotonic() + 60
            while not tracker.getActiveStageIds() and time.monotonic() < until:
                time.sleep(0.05)
            raise KeyboardInterrupt

    stage = Stage(spark, spark.range(0, 1, 1, 1).mapInArrow(patient, "id long"))
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stage.ended and "cancelled" in str(stage._error), stage._error


PROGRAM = """
    import os, sys, time
    import numpy as np, torch
    from zoo.orca import init_orca_context
    from zoo.orca.learn.pytorch import Estimator

    class Slow(torch.nn.Linear):
        def forward(self, x):
            print("stepping", os.getpid(), flush=True)
            time.sleep(60)
            return super().forward(x)

    init_orca_context(cluster_mode="local", runtime="python", cores=2)
    estimator = Estimator.from_torch(
        model=Slow(4, 1), optimizer=lambda model, config: torch.optim.SGD(model.parameters(), lr=0.1),
        loss=torch.nn.MSELoss(), workers_per_node=2, model_dir=sys.argv[1],
    )
    data = (np.zeros((500, 4), np.float32), np.zeros((500, 1), np.float32))
    estimator.fit(data, epochs=1, batch_size=100, memory=2000)
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_when_the_driver_goes_its_ranks_go_and_no_file_stays(tmp_path: Path, blow: signal.Signals) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "models")],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert driver.stderr is not None
    try:
        ranks: set[int] = set()
        for line in driver.stderr:
            if "stepping" in line:
                ranks.add(int(line.split()[-1]))
            if len(ranks) == 2:
                break
        assert len(ranks) == 2, "the program ended before its first step"
        driver.send_signal(blow)
        driver.wait(30)
        told = driver.stderr.read()
    finally:
        driver.kill()
        driver.wait(10)
        driver.stderr.close()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in ranks if psutil.pid_exists(pid)], timeout=10)
    assert alive == []
    assert [path.name for path in (tmp_path / "tmp").rglob("*") if path.is_file()] == []
    if blow == signal.SIGINT:
        assert told.rstrip().endswith("KeyboardInterrupt")
        assert told.count("Traceback") == 1
