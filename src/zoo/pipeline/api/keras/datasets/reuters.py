"""News in 46 topics as rows of word numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.pipeline.api.keras.datasets import imdb
from zoo.pipeline.api.keras.datasets.sources import HOME, limited, located, plain, shuffle_by_seed

__all__ = ["download_reuters", "get_word_index", "load_data", "shuffle_by_seed"]


def download_reuters(dest_dir: str) -> str:
    """Fetches the file where it is not there; returns its path."""
    return str(located(dest_dir, "reuters.pkl", f"{imdb.URL}reuters.pkl"))


def load_data(
    dest_dir: str = HOME, nb_words: int | None = None, oov_char: int | None = 2, test_split: float = 0.2
) -> Any:
    """``(x_train, y_train), (x_test, y_test)``: arrays of lists of word numbers, and of topics.

    Args:
        dest_dir: the folder of ``reuters.pkl``.
        nb_words: word numbers from here on are left out.
        oov_char: what stands in their place; None: nothing.
        test_split: the share of rows that is for testing.

    Raises:
        DataError: the file holds more than lists of numbers.
        StorageFailed: it is not there and cannot be fetched.
    """
    with open(download_reuters(dest_dir), "rb") as file:
        rows, labels = plain(file, "reuters.pkl")
    shuffle_by_seed([rows, labels])
    made = np.empty(len(rows), object)
    made[:] = limited(rows, nb_words, oov_char)
    border = int(len(made) * (1 - test_split))
    numbers = np.array(labels)
    return (made[:border], numbers[:border]), (made[border:], numbers[border:])


def get_word_index(dest_dir: str = HOME, filename: str = "reuters_word_index.pkl") -> dict[str, int]:
    """As `imdb.get_word_index`."""
    return imdb.get_word_index(dest_dir, filename)
