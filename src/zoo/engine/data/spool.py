"""Rows kept for random reading: in memory up to a budget, beyond it in files that are mapped into memory.

A rank appends its rows once, seals the spool, and then takes any rows from it, again and again. The files have no name:
the system frees them when the process ends, however it ends.

Owns: where the rows lie; how much memory they take while they are written; full disks.
Leaves: what the rows mean (columns), which are taken (plan, feed), taking them (taking).
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import FileIO
from itertools import accumulate, chain, islice
from typing import Any, cast

import numpy as np

from zoo.engine.data.columns import ArraySpec, empty, refuse_unlike
from zoo.engine.data.taking import ArrayColumn, Column, MappedColumn, Pages, TextColumn, Window
from zoo.engine.data.text import Stored, Text, text_of
from zoo.engine.errors import StorageFailed

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OBJECT = np.dtype("object")
_ALIGNED = 64
_RESERVED = 1 << 30  # bytes of address space taken at once; memory is only used when it is written to


class Spool:
    """A growable store of rows, written once and then read at random."""

    def __init__(
        self,
        memory: int,
        specs: Sequence[ArraySpec] = (),
        directory: str | None = None,
        expected: int | None = None,
        disk: int = 0,
    ) -> None:
        """Starts empty, in memory.

        Args:
            memory: bytes of rows kept in memory; beyond it all of them go to disk.
            specs: what the columns are; needed where no row may come, and to name columns in errors.
            directory: for the files; None for the system's (``TMPDIR``).
            expected: how many rows will come, where that is known: room is made for so many.
            disk: n: all rows go to disk, and at most 1/n of them, within the budget, are in memory when they are taken.
        """
        self.rows = 0
        self.on_disk = False
        self._memory = memory
        self._expected = expected
        self._disk = disk
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
        self.extend([[array] for array in arrays])

    def extend(self, columns: Sequence[Iterable[Stored]]) -> None:
        """Adds rows at the end, as copies, one column after the other.

        Args:
            columns: the pieces of each, as `append` takes them; all columns have the same number of rows.

        Raises:
            DataError: as `append`.
            StorageFailed: as `append`.
        """
        settled: list[Iterator[Any]] = [self._settled(number, pieces) for number, pieces in enumerate(columns)]
        if not self._stores:
            firsts = [first for pieces in settled for first in islice(pieces, 1)]
            if not firsts:  # no rows
                return
            self._begin(firsts)
            settled = [chain([first], pieces) for first, pieces in zip(firsts, settled, strict=True)]
        for number, pieces in enumerate(settled):
            for piece in pieces:
                self.rows += 0 if number else len(piece)
                self._keep(number, piece)

    @property
    def row_bytes(self) -> int:
        """Of the rows so far, on average; at least 1."""
        return max(self._bytes // max(self.rows, 1), 1)

    def so_far(self) -> tuple[Column, ...]:
        """The columns, in the order of `append`, without what will be appended later. The caller closes them."""
        most = self._memory // 2
        window = Window(min(most, self._bytes // self._disk) if self._disk else most)
        return tuple(store.seal(window) for store in self._stores) or tuple(
            ArrayColumn(empty(spec)) for spec in self._specs
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

    def _settled(self, number: int, pieces: Iterable[Stored]) -> Iterator[Any]:
        """The same pieces, text without objects, once they are found to be like those before."""
        name = self._specs[number].name if self._specs else str(number)
        for piece in pieces:
            if not len(piece):
                continue
            rows = _without_objects(piece, name)
            if self._stores:
                spec, (dtype, shape) = self._specs[number], _layout(rows)
                assert dtype == spec.dtype, f"{spec} was given {dtype}"
                refuse_unlike(spec, cast("tuple[int, ...]", spec.shape), shape)
            yield rows

    def _begin(self, firsts: Sequence[Stored]) -> None:
        """Makes room for as many rows as fit the budget, if all are like the first ones, or for those expected."""
        names = [spec.name for spec in self._specs] or [str(number) for number in range(len(firsts))]
        self._specs = tuple(ArraySpec(name, *_layout(first)) for name, first in zip(names, firsts, strict=True))
        row = sum(first.nbytes / len(first) for first in firsts)
        self._refuse_too_many(row)
        fit = int(min(self._memory, _RESERVED) / max(row, 1))
        count = fit if self._expected is None else min(fit, self._expected)
        self._stores = _stores(firsts, max(count, *map(len, firsts)))

    def _refuse_too_many(self, row: float) -> None:
        """Before a row is kept: as many as will come, where that is known, if neither memory nor disk holds them."""
        needed = int(row * (self._expected or 0))
        if needed <= self._memory and not self._disk:
            return
        free = shutil.disk_usage(self._directory).free
        if needed > free:
            raise StorageFailed(
                f"this rank's {self._expected:,} rows need about {needed:,} bytes: more than memory= keeps "
                f"({self._memory:,}), and than {self._directory} has free ({free:,}). Point TMPDIR to a larger disk, "
                "give memory= more, or spread the rows over more ranks on other machines."
            )

    def _keep(self, number: int, piece: Any) -> None:
        self._bytes += piece.nbytes
        try:
            if (self._disk or self._bytes > self._memory) and not self.on_disk:
                self._spill()
            self._stores[number].append(piece)
        except OSError as error:
            self.close()
            if error.errno in _FULL:
                raise self._full(error) from error
            raise

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

    def __init__(self, room: np.ndarray) -> None:
        self._array = room
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

    def seal(self, window: Window) -> ArrayColumn:
        return ArrayColumn(self._array[: self._rows])


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

    def seal(self, window: Window) -> MappedColumn:
        pages = Pages(self._file, window)
        array = np.frombuffer(pages.map, self._dtype).reshape(self._rows, *self._shape)
        return MappedColumn(array, pages)


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

    def seal(self, window: Window) -> TextColumn:
        return TextColumn(self._data.seal(window), self._ends.seal(window), self._is_str)


def _stores(rows: Sequence[Stored], count: int) -> list[_Memory | _TextStore]:
    """A store for each column; text is given as much room again, for its rows differ."""
    wanted: list[tuple[np.ndarray, int]] = []
    for array in rows:
        if isinstance(array, Text):
            wanted += [(array.ends, count + 1), (array.data, 2 * count * len(array.data) // len(array))]
        else:
            wanted.append((array, count))
    room = map(_Memory, _rooms(wanted))
    return [_text_store(array, next(room), next(room)) if isinstance(array, Text) else next(room) for array in rows]


def _text_store(first: Text, ends: _Memory, data: _Memory) -> _TextStore:
    ends.append(np.zeros(1, np.int64))  # row n lies between ends[n] and ends[n + 1]
    return _TextStore(data, ends, first.is_str)


def _rooms(wanted: Sequence[tuple[np.ndarray, int]]) -> list[np.ndarray]:
    """Arrays for so many rows like the ones given, in one piece of memory.

    The system hands out huge pages (2 MiB on x86) and clears each whole: columns that share them take half the time.
    """
    sizes = [-(-like[:1].nbytes * rows // _ALIGNED) * _ALIGNED for like, rows in wanted]
    block = np.empty(sum(sizes), np.uint8)
    return [
        np.ndarray((rows, *like.shape[1:]), like.dtype, block.data, offset)
        for (like, rows), offset in zip(wanted, accumulate(sizes, initial=0), strict=False)
    ]


def _without_objects(array: Stored, name: str) -> Stored:
    return text_of(array, name) if isinstance(array, np.ndarray) and array.dtype.kind == "O" else array


def _layout(rows: Stored) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """(dtype, shape of one row)."""
    return (_OBJECT, ()) if isinstance(rows, Text) else (rows.dtype, rows.shape[1:])
