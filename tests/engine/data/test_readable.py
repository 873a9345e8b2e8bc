"""Which rows stay where images that cannot be decoded are left out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

import imagesets
from zoo.engine.data.readable import TOLD, Readable

WHOLE = imagesets.encoded(np.zeros((2, 3, 3), np.uint8))
CUT = WHOLE[:-20]
KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def batch(cells: list[bytes | None]) -> pa.RecordBatch:
    rows = [{"bytes": cell, "path": f"{number}.png"} for number, cell in enumerate(cells)]
    return pa.record_batch({"image": pa.array(rows, KIND), "number": list(range(len(cells)))})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([WHOLE, CUT, b"", b"<html>", None]), max_size=12), st.integers(1, 3))
def test_whole_images_stay_in_their_order_and_all_others_are_counted(cells: list[bytes | None], threads: int) -> None:
    readable = Readable(["image"], threads)
    kept = readable.rest(batch(cells))
    whole = [number for number, cell in enumerate(cells) if cell == WHOLE]
    assert kept["number"].to_pylist() == whole
    assert readable.left_out == len(cells) - len(whole)
    assert len(readable.causes) == min(TOLD, readable.left_out)


def test_causes_name_the_file() -> None:
    readable = Readable(["image"])
    readable(batch([WHOLE, CUT, b"<html>", None]))
    cut, other, null = readable.causes
    assert cut.startswith("1.png cannot be decoded: this PNG is cut off after")
    assert other.startswith("2.png cannot be decoded: it begins with b'<html>'")
    assert null == "an image of column 'image' is null"


def test_pixels_without_a_size_are_left_out() -> None:
    names = ("origin", "height", "width", "nChannels", "mode", "data")
    pixels = [("a", 1, 1, 3, 16, b"abc"), ("b", None, 1, 3, 16, b"abc"), ("c", 1, 1, 3, 16, None)]
    column = pa.array([dict(zip(names, row, strict=True)) for row in pixels])
    assert Readable(["image"])(pa.record_batch({"image": column})).tolist() == [True, False, False]
