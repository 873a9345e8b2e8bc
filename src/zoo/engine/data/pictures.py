"""Columns of images in training: found by their Arrow type, kept encoded, decoded when a batch is taken.

    Arrow column                                                where from
    struct<bytes, path>                                         image sets, Hugging Face's datasets
    struct<origin, height, width, nChannels, mode, data>        Spark's image source: BGR pixels

A row is kept as one piece of bytes, the file's or the pixels with their size, and behind it the path, which decoders
never see. So spools, shuffles and other ranks carry images as they carry any bytes, and memory holds what files hold.

Owns: that piece, back to the image.
Leaves: decoding files (images), batches (prepared).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from zoo.engine.data import images
from zoo.engine.errors import DataError

_FILE = {"bytes", "path"}
_PIXELS = {"origin", "height", "width", "nChannels", "mode", "data"}
_RAW = b"\0zoo-pix"  # before pixels
_END = struct.Struct("<I8s")  # behind the path: its length, and that there is one
_NAMED = b"zoo-path"
_SIZE = struct.Struct("<IIIi")  # height, width, channels, OpenCV's type
_NO_TYPE = -1


def is_picture(kind: pa.DataType) -> bool:
    """Whether a column of this type holds images."""
    if not pt.is_struct(kind):
        return False
    names = {field.name for field in kind}
    return names == _PIXELS or ("bytes" in names and names <= _FILE)


def decoded(kind: pa.DataType) -> bool:
    """Whether a column of images holds pixels, and not files."""
    return is_picture(kind) and {field.name for field in kind} == _PIXELS


def among(schema: pa.Schema, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the columns `names` that hold images."""
    return tuple(name for name in names if name in schema.names and is_picture(schema.field(name).type))


def encoded(column: pa.StructArray, name: str = "") -> pa.Array:
    """Each row as one piece of bytes (large_binary).

    Args:
        column: of images.
        name: of the column, for the error.

    Raises:
        DataError: rows without bytes.
    """
    content = "data" if "data" in {field.name for field in column.type} else "bytes"
    whole = pc.struct_field(column, content)
    if whole.null_count:
        column_told = f"column '{name}' of images" if name else "a column of images"
        raise DataError(
            f"{column_told} has {whole.null_count} rows without '{content}'. Filter those rows out, or leave "
            'it to transform=ImageTransform(..., on_error="skip") of zoo.orca.data.image.'
        )
    return encoded_where_there(column)


def encoded_where_there(column: pa.StructArray) -> pa.Array:
    """As `encoded`; null where there are no bytes."""
    fields = {field.name for field in column.type}
    content, path = ("data", "origin") if "data" in fields else ("bytes", "path")
    whole = pc.struct_field(column, content)
    names = pc.struct_field(column, path) if path in fields else pa.nulls(len(column), pa.string())
    named = pc.fill_null(names.cast(pa.string()), "").cast(pa.large_binary())
    ends = pa.array([_END.pack(size, _NAMED) for size in pc.binary_length(named).to_pylist()], pa.large_binary())
    pieces = [whole.cast(pa.large_binary()), named, ends]
    if "data" in fields:
        sizes = [pc.struct_field(column, name).to_pylist() for name in ("height", "width", "nChannels")]
        sizes.append(pc.fill_null(pc.struct_field(column, "mode"), _NO_TYPE).to_pylist())
        heads = [None if None in size else _RAW + _SIZE.pack(*size) for size in zip(*sizes, strict=True)]
        pieces.insert(0, pa.array(heads, pa.large_binary()))
    return pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary()))


def told(kept: bytes, column: str) -> str:
    """The path of a row's image, else words for it."""
    end = _end(kept)
    return kept[end : -_END.size].decode() or f"an image of column '{column}'"


def _end(kept: bytes) -> int:
    """Bytes of the image itself."""
    size, _ = _END.unpack(kept[-_END.size :])
    return len(kept) - _END.size - int(size)


def record(kept: bytes) -> dict[str, Any]:
    """The fields of a row's image as its column had them; pixels are BGR bytes.

    Args:
        kept: as `encoded` makes it.
    """
    end = _end(kept)
    path = kept[end : -_END.size].decode() or None
    if not kept.startswith(_RAW):
        return {"bytes": kept[:end], "path": path}
    start = len(_RAW) + _SIZE.size
    fields = dict(zip(("height", "width", "nChannels", "mode"), _SIZE.unpack(kept[len(_RAW) : start]), strict=True))
    return {"origin": path, **fields, "data": kept[start:end]}


def picture(kept: bytes, column: str) -> np.ndarray:
    """The image of a row: uint8 (height, width, 3), RGB.

    Args:
        kept: as `encoded` makes it.
        column: its name, for the error where no path is known.

    Raises:
        DataError: it cannot be decoded.
    """
    name, end = told(kept, column), _end(kept)
    if not kept.startswith(_RAW):
        return images.decode(memoryview(kept)[:end], name)
    start = len(_RAW) + _SIZE.size
    height, width, channels, _ = _SIZE.unpack(kept[len(_RAW) : start])
    if channels not in (1, 3, 4) or height * width * channels != end - start:
        raise DataError(
            f"{name} should have {height} x {width} pixels of 1, 3 or 4 bytes. Received: {channels} channels, "
            f"{end - start:,} bytes."
        )
    pixels = np.frombuffer(kept, np.uint8, end - start, start).reshape(height, width, channels)
    return np.repeat(pixels, 3, 2) if channels == 1 else np.ascontiguousarray(pixels[:, :, 2::-1])
