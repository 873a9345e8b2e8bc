"""Leaving out rows whose images cannot be decoded, before they are counted.

A plan needs to know its rows beforehand, so each image is decoded once as its row is read: the same rows are left out
on any number of ranks, in every epoch.

Owns: which rows stay, how many went and why.
Leaves: decoding one (pictures), where rows are read (feed, scoring), telling it (events).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.engine.data.pictures import encoded_where_there, picture
from zoo.engine.errors import DataError

TOLD = 3
"""Causes that are told; of the others only their number."""


class Readable:
    """Finds the rows that stay.

    Attributes:
        left_out: how many rows did not, so far.
        causes: of the first few of them.
    """

    def __init__(self, images: Sequence[str], threads: int = 1) -> None:
        """Starts with no rows.

        Args:
            images: the columns that hold images.
            threads: that decode.
        """
        self._images, self._threads = tuple(images), max(1, threads)
        self.left_out = 0
        self.causes: list[str] = []

    def __call__(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Whether each row's images can all be decoded: shape (rows,)."""
        stays = np.ones(batch.num_rows, bool)
        with ThreadPoolExecutor(self._threads, "zoo-readable") as pool:
            for name in self._images:
                rows = encoded_where_there(batch.column(name)).to_pylist()
                causes = pool.map(lambda row, name=name: _wrong(row, name), rows)
                for at, cause in enumerate(causes):
                    if cause and stays[at]:
                        stays[at] = False
                        self._note(cause)
        return stays

    def rest(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that stay."""
        return batch.filter(pa.array(self(batch)))

    def _note(self, cause: str) -> None:
        self.left_out += 1
        if len(self.causes) < TOLD:
            self.causes.append(cause)


def _wrong(row: bytes | None, column: str) -> str:
    """Why an image cannot be decoded; empty where it can."""
    if row is None:
        return f"an image of column '{column}' is null"
    try:
        picture(row, column)
    except DataError as error:
        return str(error)
    return ""
