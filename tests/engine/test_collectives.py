"""Ranks agree: real processes, real gloo, every wait bounded."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import warm
from zoo.engine.collectives import join
from zoo.engine.collectives.solo import Solo
from zoo.engine.contracts import Collective, Rank, State
from zoo.engine.errors import PeerLost, UsageError

TIMEOUT = 20.0
TOKEN = "s3cret"


def run_rank(scene: Callable[..., Any], rank: Rank, timeout: float, pipe: Any) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        collective = join(rank, timeout)
        try:
            answer = scene(collective, rank)
        finally:
            collective.close()
            collective.close()  # idempotent
        pipe.send((True, answer))
    except Exception as error:
        pipe.send((False, (type(error).__name__, str(error), traceback.format_exc())))


def gang(scene: Callable[..., Any], world: int, rendezvous: str, timeout: float = TIMEOUT) -> list[tuple[bool, Any]]:
    pipes, processes = [], []
    for index in range(world):
        ours, theirs = warm.processes.Pipe()
        rank = Rank(index=index, world=world, rendezvous=rendezvous, token=TOKEN)
        process = warm.processes.Process(target=run_rank, args=(scene, rank, timeout, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    answers = [receive(pipe) for pipe in pipes]
    for process in processes:
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
    return answers


def receive(pipe: Any) -> tuple[bool, Any]:
    if not pipe.poll(3 * TIMEOUT):
        return False, ("Hang", "no answer in time", "")
    try:
        return pipe.recv()
    except EOFError:
        return False, ("Killed", "", "")


def state_of(seed: int) -> State:
    rng = np.random.default_rng(seed)
    big = rng.normal(size=(300, 1000))
    big.flags.writeable = False
    arrays = {
        "model/w": rng.normal(size=(3, 4)).astype(np.float32),
        "model/steps": np.array(seed),
        "model/empty": np.zeros((0, 3), np.float32),
        "model/mask": np.array([True, False]),
        "model/strided": np.arange(12.0).reshape(3, 4).T,
        "optimizer/big": big,
        "optimizer/half": np.arange(5, dtype=np.uint16),
    }
    return State(arrays, {"rates": {"step": seed}, "name": "ünï", "none": None})


def agree(collective: Collective, rank: Rank) -> dict[str, Any]:
    """Every call once, and the same twice where order could matter."""
    import torch

    index, world = rank.index, rank.world
    mine = np.array([index + 1, 10.0])
    summed = collective.sum(mine)
    shares = [1 / 2, 1 / 2, 0.0] if world == 3 else [1 / world] * world
    numpy_bucket = np.full(4, index + 1.0, np.float32)
    buckets = [torch.full((1000,), float(index + 1)) for _ in range(3)]
    with collective.average([shares[index]]) as (ready,):
        ready(numpy_bucket)
        for bucket in buckets:
            ready(bucket)
    received = collective.broadcast(state_of(index))
    sent = [np.full(100 * index + other, index, np.uint8) for other in range(world)]
    return {
        "exchange": [(piece.size, np.unique(piece).tolist()) for piece in collective.exchange(sent)],
        "sum": summed.tolist(),
        "kept": mine.tolist(),
        "ints": collective.sum(np.array([[index]])).tolist(),
        "gather": collective.gather({"rank": index, "text": "é" * (100 * index)}),
        "numpy": numpy_bucket.tolist(),
        "torch": [bucket.unique().tolist() for bucket in buckets],
        "names": list(received.arrays),
        "same": all(
            np.array_equal(array, state_of(0).arrays[name]) and array.dtype == state_of(0).arrays[name].dtype
            for name, array in received.arrays.items()
        ),
        "values": dict(received.values),
    }


@pytest.mark.parametrize("world", [1, 2, 3])
def test_all_ranks_get_the_same_answers(world: int, tmp_path: Any) -> None:
    answers = gang(agree, world, f"file://{tmp_path}/store")
    assert all(good for good, _ in answers), answers
    shares = [1 / 2, 1 / 2, 0.0] if world == 3 else [1 / world] * world
    mean = sum(share * (index + 1) for index, share in enumerate(shares))
    for index, (_, answer) in enumerate(answers):
        assert answer["sum"] == [world * (world + 1) / 2, 10.0 * world]
        assert answer["kept"] == [index + 1, 10.0]
        assert answer["ints"] == [[world * (world - 1) // 2]]
        sizes = [100 * sender + index for sender in range(world)]
        assert answer["exchange"] == [(size, [sender] if size else []) for sender, size in enumerate(sizes)]
        assert answer["gather"] == [{"rank": i, "text": "é" * (100 * i)} for i in range(world)]
        assert np.allclose(answer["numpy"], mean) and np.allclose(answer["torch"], mean)
        assert answer["names"] == list(state_of(0).arrays) and answer["same"]
        assert answer["values"] == dict(state_of(0).values)


def lose_rank_0(collective: Collective, rank: Rank) -> float:
    collective.sum(np.ones(1))
    if rank.index == 0:
        time.sleep(0.5)
        os._exit(9)
    started = time.monotonic()
    with pytest.raises(PeerLost) as caught, collective.average([0.5]) as (ready,):
        ready(np.ones(1000))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert f"rank {rank.index} of 3" in str(caught.value)
    return time.monotonic() - started


def test_a_killed_rank_is_noticed_by_all_others(tmp_path: Any) -> None:
    answers = gang(lose_rank_0, 3, f"file://{tmp_path}/store")
    assert answers[0][1][0] == "Killed"
    for good, answer in answers[1:]:
        assert good, answer
        assert answer < TIMEOUT / 2  # noticed, not timed out


def fail_on_rank_1(collective: Collective, rank: Rank) -> None:
    with collective.average([0.5]) as (ready,):
        ready(np.ones(3))
        if rank.index == 1:
            raise KeyError("user code")
        ready(np.ones(3))


def test_an_exception_inside_average_leaves_at_once(tmp_path: Any) -> None:
    answers = gang(fail_on_rank_1, 2, f"file://{tmp_path}/store")
    assert [answer[0] for _, answer in answers] == ["PeerLost", "KeyError"], answers


def come_late(collective: Collective, rank: Rank) -> list[int]:
    if rank.index == 1:
        time.sleep(2.0)
    return collective.gather(rank.index, patience=TIMEOUT)


def test_a_peer_may_come_later_than_the_time_out_where_patience_is_asked_for(tmp_path: Any) -> None:
    answers = gang(come_late, 3, f"file://{tmp_path}/store", timeout=1.5)
    assert answers == [(True, [0, 1, 2])] * 3


def leave_before_the_meeting(collective: Collective, rank: Rank) -> float:
    if rank.index == 1:
        raise KeyError("user code")
    started = time.monotonic()
    with pytest.raises(PeerLost, match="left"):
        collective.gather(rank.index, patience=10 * TIMEOUT)
    return time.monotonic() - started


def test_a_patient_rank_hears_that_a_peer_has_left(tmp_path: Any) -> None:
    answers = gang(leave_before_the_meeting, 2, f"file://{tmp_path}/store")
    assert [good for good, _ in answers] == [True, False], answers
    assert answers[0][1] < TIMEOUT


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_ranks_meet_over_tcp_too() -> None:
    answers = gang(agree, 2, f"tcp://127.0.0.1:{free_port()}")
    assert all(good for good, _ in answers), answers
    assert answers[1][1]["sum"] == [3.0, 20.0]


def test_a_peer_that_never_comes_is_a_lost_peer(tmp_path: Any) -> None:
    with pytest.raises(PeerLost, match="rank 0 of 2 waited for a peer that has left, or did not come"):
        join(Rank(index=0, world=2, rendezvous=f"file://{tmp_path}/store"), timeout=1.0)
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def test_an_unknown_rendezvous_is_refused() -> None:
    with pytest.raises(UsageError, match="file:///path or tcp://host:port. Received: 'http://x'"):
        join(Rank(index=0, world=2, rendezvous="http://x"), timeout=1.0)


def test_one_rank_needs_no_torch() -> None:
    collective = join(Rank(), timeout=1.0)
    assert isinstance(collective, Solo)
    bucket = np.ones(3)
    with collective.average([1.0]) as (ready,):
        ready(bucket)
    assert bucket.tolist() == [1, 1, 1]
    with collective.average([0.5]) as (ready,):
        ready(bucket)
    assert bucket.tolist() == [0.5, 0.5, 0.5]
