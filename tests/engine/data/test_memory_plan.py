"""How much of the rows is in memory, and what is refused because it cannot be: before the first step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.data.spool import Spool
from zoo.engine.errors import StorageFailed, UsageError
from zoo.orca import OrcaContext
from zoo.orca.learn.pytorch import Estimator


@pytest.fixture(autouse=True)
def inline() -> Iterator[None]:
    session.begin(InlineCluster())
    yield
    session.end()


def rows(count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(count, 4)).astype(np.float32), draw.normal(size=(count, 1)).astype(np.float32)


def trained(**words: object) -> list[np.ndarray]:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    made = Estimator.from_torch(model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), loss=nn.MSELoss())
    made.fit(rows(), epochs=2, batch_size=100, **words)
    return [parameter.detach().numpy().copy() for parameter in model.parameters()]


@pytest.fixture
def disk_4() -> Iterator[None]:
    OrcaContext.train_data_store = "DISK_4"
    yield
    OrcaContext.train_data_store = "DRAM"


@pytest.mark.usefixtures("disk_4")
def test_a_disk_store_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    spools: list[Spool] = []
    begin = Spool.__init__

    def noted(self: Spool, *of: object, **named: object) -> None:
        begin(self, *of, **named)  # type: ignore[arg-type]
        spools.append(self)

    monkeypatch.setattr(Spool, "__init__", noted)
    on_disk = trained()
    OrcaContext.train_data_store = "DRAM"
    in_memory = trained()
    assert [spool.on_disk for spool in spools] == [True, False]
    for one, other in zip(in_memory, on_disk, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("share", [1, 4, 1000])
def test_of_rows_on_disk_no_more_than_their_share_may_be_in_memory(share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr("zoo.engine.data.spool.Window", lambda limit: limits.append(limit) or Limited(limit))
    spool = Spool(1 << 30, disk=share)
    x = np.arange(4000, dtype=np.int64)
    spool.append([x])
    assert spool.on_disk
    (column,) = spool.seal()
    np.testing.assert_array_equal(column.take(np.array([3999, 0, 17])), [3999, 0, 17])
    assert limits == [32_000 // share]
    spool.close()


class Limited:
    """A window that lets everything pass."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def join(self, pages: object) -> None: ...

    def grow(self, count: int) -> None: ...


def test_a_step_that_is_larger_than_the_budget_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        UsageError,
        match=r"a step has 100 rows of about 20 bytes on this rank, 2,000 bytes, and memory= allows 1,999\. "
        r"Give memory= more, a smaller batch_size, or more ranks",
    ):
        trained(memory=1999)
    assert len(trained(memory=2000)) == 2


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(50_000, 40_001, 9_999))


@pytest.mark.usefixtures("nearly_full")
def test_rows_that_neither_memory_nor_disk_holds_are_refused_before_they_are_read() -> None:
    with pytest.raises(
        StorageFailed,
        match=r"this rank's 1,000 rows need about 20,000 bytes: more than memory= keeps \(5,000\), "
        r"and than .* has free \(9,999\)\. Point TMPDIR",
    ):
        trained(memory=10_000)


@pytest.mark.usefixtures("nearly_full")
def test_a_full_disk_does_not_matter_to_rows_that_memory_holds() -> None:
    assert len(trained(memory=40_000)) == 2
