"""Hashes of key columns: the same for equal values, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.data.keys import hashes, parts_of
from zoo.engine.errors import DataError

PROGRAM = """
import pandas as pd
from zoo.engine.data.keys import hashes
frame = pd.DataFrame({"a": ["ä", None, b"x", ("t", 1)], "b": [1, 2.5, True, None]})
print(hashes(frame, ["a", "b"]).tolist())
"""


def test_every_process_finds_the_same() -> None:
    found = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True)
        found.add(done.stdout)
    assert len(found) == 1 and found.pop().count(b",") == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 0], [1.0, -0.0]),
        ([True, False], pd.array([1, 0], "Int8")),
        ([1, 2], np.array([1, 2], object)),
        (["a", "b"], pd.Categorical(["a", "b"])),
        (["a", None], pd.array(["a", None], "string")),
        (pd.to_datetime(["2020-01-01"]), pd.to_datetime(["2020-01-01"]).as_unit("s")),
        (pd.to_datetime(["2020-01-01T12Z"]), pd.to_datetime(["2020-01-01T13"]).tz_localize("Etc/GMT-1")),
        (pd.to_timedelta(["1D"]), np.array([pd.Timedelta(days=1).to_pytimedelta()], object)),
        ([np.nan], [None]),
        ([pd.NaT], [None]),
    ],
)  # fmt: skip
def test_equal_values_have_equal_numbers(one: Any, other: Any) -> None:
    found = [hashes(pd.DataFrame({"k": values}), ["k"]).tolist() for values in (one, other)]
    assert found[0] == found[1]


def test_other_values_have_other_numbers() -> None:
    frame = pd.DataFrame({"a": [1, 2, 1, None], "b": [2, 1, 1, 1]})
    assert len(set(hashes(frame, ["a", "b"]))) == 4
    assert len(set(hashes(pd.DataFrame({"k": ["1", 1, b"1", (1,), None, 1 + 0j]}, dtype=object), ["k"]))) == 6


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1)), parts=st.integers(1, 9))
def test_partitions_are_in_range(values: list[int], parts: int) -> None:
    found = parts_of(pd.DataFrame({"k": np.array(values, np.int64)}), ["k"], parts)
    assert found.dtype == np.int64 and len(found) == len(values)
    assert set(found.tolist()) <= set(range(parts))


def test_many_keys_spread_evenly() -> None:
    for keys in (np.arange(8000), [f"user{number}" for number in range(8000)], np.arange(8000) * 8):
        counts = np.bincount(parts_of(pd.DataFrame({"k": keys}), ["k"], 8), minlength=8)
        assert counts.min() > 800 and counts.max() < 1200


def test_what_has_no_equality() -> None:
    with pytest.raises(DataError, match="column 'k' holds a list, which has no equality"):
        hashes(pd.DataFrame({"k": [[1]]}), ["k"])
