"""Objects come back from pickles as they were, whichever way their text takes."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.data.pickling import dumps

COUNT = 300  # enough for the short way
_CELLS = st.one_of(
    st.text(), st.none(), st.just(float("nan")), st.integers(), st.text().map(np.str_), st.just([1, "a"])
)
_TEXTS = st.text(st.characters(exclude_categories=()))  # lone surrogates and zeros too


def back(value: Any) -> Any:
    return pickle.loads(dumps(value))


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    """By values and types; pickles of cells are equal where the cells are, NaN included."""
    pairs = zip(found.ravel().tolist(), wanted.ravel().tolist(), strict=True)
    return (
        found.dtype == wanted.dtype
        and found.shape == wanted.shape
        and found.flags.writeable
        and all(type(one) is type(other) and (one == other or one != one) for one, other in pairs)
    )


def names(count: int) -> np.ndarray:
    return np.array([f"näme {number}" for number in range(count)], object)


@given(st.lists(_CELLS | _TEXTS, max_size=4), st.sampled_from(["first", "last", "middle"]))
def test_any_cells_among_text_come_back(cells: list[Any], where: str) -> None:
    at = {"first": 0, "last": COUNT, "middle": 7}[where]
    array = np.empty(COUNT + len(cells), object)
    array[:] = [*names(COUNT)[:at], *cells, *names(COUNT)[at:]]
    assert same(back(array), array)


@given(st.lists(_TEXTS, min_size=1, max_size=9))
def test_any_texts_come_back(texts: list[str]) -> None:
    array = np.array([f"{texts[number % len(texts)]}{number}" for number in range(COUNT)], object)
    assert same(back(array), array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_of_columns_come_back(order: Any) -> None:
    few, mixed = np.array(["a", "b"] * (COUNT // 2), object), np.array([None, "x", [1]] * (COUNT // 3), object)
    block = np.array([names(COUNT), few, mixed], object, order=order)
    assert same(back(block), block)
    cube = np.array([[names(COUNT)] * 2] * 2, object)
    assert same(back(cube), cube)
    assert same(back(names(COUNT)[::-1]), names(COUNT)[::-1])
    empty = np.empty((0, COUNT), object)
    assert same(back(empty), empty)


def test_frames_come_back() -> None:
    index = pd.Index(names(COUNT) + "!", name="key")
    frame = pd.DataFrame({"a": np.arange(COUNT), "name": names(COUNT), "few": "x", "none": None}, index)
    made = back(frame)
    pd.testing.assert_frame_equal(made, frame)
    made.loc[made["a"] < 5, "name"] = "other"
    assert (made["name"][:5] == "other").all() and (frame["name"] != "other").all()


def test_an_array_may_hold_itself() -> None:
    array = names(COUNT)
    array[3] = array
    found = back(array)
    assert found[3] is found and found[4] == array[4]


def test_only_columns_of_different_strings_take_the_short_way() -> None:
    many, few = names(COUNT), np.array(["a", "b"] * COUNT, object)
    for value in (many, pd.DataFrame({"number": 1, "many": many, "few": few[:COUNT]})):
        assert b"zoo.engine.data.pickling" in dumps(value)
    assert dumps(few) == cloudpickle.dumps(few)
