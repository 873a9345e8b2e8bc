"""Callbacks do what they say, on the runner that the PyTorch replica hands them."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from zoo.engine.contracts import Batch
from zoo.engine.errors import MissingDependency, StorageFailed, UsageError
from zoo.engine.frameworks.torch.optim import RateControl
from zoo.engine.frameworks.torch.replica import TorchReplica
from zoo.engine.frameworks.torch.runner import HOOKS, Parts, Runner, Settings
from zoo.engine.progress import Progress
from zoo.orca.learn.pytorch import callbacks as cb

X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
Y = np.arange(8) % 3


def replica_with(*callbacks: Any) -> TorchReplica:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    rates = RateControl(optimizer, scheduler=scheduler, frequency="epoch")
    return TorchReplica(Parts(model, F.cross_entropy, rates), Settings(callbacks=callbacks, config={"lr": 0.1}))


def run(replica: TorchReplica, epochs: int = 2, steps: int = 3) -> int:
    """The loop's calls, without the loop; returns the steps done."""
    progress, batch = Progress(), Batch((X,), (Y,), 8, 8)
    replica.notice("before_run", progress, {})
    for _ in range(epochs):
        replica.notice("before_train_epoch", progress, {})
        for _ in range(steps):
            replica.backward(batch, lambda bucket: None)
            progress = progress.after_step(replica.update(progress), 8)
            if replica.notice("after_step", progress, {}):
                replica.notice("after_run", progress, {})
                return progress.step
        replica.notice("before_val_epoch", progress, {})
        loss, _ = replica.score(batch)
        replica.notice("after_val_epoch", progress, {"loss": loss})
        progress = progress.after_epoch()
        stats = {"epoch": progress.epoch, "train_loss": progress.loss, "val_loss": loss}
        replica.notice("after_train_epoch", progress, stats)
    replica.notice("after_run", progress, {})
    return progress.step


def weights_of(replica: TorchReplica) -> np.ndarray:
    return replica.state().arrays["model/weight"]


def test_every_hook_is_called_and_the_general_ones_through_them() -> None:
    seen: list[str] = []

    class Spy(cb.Callback):
        def before_epoch(self, runner: Any) -> None:
            seen.append("before_epoch")

        def after_iter(self, runner: Any) -> None:
            seen.append(f"after_iter {runner.batch_idx}")

        def after_run(self, runner: Any) -> None:
            seen.append("after_run")

    assert run(replica_with(Spy()), epochs=1, steps=2) == 2
    assert seen == ["before_epoch", "after_iter 0", "after_iter 1", "before_epoch", "after_iter 0", "after_run"]
    assert {name for name in dir(cb.Callback) if name.startswith(("before_", "after_")) and name in HOOKS} == HOOKS


def test_every_n_counts_from_one() -> None:
    seen: list[tuple[str, int]] = []

    class Every(cb.Callback):
        def after_train_iter(self, runner: Any) -> None:
            if self.every_n_iter(runner, 2):
                seen.append(("iter", runner.global_step))

        def after_train_epoch(self, runner: Any) -> None:
            if self.every_n_epoch(runner, 2):
                seen.append(("epoch", runner.epochs))

    run(replica_with(Every()), epochs=4, steps=5)
    assert seen == [
        ("iter", 2), ("iter", 4), ("iter", 7), ("iter", 9), ("epoch", 2),
        ("iter", 12), ("iter", 14), ("iter", 17), ("iter", 19), ("epoch", 4),
    ]  # fmt: skip


def test_validation_in_the_middle_of_an_epoch_keeps_the_count_of_batches() -> None:
    seen: list[int] = []

    class Count(cb.Callback):
        def before_train_iter(self, runner: Any) -> None:
            seen.append(runner.batch_idx)

    replica, progress, batch = replica_with(Count()), Progress(), Batch((X,), (Y,), 8, 8)
    replica.notice("before_train_epoch", progress, {})
    for _ in range(3):
        replica.backward(batch, lambda bucket: None)
        progress = progress.after_step(replica.update(progress), 8)
        replica.notice("before_val_epoch", progress, {})
        for _ in range(4):
            replica.score(batch)
        replica.notice("after_val_epoch", progress, {})
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("steps", [1, 2, 4, 6])
def test_maxsteps_ends_in_the_middle_of_an_epoch(steps: int) -> None:
    assert run(replica_with(cb.MaxstepsCallback(steps)), epochs=3) == steps


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_maxsteps_refuses_what_is_no_count(wrong: Any) -> None:
    with pytest.raises(UsageError, match="at least 1. Received"):
        cb.MaxstepsCallback(wrong)


