"""Checkpoints: what goes in comes out, half a one is none, and a damaged one is refused with its reason."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.engine import checkpoint, storage
from zoo.engine.contracts import State
from zoo.engine.errors import CheckpointDamaged, StorageFailed, UsageError
from zoo.engine.progress import Progress

GOLDEN = Path(__file__).parent.parent / "golden"
STATE = State(
    {
        "model/layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "model/layer.steps": np.array(7, dtype=np.int64),
        "optimizer/0/exp_avg": np.full((2, 3), 0.5, np.float32),
        "rng/torch": np.arange(8, dtype=np.uint8),
    },
    {"optimizer": {"lr": 0.1, "groups": [0, 1]}, "nothing": None},
)
PLAN = {"seed": 3, "epoch": 1, "step": 4}
NOW = datetime(2026, 11, 20, 18, 4, 31)


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "run")
    else:
        url = f"memory://{uuid.uuid4().hex}/run"
        yield url
        storage.remove_tree(url)


def at(step: int) -> Progress:
    return Progress(epoch=1, step=step, rows=step * 32, step_in_epoch=4, loss=0.25, score=0.9)


def save(directory: str, step: int, state: State = STATE) -> str:
    return checkpoint.save(directory, state, at(step), PLAN, {"by": "a test"})


def newest_step(directory: str) -> int | None:
    found = checkpoint.latest(directory).checkpoint
    return found and found.progress.step


def assert_equal_states(left: State, right: State) -> None:
    assert dict(left.values) == dict(right.values)
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        assert array.dtype == right.arrays[name].dtype
        np.testing.assert_array_equal(array, right.arrays[name], strict=True)


def test_everything_comes_back(place: str) -> None:
    path = save(place, 12)
    assert path == f"{place}/checkpoint-000000012"
    assert storage.list_names(place) == ["checkpoint-000000012"]
    back = checkpoint.load(path)
    assert_equal_states(back.state, STATE)
    assert (back.progress, back.plan, back.extra, back.path) == (at(12), PLAN, {"by": "a test"}, path)
    assert all(array.flags.writeable for array in back.state.arrays.values())


names = st.tuples(st.sampled_from(["model", "optimizer", "rng"]), st.text(st.characters(codec="utf-8"))).map("/".join)
dtypes = st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, arrays, max_size=4), st.dictionaries(st.text(), plain, max_size=3), st.booleans())
def test_any_state_comes_back(held: dict[str, np.ndarray], values: dict[str, Any], turned: bool) -> None:
    directory = f"memory://{uuid.uuid4().hex}"
    held = {name: array.T if turned else array for name, array in held.items()}  # not contiguous
    try:
        back = checkpoint.load(checkpoint.save(directory, State(held, values), Progress(), None))
        assert_equal_states(back.state, State(held, values))
        assert math.isnan(back.progress.loss)
        assert (back.plan, back.extra) == (None, {})
    finally:
        storage.remove_tree(directory)


def test_arrays_of_the_other_byte_order_keep_their_values(tmp_path: Path) -> None:
    path = save(str(tmp_path), 1, State({"model/w": np.array([1.5, 2.5], ">f4")}, {}))
    assert checkpoint.load(path).state.arrays["model/w"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State({"weights": np.zeros(1)}, {}), "'weights'"),
        (State({"model/w": np.array(["text"])}, {}), "<U4"),
        (State({"model/w": np.array([object()])}, {}), "object"),
        (State({}, {"a": [{0: "int key"}]}), "strings as keys"),
        (State({}, {"a": object()}), "plain values"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path: Path, state: State, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        save(str(tmp_path), 1, state)
    assert os.listdir(tmp_path) == []


def test_the_newest_is_found_by_steps_not_by_name_order(place: str) -> None:
    for step in (9, 10, 999_999_999, 1_000_000_000):
        save(place, step)
    assert newest_step(place) == 1_000_000_000
    assert [path.rpartition("-")[2] for path in checkpoint.list_checkpoints(place)] == [
        "000000009",
        "000000010",
        "999999999",
        "1000000000",
    ]


def test_a_model_directory_gives_its_newest_run_and_a_checkpoint_gives_itself(place: str) -> None:
    old = checkpoint.new_run_directory(place, NOW)
    save(old, 50)
    newer = storage.join(place, "2026-11-20_18-04-31-2")
    path = save(newer, 20)
    storage.write_atomically(storage.join(place, "2026-12-01_00-00-00", "log.txt"), b"no checkpoint yet")
    assert newest_step(place) == 20
    assert newest_step(old) == 50
    assert newest_step(path) == 20
    assert [found.rpartition("/")[2] for found in checkpoint.list_checkpoints(place)] == [
        "checkpoint-000000050",
        "checkpoint-000000020",
    ]


def test_a_copied_checkpoint_of_another_name_gives_itself(tmp_path: Path) -> None:
    path = Path(save(str(tmp_path), 5))
    path.rename(tmp_path / "best")
    assert newest_step(str(tmp_path / "best")) == 5


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_no_checkpoint_is_an_answer(tmp_path: Path, where: str) -> None:
    (tmp_path / "empty").mkdir()
    assert checkpoint.latest(str(tmp_path / where)) == checkpoint.Found(None, ())


def test_run_directories_of_one_second_differ(tmp_path: Path) -> None:
    made = [checkpoint.new_run_directory(str(tmp_path), NOW) for _ in range(3)]
    assert [Path(path).name for path in made] == [
        "2026-11-20_18-04-31",
        "2026-11-20_18-04-31-2",
        "2026-11-20_18-04-31-3",
    ]
    assert all(Path(path).is_dir() for path in made)


FILES = [
    "manifest.json",
    "progress.json",
    "values.json",
    "model.safetensors",
    "optimizer.safetensors",
    "rng.safetensors",
]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
def test_a_damaged_one_is_refused_and_the_one_before_used(place: str, name: str, damage: str) -> None:
    save(place, 1)
    path = save(place, 2)
    file = storage.join(path, name)
    data = storage.read_bytes(file)
    if damage == "delete":
        storage.remove_tree(file)
    else:
        storage.write_atomically(file, {"flip": flipped(data), "truncate": data[:-1], "empty": b""}[damage])
    with pytest.raises(CheckpointDamaged, match=name) as refused:
        checkpoint.load(path)
    found = checkpoint.latest(place)
    assert found.checkpoint is not None and found.checkpoint.progress.step == 1
    assert found.damaged == ((path, str(refused.value)),)


def test_no_byte_of_the_manifest_can_change_unseen(tmp_path: Path) -> None:
    path = save(str(tmp_path), 1)
    manifest = Path(path) / "manifest.json"
    data = manifest.read_bytes()
    for position in range(len(data)):
        manifest.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(CheckpointDamaged):
            checkpoint.load(path)


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    path = save(str(tmp_path), 1)
    manifest = Path(path) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointDamaged, match="format version 2"):
        checkpoint.load(path)


def test_no_pickle_is_read(tmp_path: Path) -> None:
    path = Path(save(str(tmp_path), 1))
    assert sorted(file.suffix for file in path.iterdir()) == [".json"] * 3 + [".safetensors"] * 3


@pytest.mark.parametrize("broken", ["rename", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    save(str(tmp_path), 1)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StorageFailed):
            save(str(tmp_path), 2)
    assert os.listdir(tmp_path) == ["checkpoint-000000001"]
    assert newest_step(str(tmp_path)) == 1


def test_a_step_is_replaced_by_a_later_save(place: str) -> None:
    save(place, 1)
    path = save(place, 1, State({"model/w": np.zeros(2)}, {}))
    assert list(checkpoint.load(path).state.arrays) == ["model/w"]
    assert storage.list_names(place) == ["checkpoint-000000001"]


def test_a_replacement_that_fails_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(str(tmp_path), 1)
    real, calls = os.rename, []

    def second_fails(old: object, new: object) -> None:
        calls.append(old)
        if len(calls) == 2:
            raise OSError(5, "no")
        real(old, new)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(StorageFailed):
        save(str(tmp_path), 1, State({}, {}))
    assert os.listdir(tmp_path) == ["checkpoint-000000001"]
    assert_equal_states(checkpoint.load(str(tmp_path / "checkpoint-000000001")).state, STATE)


KILLED = """
import os, sys
import numpy as np
from zoo.engine import checkpoint
from zoo.engine.contracts import State
from zoo.engine.progress import Progress
for step in (1, 2):
    if step == 2:
        os.rename = lambda *_: os.kill(os.getpid(), 9)
    checkpoint.save(sys.argv[1], State({"model/w": np.full(3, step)}, {}), Progress(step=step), None)
