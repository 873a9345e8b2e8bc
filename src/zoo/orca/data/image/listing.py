"""What files there are below a directory, local or behind a URL: names, sizes and times, no content.

Owns: walking, which files do not count, the random order of a listing.
Leaves: what the files mean (the formats).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from zoo.engine import storage
from zoo.engine.errors import UsageError

_LITTER = {"Thumbs.db", "desktop.ini"}


def files_below(url: str, argument: str) -> pa.Table:
    """All files below a directory, in the order of their names.

    Hidden ones (a part of the name begins with a dot) and those that file managers leave do not count. Links whose
    files are not there do: reading them tells so.

    Args:
        url: the directory.
        argument: of the call, which named it.

    Returns:
        ``name`` (below the directory, with slashes), ``size`` in bytes, ``changed`` in ns (-1 where it is not known).

    Raises:
        UsageError: no such directory.
        StorageFailed: it cannot be listed.
    """
    files, path = storage.file_system(url)
    with storage.explained(url, "list"):
        if files.get_file_info(path).type != pafs.FileType.Directory:
            raise UsageError(f"{argument} must be a directory that is there. Received: {storage.masked(url)}")
        found = files.get_file_info(pafs.FileSelector(path, recursive=True))
    names = {info.path[len(path) :].lstrip("/"): info for info in found if info.type == pafs.FileType.File}
    if storage.is_local(url):
        names |= {link[len(path) :].lstrip("/"): pafs.FileInfo(link) for link in _dangling(path)}
    kept = sorted(name for name in names if _counts(name))
    changed = [names[name].mtime_ns for name in kept]
    return pa.table(
        {
            "name": pa.array(kept, pa.string()),
            "size": pa.array([names[name].size or 0 for name in kept], pa.int64()),
            "changed": pa.array([-1 if time is None else time for time in changed], pa.int64()),
        }
    )


def sizes_below(url: str) -> dict[str, int]:
    """Bytes of each file below a directory by its name there, hidden ones too; none where nothing is there.

    Raises:
        StorageFailed: it cannot be listed.
    """
    files, path = storage.file_system(url)
    with storage.explained(url, "list"):
        found = files.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
    return {
        info.path[len(path) :].lstrip("/"): info.size or 0
        for info in found
        if info.type == pafs.FileType.File and not info.path.endswith("/")
    }


def shuffled(listing: pa.Table, seed: int) -> pa.Table:
    """The rows in an order that the seed alone decides.

    Raises:
        UsageError: the seed is none.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"seed must be a whole number, at least 0. Received: {seed!r}")
    return listing.take(pa.array(np.random.default_rng(seed).permutation(len(listing))))


def address(root: str, name: str) -> str:
    """A file below `root` as a column of the set names it: without credentials."""
    return storage.masked(storage.join(root, name))


def some(names: Any, most: int = 5) -> str:
    """The first few of some names, for an error."""
    names = list(names)
    return ", ".join(map(str, names[:most])) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def _dangling(directory: str) -> Iterator[str]:
    """Links below a directory whose files are not there; Arrow leaves them out without a word."""
    waiting, seen = [directory], {os.path.realpath(directory)}
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink() and not os.path.exists(entry.path):
                    yield entry.path
                elif entry.is_dir() and (place := os.path.realpath(entry.path)) not in seen:  # links may go in circles
                    seen.add(place)
                    waiting.append(entry.path)


def _counts(name: str) -> bool:
    parts = name.split("/")
    return parts[-1] not in _LITTER and not any(part.startswith(".") for part in parts)
