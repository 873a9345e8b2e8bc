"""Data files behind a path, a directory or a glob, wherever they are.

Owns: which files are data: names that start with ``_`` or ``.`` (``_SUCCESS``, ``.part.crc``) are not.
Leaves: connections (storage), what the files hold.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from zoo.engine import storage
from zoo.engine.data.listing import refuse_logs
from zoo.engine.errors import UsageError

_MARKS = "*?[{"
_BRACES = re.compile(r"\{([^{}]*)\}")  # the innermost


@dataclass(frozen=True, slots=True)
class Found:
    """Files of one file system.

    Attributes:
        files: the file system.
        root: the directory that was asked for.
        paths: of the files, within the file system, in order.
        sizes: their bytes.
        globbed: whether wildcards have chosen them.
    """

    files: Any
    root: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    globbed: bool = False


def find(url: str, suffixes: Sequence[str]) -> Found:
    """The data files of a file, directory or glob.

    Args:
        url: a path or URL.
        suffixes: of the files that are taken, if a directory has such; else all of its files are.

    Raises:
        UsageError: nothing is there. (An empty directory is none.)
        StorageFailed: it cannot be reached.
    """
    files, path = storage.file_system(url)
    globbed = False
    with storage.explained(url, "list"):
        info = files.get_file_info(path)
        if info.type == pafs.FileType.File:
            root, found = os.path.dirname(path), [info]
        elif info.type == pafs.FileType.Directory:
            root, found = path, _below(files, path, suffixes)
        elif any(mark in path for mark in _MARKS):
            globbed, (root, found) = True, _matching(files, path, suffixes)
        else:
            raise UsageError(
                f"Path does not exist: No such file or directory: {storage.masked(url)}. "
                "Check the path and where it is mounted."
            )
    return Found(files, root, tuple(one.path for one in found), tuple(one.size or 0 for one in found), globbed)


def _below(files: pafs.FileSystem, root: str, suffixes: Sequence[str]) -> list[pafs.FileInfo]:
    """The data files below a directory, in order."""
    below = files.get_file_info(pafs.FileSelector(root, recursive=True))
    refuse_logs(root, below)
    found = [info for info in below if info.type == pafs.FileType.File and not _hidden(info.path, root)]
    found.sort(key=lambda info: str(info.path))
    return [info for info in found if info.path.endswith(tuple(suffixes))] or found


def _matching(files: pafs.FileSystem, pattern: str, suffixes: Sequence[str]) -> tuple[str, list[pafs.FileInfo]]:
    """(the directory above the first wildcard, the data files that match or lie in a directory that does)."""
    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if any(mark in part for mark in _MARKS))
    root = "/".join(parts[:first]) or "/"
    if files.get_file_info(root).type != pafs.FileType.Directory:
        return root, []
    several = _expanded("/".join(parts[first:]))
    whole = ("/".join(_expression(part) for part in one.split("/") if part) for one in several)
    wanted = re.compile(f"(?:{'|'.join(whole)})(/.*)?")
    found = _below(files, root, suffixes)
    return root, [info for info in found if wanted.fullmatch(info.path[len(root) :].lstrip("/"))]


def _expanded(pattern: str) -> list[str]:
    """A pattern for each combination of its alternatives in braces, as Hadoop and the shell have them."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [one for choice in braces[1].split(",") for one in _expanded(f"{before}{choice}{after}")]


def _expression(part: str) -> str:
    """The regular expression of one component of a glob, whose wildcards stop at a slash."""
    if part == "**":
        return "(?:[^/]+/)*?[^/]+"
    body = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
    return body.replace(".*", "[^/]*")


def _hidden(path: str, root: str) -> bool:
    names = path[len(root) :].strip("/").split("/")
    return any(name.startswith(("_", ".")) and "=" not in name for name in names)
