"""Ranks that are killed or stopped: the others go on with another one in its place, and no step is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from broken_models import estimator, rows
from fields import Field
from torch import nn

from zoo.engine import session
from zoo.engine.clusters import board
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.errors import RankLost
from zoo.engine.events.events import RankLeft, Regrouped, Resumed
from zoo.engine.events.sinks import MemorySink
from zoo.orca.learn.trigger import SeveralIteration

pytestmark = pytest.mark.exact

ROWS, EPOCHS = 96, 2
WORDS: dict[str, Any] = {"feature_cols": ["a", "b"], "label_cols": ["y"], "batch_size": 16, "epochs": EPOCHS}
ALIKE: dict[str, Any] = {"reproducible": True, "virtual_ranks": 4}
KILLED_AT = 4  # steps, of 12


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


class Plain(nn.Module):
    """Draws no random numbers and keeps no statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(2, 4), nn.Linear(4, 1)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.outer(self.between(torch.tanh(self.inner(torch.stack([a, b], 1))))).squeeze(-1)

    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Moody(Plain):
    """Does both."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.2)

    def between(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(x))


class Once:
    """A deed that is done once in some rank's process at each of some steps: (rank, step)."""

    def __init__(self, marks: Path, deed: Callable[[], None], *blows: tuple[int, int]) -> None:
        self.marks, self.deed, self.blows = marks, deed, blows

    def __call__(self, step: int) -> None:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else -1
        mark = self.marks / f"rank-{rank}-at-{step}"
        if (rank, step) in self.blows and not mark.exists():
            mark.touch()
            self.deed()


