"""The wire format of Protocol Buffers, as far as BigDL's files use it: no schema, no generated code.

Owns: fields of a message, packed and unpacked numbers, bounds.
Leaves: what the fields mean (bigdl_file).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 10


class Damaged(Exception):
    """The bytes are no message."""


class Field(NamedTuple):
    """One field of a message: `value` is a number of a varint, else the bytes, which are not copied."""

    number: int
    kind: int
    value: int | memoryview


def fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message in their order.

    Raises:
        Damaged: the bytes end within a field, or hold something that is no field.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise Damaged("a field has number 0")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield Field(number, kind, value)
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise Damaged(f"a field has the unknown wire type {kind}")
        if size > end - at:
            raise Damaged(f"a field of {size} bytes has {end - at} left")
        yield Field(number, kind, data[at : at + size])
        at += size


def signed(value: int) -> int:
    """A varint as the number of 64 bits that it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(found: Field) -> list[int]:
    """The numbers of one occurrence of a repeated integer field, packed or not."""
    if isinstance(found.value, int):
        return [signed(found.value)]
    numbers, at = [], 0
    while at < len(found.value):
        number, at = _varint(found.value, at)
        numbers.append(signed(number))
    return numbers


def floats(found: Field, dtype: str) -> np.ndarray:
    """The numbers of one occurrence of a repeated ``"<f4"`` or ``"<f8"`` field, packed or not; not copied.

    Raises:
        Damaged: the bytes are no whole number of them.
    """
    if isinstance(found.value, int) or len(found.value) % np.dtype(dtype).itemsize:
        raise Damaged("a field of numbers has another type")
    return np.frombuffer(found.value, dtype)


def text(found: Field) -> str:
    """A field of text.

    Raises:
        Damaged: it is a number, or no UTF-8.
    """
    try:
        return str(blob(found), "utf-8")
    except UnicodeDecodeError as error:
        raise Damaged("a text is no UTF-8") from error


def blob(found: Field) -> memoryview:
    """A field of bytes, or of another message.

    Raises:
        Damaged: it is a number.
    """
    if isinstance(found.value, int) or found.kind != BYTES:
        raise Damaged(f"field {found.number} is a number where a message belongs")
    return found.value


def number(found: Field) -> int:
    """A field of one integer, enum or bool.

    Raises:
        Damaged: it is something else.
    """
    if not isinstance(found.value, int):
        raise Damaged(f"field {found.number} is a message where a number belongs")
    return signed(found.value)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        if at >= len(data):
            raise Damaged("the bytes end within a number")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), at
    raise Damaged("a number is longer than 64 bits")
