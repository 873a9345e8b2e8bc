"""506 districts: 13 numbers of each, and the price of a house there in 1,000 dollars."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.engine.errors import DataError
from zoo.pipeline.api.keras.datasets.sources import HOME, located, shuffle_by_seed

__all__ = ["load_data", "shuffle_by_seed"]

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/boston_housing.npz"


def load_data(path: str = "boston_housing.npz", dest_dir: str = HOME, test_split: float = 0.2) -> Any:
    """``(x_train, y_train), (x_test, y_test)``: (n, 13) and (n,), float64.

    Args:
        path: of the file, below `dest_dir`.
        dest_dir: a folder.
        test_split: the share of rows that is for testing.

    Raises:
        DataError: it is another file.
        StorageFailed: it is not there and cannot be fetched.
    """
    found = located(dest_dir, path, URL)
    try:
        with np.load(found, allow_pickle=False) as held:
            x, y = held["x"], held["y"]
    except (ValueError, KeyError, OSError) as error:
        raise DataError(f"{found} is no file of this data set: {error}") from error
    shuffle_by_seed([x, y])
    border = int(len(x) * (1 - test_split))
    return (x[:border], y[:border]), (x[border:], y[border:])
