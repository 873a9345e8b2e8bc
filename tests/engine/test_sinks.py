"""Sinks listen and never harm: the fan drops those that fail, the console speaks plainly, logs are lines of JSON."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from zoo.engine.errors import StorageFailed, UsageError
from zoo.engine.events import console
from zoo.engine.events.console import ConsoleSink
from zoo.engine.events.events import (
    Checkpointed,
    EpochEnded,
    Event,
    Logged,
    Resumed,
    RunEnded,
    RunStarted,
    StepsEnded,
    Tick,
    Validated,
)
from zoo.engine.events.jsonl import JsonlSink
from zoo.engine.events.sinks import Fan, MemorySink

GOLDEN = Path(__file__).parent.parent / "golden" / "events-v1.jsonl"
NAN = float("nan")


def steps(epoch: int, done: int, losses: tuple[float, ...] = (0.5, 0.25)) -> StepsEnded:
    return StepsEnded(epoch * 4 + done - 1, losses, (0.1,) * len(losses), 64, 0.5, 0.125, epoch, done)


def ended(epoch: int, share: tuple[int, ...] = (64, 64), **stats: float) -> EpochEnded:
    told = {"train_loss": 0.1234, "num_samples": 128, "batch_count": 4} | stats
    return EpochEnded(epoch, epoch * 4, told, 0.5, share)


TWO_EPOCHS: list[Event] = [
    RunStarted("fit", 2, 128, 4, 0, 2, "local[2]"),
    steps(0, 2),
    steps(0, 4),
    Validated(1, 4, {"loss": 0.5, "Accuracy": 0.98}),
    Checkpointed("/m/checkpoint-000000004", 4),
    ended(1, val_loss=0.5, val_Accuracy=0.98),
    steps(1, 2),
    steps(1, 4, (NAN, float("inf"))),
    ended(2),
    RunEnded("fit", 1.5),
]


class Failing:
    """Raises at the second event."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.heard, self.closed = error, 0, 0

    def put(self, _: Event) -> None:
        self.heard += 1
        if self.heard == 2:
            raise self.error

    def close(self) -> None:
        self.closed += 1
        raise ValueError("close fails too")


def test_every_listener_hears_every_event_but_ticks() -> None:
    first, second = MemorySink(), MemorySink()
    fan = Fan([first, second])
    for event in [*TWO_EPOCHS, Tick()]:
        fan.put(event)
    fan.close()
    assert first.events == second.events == TWO_EPOCHS


def test_a_listener_that_fails_is_dropped_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    failing, memory = Failing(RuntimeError("no space")), MemorySink()
    fan = Fan([failing, memory])
    with caplog.at_level(logging.WARNING):
        for event in TWO_EPOCHS:
            fan.put(event)
        fan.close()
    assert memory.events == TWO_EPOCHS
    assert (failing.heard, failing.closed) == (2, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "Failing failed and hears nothing more of this run, which goes on: RuntimeError: no space"
    ]


def test_ctrl_c_passes_through_the_fan() -> None:
    fan = Fan([Failing(KeyboardInterrupt())])
    fan.put(TWO_EPOCHS[0])
    with pytest.raises(KeyboardInterrupt):
        fan.put(TWO_EPOCHS[1])


