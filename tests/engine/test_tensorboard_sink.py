"""TensorBoard logs: what is written is read back, by us and by TensorBoard, also after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from zoo.engine import storage
from zoo.engine.errors import MissingDependency, UsageError
from zoo.engine.events import tensorboard
from zoo.engine.events.events import EpochEnded, Resumed, StepsEnded, Validated
from zoo.engine.events.tensorboard import TensorBoardSink, read_scalars

pytest.importorskip("tensorboard")


def stretch(first: int, losses: tuple[float, ...], seconds: float = 2.0) -> StepsEnded:
    return StepsEnded(first, losses, (0.5,) * len(losses), 64, seconds, 0.0, 0, len(losses))


def write(log_dir: str, *events: object, start: float = 100.0) -> None:
    ticks = count(start, 10.0)
    sink = TensorBoardSink(log_dir, "app", {"Accuracy": "Top1Accuracy"}, clock=lambda: next(ticks))
    for event in events:
        sink.put(event)  # type: ignore[arg-type]
    sink.close()


@pytest.fixture(params=["local", "memory"])
def log_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "logs")
    else:
        url = f"memory://{uuid.uuid4().hex}"
        yield url
        storage.remove_tree(url)


def test_scalars_come_back_by_step(log_dir: str) -> None:
    validated = Validated(1, 3, {"loss": 0.5, "Accuracy": 0.75, "MAE": 2.0})
    write(log_dir, stretch(1, (1.0, 0.5)), stretch(3, (0.25,), 0.0), validated, EpochEnded(1, 3, {}, 1.0))
    assert read_scalars(log_dir, "app", "train", "Loss") == [[1, 1.0, 99.0], [2, 0.5, 100.0], [3, 0.25, 110.0]]
    assert read_scalars(log_dir, "app", "train", "Throughput") == [[2, 32.0, 100.0]]
    assert [rate for _, rate, _ in read_scalars(log_dir, "app", "train", "LearningRate")] == [0.5, 0.5, 0.5]
    for tag, value in {"Loss": 0.5, "Top1Accuracy": 0.75, "MAE": 2.0}.items():
        assert read_scalars(log_dir, "app", "validation", tag) == [[3, value, 120.0]]
    with pytest.raises(UsageError, match=r"of Loss, MAE, Top1Accuracy, and none of 'Accuracy'.*mean 'Top1Accuracy'"):
        read_scalars(log_dir, "app", "validation", "Accuracy")
    assert read_scalars(log_dir, "nothing", "train", "Loss") == []


def test_tensorboard_itself_reads_the_same(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    write(str(tmp_path), stretch(1, (1.0, 0.5)))
    (file,) = (tmp_path / "app" / "train").iterdir()
    events = list(LegacyEventFileLoader(str(file)).Load())
    assert events[0].file_version == "brain.Event:2"
    told = [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]
    assert [(step, value) for step, tag, value in told if tag == "Loss"] == [(1, 1.0), (2, 0.5)]


def test_nothing_to_write_makes_no_file(tmp_path: Path) -> None:
    write(str(tmp_path), Resumed("", 0, 2, "x"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_put_can_be_read_before_the_run_ends(tmp_path: Path) -> None:
    threads = threading.active_count()
    sink = TensorBoardSink(str(tmp_path), "app")
    sink.put(stretch(1, (1.0,)))
    assert len(read_scalars(str(tmp_path), "app", "train", "Loss")) == 1
    assert threading.active_count() == threads
    sink.close()
    sink.close()


def test_a_later_process_goes_on_and_a_resumed_run_replaces(log_dir: str) -> None:
    write(log_dir, stretch(1, (1.0, 2.0, 3.0)), Resumed("/c", 1, 2, "x"), stretch(2, (20.0, 30.0)))
    write(log_dir, stretch(3, (300.0, 400.0)), start=1000.0)
    losses = read_scalars(log_dir, "app", "train", "Loss")
    assert [(step, value) for step, value, _ in losses] == [(1, 1.0), (2, 20.0), (3, 300.0), (4, 400.0)]


def test_a_file_torn_anywhere_gives_its_whole_records(tmp_path: Path) -> None:
    write(str(tmp_path), stretch(1, (1.0, 0.5, 0.25)))
    (file,) = (tmp_path / "app" / "train").iterdir()
    data = file.read_bytes()
    whole = read_scalars(str(tmp_path), "app", "train", "Loss")
    for size in range(len(data)):
        file.write_bytes(data[:size])
        read = read_scalars(str(tmp_path), "app", "train", "Loss")
        assert read == whole[: len(read)] and len(read) < len(whole)


def test_without_tensorboard_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    tensorboard._protocol.cache_clear()
    with pytest.raises(MissingDependency, match=r"openzoo\[tensorboard\]"):
        TensorBoardSink(str(tmp_path), "app")


LIGHT = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        assert name not in ("tensorflow", "torch", "keras", "jax"), name
sys.meta_path.insert(0, Watch())
from zoo.engine.events.events import StepsEnded
from zoo.engine.events.tensorboard import TensorBoardSink, read_scalars
sink = TensorBoardSink(sys.argv[1], "app")
sink.put(StepsEnded(1, (1.0,), (0.1,), 8, 1.0, 0.0, 0, 1))
sink.close()
assert len(read_scalars(sys.argv[1], "app", "train", "Loss")) == 1
"""


def test_no_framework_is_imported_for_a_log(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", LIGHT, str(tmp_path)], env=env, timeout=60, check=True)
