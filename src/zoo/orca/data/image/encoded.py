"""Whether an encoded image is whole, without decoding it where that can be seen.

Reading the header tells a file that is no image; the end of the file tells one that was cut off. What neither tells
is decoded. On photographs of 100 kB this takes about a hundredth of decoding them.

Owns: the verdict on bytes. Leaves: what is done about a broken image (chunks), decoding for training (the engine).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zoo.engine.optional import require

_KINDS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # what training decodes
_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"  # with its checksum, which is always the same


def pillow() -> Any:
    """The module ``PIL.Image``.

    Raises:
        MissingDependency: Pillow is not installed.
    """
    return require("PIL.Image", extra="images", because="images are looked at before they are written")


@contextmanager
def quietly() -> Iterator[None]:
    """Without warnings of large pictures and of odd metadata; around threads, for Python's filters are global."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
        yield


def flaw(data: bytes) -> str:
    """What is wrong with an encoded image; empty when nothing is."""
    if not data:
        return "the file is empty"
    images = pillow()
    try:
        with images.open(io.BytesIO(data)) as picture:
            if picture.format not in _KINDS:
                return f"it is {picture.format}; sets hold {', '.join(_KINDS)}"
            if not _complete(picture.format, data):
                picture.load()
            elif picture.format == "PNG":
                picture.verify()  # its checksums
    except images.UnidentifiedImageError:
        return "it is no image that can be read"
    except Exception as error:  # noqa: BLE001  decoders raise whatever the bytes lead them to
        return f"{type(error).__name__}: {error}"
    return ""


def _complete(kind: str | None, data: bytes) -> bool:
    """Whether the end of the file is where its format says; False where that is not known."""
    if kind in ("JPEG", "MPO"):
        return data[-64:].rstrip(b"\0\r\n ").endswith(_JPEG_END)
    if kind == "PNG":
        return _PNG_END in data[-64:]
    if kind == "WEBP":
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return False
