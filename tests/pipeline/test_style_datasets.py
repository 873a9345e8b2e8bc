"""Data sets of older programs, from files that the test writes."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.errors import DataError, StorageFailed, UsageError
from zoo.pipeline.api.keras.datasets import boston_housing, imdb, mnist, reuters, sources


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


def test_mnist(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype("uint8")
    for images, labels in mnist.FILES.values():
        (tmp_path / images).write_bytes(idx(pixels))
        (tmp_path / labels).write_bytes(idx(np.arange(5, dtype="uint8")))
    (x, y), (x_test, _) = mnist.load_data(str(tmp_path))
    np.testing.assert_array_equal(x[..., 0], pixels)
    assert x.shape == x_test.shape == (5, 28, 28, 1) and y.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="'train' or 'test'"):
        mnist.read_data_sets(str(tmp_path), "valid")
    for broken in (
        b"no gzip",
        gzip.compress(b"\0\0"),
        idx(pixels[0]),
        gzip.compress(gzip.decompress(idx(pixels))[:-1]),
    ):
        (tmp_path / mnist.FILES["test"][0]).write_bytes(broken)
        with pytest.raises(DataError, match="IDX"):
            mnist.read_data_sets(str(tmp_path), "test")


def test_reviews_and_news(tmp_path: Path) -> None:
    rows, labels = [[1, 5, 9], [2], [7, 7], [3, 4], [8]], [0, 1, 2, 3, 4]
    (tmp_path / "imdb_full.pkl").write_bytes(pickle.dumps(((rows, labels), (rows, labels))))
    (tmp_path / "reuters.pkl").write_bytes(pickle.dumps((rows, labels)))
    (x, y), (x_test, y_test) = imdb.load_data(str(tmp_path), nb_words=8, oov_char=2)
    assert dict(zip(y.tolist(), x, strict=True)) == {
        0: [1, 5, 2], 1: [2], 2: [7, 7], 3: [3, 4], 4: [2],
    }  # fmt: skip
    assert sorted(y_test.tolist()) == labels and len(x_test) == 5
    (x, _), (x_test, _) = reuters.load_data(str(tmp_path), nb_words=8, oov_char=None, test_split=0.4)
    assert len(x) == 3 and len(x_test) == 2 and [] in [*x, *x_test]
    (tmp_path / "reuters_word_index.pkl").write_bytes(pickle.dumps({"the": 1}))
    (tmp_path / "words.json").write_text(json.dumps({"a": 2}))
    assert reuters.get_word_index(str(tmp_path)) == {"the": 1}
    assert imdb.get_word_index(str(tmp_path), "words.json") == {"a": 2}


class Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_pickles_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imdb_full.pkl").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(DataError, match=r"asks for (posix|nt|os)\.mkdir"):
        imdb.load_data(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@given(st.binary(max_size=60))
def test_garbage_is_refused(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.pkl"
    path.write_bytes(data)
    found: Any = None
    with path.open("rb") as file, contextlib.suppress(DataError):
        found = sources.plain(file, "garbage.pkl")
    assert found is None or isinstance(found, str | bytes | int | float | list | dict | tuple | set | bool)


def test_houses(tmp_path: Path) -> None:
    np.savez(tmp_path / "boston_housing.npz", x=np.arange(20.0).reshape(10, 2), y=np.arange(10.0))
    (x, y), (x_test, y_test) = boston_housing.load_data(dest_dir=str(tmp_path))
    assert len(x) == 8 and len(x_test) == 2
    np.testing.assert_array_equal(np.concatenate([x, x_test])[:, 0], 2 * np.concatenate([y, y_test]))
    (tmp_path / "other.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="no file of this data set"):
        boston_housing.load_data("other.npz", str(tmp_path))


def test_a_file_is_fetched_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "far").mkdir()
    np.savez(tmp_path / "far" / "boston_housing.npz", x=np.zeros((5, 13)), y=np.zeros(5))
    monkeypatch.setattr(boston_housing, "URL", (tmp_path / "far" / "boston_housing.npz").as_uri())
    (x, _), _ = boston_housing.load_data(dest_dir=str(tmp_path / "near"))
    assert x.shape == (4, 13) and os.listdir(tmp_path / "near") == ["boston_housing.npz"]
    monkeypatch.setattr(boston_housing, "URL", (tmp_path / "nowhere.npz").as_uri())
    with pytest.raises(StorageFailed, match="Put the file there yourself"):
        boston_housing.load_data(dest_dir=str(tmp_path / "empty"))
    assert os.listdir(tmp_path / "empty") == []