def test_events_of_many_threads_come_one_at_a_time() -> None:
    class Counting:
        def __init__(self) -> None:
            self.inside, self.most = 0, 0

        def put(self, _: Event) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            threading.Event().wait(0.001)
            self.inside -= 1

        def close(self) -> None: ...

    counting = Counting()
    fan = Fan([counting])
    threads = [threading.Thread(target=fan.put, args=(TWO_EPOCHS[0],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert counting.most == 1


# ---- console --------------------------------------------------------------------------------------------------------


def spoken(events: list[Event], stream: io.StringIO | None = None) -> list[str]:
    stream = stream or io.StringIO()
    sink = ConsoleSink(stream)
    for event in events:
        sink.put(event)
    sink.close()
    return stream.getvalue().splitlines()


def test_one_plain_line_an_epoch_with_its_validation() -> None:
    assert spoken(TWO_EPOCHS) == [
        "epoch 1/2  loss 0.1234  256 rows/s  val_loss 0.5  val_Accuracy 0.98",
        "epoch 2/2  loss 0.1234  256 rows/s",
    ]


def test_in_a_notebook_the_lines_are_output_and_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    out, error = kernels(), kernels()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    sink = ConsoleSink()
    for event in TWO_EPOCHS:
        sink.put(event)
    assert (len(out.getvalue().splitlines()), error.getvalue()) == (2, "")
    redirected = io.StringIO()
    monkeypatch.setattr(sys, "stderr", redirected)
    sink = ConsoleSink()
    for event in TWO_EPOCHS:
        sink.put(event)
    assert (len(out.getvalue().splitlines()), len(redirected.getvalue().splitlines())) == (2, 2)


def test_validation_within_an_epoch_is_told_on_its_line() -> None:
    events = [TWO_EPOCHS[0], steps(0, 2), Validated(0, 2, {"AUC": 0.75}), steps(0, 4), ended(1), ended(2)]
    assert spoken(events) == [
        "epoch 1/2  loss 0.1234  256 rows/s  val_AUC 0.75",
        "epoch 2/2  loss 0.1234  256 rows/s",
    ]


def test_an_evaluation_is_one_line_and_a_prediction_none() -> None:
    evaluation = [RunStarted("evaluate", 1, 9, 1, 0, None), RunEnded("evaluate", 65.2, {"loss": 0.25, "MAE": 2})]
    assert spoken([*evaluation]) == ["evaluate  loss 0.25  MAE 2  in 1:05"]
    assert spoken([RunStarted("predict", 1, 9, 1, 0, None), RunEnded("predict", 1.0)]) == []


def test_an_end_that_only_a_trigger_knows_and_large_numbers() -> None:
    events = [RunStarted("fit", 1, None, None, 6, None), EpochEnded(7, 9, {"train_loss": 1e-7, "num_samples": 5e6}, 2)]
    assert spoken([*events]) == ["epoch 7  loss 1e-07  2,500,000 rows/s"]


def test_a_run_that_stops_within_an_epoch_says_where() -> None:
    assert spoken([TWO_EPOCHS[0], steps(0, 2), RunEnded("fit", 1.0)]) == [
        "epoch 1/2 stopped after 2 steps  loss 0.375  128 rows/s"
    ]
    assert spoken([TWO_EPOCHS[0], steps(0, 2), RunEnded("fit", 1.0, error="ValueError: no")]) == []


def test_what_ranks_log_has_the_rank_in_front() -> None:
    logged = [Logged(1, "WARNING", "a [b] c"), Logged(0, "PRINT", "hello"), Logged(2, "ERROR", "two\nlines")]
    assert spoken([*logged]) == ["[rank 1] WARNING a [b] c", "[rank 0] hello", "[rank 2] ERROR two", "lines"]


def test_ranks_without_rows_are_told_once_a_run() -> None:
    events = [TWO_EPOCHS[0], ended(1, (100, 0, 28, 0)), ended(2, (100, 0, 28, 0))]
    first, second, third = spoken([*events])
    assert first.startswith("WARNING ranks 1, 3 of 4 got no rows in epoch 1 (128 rows in all). Use fewer workers")
    assert (second[:9], third[:9]) == ("epoch 1/2", "epoch 2/2")


def test_a_recovery_is_told_with_its_reason() -> None:
    assert spoken([Resumed("/m/checkpoint-4", 4, 2, "RankLost: x"), Resumed("", 0, 3, "RankLost: y")]) == [
        "attempt 2 goes on from step 4 (/m/checkpoint-4) after: RankLost: x",
        "attempt 3 goes on from the beginning after: RankLost: y",
    ]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return Terminal()


def test_on_a_terminal_one_line_moves_and_finished_epochs_stay(terminal: Terminal) -> None:
    threads = threading.active_count()
    sink = ConsoleSink(terminal)
    for event in TWO_EPOCHS[:3]:
        sink.put(event)
    moving = terminal.getvalue().rpartition("\r")[2]
    assert "epoch 1/2" in moving and "4/4" in moving and "loss 0.375  128 rows/s  0:01 left" in moving
    assert threading.active_count() == threads
    for event in TWO_EPOCHS[3:6]:
        sink.put(event)
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert any(line.endswith("epoch 1/2  loss 0.1234  256 rows/s  val_loss 0.5  val_Accuracy 0.98") for line in lines)
    sink.close()
    sink.close()
    cursor = [part[0] for part in terminal.getvalue().split("\x1b[?25")[1:]]
    assert cursor[-1] == "h"


def test_steps_that_nobody_knows_are_learnt_from_the_first_epoch(terminal: Terminal) -> None:
    sink = ConsoleSink(terminal)
    for event in [RunStarted("fit", 1, None, None, 0, None), steps(0, 2)]:
        sink.put(event)
    assert "step 2 " in terminal.getvalue() and "left" not in terminal.getvalue()
    for event in [steps(0, 4), ended(1), steps(1, 2)]:
        sink.put(event)
    sink.close()
    assert "2/4" in terminal.getvalue()


def test_what_a_rank_logs_is_no_markup(terminal: Terminal) -> None:
    assert "[rank 1] WARNING [red]a[/nothing]" in spoken([Logged(1, "WARNING", "[red]a[/nothing]")], terminal)


def test_user_prints_into_a_file_stay_there(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    sink = ConsoleSink(terminal)
    sink.put(TWO_EPOCHS[0])
    print("mine")
    sink.close()
    assert file.getvalue() == "mine\n"
    assert "mine" not in terminal.getvalue()


@pytest.mark.parametrize("lack", ["rich", "moves"])
def test_a_terminal_without_rich_or_motion_gets_plain_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    if lack == "rich":
        monkeypatch.setattr(console, "installed", lambda _: False)
    else:
        monkeypatch.setenv("TERM", "dumb")
    assert len(spoken(TWO_EPOCHS, terminal)) == 2
    assert "\x1b" not in terminal.getvalue()


INTERRUPTED = """
from zoo.engine.events.console import ConsoleSink
from zoo.engine.events.events import RunStarted
sink = ConsoleSink()
sink.put(RunStarted("fit", 1, 8, 4, 0, 2))
raise KeyboardInterrupt
"""


def test_ctrl_c_gives_a_real_terminal_back_though_nobody_closes() -> None:
    ours, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "100"}
    try:
        done = subprocess.run([sys.executable, "-c", INTERRUPTED], stderr=theirs, env=env, timeout=60, check=False)
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode != 0
    assert "epoch 1/2" in shown and "KeyboardInterrupt" in shown
    assert shown.split("\x1b[?25")[-1][0] == "h"
    assert "\x1b[2K" in shown.split("starting")[-1]  # the moving line was erased


# ---- lines of JSON --------------------------------------------------------------------------------------------------


def test_each_event_is_one_object_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    sink = JsonlSink(str(path), clock=lambda: 1.5)
    sink.put(steps(1, 4, (NAN, float("inf"))))
    told = json.loads(path.read_text())
    sink.close()
    assert (told["event"], told["time"], told["losses"], told["rows"]) == ("StepsEnded", 1.5, [None, None], 64)


def test_numpy_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(f"file://{path}")
    sink.put(Validated(np.int64(1), 2, {"a": np.float32(0.5), "b": np.float32("nan")}))  # type: ignore[arg-type]
    sink.close()
    told = json.loads(path.read_text())
    assert (told["epoch"], told["results"]) == (1, {"a": 0.5, "b": None})


def test_a_log_goes_on_where_a_killed_writer_tore_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "Run')
    sink = JsonlSink(str(path))
    sink.put(RunEnded("fit", 1.0))
    sink.close()
    assert json.loads(path.read_text().splitlines()[1])["event"] == "RunEnded"


def test_an_event_log_needs_a_local_file_that_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="local path"):
        JsonlSink("memory://events.jsonl")
    (tmp_path / "events").mkdir()
    with pytest.raises(StorageFailed, match="events"):
        JsonlSink(str(tmp_path / "events"))


def write_every_kind(path: Path) -> None:
    sink = JsonlSink(str(path), clock=lambda: 1763661871.25)
    for event in [*TWO_EPOCHS, Logged(1, "WARNING", "ünder"), Resumed("", 0, 2, "RankLost: x")]:
        sink.put(event)
    sink.close()


def test_what_is_written_stays_what_it_was(tmp_path: Path) -> None:
    write_every_kind(tmp_path / "events.jsonl")
    assert (tmp_path / "events.jsonl").read_text() == GOLDEN.read_text()
