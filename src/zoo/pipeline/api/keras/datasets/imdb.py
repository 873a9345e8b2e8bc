"""Film reviews as rows of word numbers, and whether each is favourable."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from zoo.pipeline.api.keras.datasets.sources import HOME, limited, located, plain, shuffle_by_seed

__all__ = ["download_imdb", "get_word_index", "load_data", "shuffle_by_seed"]

URL = "https://s3.amazonaws.com/text-datasets/"


def download_imdb(dest_dir: str) -> str:
    """Fetches the file where it is not there; returns its path."""
    return str(located(dest_dir, "imdb_full.pkl", f"{URL}imdb_full.pkl"))


def load_data(dest_dir: str = HOME, nb_words: int | None = None, oov_char: int | None = 2) -> Any:
    """``(x_train, y_train), (x_test, y_test)``: arrays of lists of word numbers, and of 0 and 1.

    Args:
        dest_dir: the folder of ``imdb_full.pkl``.
        nb_words: word numbers from here on are left out.
        oov_char: what stands in their place; None: nothing.

    Raises:
        DataError: the file holds more than lists of numbers.
        StorageFailed: it is not there and cannot be fetched.
    """
    with open(download_imdb(dest_dir), "rb") as file:
        (x_train, y_train), (x_test, y_test) = plain(file, "imdb_full.pkl")
    shuffle_by_seed([x_train, y_train])
    shuffle_by_seed([x_test, y_test], 1)
    return _pair(x_train, y_train, nb_words, oov_char), _pair(x_test, y_test, nb_words, oov_char)


def get_word_index(dest_dir: str = HOME, filename: str = "imdb_word_index.pkl") -> dict[str, int]:
    """Word -> number. A file that ends with ``.json`` is read as JSON."""
    path = located(dest_dir, filename, f"{URL}{filename}")
    with path.open("rb") as file:
        found: dict[str, int] = json.load(file) if path.suffix == ".json" else plain(file, filename)
    return found


def _pair(rows: Any, labels: Any, nb_words: int | None, oov_char: int | None) -> tuple[np.ndarray, np.ndarray]:
    made = np.empty(len(rows), object)
    made[:] = limited(rows, nb_words, oov_char)
    return made, np.array(labels)