def test_a_plain_main_callback_changes_nothing() -> None:
    plain, with_main = replica_with(), replica_with(cb.MainCallback())
    run(plain)
    run(with_main)
    assert np.array_equal(weights_of(plain), weights_of(with_main))
    assert with_main.readings == plain.readings == {"LearningRate": 0.05}


def test_a_main_callback_replaces_what_it_overrides() -> None:
    class Half(cb.MainCallback):
        def on_iter_forward(self, runner: Any) -> None:
            runner.forward()
            runner.loss = runner.loss * 0

        def on_lr_adjust(self, runner: Any) -> None:
            runner.optimizer.param_groups[0]["lr"] = 0.7

        def on_pred_forward(self, runner: Any) -> None:
            runner.output = runner.model(*runner.batch) * 0 + 5

    replica, untouched = replica_with(Half()), replica_with()
    run(replica)
    assert np.array_equal(weights_of(replica), weights_of(untouched))
    assert replica.readings["LearningRate"] == 0.7
    assert (replica.predict(Batch((X,), (), 8))[0] == 5).all()
    assert replica.score(Batch((X,), (Y,), 8))[0] == 0


def test_an_own_backward_decides_whether_weights_change() -> None:
    class Never(cb.MainCallback):
        def on_iter_backward(self, runner: Any) -> None:
            runner.loss.backward()

        def on_lr_adjust(self, runner: Any) -> None:
            """Nothing: torch warns of a scheduler that runs ahead of its optimizer."""

    class Same(cb.MainCallback):
        def on_iter_backward(self, runner: Any) -> None:
            runner.optimizer.zero_grad()
            runner.loss.backward()
            runner.optimizer.step()

    never, same, plain = replica_with(Never()), replica_with(Same()), replica_with()
    start = weights_of(never)
    for replica in (never, same, plain):
        run(replica)
    assert np.array_equal(weights_of(never), start)
    assert np.array_equal(weights_of(same), weights_of(plain))


def test_only_one_main_callback() -> None:
    two = [cb.MainCallback(), cb.Callback(), cb.MainCallback()]
    with pytest.raises(UsageError, match="only one MainCallback.*MainCallback, MainCallback"):
        cb.make_only_mainCallback(two)
    with pytest.raises(UsageError, match="only one MainCallback"):
        replica_with(*two)
    none: list[Any] = [cb.Callback()]
    cb.make_only_mainCallback(none)
    assert isinstance(none[0], cb.MainCallback)
    assert len(none) == 2


def test_the_runner_keeps_values() -> None:
    runner = Runner(Parts(torch.nn.Linear(1, 1)), Settings(), lambda: None)
    runner.put("a", 1)
    with pytest.raises(UsageError, match="keeps this name already.*'a'"):
        runner.put("a", 2)
    runner.update("a", 3)
    assert runner.get("a") == 3
    runner.remove("a")
    assert runner.get("a") is None


# --- checkpoints ---


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"filepath": "m-{epoch:02d}.pt", "interval": 1}, ["last.pt", "m-01.pt", "m-02.pt"]),
        ({"filepath": "m.pt", "interval": 2}, ["last.pt", "m-epoch=2.pt"]),
        ({"filepath": "d/", "interval": 2, "by_epoch": False},
         ["checkpoint-step=2.ckpt", "checkpoint-step=5.ckpt", "last.ckpt"]),
        ({"filepath": "m-{epoch}-{iter}-{global_step}", "interval": 3, "by_epoch": False},
         ["last.ckpt", "m-0-3-3", "m-1-3-6"]),
        ({"filepath": "m.pt"}, ["last.pt"]),
    ],
)  # fmt: skip
def test_checkpoints_are_written(tmp_path: Path, arguments: dict[str, Any], names: list[str]) -> None:
    path = f"{tmp_path}/{arguments['filepath']}"
    folder = Path(path) if path.endswith("/") else tmp_path
    replica = replica_with(cb.ModelCheckpoint(**(arguments | {"filepath": path})))
    run(replica)
    assert sorted(found.name for found in folder.iterdir() if found.is_file()) == names
    last = torch.load(folder / next(name for name in names if name.startswith("last")), weights_only=True)
    assert np.array_equal(last["model"]["weight"].numpy(), weights_of(replica))
    assert last["global_step"] == 6
    assert {"optimizer", "scheduler"} <= set(last)


