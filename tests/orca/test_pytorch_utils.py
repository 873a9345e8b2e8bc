"""Meters and timers add up."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.orca.learn.pytorch.utils import (
    AverageMeter,
    AverageMeterCollection,
    TimerCollection,
    TimerStat,
    find_free_port,
)

BATCHES = st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 50)), min_size=1)


@given(BATCHES)
def test_a_mean_over_batches_is_that_over_rows(batches: list[tuple[float, int]]) -> None:
    meter = AverageMeter()
    for value, rows in batches:
        meter.update(value, rows)
    every = [value for value, rows in batches for _ in range(rows)]
    assert meter.avg == pytest.approx(sum(every) / len(every), abs=1e-9)
    assert (meter.val, meter.count) == (batches[-1][0], len(every))
    meter.reset()
    assert (meter.avg, meter.count) == (0, 0)


def test_a_collection_sums_up() -> None:
    meters = AverageMeterCollection()
    meters.update({"train_loss": 1.0}, n=3)
    meters.update({"train_loss": 3.0, "hits": 1}, n=1)
    assert meters.summary() == {
        "batch_count": 2, "num_samples": 4, "train_loss": 1.5, "last_train_loss": 3.0, "hits": 1.0, "last_hits": 1,
    }  # fmt: skip


def test_a_timer_looks_at_its_window() -> None:
    timer = TimerStat(window_size=3)
    assert (timer.mean, timer.median, timer.max, timer.first, timer.last, timer.mean_throughput) == (0,) * 6
    for seconds in (9.0, 1.0, 2.0, 6.0):
        timer.push(seconds)
        timer.push_units_processed(3)
    assert (timer.mean, timer.median, timer.sum, timer.max, timer.first, timer.last) == (3, 2, 9, 6, 1, 6)
    assert (timer.size, timer.count, timer.mean_units_processed, timer.mean_throughput) == (3, 4, 3, 1)
    timer.reset()
    with timer:
        pass
    assert timer.size == 1
    assert timer.last >= 0


def test_timers_by_name() -> None:
    timers = TimerCollection()
    with timers.record("forward"):
        pass
    timers.disable()
    with timers.record("backward"):
        pass
    timers.enable()
    assert timers.stats(last=True).keys() == {"mean_forward_s", "last_forward_s"}
    assert timers.stats(mean=False) == {}
    timers.reset()
    assert timers.stats() == {}


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("", find_free_port()))