"""


def test_a_killed_writer_leaves_the_one_before_and_its_rest_is_cleared_when_stale(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, timeout=60, check=False)
    assert done.returncode == -9
    left = [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert len(left) == 1
    assert newest_step(str(tmp_path)) == 1
    assert checkpoint.latest(str(tmp_path)).damaged == ()
    save(str(tmp_path), 3)
    assert left[0] in os.listdir(tmp_path)  # perhaps somebody's work
    hours_ago = time.time() - 7200
    for entry in (tmp_path / left[0], *(tmp_path / left[0]).iterdir()):
        os.utime(entry, (hours_ago, hours_ago))
    save(str(tmp_path), 4)
    assert sorted(os.listdir(tmp_path)) == [f"checkpoint-00000000{step}" for step in (1, 3, 4)]


def test_prune_keeps_the_newest_whole_ones(place: str) -> None:
    for step in range(1, 6):
        save(place, step)
    storage.remove_tree(f"{place}/checkpoint-000000002/manifest.json")
    storage.remove_tree(f"{place}/checkpoint-000000005/manifest.json")
    removed = checkpoint.prune(place, keep=2)
    assert removed == [f"{place}/checkpoint-000000002", f"{place}/checkpoint-000000001"]
    assert storage.list_names(place) == [f"checkpoint-00000000{step}" for step in (3, 4, 5)]
    with pytest.raises(UsageError, match="Received: 0"):
        checkpoint.prune(place, keep=0)


def test_prune_leaves_other_runs_alone(tmp_path: Path) -> None:
    run = checkpoint.new_run_directory(str(tmp_path), NOW)
    save(run, 1)
    save(run, 2)
    assert checkpoint.prune(str(tmp_path), keep=1) == []
    assert len(checkpoint.list_checkpoints(str(tmp_path))) == 2


def test_a_checkpoint_of_format_1_loads_for_ever() -> None:
    found = checkpoint.latest(str(GOLDEN / "checkpoint-v1"))
    assert found.damaged == () and found.checkpoint is not None
    assert_equal_states(found.checkpoint.state, STATE)
    assert found.checkpoint.progress == at(12)
    assert (found.checkpoint.plan, found.checkpoint.extra) == (PLAN, {"by": "a test"})
