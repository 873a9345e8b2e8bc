"""The directory that an image set is written to, before and after.

Where no set is, chunks are written in place and the metadata last. Where one is, it stays as it is: the new chunks are
written to ``_staged/`` below it, whose own metadata come last. From that moment the new set is what counts: `finish`
moves it into place, and whoever comes after an interruption there finishes it first.

Owns: the three ways of writing to a place where something is, what is removed and when, the last word (the metadata).
Leaves: writing the chunks, who may write (claims).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from zoo.engine import storage
from zoo.engine.errors import DataError, StorageFailed, UsageError, ZooError
from zoo.orca.data.image import claims
from zoo.orca.data.image.chunks import Written
from zoo.orca.data.image.listing import sizes_below, some
from zoo.orca.data.image.manifest import METADATA, Chunk, Manifest, chunk_name, chunk_number
from zoo.orca.data.image.places import Place, move

_log = logging.getLogger(__name__)
_MODES = ("overwrite", "append", "error")
_POLICIES = ("raise", "skip", "keep")
STAGED = "_staged"
"""Where the chunks lie that are to replace a set, or to be added to it."""
_TEMPORARY = re.compile(rf"\.{METADATA}\.[0-9a-f]{{8}}\.tmp")
_MOVERS = 8  # a store copies what is moved, and takes its time


@dataclass(frozen=True, slots=True)
class Options:
    """How a set is written.

    Attributes:
        block_size: records of a chunk.
        write_mode: ``"overwrite"`` takes the place of a set, ``"append"`` adds to it, ``"error"`` refuses.
        errors: a broken image is raised (``"raise"``), left out and counted (``"skip"``), or not looked for
            (``"keep"``).
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
        before: the set that is there and to which more is added; None where there is none.
        replaces: whether a whole set is there that gives way.
        claim: the URL of the claim on the directory; empty where nobody may write.
    """

    path: Place
    wanted: Manifest
    before: Manifest | None = None
    replaces: bool = False
    claim: str = ""

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
            return cls(Place(path), wanted)
        if mode == "error":
            raise UsageError(
                f"there is an image set at {shown} already. Choose another path, or write_mode='overwrite' or 'append'."
            )
        if mode == "overwrite":
            return cls(Place(path), wanted, replaces=True)
        before = Manifest.read(path)
        _refuse_unlike(shown, before, wanted)
        return cls(Place(path), wanted, before)

    @property
    def first(self) -> int:
        """The number of the first chunk to write."""
        return len(self.before.chunks or ()) if self.before else 0

    @property
    def root(self) -> Place:
        """The directory of the chunks until the set is whole."""
        return Place(storage.join(self.path, STAGED)) if self.replaces or self.before else self.path

    def clear(self, count: int) -> None:
        """Removes what an interrupted call has left, but for files that have the names of chunks to write.

        Args:
            count: chunks to write, from `first` on.
        """
        for name in storage.list_names(self.path):
            if _TEMPORARY.fullmatch(name) or (name == STAGED and self.root == self.path):
                storage.remove_tree(storage.join(self.path, name))
        _keep(self.root, range(self.first, self.first + count))

    def discard(self) -> None:
        """Removes all that was written; the set that was there is as it was."""
        self.clear(0)
        if self.root != self.path:
            storage.remove_tree(self.root)

    def commit(self, written: Sequence[Written]) -> None:
        """Says that the set is whole.

        Raises:
            DataError: all images were broken.
            StorageFailed: a chunk is not here: the tasks have other disks than the driver; the claim is gone.
        """
        skipped = sum(one.skipped for one in written)
        examples = [example for one in written for example in one.examples][:5]
        if not any(one.rows for one in written):
            self.discard()
            raise DataError(f"none of the {skipped} images can be read: {'; '.join(examples)}. Nothing was written.")
        claims.check(self.claim)
        self._check_seen(written)
        self._put_metadata(tuple(Chunk(one.rows, one.size) for one in sorted(written)), skipped)
        rows = sum(one.rows for one in written)
        _log.info("Wrote %d records in %d chunks to %s.", rows, len(written), storage.masked(self.path))
        if skipped:
            _log.warning("%d of %d images were left out: %s", skipped, rows + skipped, "; ".join(examples))

    def _put_metadata(self, chunks: tuple[Chunk, ...], skipped: int) -> None:
        told = replace(self.wanted, chunks=chunks, skipped=skipped)
        if self.before:
            told = replace(
                self.before, chunks=(*(self.before.chunks or ()), *chunks), skipped=self.before.skipped + skipped
            )
        storage.write_atomically(storage.join(self.root, METADATA), told.text().encode())
        if self.root != self.path:
            finish(self.path)

    def _check_seen(self, written: Sequence[Written]) -> None:
        sizes = sizes_below(self.root)
        missing = [one.number for one in written if sizes.get(chunk_name(one.number)) != one.size]
        if missing:
            raise StorageFailed(
                f"{len(missing)} of {len(written)} chunks that tasks put in {storage.masked(self.path)} are not there "
                f"for the driver: {some(missing)}. Give a path that all machines share (hdfs://, s3://, a mounted "
                "disk)."
            )


@contextmanager
def writing_to(path: str, wanted: Manifest, mode: str) -> Iterator[Target]:
    """The directory, for the block alone; a commit that was interrupted is finished first.

    Where the block fails, the half-written files of tasks that were ended with it are removed.

    Raises:
        UsageError: as of `Target.look`; another program writes there.
        StorageFailed: the place cannot be reached or written to.
    """
    Target.look(path, wanted, mode)  # whatever is refused is refused before a file is made
    claimed = False
    try:
        with claims.held(path) as claim:
            claimed = True
            finish(path)
            yield replace(Target.look(path, wanted, mode), claim=Place(claim))
    except BaseException:
        if claimed:
            with contextlib.suppress(ZooError), claims.held(path):  # without the first claim, tasks begin no more files
                _sweep(path)
        raise


def finish(path: str) -> None:
    """Moves a new set, which is whole in ``_staged/``, to the place of the old one; nothing where there is none.

    May be interrupted anywhere, and called again: the staged metadata go last.

    Raises:
        DataError: some of its files were lost.
        StorageFailed: a file cannot be moved.
    """
    staged = storage.join(path, STAGED)
    if METADATA not in storage.list_names(staged):
        return
    chunks = Manifest.read(staged).chunks or ()
    coming, there = sizes_below(staged), sizes_below(path)
    _refuse_lost(path, chunks, there | coming)
    storage.remove_tree(storage.join(path, METADATA))
    _keep(path, range(len(chunks)))
    moving = [name for number in range(len(chunks)) if (name := chunk_name(number)) in coming]
    with ThreadPoolExecutor(_MOVERS, "zoo-images") as pool:
        for _ in pool.map(lambda name: move(storage.join(staged, name), storage.join(path, name)), moving):
            pass
    storage.write_atomically(storage.join(path, METADATA), storage.read_bytes(storage.join(staged, METADATA)))
    storage.remove_tree(staged)


def _refuse_lost(path: str, chunks: Sequence[Chunk], sizes: Mapping[str, int]) -> None:
    lost = [number for number, chunk in enumerate(chunks) if sizes.get(chunk_name(number)) != chunk.size]
    if lost:
        raise DataError(
            f"the image set at {storage.masked(path)} was to be replaced, its writer was interrupted, and "
            f"{len(lost)} of {len(chunks)} new chunks have been removed since: {some(lost)}. "
            f"Remove {storage.masked(storage.join(path, STAGED))} and write the set anew."
        )


def _keep(root: str, numbers: range) -> None:
    """Removes all in the chunks' directories but the files of chunks with these numbers."""
    for name in storage.list_names(root):
        number = chunk_number(name)
        if number is not None and number not in numbers:
            storage.remove_tree(storage.join(root, name))
    kept = {chunk_name(number) for number in numbers}
    _remove(root, (name for name in _of_chunks(root) if name not in kept))


def _sweep(path: str) -> None:
    """Removes files under temporary names."""
    for root in (path, storage.join(path, STAGED)):
        _remove(root, (name for name in _of_chunks(root) if name.endswith(".tmp")))


def _of_chunks(root: str) -> Iterator[str]:
    return (name for name in sizes_below(root) if chunk_number(name.partition("/")[0]) is not None)


def _remove(root: str, names: Iterable[str]) -> None:
    for name in names:
        storage.remove_tree(storage.join(root, name))


def _refuse_others(shown: str, names: Sequence[str]) -> None:
    """A directory with other things, and none of ours, is most likely a wrong path."""
    seen = [name for name in names if not name.startswith((".", "_"))]
    if seen and all(chunk_number(name) is None for name in seen):
        raise UsageError(
            f"{shown} holds other files ({some(seen, 3)}) and no image set. Choose an empty or a new directory."
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