def test_the_newest_checkpoint_is_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        cb.ModelCheckpoint.get_latest_checkpoint(str(tmp_path))
    run(replica_with(cb.ModelCheckpoint(f"{tmp_path}/m.pt", save_weights_only=True, interval=1)))
    latest = cb.ModelCheckpoint.get_latest_checkpoint(str(tmp_path))
    assert Path(latest).name == "last.pt"
    assert sorted(torch.load(latest, weights_only=True)) == ["bias", "weight"]


def test_a_broken_save_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = cb.ModelCheckpoint(f"{tmp_path}/m.pt")
    run(replica_with(callback))
    before = (tmp_path / "last.pt").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match="the disk is full"):
        run(replica_with(callback))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert (tmp_path / "last.pt").read_bytes() == before


def test_checkpoint_patterns_are_checked() -> None:
    with pytest.raises(UsageError, match=r"\{epoch\}, \{iter\} and \{global_step\}. Received: loss, step"):
        cb.ModelCheckpoint("{step}-{loss}")
    with pytest.raises(UsageError, match="interval"):
        cb.ModelCheckpoint("m", interval=0)


# --- loggers ---


def test_tensorboard_holds_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(replica_with(cb.TensorBoardCallback(str(tmp_path), freq=2)))
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    assert [event.step for event in log.Scalars("val_loss")] == [1, 2]
    assert [event.step for event in log.Scalars("learning_rate")] == [2, 5]
    assert sorted({event.step for event in log.Scalars("train_loss")}) == [1, 2, 5]


def test_tensorboard_refuses_other_frequencies() -> None:
    with pytest.raises(UsageError, match="'epoch', 'batch' or a number"):
        cb.TensorBoardCallback(freq="second")


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    runner: Any = SimpleNamespace(rank=1, epochs=1, epoch_stats={}, global_step=1, batch_idx=0)
    for callback in (cb.TensorBoardCallback(str(tmp_path)), cb.ModelCheckpoint(f"{tmp_path}/a/m"), cb.TqdmCallback(),
                     cb.WandbLoggerCallback("p")):  # fmt: skip
        for hook in ("before_run", "before_train_epoch", "after_train_epoch", "after_run"):
            getattr(callback, hook)(runner)
    assert list(tmp_path.iterdir()) == []


def test_missing_loggers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wandb", "tqdm"):
        monkeypatch.setattr(f"zoo.orca.learn.pytorch.callbacks.{name}.installed", lambda package: False)
    with pytest.raises(MissingDependency, match="pip install wandb"):
        run(replica_with(cb.WandbLoggerCallback("p")))
    with pytest.raises(MissingDependency, match="pip install tqdm"):
        run(replica_with(cb.TqdmCallback()))


class FakeTqdm:
    made: list[FakeTqdm]

    def __init__(self, desc: str, unit: str) -> None:
        self.desc, self.count, self.closed, self.shown = desc, 0, False, {}
        self.made.append(self)

    def update(self, n: int) -> None:
        self.count += n

    def set_postfix(self, shown: dict[str, str]) -> None:
        self.shown = shown

    def close(self) -> None:
        self.closed = True


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(f"zoo.orca.learn.pytorch.callbacks.{name}.installed", lambda package: package == name)


def test_tqdm_shows_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTqdm.made = []
    pretend(monkeypatch, "tqdm", tqdm=FakeTqdm)
    callbacks = [cb.TqdmCallback()]
    run(replica_with(*callbacks))
    bars = [(bar.desc, bar.count, bar.closed) for bar in FakeTqdm.made]
    assert bars == [("epoch 1", 3, True), ("validation", 1, True), ("epoch 2", 3, True), ("validation", 1, True)]
    assert float(FakeTqdm.made[0].shown["loss"]) > 0
    from zoo.orca.learn.pytorch.callbacks.tqdm import is_tqdm_exists

    assert is_tqdm_exists(callbacks)
    assert not is_tqdm_exists([])


def test_wandb_logs_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []
    session = SimpleNamespace(
        log=lambda values, step: log.append((sorted(values), step)), finish=lambda: log.append("finished")
    )
    pretend(
        monkeypatch, "wandb",
        init=lambda **kwargs: log.append(kwargs) or session, watch=lambda model: log.append(type(model).__name__),
    )  # fmt: skip
    run(replica_with(cb.WandbLoggerCallback("p", log_config=True, watch_model=True, entity="me")), epochs=1)
    names = ["epoch", "train_loss", "val_loss"]
    assert log == [{"project": "p", "config": {"lr": 0.1}, "entity": "me"}, "Linear", (names, 1), "finished"]
