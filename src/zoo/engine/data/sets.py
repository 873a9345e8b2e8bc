"""Image sets: directories ``chunk=<i>`` with Parquet files, and ``_orca_metadata``, which is written last.

Owns: whether such a set is whole and its files are those that its metadata name.
Leaves: columns, writing sets (zoo.orca.data.image), reading files (files).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from zoo.engine import storage
from zoo.engine.errors import DataError, UsageError

METADATA = "_orca_metadata"
VERSION = 1


def is_set(schema: pa.Schema, paths: Sequence[str], root: str) -> bool:
    """Whether these files below `root` are an image set, or what is left of one.

    Args:
        schema: of the first file.
        paths: of all files.
        root: the directory that was asked for.
    """
    return b"zoo" in (schema.metadata or {}) and any(path.startswith(f"{root}/chunk=") for path in paths)


def metadata_of(files: Any, root: str, url: str) -> Mapping[str, Any]:
    """What the metadata of the set at `root` say.

    Args:
        files: the file system.
        root: the set, within it.
        url: the same as it was given.

    Raises:
        UsageError: the set is not whole, or a newer zoo has written it.
        DataError: the metadata are damaged.
    """
    place = storage.join(url, METADATA)
    with storage.explained(place, "read"):
        if not files.get_file_info(f"{root}/{METADATA}").is_file:
            raise UsageError(not_whole(url))
        with files.open_input_file(f"{root}/{METADATA}") as file:
            text = file.read()
    try:
        return understood(text.decode(), url)
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise damaged(url, error) from None


def understood(text: str, url: str) -> Mapping[str, Any]:
    """The metadata's JSON: ours has ``version`` and ``chunks``, upstream's the columns alone.

    Args:
        text: the file's.
        url: of the set, for errors.

    Raises:
        UsageError: a newer zoo has written it.
        ValueError: it is no JSON of an object.
    """
    said = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError(f"it holds no object, but {text[:80]!r}")
    if is_ours(said) and said["version"] > VERSION:
        raise UsageError(
            f"the image set at {storage.masked(url)} has format {said['version']}, written by "
            f"{said.get('written_by', 'an unknown version')}; this version reads formats up to {VERSION}. "
            "Install the newer version, or write the set anew."
        )
    return said


def is_ours(said: Mapping[str, Any]) -> bool:
    """Whether we have written these metadata, and not upstream."""
    return isinstance(said.get("version"), int)


def refuse_unlike(url: str, said: Mapping[str, Any], parts: Iterable[tuple[Any, int]]) -> None:
    """Every chunk that the metadata name is there with all its rows, and no other.

    Args:
        url: the set.
        said: its metadata.
        parts: (number of its chunk, rows) of each row group.

    Raises:
        DataError: chunks are missing, or have other rows, or were added.
    """
    if not is_ours(said):
        return
    found = Counter[int]()
    for chunk, rows in parts:
        found[int(chunk)] += rows
    try:
        wanted = {number: int(rows) for number, (rows, _) in enumerate(said["chunks"])}
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(url, error) from None
    odd = [number for number in sorted({*wanted, *found}) if wanted.get(number, 0) != found[number]]
    if odd:
        first = odd[0]
        raise DataError(
            f"the image set at {storage.masked(url)} is not what its metadata say: chunk {first} should have "
            f"{wanted.get(first, 0):,} rows and has {found[first]:,}; {len(odd)} such chunks. "
            "Files were lost or added after it was written. Write it anew with write_mode='overwrite'."
        )


def refuse_others(url: str, paths: Iterable[str], root: str) -> None:
    """All files of a set are in its chunks.

    Raises:
        DataError: some are not.
    """
    other = [path for path in paths if not path.startswith(f"{root}/chunk=")]
    if other:
        raise DataError(
            f"the image set at {storage.masked(url)} has files outside its chunk=... directories: {other[0]}; "
            f"{len(other)} such files. Move them away."
        )


def not_whole(url: str) -> str:
    """What to say of a set without metadata."""
    return (
        f"the image set at {storage.masked(url)} is not whole: it has no {METADATA}, which is written last, so its "
        "writer was interrupted or still writes. The same call to write_parquet again completes it."
    )


def damaged(url: str, error: Exception) -> DataError:
    """What to raise for metadata that are none."""
    cause = f"no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
    return DataError(
        f"{storage.masked(storage.join(url, METADATA))} is damaged and cannot be understood: {cause}. "
        "Write the set anew with write_mode='overwrite'."
    )
