"""Encoded images -> arrays.

OpenCV decodes, without Python's lock. Against Pillow, which gives the same pixels, it is as fast or faster (pictures of
64 x 64: twice, as Pillow parses headers in Python and so on one core only), notices a few missing bytes at the end of
PNG and GIF, and scales 16 bits to 8 where Pillow cuts them off.

Owns: which files are images, their pixels, what is wrong with those that cannot be decoded.
Leaves: many at once (ahead), where the bytes come from (records).
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from zoo.engine.errors import DataError
from zoo.engine.optional import require

_SIGNATURES = {  # the first bytes -> (format, the last bytes; empty where there are none)
    b"\xff\xd8\xff": ("JPEG", b"\xff\xd9"),
    b"\x89PNG\r\n\x1a\n": ("PNG", b"IEND\xaeB`\x82"),
    b"GIF8": ("GIF", b"\0;"),
    b"RIFF": ("WebP", b""),
    b"BM": ("BMP", b""),
    b"II*\0": ("TIFF", b""),
    b"MM\0*": ("TIFF", b""),
}
FORMATS = "JPEG, PNG, WebP, BMP, GIF, TIFF"
_MOST_PIXELS = "178956970"  # what Pillow takes for an attack: a few kB may claim as many, and cost a thread half a GB
_LIMIT = "OPENCV_IO_MAX_IMAGE_PIXELS"
_END = 64  # cameras and editors leave a few bytes after the end


def decode(encoded: Any, name: str = "") -> np.ndarray:
    """The picture in RGB: uint8 of shape (height, width, 3), turned upright as its EXIF data say.

    Grey, palette and CMYK become RGB, 16 bits become 8, transparency is dropped; of several frames the first is taken.

    Args:
        encoded: the bytes of a JPEG, PNG, WebP, BMP, GIF or TIFF file; anything with a buffer.
        name: of the file, for the error.

    Raises:
        DataError: it is no image, cut off or damaged.
        MissingDependency: OpenCV is not installed.
    """
    return _decoded(encoded, decoder().IMREAD_COLOR_RGB, name)


def decode_by(encoded: Any, codec: int, name: str = "") -> np.ndarray:
    """The picture as ``cv2.imread`` gives it: (height, width) or (height, width, channels), colours in BGR order.

    Args:
        encoded: as for `decode`.
        codec: a flag of ``cv2.imread``: -1 as it is in the file (with alpha, 16 bits stay, not turned upright), 0 grey,
            1 colour, ...
        name: of the file, for the error.

    Raises:
        DataError: it is no image, cut off or damaged.
        MissingDependency: OpenCV is not installed.
    """
    return _decoded(encoded, codec, name)


def _decoded(encoded: Any, codec: int, name: str) -> np.ndarray:
    library = decoder()
    content = np.frombuffer(encoded, np.uint8)
    large = False
    try:
        picture = library.imdecode(content, codec) if len(content) else None
    except library.error as error:
        picture, large = None, "MAX_IMAGE" in str(error)
    if picture is None:
        cause = _too_large() if large else _cause(content.tobytes())
        raise DataError(f"{name or 'an image'} cannot be decoded: {cause}")
    decoded: np.ndarray = picture
    return decoded


@cache
def decoder() -> ModuleType:
    """OpenCV, which tells nothing on its own about files that it cannot decode.

    Raises:
        MissingDependency: it is not installed.
    """
    before = {name: os.environ.get(name) for name in (_LIMIT, "LD_LIBRARY_PATH")}
    os.environ.setdefault(_LIMIT, _MOST_PIXELS)  # read when it is loaded; a program that has done so keeps its own
    library = require("cv2", extra="images", because="OpenCV decodes images")
    for name, value in before.items():  # its import sets the path for all processes that this one starts
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "OPENCV_LOG_LEVEL" not in os.environ:
        library.utils.logging.setLogLevel(library.utils.logging.LOG_LEVEL_SILENT)
    return library


def _too_large() -> str:
    most = int(os.environ.get(_LIMIT, _MOST_PIXELS))
    return (
        f"it has more than {most:,} pixels, or more than 2^20 in a row. Cut it into tiles, or set {_LIMIT} "
        "for all processes."
    )


def _cause(content: bytes) -> str:
    if not content:
        return "it is empty. Replace or remove the file."
    known = next((found for start, found in _SIGNATURES.items() if content.startswith(start)), None)
    if known is None or (known[0] == "WebP" and content[8:12] not in (b"WEBP", b"")):
        return f"it begins with {content[:8]!r} and is none of {FORMATS}. Remove it from the set, or convert it."
    kind, end = known
    said = int.from_bytes(content[4:8], "little") + 8 if kind == "WebP" else 0
    said = int.from_bytes(content[2:6], "little") if kind == "BMP" else said
    if said > len(content) or (end and end not in content[-_END:]):
        return f"this {kind} is cut off after {len(content):,} bytes. Copy the file again."
    return f"this {kind} of {len(content):,} bytes is damaged, or of a kind that OpenCV does not know. Convert it."
