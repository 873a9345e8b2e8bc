"""Files of data sets: on this machine, or fetched; and pickles that hold plain values only.

Owns: fetching whole files, refusing pickles that would run code.
Leaves: what is in a file (the data sets' modules).
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

import numpy as np

from zoo.engine.errors import DataError, StorageFailed

SECONDS = 60  # of silence
HOME = "/tmp/.zoo/dataset"  # noqa: S108  where older programs keep data sets


def located(folder: str, name: str, url: str) -> Path:
    """The path of a file, which is fetched where it is not there.

    Args:
        folder: of this machine.
        name: of the file.
        url: where it comes from.

    Raises:
        StorageFailed: it is not there and cannot be fetched.
    """
    path = Path(folder).expanduser() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fetch(url, path)
        except (OSError, urllib.error.URLError) as error:
            raise StorageFailed(
                f"{path} is not there, and cannot be fetched from {url} ({error}). Put the file there yourself."
            ) from error
    return path


def _fetch(url: str, path: Path) -> None:
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310
            shutil.copyfileobj(answer, file)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


class _Plain(pickle.Unpickler):
    """Lists, dicts, numbers and text have no classes to find."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuses: a class of a pickle may run anything.

        Raises:
            DataError: always.
        """
        raise DataError(f"the file asks for {module}.{name}, and this data set needs plain lists and numbers only.")


def plain(file: IO[bytes], name: str) -> Any:
    """What a pickle of plain values holds.

    Args:
        file: open for reading.
        name: of it, for the error.

    Raises:
        DataError: it holds something else, or is no pickle.
    """
    try:
        return _Plain(file, encoding="latin1").load()
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError,
            ValueError) as error:  # fmt: skip
        raise DataError(f"{name} is no file of this data set: {error}") from error


def shuffle_by_seed(arr_list: Any, seed: int = 0) -> None:
    """Shuffles several lists or arrays in place, all in the same way."""
    for one in arr_list:
        np.random.RandomState(seed).shuffle(one)


def limited(rows: Any, nb_words: int | None, oov_char: int | None) -> list[list[int]]:
    """Rows of word numbers without those from `nb_words` on: `oov_char` in their place, or nothing where it is None."""
    if nb_words is None:
        return [list(row) for row in rows]
    if oov_char is None:
        return [[word for word in row if word < nb_words] for row in rows]
    return [[word if word < nb_words else oov_char for word in row] for row in rows]
