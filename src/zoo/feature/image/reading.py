"""Image files -> images, wherever the files are; which files there are is all that the driver looks at.

Owns: paths, globs and lists of them as files, their classes, one file as an image, what is done about a broken one.
Leaves: connections and listing (the engine), where files are read (imageset, zoo.pipeline.nnframes).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine import storage
from zoo.engine.data import images
from zoo.engine.data.finding import find
from zoo.engine.errors import DataError, StorageFailed, UsageError
from zoo.engine.filesystems import split_options
from zoo.feature.image.conversion import check_codec
from zoo.feature.image.geometry import resized
from zoo.feature.image.image_feature import ImageFeature, channels_last

_log = logging.getLogger(__name__)
_LITTER = ("Thumbs.db", "desktop.ini")
_ERRORS = ("raise", "skip")


@dataclass(frozen=True, slots=True)
class File:
    """One file, and the label of its class where it has one."""

    url: str
    label: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Attributes:
        height: in pixels, of all images; -1 for each image's own.
        width: likewise; -1 together with `height`.
        codec: a flag of ``cv2.imread``.
        errors: a file that is no image, or cannot be read, is an error (``"raise"``), or left out, counted and logged
            (``"skip"``).
    """

    height: int = -1
    width: int = -1
    codec: int = -1
    errors: str = "raise"

    def __post_init__(self) -> None:
        check_codec(self.codec)
        sides = (self.height, self.width)
        if sides != (-1, -1) and not all(isinstance(side, int) and side > 0 for side in sides):
            raise UsageError(
                f"images are resized to a height and a width in pixels, or, with -1 for both, not at all. "
                f"Received: height {self.height!r}, width {self.width!r}"
            )
        if self.errors not in _ERRORS:
            raise UsageError(f"errors must be 'raise' or 'skip'. Received: {self.errors!r}")

    def image(self, file: File) -> ImageFeature:
        """The image of a file.

        Raises:
            DataError: it is none, cut off or damaged.
            StorageFailed: it cannot be read.
        """
        name = name_of(file.url)
        mat = images.decode_by(storage.read_bytes(file.url), self.codec, name)
        size = channels_last(mat).shape
        if self.height > 0:
            mat = resized(mat, self.height, self.width)
        label = None if file.label is None else np.float32(file.label)
        return ImageFeature(mat, label, name, original_size=size)

    def images(self, files: Iterable[File], over: Callable[..., Iterable[Any]] = map) -> Iterator[ImageFeature]:
        """The images of files, in their order; those that are left out are counted, and logged at the end.

        Args:
            files: which.
            over: `map`, or that of a pool of threads.
        """
        left_out: list[str] = []
        for found in over(self._attempt, files):
            if isinstance(found, ImageFeature):
                yield found
            else:
                left_out.append(found)
        if left_out:
            _log.warning("%d image(s) were left out (errors='skip'). The first: %s", len(left_out), left_out[0])

    def _attempt(self, file: File) -> ImageFeature | str:
        """An image, or what is wrong with it."""
        try:
            return self.image(file)
        except (DataError, StorageFailed) as error:
            if self.errors == "raise":
                raise
            return str(error)


def listed(path: Any) -> list[str]:
    """The URLs of the files behind a path, in order; none of them is opened.

    Args:
        path: a file, a directory (with all below it), a glob, a comma-separated list of such, or a list; local paths
            and URLs. Names that begin with ``.`` or ``_`` are left out.

    Raises:
        UsageError: nothing is there.
        StorageFailed: it cannot be reached.
    """
    found = [url for one in paths_of(path) for url in _below(one)]
    if not found:
        raise UsageError(f"there are no files behind {_told(path)}. Check the path.")
    return found


def classified(path: Any, first: int) -> tuple[list[File], dict[str, int]]:
    """The files behind a path with the labels of their classes, which are the directories that they lie in.

    Args:
        path: as for `listed`.
        first: the label of the first class, in the order of names.

    Returns:
        the files, and the labels by class.

    Raises:
        UsageError: files that lie right below the path, so that they have no class; else as `listed`.
    """
    roots = {name_of(one) for one in paths_of(path)}
    urls = listed(path)
    parents = [name_of(url).rpartition("/")[0] for url in urls]
    loose = next((url for url, parent in zip(urls, parents, strict=True) if parent in roots), None)
    if loose is not None:
        raise UsageError(
            f"with_label=True is for a directory with one sub-directory for each class, and {name_of(loose)} "
            "lies in none. Move it, or leave with_label out."
        )
    names = [parent.rpartition("/")[2] for parent in parents]
    labels = {name: number for number, name in enumerate(sorted(set(names)), first)}
    return [File(url, float(labels[name])) for url, name in zip(urls, names, strict=True)], labels


def paths_of(path: Any) -> list[str]:
    """The single paths of what a program gave.

    Raises:
        UsageError: it gave none.
    """
    if isinstance(path, list | tuple):
        several = [os.fspath(one) for one in path]
    elif isinstance(path, str | os.PathLike):
        whole = os.fspath(path)
        several = [whole] if "," not in whole or storage.exists(whole) else _split(whole)
    else:
        raise UsageError(f"path must be a path, a glob, or a comma-separated list of them. Received: {path!r}")
    kept = [str(one).strip() for one in several if str(one).strip()]
    if not kept:
        raise UsageError(f"path must name a directory, a file or a glob. Received: {path!r}")
    return kept


def _split(paths: str) -> list[str]:
    """At the commas, but for those between braces, which are between a glob's alternatives."""
    found, depth = [""], 0
    for letter in paths:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth <= 0:
            found.append("")
        else:
            found[-1] += letter
    return found


def _below(url: str) -> Sequence[str]:
    paths = [path for path in find(url, ()).paths if path.rpartition("/")[2] not in _LITTER]
    if storage.is_local(url):
        return paths
    before, options = _around(url)
    return [f"{before}{path.lstrip('/')}{options}" for path in paths]


def _around(url: str) -> tuple[str, str]:
    """What stands before and behind the path within the file system in a URL: scheme, host and keys; options."""
    whole, options = split_options(url)
    scheme, _, rest = whole.partition("://")
    inside = storage.file_system(url)[1].strip("/")
    known = bool(inside) and rest.rstrip("/").endswith(inside)
    return f"{scheme}://{rest.rstrip('/').removesuffix(inside) if known else ''}", options


def name_of(url: str) -> str:
    """A file's URL or path as rows and errors tell it: without keys and options."""
    return storage.shown(url if storage.is_local(url) else split_options(url)[0])


def _told(path: Any) -> str:
    return storage.masked(str(path))
