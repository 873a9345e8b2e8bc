"""The directory that an image set is written to, before and after.

Owns: the three ways of writing to a place where something is, what is removed and when, the last word (the metadata).
Leaves: writing the chunks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zoo.engine import storage
from zoo.engine.errors import DataError, UsageError
from zoo.orca.data.image.chunks import Written
from zoo.orca.data.image.manifest import METADATA, Chunk, Manifest, chunk_file, chunk_number

_log = logging.getLogger(__name__)
_MODES = ("overwrite", "append", "error")
_POLICIES = ("raise", "skip", "keep")


@dataclass(frozen=True, slots=True)
class Options:
    """How a set is written.

    Attributes:
        block_size: records of a chunk.
        write_mode: ``"overwrite"`` takes the place of a set, ``"append"`` adds to it, ``"error"`` refuses.
        errors: a broken image is raised (``"raise"``), left out and counted (``"skip"``), or not looked for (``"keep"``).
    """

    block_size: int = 1000
    write_mode: str = "overwrite"
    errors: str = "raise"

    def __post_init__(self) -> None:
        """Raises UsageError for all values that cannot be."""
        found = []
        if not isinstance(self.block_size, int) or isinstance(self.block_size, bool) or self.block_size < 1:
            found.append(f"block_size must be a whole number of records, at least 1. Received: {self.block_size!r}")
        if self.write_mode not in _MODES:
            found.append(f"write_mode must be one of {', '.join(map(repr, _MODES))}. Received: {self.write_mode!r}")
        if self.errors not in _POLICIES:
            found.append(f"errors must be one of {', '.join(map(repr, _POLICIES))}. Received: {self.errors!r}")
        if found:
            raise UsageError.listing(found)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a set is to be.

    Attributes:
        path: the directory, local or a URL.
        wanted: what its metadata are to say of the columns, the format and the classes.
        before: the set that is there and stays, to which more is added; None where there is none.
        replaces: whether a whole set is there that gives way.
    """

    path: str
    wanted: Manifest
    before: Manifest | None = None
    replaces: bool = False

    @classmethod
    def look(cls, path: str, wanted: Manifest, mode: str) -> Target:
        """Finds out what is there; nothing is changed yet.

        Raises:
            UsageError: other files, a set that must not be replaced, one that does not fit.
        """
        names = storage.list_names(path)
        shown = storage.masked(path)
        if METADATA not in names:
            _refuse_others(shown, names)
            return cls(path, wanted)
        if mode == "error":
            raise UsageError(
                f"there is an image set at {shown} already. Choose another path, or write_mode='overwrite' or 'append'."
            )
        if mode == "overwrite":
            return cls(path, wanted, replaces=True)
        before = Manifest.read(path)
        _refuse_unlike(shown, before, wanted)
        return cls(path, wanted, before)

    @property
    def first(self) -> int:
        """The number of the first chunk to write."""
        return len(self.before.chunks or ()) if self.before else 0

    def clear(self, count: int) -> None:
        """Removes what does not stay, the old metadata first.

        Args:
            count: chunks from `first` on, which an interrupted call may have written.
        """
        if self.replaces:
            storage.remove_tree(storage.join(self.path, METADATA))
        kept = range(self.first, self.first + (0 if self.replaces else count))
        for name in storage.list_names(self.path):
            number = chunk_number(name)
            if number is None or number < self.first:
                continue
            if number not in kept:
                storage.remove_tree(storage.join(self.path, name))
                continue
            file = chunk_file(self.path, number)
            for part in storage.list_names(storage.join(self.path, name)):
                if not file.endswith(f"/{part}"):
                    storage.remove_tree(storage.join(self.path, name, part))

    def commit(self, written: Sequence[Written]) -> None:
        """Says that the set is whole.

        Raises:
            DataError: all images were broken.
        """
        skipped = sum(one.skipped for one in written)
        examples = [example for one in written for example in one.examples][:5]
        if not any(one.rows for one in written):
            self.clear(0)
            raise DataError(f"none of the {skipped} images can be read: {'; '.join(examples)}. Nothing was written.")
        chunks = tuple(Chunk(one.rows, one.size) for one in sorted(written))
        told = replace(self.wanted, chunks=chunks, skipped=skipped)
        if self.before:
            told = replace(
                self.before, chunks=(*(self.before.chunks or ()), *chunks), skipped=self.before.skipped + skipped
            )
        storage.write_atomically(storage.join(self.path, METADATA), told.text().encode())
        rows = sum(one.rows for one in written)
        _log.info("Wrote %d records in %d chunks to %s.", rows, len(written), storage.masked(self.path))
        if skipped:
            _log.warning("%d of %d images were left out: %s", skipped, rows + skipped, "; ".join(examples))


def _refuse_others(shown: str, names: Sequence[str]) -> None:
    """A directory full of other things is most likely a wrong path."""
    others = [name for name in names if chunk_number(name) is None and not name.startswith((".", "_"))]
    if others and len(others) == len([name for name in names if not name.startswith((".", "_"))]):
        raise UsageError(
            f"{shown} holds other files ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}) and no image set. "
            "Choose an empty or a new directory."
        )


def _refuse_unlike(shown: str, before: Manifest, wanted: Manifest) -> None:
    if before.chunks is None:
        raise UsageError(f"the set at {shown} has the older layout, to which nothing can be added. Write a new one.")
    if before.schema != wanted.schema:
        raise UsageError(
            f"the set at {shown} has other columns: {before.schema}, these are {wanted.schema}. "
            "Write them to another path, or use write_mode='overwrite'."
        )
    if before.classes != wanted.classes:
        raise UsageError(
            f"the set at {shown} numbers other classes: {list(before.classes)}, these are {list(wanted.classes)}. "
            "Give the same classes, or another path."
        )