class Struck(nn.Module):
    """A model in a process to which something happens."""

    def __init__(self, inner: nn.Module, deed: Callable[[int], None], passes: int = 1) -> None:
        super().__init__()
        self.inner, self.deed, self.passes, self.seen = inner, deed, passes, 0

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.deed(self.seen // self.passes)
            self.seen += 1
        return self.inner(a, b)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> MemorySink:
    """What is told in this test."""
    sink = MemorySink()
    monkeypatch.setattr("zoo.orca.learn.listeners.ConsoleSink", lambda: sink)
    return sink


def told(heard: MemorySink, kind: type) -> list[Any]:
    return [event for event in heard.events if isinstance(event, kind)]


def made(kind: type[nn.Module], deed: Callable[[int], None] | None = None, passes: int = 1, **words: Any) -> Any:
    """An estimator of two ranks, and always the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model: nn.Module = kind()
    if deed is not None:
        model = Struck(model, deed, passes)
    return estimator(model, optimizer=torch.optim.Adam(model.parameters(), 0.01), **{"workers_per_node": 2, **words})


def _array(value: torch.Tensor) -> np.ndarray:
    return value.numpy().copy()


def bits(estimator: Any) -> list[bytes]:
    return [_array(value).tobytes() for value in estimator.get_model().state_dict().values()]


def numbers(estimator: Any) -> np.ndarray:
    return np.concatenate([_array(value).ravel() for value in estimator.get_model().state_dict().values()])


def undisturbed(kind: type[nn.Module], **words: Any) -> tuple[Any, list[Any]]:
    """In this process: one rank makes the same weights."""
    session.begin(InlineCluster())
    alone = made(kind, workers_per_node=1)
    history = alone.fit(rows(ROWS), **WORDS, **words)
    session.end()
    return alone, history


@pytest.fixture(scope="module")
def expected() -> tuple[list[bytes], list[Any]]:
    """Weights and history of the reproducible run."""
    alone, history = undisturbed(Moody, **ALIKE)
    return bits(alone), history


@pytest.fixture(scope="module")
def nearly() -> np.ndarray:
    """Weights of the ordinary run."""
    return numbers(undisturbed(Plain)[0])


def test_killed_ranks_cost_nothing_on_local_processes(
    local: Field, tmp_path: Path, heard: MemorySink, expected: tuple[list[bytes], list[Any]]
) -> None:
    struck = made(Moody, Once(tmp_path, killed, (1, KILLED_AT), (0, 9)), passes=2)
    history = struck.fit(rows(ROWS), **WORDS, **ALIKE)
    assert (bits(struck), history) == expected
    assert [stats["num_samples"] for stats in history] == [ROWS] * EPOCHS
    assert [left.rank for left in told(heard, RankLeft)] == [1, 0]
    assert all("killed by SIGKILL" in left.reason for left in told(heard, RankLeft))
    assert [again.generation for again in told(heard, Regrouped)] == [2, 3]
    assert told(heard, Regrouped)[0].step == KILLED_AT
    assert told(heard, Regrouped)[1].step in (8, 9)  # rank 0 may have begun the step of the first loss twice
    assert [
        lost.rank in again.followed for lost, again in zip(told(heard, RankLeft), told(heard, Regrouped), strict=True)
    ]
    assert told(heard, Resumed) == []


def test_a_killed_rank_costs_no_step_in_the_stage_of_a_local_spark(
    on_spark: Field, tmp_path: Path, heard: MemorySink, expected: tuple[list[bytes], list[Any]]
) -> None:
    """It ends with the rank, and the other one hands its state over: no checkpoint is needed."""
    struck = made(Moody, Once(tmp_path, killed, (1, KILLED_AT)), passes=2)
    history = struck.fit(on_spark.keep(rows(ROWS)), **WORDS, **ALIKE)
    assert bits(struck) == expected[0]
    assert history == expected[1]
    (resumed,) = told(heard, Resumed)
    assert (resumed.path, resumed.step) == ("", KILLED_AT)
    assert [left.rank for left in told(heard, RankLeft)] == [1]


def test_a_rank_that_dies_before_the_run_and_rank_0_in_its_midst_cost_an_ordinary_run_no_step(
    local: Field, tmp_path: Path, heard: MemorySink, nearly: np.ndarray
) -> None:
    early = Once(tmp_path, killed, (1, -1))
    struck = made(Plain, Once(tmp_path, killed, (0, KILLED_AT)), initialization_hook=lambda: early(-1))
    history = struck.fit(rows(ROWS), **WORDS)
    np.testing.assert_allclose(numbers(struck), nearly, rtol=0, atol=1e-5)
    assert [stats["num_samples"] for stats in history] == [ROWS] * EPOCHS
    assert [left.rank for left in told(heard, RankLeft)] == [1, 0]
    assert told(heard, Resumed) == []


def test_the_loss_of_rank_0_costs_an_ordinary_run_in_a_local_spark_no_step(
    on_spark: Field, tmp_path: Path, heard: MemorySink
) -> None:
    whole, struck = made(Plain), made(Plain, Once(tmp_path, killed, (0, KILLED_AT)))
    whole.fit(on_spark.keep(rows(ROWS)), **WORDS)
    history = struck.fit(on_spark.keep(rows(ROWS)), **WORDS)
    np.testing.assert_allclose(numbers(struck), numbers(whole), rtol=0, atol=1e-5)
    assert [stats["num_samples"] for stats in history] == [ROWS] * EPOCHS
    (resumed,) = told(heard, Resumed)
    assert (resumed.path, resumed.step) == ("", KILLED_AT)


def test_where_all_are_lost_at_once_the_last_checkpoint_is_the_beginning(
    local: Field, tmp_path: Path, heard: MemorySink, expected: tuple[list[bytes], list[Any]]
) -> None:
    struck = made(
        Moody, Once(tmp_path, killed, (0, KILLED_AT), (1, KILLED_AT)), passes=2, model_dir=str(tmp_path / "models")
    )
    history = struck.fit(rows(ROWS), checkpoint_trigger=SeveralIteration(3), **WORDS, **ALIKE)
    assert bits(struck) == expected[0]
    assert [stats["epoch"] for stats in history] == [1, 2]
    (resumed,) = told(heard, Resumed)
    assert Path(resumed.path).name == "checkpoint-000000003"
    assert (resumed.step, resumed.reason) == (3, "2 of 2 ranks were lost:")


def test_without_recovery_a_lost_rank_ends_the_run(local: Field, tmp_path: Path, heard: MemorySink) -> None:
    struck = made(Plain, Once(tmp_path, killed, (1, KILLED_AT)), model_dir=str(tmp_path / "models"))
    with pytest.raises(RankLost, match=r"^1 of 2 ranks were lost:\n  rank 1 .*SIGKILL"):
        struck.fit(rows(ROWS), checkpoint_trigger=SeveralIteration(3), recovery="none", **WORDS)
    assert told(heard, Resumed) == told(heard, RankLeft) == []


def test_a_rank_that_is_stopped_is_replaced(
    local: Field, tmp_path: Path, heard: MemorySink, expected: tuple[list[bytes], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(board, "GRACE_SECONDS", 1.0)
    struck = made(Moody, Once(tmp_path, stopped, (1, KILLED_AT)), passes=2)
    history = struck.fit(rows(ROWS), stall_timeout=3, **WORDS, **ALIKE)
    assert (bits(struck), history) == expected
    (left,) = told(heard, RankLeft)
    assert left.rank == 1
    assert left.reason.startswith("did not answer for 3 s (stall_timeout)")


class Slips:
    """Ends rank 1 whenever it comes to its first step, after a while in this file: in one way, then in another."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, step: int) -> None:
        if torch.distributed.get_rank() == 1:
            self.linger()
            if self.mark.exists():
                ctypes.string_at(0)
            self.mark.touch()
            os._exit(3)

    def linger(self) -> None:
        time.sleep(1.3)  # longer than it takes until the line is known


def test_a_rank_that_dies_at_the_same_step_each_time_is_given_up_with_its_line(
    local: Field, tmp_path: Path, heard: MemorySink
) -> None:
    struck = made(Plain, Slips(tmp_path / "exited"))
    with pytest.raises(
        RankLost, match=r"^2 times a rank was lost at step 1 \(attempts=2\), the last time: rank 1 .*killed by SIGSEGV"
    ) as caught:
        struck.fit(rows(ROWS), attempts=2, **WORDS)
    last = str(caught.value).splitlines()[-1]
    assert (
        last.startswith("  It was last seen at ") and f"{Path(__file__).name}:" in last and last.endswith("in linger")
    )
    assert not caught.value.retryable
    first = told(heard, RankLeft)[0]
    assert first.reason.endswith("ended with exit status 3") and first.line.endswith("in linger")


def keras_model(**words: Any) -> Any:
    import keras

    from zoo.orca.learn.tf import Estimator

    keras.utils.set_random_seed(3)
    a, b = keras.Input((1,)), keras.Input((1,))
    whole = keras.layers.Dense(4, "tanh")(keras.layers.Concatenate()([a, b]))
    model = keras.Model([a, b], keras.layers.Dense(1)(whole))
    model.compile(keras.optimizers.Adam(0.02, epsilon=1e-3), "mse", metrics=["mae"])
    return Estimator.from_keras(model, **words)


@pytest.mark.parametrize("backend", [f"keras-{os.environ.get('KERAS_BACKEND', 'tensorflow')}"])
def test_a_killed_rank_of_a_keras_model_costs_no_step(
    local: Field, tmp_path: Path, heard: MemorySink, backend: str
) -> None:
    os.environ.setdefault("KERAS_BACKEND", backend.removeprefix("keras-"))
    import keras

    class Dies(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def __init__(self, deed: Callable[[int], None]) -> None:
            super().__init__()
            self.deed, self.seen = deed, 0

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.deed(self.seen)
            self.seen += 1

    here = session.current()
    session.begin(InlineCluster())
    whole = keras_model(workers_per_node=1)
    expected = whole.fit(rows(ROWS), **WORDS)
    session.begin(here)
    struck = keras_model(workers_per_node=2)
    history = struck.fit(rows(ROWS), callbacks=[Dies(Once(tmp_path, killed, (1, KILLED_AT)))], **WORDS)
    for ours, theirs in zip(struck.get_model().get_weights(), whole.get_model().get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert [stats["num_samples"] for stats in history] == [ROWS] * EPOCHS
    assert [stats["train_loss"] for stats in history] == pytest.approx([stats["train_loss"] for stats in expected])
    assert [left.rank for left in told(heard, RankLeft)] == [1]
