"""Whether an encoded image is whole, without decoding it where that can be seen.

Reading the header tells a file that is no image; the end of the file tells one that was cut off. What neither tells
is decoded, as training will. On photographs of 100 kB this takes about a hundredth of decoding them.

Owns: the verdict on bytes. Leaves: what is done about a broken image (chunks), decoding for training (the engine).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zoo.engine.data import images
from zoo.engine.errors import DataError
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


def flaw(data: bytes, name: str = "an image") -> str:
    """What is wrong with an encoded image, with its name and what to do; empty when nothing is.

    Args:
        data: the file.
        name: of it.
    """
    library = pillow()
    try:
        with library.open(io.BytesIO(data)) as picture:
            if picture.format not in _KINDS:
                return f"{name} is {picture.format}; sets hold {images.FORMATS}. Convert it."
            if _complete(picture.format, data):
                if picture.format == "PNG":
                    picture.verify()  # its checksums
                return ""
    except library.UnidentifiedImageError:
        pass  # decoding tells why
    except library.DecompressionBombError as error:
        return f"{name} is too large: {str(error).partition(', could')[0]}. Cut it into tiles, or make it smaller."
    except Exception as error:  # noqa: BLE001  decoders raise whatever the bytes lead them to
        return _undecodable(data, name) or f"{name} is broken: {str(error).rstrip('.')}. Mend or remove it."
    return _undecodable(data, name)


def _undecodable(data: bytes, name: str) -> str:
    try:
        images.decode(data, name)
    except DataError as error:
        return str(error)
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
