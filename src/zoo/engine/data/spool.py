"""Rows kept for random reading: in memory up to a budget, beyond it in files that are mapped into memory.

A rank appends its rows once, seals the spool, and then takes any rows from it, again and again. The files have no name:
the system frees them when the process ends, however it ends.

Owns: where the rows lie; how much memory they take; full disks.
Leaves: what the rows mean (columns), which are taken (plan, feed).
"""

from __future__ import annotations

import errno
import math
import mmap
import tempfile
from collections.abc import Callable, Sequence
from io import FileIO
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from zoo.engine.data.columns import ArraySpec, empty, refuse_unlike
from zoo.engine.data.text import Stored, Text, text_of
from zoo.engine.errors import StorageFailed

Indices: TypeAlias = "NDArray[np.integer[Any]]"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AROUND = 2 << 20  # one fault may map a whole large folio of the page cache (2 MiB on x86), whatever the row's size
_RESERVED = 1 << 30  # bytes of address space taken at once; memory is only used when it is written to


class Column(Protocol):
    """One column of a sealed spool."""

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        """The rows at `indices`, in that order, in an array of their own: shape (len(indices), *inner).

        Args:
            indices: integers in [0, rows).
            out: an array of that shape and the column's dtype to write to, which is then returned.
        """

    def close(self) -> None:
        """Gives back the memory; nothing can be taken any more. Idempotent."""


