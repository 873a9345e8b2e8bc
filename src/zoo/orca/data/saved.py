"""Shards as files: a directory with one file for each shard, and a manifest that is written last.

    part-<partition>-<place>-<run>.parquet    a pandas DataFrame
    part-<partition>-<place>-<run>.arrow      arrays, and lists, tuples and dicts of them (`tensors`)
    part-<partition>-<place>-<run>.pickle     any object, by `save_pickle`
    _xshards.json                             the files' names, sizes and checksums

A directory without a manifest was not written to its end: it is never read, and a new run may use it.

Owns: names, the manifest, what is written and read where.
Leaves: the bytes of a file that are no DataFrame's (tensors), file systems (zoo.engine.storage).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from zoo.engine import storage
from zoo.engine.data import nests
from zoo.engine.data.objects import Item
from zoo.engine.errors import DataError, StorageFailed, UsageError
from zoo.orca.data import tensors

MANIFEST = "_xshards.json"
_NAME = re.compile(r"part-\d{5,}-\d{5,}-[0-9a-f]{8}\.(parquet|arrow|pickle)")
_TEMPORARY = re.compile(r"\.part-.*\.tmp")


class File(NamedTuple):
    """One shard's file."""

    part: int
    place: int
    name: str
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Writing:
    """Writes each object to a file, where it lies, and gives a `File` in its place.

    Attributes:
        url: of the directory.
        run: tells this run's files from those of one that was interrupted.
        encode: from an object to (bytes, suffix).
    """

    url: str
    run: str
    encode: Callable[[Any], tuple[bytes, str]]

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            try:
                data, suffix = self.encode(item.value)
            except (UsageError, DataError) as error:
                raise type(error)(f"the shard of partition {item.part}: {error}") from error
            name = f"part-{item.part:05d}-{item.place:05d}-{self.run}.{suffix}"
            storage.write_atomically(storage.join(self.url, name), data)
            yield item._replace(value=File(item.part, item.place, name, len(data), zlib.crc32(data)))


@dataclass(frozen=True, slots=True)
class Loading:
    """Replaces each `File` by its object.

    Attributes:
        url: of the directory.
        decode: from (bytes, suffix) to an object.
    """

    url: str
    decode: Callable[[bytes, str], Any]

    def __call__(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            file = File(*item.value)
            where = storage.join(self.url, file.name)
            data = storage.read_bytes(where)
            if len(data) != file.size or zlib.crc32(data) != file.checksum:
                raise DataError(
                    f"{storage.masked(where)} is not what was written: it has {len(data)} bytes, {file.size} were "
                    "written. Save the shards again."
                )
            yield item._replace(value=self.decode(data, file.name.rpartition(".")[2]))


def write(url: str, kind: str, partitions: int, save: Callable[[Callable[..., Any]], Sequence[File]]) -> None:
    """Writes the files, then the manifest; on a failure nothing new is left behind.

    Args:
        url: a directory that holds no shards yet.
        kind: ``"arrow"`` or ``"pickle"``.
        partitions: how many there are.
        save: has a `Writing` go over all objects and returns what it gave.

    Raises:
        UsageError: there are shards, or other files.
        StorageFailed: it cannot be written.
    """
    present = storage.list_names(url)
    if MANIFEST in present:
        raise UsageError(f"{storage.masked(url)} holds shards already. Choose another path, or remove it first.")
    others = [name for name in present if not (_NAME.fullmatch(name) or _TEMPORARY.fullmatch(name))]
    if others:
        raise UsageError(f"{storage.masked(url)} holds other files: {others[:5]}. Choose a new directory.")
    new = not storage.exists(url)
    run = secrets.token_hex(4)
    try:
        storage.make_dirs(url)
        files = save(Writing(url, run, tensors.encode if kind == "arrow" else _pickled))
        manifest = {"format": "zoo.xshards", "version": 1, "kind": kind, "partitions": partitions, "files": files}
        storage.write_atomically(storage.join(url, MANIFEST), json.dumps(manifest).encode())
    except BaseException:
        _remove(url, [name for name in storage.list_names(url) if run in name])
        if new and not storage.list_names(url):
            with suppress(StorageFailed):
                storage.remove_tree(url)
        raise
    _remove(url, present)  # what an interrupted run has left


def read(url: str, kind: str) -> tuple[int, list[File]]:
    """(partitions, files) of a directory's manifest.

    Raises:
        UsageError: shards of the other kind, or no shards.
        DataError: the manifest is none.
    """
    if not storage.exists(storage.join(url, MANIFEST)):
        raise UsageError(
            f"{storage.masked(url)} holds no shards: there is no {MANIFEST}, which is written last. "
            "If writing was interrupted, save the shards again; to read tables of other programs use read_parquet."
        )
    text = storage.read_bytes(storage.join(url, MANIFEST))
    try:
        found = json.loads(text)
        known = found["format"] == "zoo.xshards" and found["version"] == 1 and found["kind"] in ("arrow", "pickle")
        files = sorted(File(*values) for values in found["files"])
        partitions = int(found["partitions"])
        fits = all(_NAME.fullmatch(file.name) and 0 <= file.part < partitions for file in files)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{storage.masked(url)}/{MANIFEST} is damaged ({error}). Save the shards again.") from error
    if not known or not fits:
        raise DataError(f"{storage.masked(url)}/{MANIFEST} is not of a kind that this release reads.")
    if found["kind"] != kind:
        other = "XShards.load_pickle(path), if you trust its source" if kind == "arrow" else "XShards.load(path)"
        raise UsageError(f"{storage.masked(url)} holds shards in the {found['kind']} format. Use {other}.")
    return partitions, files


def place(path: Any) -> str:
    """The directory, whatever the current directory of the process that is to write or read there."""
    url = os.fspath(path)
    return str(storage.local_path(url).absolute()) if storage.is_local(url) else url


def is_hadoop(url: str) -> bool:
    """Whether a directory looks like one that Spark has written (`RDD.saveAsPickleFile`)."""
    names = storage.list_names(url)
    return MANIFEST not in names and any(re.fullmatch(r"part-\d+", name) for name in names)


def unpickled(data: bytes, suffix: str) -> Any:
    """An object of a ``.pickle`` file; it may run code, so `XShards.load_pickle` is for trusted places."""
    import pickle

    return pickle.loads(data)  # noqa: S301  asked for by the name of the method


def _pickled(value: Any) -> tuple[bytes, str]:
    import cloudpickle

    return cloudpickle.dumps(value), "pickle"


def _remove(url: str, names: Sequence[str]) -> None:
    for name in names:
        with suppress(StorageFailed):
            storage.remove_tree(storage.join(url, name))


def spread(files: Sequence[File], partitions: int) -> list[File]:
    """The same files in their order over `partitions` partitions."""
    borders = nests.borders(len(files), partitions)
    return [
        file._replace(part=part, place=place)
        for part, (start, stop) in enumerate(pairwise(borders))
        for place, file in enumerate(files[start:stop])
    ]
