"""Rows kept in memory or on disk come back the same, within the budget."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.data.columns import ArraySpec
from zoo.engine.data.spool import Spool
from zoo.engine.data.text import Text, stored
from zoo.engine.errors import DataError, StorageFailed

MEMORY = {"memory": 1 << 30, "at once on disk": 1, "half-way to disk": 4000}


@contextmanager
def closing(spool: Spool) -> Iterator[Spool]:
    try:
        yield spool
    finally:
        spool.close()
        spool.close()


def rows(start: int, stop: int) -> tuple[np.ndarray, ...]:
    numbers = np.arange(start, stop)
    return (
        np.repeat(numbers, 6).reshape(-1, 2, 3).astype("f4"),
        numbers,
        np.array([f"é{n}" * (n % 3) for n in numbers], object),
        np.array([b"%d" % n * (n % 4) for n in numbers], object),
        np.zeros((len(numbers), 0), "f4"),
        numbers % 2 == 0,
    )


@pytest.mark.parametrize("memory", MEMORY.values(), ids=MEMORY.keys())
@given(cuts=st.lists(st.integers(0, 100), max_size=5), indices=st.lists(st.integers(0, 99), max_size=20))
def test_any_rows_come_back(memory: int, cuts: list[int], indices: list[int]) -> None:
    borders = [0, *sorted(cuts), 100]
    with closing(Spool(memory)) as spool:
        for start, stop in pairwise(borders):
            spool.append(rows(start, stop))
        columns = spool.seal()
        assert spool.rows == 100 and spool.on_disk == (memory < 1 << 30)
        at = np.array(indices, np.intp)
        for column, whole in zip(columns, rows(0, 100), strict=True):
            taken = column.take(at)
            assert taken.dtype == whole.dtype and taken.shape == whole[at].shape
            np.testing.assert_array_equal(taken, whole[at])
            out = np.empty_like(whole[at])
            assert column.take(at, out) is out
            np.testing.assert_array_equal(out, whole[at])


@pytest.mark.parametrize("memory", MEMORY.values(), ids=MEMORY.keys())
@pytest.mark.parametrize("expected", [None, 3, 100, 100_000])
def test_columns_may_come_one_after_the_other(memory: int, expected: int | None) -> None:
    with closing(Spool(memory, expected=expected)) as spool:
        spool.append(rows(0, 10))
        cuts = ([10, 100], [10, 11, 11, 100], [10, 50, 100], [10, 20, 30, 100], [10, 100], [10, 99, 100])
        spool.extend([[rows(*cut)[at] for cut in pairwise(borders)] for at, borders in enumerate(cuts)])
        spool.extend([[] for _ in cuts])
        assert spool.rows == 100 and spool.on_disk == (memory < 1 << 30)
        for column, whole in zip(spool.seal(), rows(0, 100), strict=True):
            np.testing.assert_array_equal(column.take(np.arange(100)), whole, strict=True)


def test_what_is_taken_does_not_die_with_the_spool() -> None:
    with closing(Spool(1)) as spool:
        spool.append(rows(0, 50))
        columns = spool.seal()
        taken = [column.take(np.array([7, 3])) for column in columns]
    for got, whole in zip(taken, rows(0, 50), strict=True):
        np.testing.assert_array_equal(got, whole[[7, 3]])
    with pytest.raises(IndexError):
        columns[0].take(np.array([7]))


def test_no_rows_still_have_columns() -> None:
    specs = (ArraySpec("a", np.dtype("f4"), (None, 2)), ArraySpec("b", np.dtype(object), ()))
    with closing(Spool(10, specs)) as spool:
        spool.append((np.zeros((0, 3, 2), "f4"), np.zeros(0, object)))
        shapes = [column.take(np.empty(0, np.intp)).shape for column in spool.seal()]
    assert shapes == [(0, 0, 2), (0,)]


def test_rows_of_another_shape_are_ragged() -> None:
    with closing(Spool(10, [ArraySpec("x", np.dtype("f4"), (None,))])) as spool:
        spool.append((np.zeros((2, 3), "f4"),))
        with pytest.raises(DataError, match="'x' is ragged.*between 3 and 4"):
            spool.append((np.zeros((2, 4), "f4"),))
        with pytest.raises(DataError, match="'x' is ragged.*between 2 and 3"):
            spool.extend([[np.zeros((2, 3), "f4"), np.zeros((2, 2), "f4")]])


def test_mixed_objects_are_refused() -> None:
    with closing(Spool(1)) as spool, pytest.raises(DataError, match="mixes kinds"):
        spool.append((np.array(["a", b"b"], object),))


@pytest.mark.parametrize("memory", MEMORY.values(), ids=MEMORY.keys())
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_arrows_text_goes_in_without_objects(memory: int, kind: pa.DataType) -> None:
    words = ["", "é", "a longer word than a view holds inline", ""] * 10
    spec = ArraySpec("t", np.dtype(object), ())
    with closing(Spool(memory, [spec])) as spool:
        for start in (0, 17, 17):
            piece = stored(pa.array(["gone", *words]).cast(kind)[start + 1 : 41], spec)
            assert isinstance(piece, Text)
            spool.append([piece])
        taken = spool.seal()[0].take(np.array([63, 2, 40, 0])).tolist()
    expected = [words[17:][0], words[2], words[17:][0], words[0]]
    assert taken == [word.encode() if kind == pa.binary() else word for word in expected]


def test_nulls_in_text_are_refused() -> None:
    with pytest.raises(DataError, match="'t' has 1 null"):
        stored(pa.array(["a", None]), ArraySpec("t", np.dtype(object), ()))


def test_files_have_no_name(tmp_path: Path) -> None:
    with closing(Spool(1, directory=str(tmp_path))) as spool:
        spool.append(rows(0, 10))
        assert spool.on_disk and not list(tmp_path.iterdir())


def test_a_full_disk_names_the_knobs(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool = Spool(1000, directory=str(tmp_path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # beyond it, writing fails with EFBIG
    spool.append((np.zeros(1000),))
    try:
        with pytest.raises(
            StorageFailed, match=rf"{tmp_path} is full .* 50,000 rows need 400,000 bytes.*TMPDIR.*memory="
        ):
            spool.append((np.zeros(49_000),))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir()) and len(os.listdir("/proc/self/fd")) == before


GROWTH = """
import resource, sys
import numpy as np
from zoo.engine.data.spool import Spool

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