class Spool:
    """A growable store of rows, written once and then read at random."""

    def __init__(self, memory: int, specs: Sequence[ArraySpec] = (), directory: str | None = None) -> None:
        """Starts empty, in memory.

        Args:
            memory: bytes of rows kept in memory; beyond it all of them go to disk.
            specs: what the columns are; needed where no row may come, and to name columns in errors.
            directory: for the files; None for the system's (``TMPDIR``).
        """
        self.rows = 0
        self.on_disk = False
        self._memory = memory
        self._directory = directory or tempfile.gettempdir()
        self._specs = tuple(specs)
        self._stores: Sequence[_Memory | _File | _TextStore] = ()
        self._files: list[FileIO] = []
        self._columns: tuple[Column, ...] | None = None
        self._bytes = 0

    def append(self, arrays: Sequence[Stored]) -> None:
        """Adds rows at the end, as copies.

        Args:
            arrays: one for each column, each of shape (rows, *inner), or `Text`; `text.stored` makes them.

        Raises:
            DataError: rows of another inner shape than the first ones; objects that are neither str nor bytes.
            StorageFailed: the disk is full. Nothing is left behind.
        """
        if not len(arrays[0]):
            return
        rows = self._settled(arrays)
        self.rows += len(rows[0])
        self._bytes += sum(array.nbytes for array in rows)
        try:
            if not self._stores:
                self._begin(rows)
            if self._bytes > self._memory and not self.on_disk:
                self._spill()
            for store, array in zip(self._stores, rows, strict=True):
                store.append(array)
        except OSError as error:
            self.close()
            if error.errno in _FULL:
                raise self._full(error) from error
            raise

    @property
    def row_bytes(self) -> int:
        """Of the rows so far, on average; at least 1."""
        return max(self._bytes // max(self.rows, 1), 1)

    def so_far(self) -> tuple[Column, ...]:
        """The columns, in the order of `append`, without what will be appended later. The caller closes them."""
        window = _Window(self._memory // 2)
        return tuple(store.seal(window) for store in self._stores) or tuple(
            _ArrayColumn(empty(spec)) for spec in self._specs
        )

    def seal(self) -> tuple[Column, ...]:
        """Ends writing; the columns, in the order of `append`. `close` closes them."""
        if self._columns is None:
            self._columns = self.so_far()
            self._stores = ()
            self._close_files()  # what is mapped stays
        return self._columns

    def close(self) -> None:
        """Gives back memory and files. Idempotent."""
        for column in self._columns or ():
            column.close()
        self._close_files()
        self._columns, self._stores = (), ()

    def _close_files(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()

    def _settled(self, arrays: Sequence[Stored]) -> list[Any]:
        """The same rows, text without objects, once they are found to be like those before."""
        names = [spec.name for spec in self._specs] or [str(number) for number in range(len(arrays))]
        rows = [_without_objects(array, name) for array, name in zip(arrays, names, strict=True)]
        if not self.rows:
            self._specs = tuple(_spec(name, array) for name, array in zip(names, rows, strict=True))
        for spec, array in zip(self._specs, rows, strict=True):
            found = _spec(spec.name, array)
            assert found.dtype == spec.dtype, f"{spec} was given {found.dtype}"
            refuse_unlike(spec, cast("tuple[int, ...]", spec.shape), cast("tuple[int, ...]", found.shape))
        return rows

    def _begin(self, rows: Sequence[Stored]) -> None:
        """Makes room for as many rows as fit the budget, if all are like the first ones."""
        times = min(self._memory, _RESERVED) / max(sum(array.nbytes for array in rows), 1)
        self._stores = [_store(array, times) for array in rows]

    def _spill(self) -> None:
        """Moves what is in memory to disk."""
        self.on_disk = True
        self._stores = [store if isinstance(store, _File) else store.moved(self._open) for store in self._stores]

    def _open(self) -> FileIO:
        """A file without a name, known here so that close() finds it."""
        file = tempfile.TemporaryFile(buffering=0, dir=self._directory, prefix="zoo-spool-")  # noqa: SIM115 - close() does
        self._files.append(file)
        return file

    def _full(self, error: OSError) -> StorageFailed:
        return StorageFailed(
            f"{self._directory} is full ({error.strerror}): this rank's first {self.rows:,} rows need "
            f"{self._bytes:,} bytes there, and more rows may follow. Point TMPDIR to a larger disk, or give memory= "
            f"more than {self._bytes:,} bytes to keep the rows in memory (now {self._memory:,})."
        )


# --- one column while it is written ----------------------------------------------------------------------------------


class _Memory:
    """Rows of fixed size, in memory; room is reserved first and used as rows come."""

    def __init__(self, first: np.ndarray, times: float) -> None:
        self._array = np.empty((int(len(first) * times) + len(first), *first.shape[1:]), first.dtype)
        self._rows = 0

    def append(self, array: Any) -> None:
        end = self._rows + len(array)
        if end > len(self._array):
            larger = np.empty((max(end, 2 * len(self._array)), *self._array.shape[1:]), self._array.dtype)
            larger[: self._rows] = self._array[: self._rows]
            self._array = larger
        self._array[self._rows : end] = array
        self._rows = end

    def moved(self, make_file: Callable[[], FileIO]) -> _File:
        file = _File(make_file(), self._array[:0])
        file.append(self._array[: self._rows])
        self._array = self._array[:0].copy()
        return file

    def seal(self, window: _Window) -> _ArrayColumn:
        return _ArrayColumn(self._array[: self._rows])


class _File:
    """Rows of fixed size, in a file."""

    def __init__(self, file: FileIO, like: np.ndarray) -> None:
        self._file, self._dtype, self._shape = file, like.dtype, like.shape[1:]
        self._rows = 0

    def append(self, array: Any) -> None:
        self._rows += len(array)
        rest: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        while len(rest):
            rest = rest[self._file.write(rest) :]

    def seal(self, window: _Window) -> _MappedColumn:
        pages = _Pages(self._file, window)
        array = np.frombuffer(pages.map, self._dtype).reshape(self._rows, *self._shape)
        return _MappedColumn(array, pages)


class _TextStore:
    """`Text` that grows."""

    def __init__(self, data: _Memory | _File, ends: _Memory | _File, is_str: bool, end: int = 0) -> None:
        self._data, self._ends, self._is_str, self._end = data, ends, is_str, end

    def append(self, text: Any) -> None:
        self._data.append(text.data)
        self._ends.append(text.ends + self._end)
        self._end += int(text.ends[-1])

    def moved(self, make_file: Callable[[], FileIO]) -> _TextStore:
        assert isinstance(self._data, _Memory) and isinstance(self._ends, _Memory)
        return _TextStore(self._data.moved(make_file), self._ends.moved(make_file), self._is_str, self._end)

    def seal(self, window: _Window) -> _TextColumn:
        return _TextColumn(self._data.seal(window), self._ends.seal(window), self._is_str)


def _store(first: Stored, times: float) -> _Memory | _TextStore:
    if not isinstance(first, Text):
        return _Memory(first, times)
    ends = _Memory(first.ends, times)
    ends.append(np.zeros(1, np.int64))  # row n lies between ends[n] and ends[n + 1]
    return _TextStore(_Memory(first.data, times), ends, first.is_str)


# --- one column when it is read --------------------------------------------------------------------------------------


class _ArrayColumn:
    """In memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        return _take(self._array, indices, out)

    def piece(self, start: int, end: int) -> bytes:
        """The bytes of a run of rows."""
        return self._array[start:end].tobytes()

    def close(self) -> None:
        self._array = self._array[:0].copy()


class _MappedColumn:
    """In a file."""

    def __init__(self, array: np.ndarray, pages: _Pages) -> None:
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

    def piece(self, start: int, end: int) -> bytes:
        content = self._array[start:end].tobytes()
        self._pages.touched(max(len(content), _AROUND))
        return content

    def close(self) -> None:
        self._array = self._array[:0].copy()
        self._pages.close()


class _TextColumn:
    """str or bytes: objects are made of the rows that are taken."""

    def __init__(
        self, data: _ArrayColumn | _MappedColumn, ends: _ArrayColumn | _MappedColumn, is_str: bool
    ) -> None:  # fmt: skip
        self._data, self._ends, self._is_str = data, ends, is_str

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        indices = np.asarray(indices)
        starts, ends = self._ends.take(indices).tolist(), self._ends.take(indices + 1).tolist()
        taken = np.empty(len(indices), object) if out is None else out
        for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
            value = self._data.piece(start, end)
            taken[at] = value.decode() if self._is_str else value
        return taken

    def close(self) -> None:
        self._data.close()
        self._ends.close()


class _Window:
    """How many bytes of all maps together may be in memory; beyond it all are let go, and faulted in again at need."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._touched = 0  # an upper bound
        self._before = _mapped_bytes()
        self._pages: list[_Pages] = []

    def join(self, pages: _Pages) -> None:
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


class _Pages:
    """A file mapped into memory, and an upper bound of how much of it is there."""

    def __init__(self, file: FileIO, window: _Window) -> None:
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


def _without_objects(array: Stored, name: str) -> Stored:
    return text_of(array, name) if isinstance(array, np.ndarray) and array.dtype == object else array


def _spec(name: str, array: Stored) -> ArraySpec:
    if isinstance(array, Text):
        return ArraySpec(name, np.dtype(object), ())
    return ArraySpec(name, array.dtype, array.shape[1:])
