"""The files of an image set: ``chunk=<i>/part-0.parquet``, and ``_orca_metadata``, which is written last.

A directory without ``_orca_metadata`` is no set: whoever wrote it was interrupted, or still writes.

Owns: names and the content of ``_orca_metadata`` (ours and upstream's), the error of a set that is not whole.
Leaves: columns (schema), writing chunks (writing), reading them (reading).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import zoo
from zoo.engine import storage
from zoo.engine.data.sets import METADATA, VERSION, damaged, is_ours, not_whole, understood
from zoo.engine.errors import UsageError
from zoo.orca.data.image import schema as schemas
from zoo.orca.data.image.schema import SchemaField

_CHUNK = re.compile(r"chunk=(\d+)")


class Chunk(NamedTuple):
    """How much one chunk holds.

    Attributes:
        rows: records.
        size: bytes of its file.
    """

    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``_orca_metadata`` says.

    Attributes:
        schema: the columns.
        chunks: of ours, in order; None where upstream wrote the set.
        format: what the set was made from (``"voc"``, ...); empty where unknown.
        classes: names of the classes by number, where they are known.
        skipped: broken images that were left out.
    """

    schema: dict[str, SchemaField]
    chunks: tuple[Chunk, ...] | None = None
    format: str = ""
    classes: tuple[str, ...] = ()
    skipped: int = 0

    def text(self) -> str:
        """One line of JSON."""
        said: dict[str, Any] = {
            "version": VERSION,
            "schema": schemas.encode(self.schema),
            "chunks": [list(chunk) for chunk in self.chunks or ()],
            "written_by": f"zoo {zoo.__version__}",
            "format": self.format,
            "classes": list(self.classes),
            "skipped": self.skipped,
        }
        return json.dumps(said, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str, path: str = "") -> Manifest:
        """The inverse of `text`, and of upstream's, which is the fields alone.

        Args:
            text: of the file.
            path: of the set, for errors.

        Raises:
            UsageError: a newer zoo has written it.
            KeyError, TypeError, ValueError: it is neither.
        """
        said = understood(text, path)
        if not is_ours(said):
            return cls(_columns(said))
        chunks = tuple(Chunk(int(rows), int(size)) for rows, size in said["chunks"])
        return cls(
            _columns(said["schema"]), chunks, said.get("format", ""), tuple(said.get("classes", ())),
            said.get("skipped", 0),
        )  # fmt: skip

    @classmethod
    def read(cls, path: str) -> Manifest:
        """Of the set at `path`, local or a URL.

        Raises:
            UsageError: nothing is there, or a set that is not whole.
            DataError: the file is damaged.
            StorageFailed: the place cannot be reached.
        """
        place = storage.join(path, METADATA)
        if not storage.exists(place):
            raise UsageError(_no_set(path))
        try:
            return cls.parse(storage.read_bytes(place).decode(), path)
        except UsageError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, error) from None


def chunk_name(number: int) -> str:
    """The file of chunk `number`, below the directory of the set."""
    return f"chunk={number}/part-0.parquet"


def chunk_file(path: str, number: int) -> str:
    """Where chunk `number` of the set at `path` is written."""
    return storage.join(path, chunk_name(number))


def chunk_number(name: str) -> int | None:
    """The number of the chunk whose directory is called `name`; None for other names."""
    found = _CHUNK.fullmatch(name)
    return int(found[1]) if found else None


def _columns(said: Any) -> dict[str, SchemaField]:
    try:
        return schemas.decode(said)
    except UsageError as error:  # of the file, not of a call
        raise ValueError(str(error)) from None


def _no_set(path: str) -> str:
    shown = storage.masked(path)
    if storage.is_file(path):
        return f"an image set is a directory, and {shown} is a file. Give the path that write_parquet was given."
    names = storage.list_names(path)
    if not names:
        return f"there is no image set at {shown}. Check the path, or write one there: write_parquet(...)."
    if not any(chunk_number(name) is not None for name in names):
        return f"{shown} holds no image set, for it has no {METADATA}. Give the path that write_parquet was given."
    return not_whole(path)