spool = Spool(20 << 20)
chunk = np.ones((1000, 1000), "f4")
before = peak = resident()
for n in range(50):
    spool.append((chunk * n, np.arange(n * 1000, n * 1000 + 1000)))
    peak = max(peak, resident())
big, small = spool.seal()
random = np.random.default_rng(0)
for _ in range(2000):
    at = random.integers(0, spool.rows, 32)
    assert (big.take(at)[:, 0] == small.take(at) // 1000).all()
    peak = max(peak, resident())
print((peak - before) >> 20)
"""


def test_memory_stays_under_the_budget() -> None:
    """200 MB under a budget of 20 MB, read at random: what is resident grows by the budget and a chunk or two."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=60, check=True)
    assert 5 < int(done.stdout) < 35, done.stdout


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak anew")
def test_one_take_of_rows_far_apart_stays_within_the_budget(tmp_path: Path) -> None:
    spool = Spool(16 << 20, directory=str(tmp_path))
    for _ in range(12):
        spool.append([np.ones((2048, 1024), np.float32)])  # 8 MB each
    (column,) = spool.seal()
    rows = np.arange(0, 12 * 2048, 48)  # all over the file: each may map 2 MB around it
    before = peak_from_now_on()
    column.take(rows)
    assert memory_of("VmHWM") - before < 24 << 20
    spool.close()


def peak_from_now_on() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return memory_of("VmHWM")


def memory_of(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
