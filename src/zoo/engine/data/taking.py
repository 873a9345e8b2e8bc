"""Rows of a sealed spool, taken at random from memory and from files that are mapped into it.

Owns: one column's rows, how much of the maps is in memory.
Leaves: writing them (spool), which rows are taken (plan, feed).
"""

from __future__ import annotations

import math
import mmap
from io import FileIO
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zoo.engine.data.text import Stored, Text

Indices: TypeAlias = "NDArray[np.integer[Any]]"

_AROUND = 2 << 20  # one fault may map a whole large folio of the page cache (2 MiB on x86), whatever the row's size


class Column(Protocol):
    """One column of a sealed spool."""

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        """The rows at `indices`, in that order, in an array of their own: shape (len(indices), *inner).

        Args:
            indices: integers in [0, rows).
            out: an array of that shape and the column's dtype to write to, which is then returned.
        """

    def stored(self, indices: Indices) -> Stored:
        """The same rows as a spool keeps them: text without objects."""

    def close(self) -> None:
        """Gives back the memory; nothing can be taken any more. Idempotent."""


class ArrayColumn:
    """In memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        return _take(self._array, indices, out)

    def stored(self, indices: Indices) -> Stored:
        return self.take(indices)

    def piece(self, start: int, end: int) -> np.ndarray:
        """A run of rows, as they lie here."""
        return self._array[start:end]

    def close(self) -> None:
        self._array = self._array[:0].copy()


class MappedColumn:
    """In a file."""

    def __init__(self, array: np.ndarray, pages: Pages) -> None:
        self._array, self._pages = array, pages
        self._row = array.itemsize * math.prod(array.shape[1:])

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        taken = np.empty((len(indices), *self._array.shape[1:]), self._array.dtype) if out is None else out
        around = max(self._row, _AROUND)
        at_once = self._pages.at_once // around + 1  # rows far apart may map the whole file at a single step
        for start in range(0, len(indices), at_once):
            part = indices[start : start + at_once]
            _take(self._array, part, taken[start : start + at_once])
            self._pages.touched(len(part) * around)
        return taken

    def stored(self, indices: Indices) -> Stored:
        return self.take(indices)

    def piece(self, start: int, end: int) -> np.ndarray:
        self._pages.touched(max((end - start) * self._row, _AROUND))
        return self._array[start:end]

    def close(self) -> None:
        self._array = self._array[:0].copy()
        self._pages.close()


class TextColumn:
    """str or bytes: objects are made of the rows that are taken."""

    def __init__(
        self, data: ArrayColumn | MappedColumn, ends: ArrayColumn | MappedColumn, is_str: bool
    ) -> None:  # fmt: skip
        self._data, self._ends, self._is_str = data, ends, is_str

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        indices = np.asarray(indices)
        starts, ends = self._ends.take(indices).tolist(), self._ends.take(indices + 1).tolist()
        taken = np.empty(len(indices), object) if out is None else out
        for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
            value = self._data.piece(start, end).tobytes()
            taken[at] = value.decode() if self._is_str else value
        return taken

    def stored(self, indices: Indices) -> Stored:
        indices = np.asarray(indices)
        starts, stops = self._ends.take(indices), self._ends.take(indices + 1)
        ends = np.cumsum(stops - starts)
        data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        places = zip((ends - (stops - starts)).tolist(), ends.tolist(), starts.tolist(), stops.tolist(), strict=True)
        for to, until, start, stop in places:
            data[to:until] = self._data.piece(start, stop)
        return Text(data, ends, self._is_str)

    def close(self) -> None:
        self._data.close()
        self._ends.close()


class Window:
    """How many bytes of all maps together may be in memory; beyond it all are let go, and faulted in again at need."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._touched = 0  # an upper bound
        self._before = _mapped_bytes()
        self._pages: list[Pages] = []

    def join(self, pages: Pages) -> None:
        self._pages.append(pages)

    def grow(self, count: int) -> None:
        self._touched += count
        if self._touched > self.limit and self._before is not None:
            self._touched = max((_mapped_bytes() or 0) - self._before, 0)  # the bound is loose, asking is cheap
            for pages in self._pages:
                pages.new_count()
        if self._touched > self.limit:
            self._release()

    def _release(self) -> None:
        for pages in self._pages:
            pages.release()
        self._touched, self._before = 0, _mapped_bytes()


class Pages:
    """A file mapped into memory, and an upper bound of how much of it is there."""

    def __init__(self, file: FileIO, window: Window) -> None:
        size = file.seek(0, 2)
        self.map: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._size, self._touched = size, 0
        self._window = window
        window.join(self)

    @property
    def at_once(self) -> int:
        """Bytes that may be read somewhere before `touched` hears of it."""
        return max(self._size, _AROUND) * _AROUND if self._size <= self._window.limit else self._window.limit // 2

    def touched(self, count: int) -> None:
        """Hears that `count` bytes were read somewhere."""
        new = min(count, self._size - self._touched)
        self._touched += new
        self._window.grow(new)

    def new_count(self) -> None:
        """Forgets what was counted: the window knows better."""
        self._touched = 0

    def release(self) -> None:
        self._touched = 0
        if isinstance(self.map, mmap.mmap) and not self.map.closed:
            self.map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        if isinstance(self.map, mmap.mmap):
            self.map.close()


def _mapped_bytes() -> int | None:
    """Bytes of files that are mapped and in memory, in this process; None where the system (not Linux) won't tell."""
    try:
        with open("/proc/self/statm", "rb") as sizes:
            return int(sizes.read().split()[2]) * mmap.PAGESIZE
    except FileNotFoundError:
        return None


def _take(array: np.ndarray, indices: Indices, out: np.ndarray | None) -> np.ndarray:
    if out is None:
        return array.take(indices, axis=0)
    return array.take(indices, axis=0, out=out, mode="clip")  # mode "raise" would go through a second buffer
