"""Rows kept for random reading: in memory up to a budget, beyond it in files that are mapped into memory.

A rank appends its rows once, seals the spool, and then takes any rows from it, again and again. The files have no name:
the system frees them when the process ends, however it ends.

Owns: where the rows lie; how much memory they take; full disks.
Leaves: what the rows mean (columns), which are taken (plan, feed).
"""

from __future__ import annotations

import errno
import mmap
import tempfile
from collections.abc import Sequence
from io import FileIO
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from zoo.engine.data.columns import ArraySpec, empty, refuse_unlike
from zoo.engine.errors import DataError, StorageFailed

Indices: TypeAlias = "NDArray[np.integer[Any]]"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AROUND = 2 << 20  # one fault may map a whole large folio of the page cache (2 MiB on x86), whatever the row's size
_OBJECT_BYTES = 64  # a short str or bytes object and the pointer to it, besides its characters


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
        self._memory = memory
        self._directory = directory or tempfile.gettempdir()
        self._specs = tuple(specs)
        self._stores: list[_Memory] | list[_Disk] = [_Memory() for _ in specs]
        self._columns: tuple[Column, ...] = ()
        self._bytes = 0
        self._spilled = False
        self._sealed = False

    def append(self, arrays: Sequence[np.ndarray]) -> None:
        """Adds rows at the end.

        Args:
            arrays: one for each column, each of shape (rows, *inner); kept as they are while in memory, so they must
                not change afterwards.

        Raises:
            DataError: rows of another inner shape than the first ones.
            StorageFailed: the disk is full. Nothing is left behind.
        """
        if not len(arrays[0]):
            return
        if not self.rows:
            self._begin(arrays)
        for spec, array in zip(self._specs, arrays, strict=True):
            assert array.dtype == spec.dtype, f"{spec} was given {array.dtype}"
            refuse_unlike(spec, _known(spec), array.shape[1:])
        self.rows += len(arrays[0])
        self._bytes += sum(map(_size, arrays))
        try:
            if self._bytes > self._memory:
                self._spill()
            for store, array in zip(self._stores, arrays, strict=True):
                store.append(array)
        except OSError as error:
            self.close()
            if error.errno in _FULL:
                raise self._full(error) from error
            raise

    def seal(self) -> tuple[Column, ...]:
        """Ends writing; the columns, in the order of `append`."""
        if not self._sealed:
            self._sealed = True
            window = _Window(self._memory // 2)
            self._columns = tuple(
                store.seal(spec, window) for spec, store in zip(self._specs, self._stores, strict=True)
            )
            self._stores = []
        return self._columns

    def close(self) -> None:
        """Gives back memory and files. Idempotent."""
        for column in self._columns:
            column.close()
        for store in self._stores:
            store.close()
        self._columns, self._stores = (), []

    @property
    def on_disk(self) -> bool:
        """Whether the rows have outgrown the budget."""
        return self._spilled

    def _begin(self, arrays: Sequence[np.ndarray]) -> None:
        """Learns the shapes that only the data tell."""
        names = [spec.name for spec in self._specs] or [str(number) for number in range(len(arrays))]
        self._specs = tuple(
            ArraySpec(name, array.dtype, array.shape[1:]) for name, array in zip(names, arrays, strict=True)
        )
        self._stores = [_Memory() for _ in arrays]

    def _spill(self) -> None:
        """Moves what is in memory to disk, once."""
        if self._spilled:
            return
        self._spilled = True
        kept = cast("list[_Memory]", self._stores)
        # Files first: if one cannot be made or written, close() finds them all.
        self._stores = [
            _TextFile(spec, self._directory) if spec.dtype == object else _ArrayFile(spec, self._directory)
            for spec in self._specs
        ]
        for source, target in zip(kept, self._stores, strict=True):
            source.move_to(target)

    def _full(self, error: OSError) -> StorageFailed:
        return StorageFailed(
            f"{self._directory} is full ({error.strerror}): this rank's first {self.rows:,} rows need "
            f"{self._bytes:,} bytes there, and more rows may follow. Point TMPDIR to a larger disk, or give memory= "
            f"more than {self._bytes:,} bytes to keep the rows in memory (now {self._memory:,})."
        )


class _Memory:
    """Chunks of one column."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []

    def append(self, array: np.ndarray) -> None:
        self._chunks.append(array)

    def move_to(self, target: _Disk) -> None:
        for chunk in _emptied(self._chunks):
            target.append(chunk)

    def seal(self, spec: ArraySpec, window: _Window) -> Column:
        if not self._chunks:
            return _ArrayColumn(empty(spec))
        if len(self._chunks) == 1:
            return _ArrayColumn(self._chunks[0])
        whole = np.empty((sum(map(len, self._chunks)), *self._chunks[0].shape[1:]), self._chunks[0].dtype)
        end = 0
        for chunk in _emptied(self._chunks):  # each chunk is freed once it is copied: rows are never there twice
            whole[end : end + len(chunk)] = chunk
            end += len(chunk)
        return _ArrayColumn(whole)

    def close(self) -> None:
        self._chunks.clear()


class _ArrayFile:
    """Rows of fixed size, one after the other."""

    def __init__(self, spec: ArraySpec, directory: str) -> None:
        self._file = _open(directory)
        self._rows = 0

    def append(self, array: np.ndarray) -> None:
        self._rows += len(array)
        _write(self._file, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    def seal(self, spec: ArraySpec, window: _Window) -> Column:
        pages = _Pages(self._file, window)
        flat = np.frombuffer(pages.map, spec.dtype)
        return _MappedColumn(flat.reshape(self._rows, *_known(spec)), pages)

    def close(self) -> None:
        self._file.close()


class _TextFile:
    """str (as UTF-8) or bytes of any length, and a file of the offsets where they end."""

    def __init__(self, spec: ArraySpec, directory: str) -> None:
        self._spec = spec
        self._data, self._ends = _open(directory), _open(directory)
        self._kind: type | None = None
        self._end = 0

    def append(self, array: np.ndarray) -> None:
        self._kind = self._kind or type(array[0])
        if self._kind not in (str, bytes) or any(type(value) is not self._kind for value in array):
            raise DataError(
                f"column '{self._spec.name}' mixes kinds of objects; only str alone or bytes alone can be kept on disk."
            )
        values = [value.encode() for value in array] if self._kind is str else list(array)
        ends = self._end + np.cumsum([len(value) for value in values], dtype=np.int64)
        _write(self._data, b"".join(values))
        _write(self._ends, ends.view(np.uint8))
        self._end = int(ends[-1])

    def seal(self, spec: ArraySpec, window: _Window) -> Column:
        ends, data = _Pages(self._ends, window), _Pages(self._data, window)
        return _TextColumn(np.frombuffer(ends.map, np.int64), ends, data, self._kind is str)

    def close(self) -> None:
        self._data.close()
        self._ends.close()


_Disk: TypeAlias = _ArrayFile | _TextFile


class _ArrayColumn:
    """In memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        return _take(self._array, indices, out)

    def close(self) -> None:
        self._array = self._array[:0].copy()


class _MappedColumn:
    """Rows of fixed size, in a file."""

    def __init__(self, array: np.ndarray, pages: _Pages) -> None:
        self._array, self._pages = array, pages
        self._row = max(array.itemsize * int(np.prod(array.shape[1:])), _AROUND)

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        taken = _take(self._array, indices, out)
        self._pages.touched(len(indices) * self._row)
        return taken

    def close(self) -> None:
        self._array = self._array[:0].copy()
        self._pages.close()


class _TextColumn:
    """str or bytes, in a file."""

    def __init__(self, ends: np.ndarray, end_pages: _Pages, data: _Pages, is_str: bool) -> None:
        self._ends, self._end_pages, self._data, self._is_str = ends, end_pages, data, is_str

    def take(self, indices: Indices, out: np.ndarray | None = None) -> np.ndarray:
        indices = np.asarray(indices)
        ends = self._ends[indices]
        starts = np.where(indices == 0, 0, self._ends[np.maximum(indices, 1) - 1])
        taken = np.empty(len(indices), object) if out is None else out
        for at, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            value = self._data.map[start:end]
            taken[at] = value.decode() if self._is_str else value
        self._end_pages.touched(len(indices) * _AROUND)
        self._data.touched(int((ends - starts).sum()) + len(indices) * _AROUND)
        return taken

    def close(self) -> None:
        self._ends = self._ends[:0].copy()
        self._end_pages.close()
        self._data.close()


class _Window:
    """How many bytes of all maps together may be in memory; beyond it all are let go, and faulted in again at need."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._touched = 0  # an upper bound
        self._before = _mapped_bytes()
        self._pages: list[_Pages] = []

    def join(self, pages: _Pages) -> None:
        self._pages.append(pages)

    def grow(self, count: int) -> None:
        self._touched += count
        if self._touched > self._limit and self._before is not None:
            self._touched = max((_mapped_bytes() or 0) - self._before, 0)  # the bound is loose, asking is cheap
        if self._touched > self._limit:
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
        file.close()
        self._size, self._touched = size, 0
        self._window = window
        window.join(self)

    def touched(self, count: int) -> None:
        """Hears that `count` bytes were read somewhere."""
        new = min(count, self._size - self._touched)
        self._touched += new
        self._window.grow(new)

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
        return np.take(array, indices, axis=0)
    return np.take(array, indices, axis=0, out=out, mode="clip")  # mode "raise" would go through a second buffer


def _emptied(chunks: list[np.ndarray]) -> Any:
    """The chunks in order, each dropped from the list before it is handed out."""
    chunks.reverse()
    while chunks:
        yield chunks.pop()


def _size(array: np.ndarray) -> int:
    if array.dtype == object:
        return sum(map(len, array)) + _OBJECT_BYTES * len(array)
    return array.nbytes


def _known(spec: ArraySpec) -> tuple[int, ...]:
    return cast("tuple[int, ...]", spec.shape)


def _open(directory: str) -> FileIO:
    return tempfile.TemporaryFile(buffering=0, dir=directory, prefix="zoo-spool-")


def _write(file: FileIO, data: Any) -> None:
    rest = memoryview(data)
    while len(rest):
        rest = rest[file.write(rest) :]
