"""A table's columns and types as text, ``"id bigint, tags array<string>"``, as an Arrow schema.

Owns: Spark's DDL, and what its StructType calls itself (``struct<id:bigint>``).
Leaves: Spark's own types (its room).
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from zoo.engine.errors import UsageError

_TYPES = {
    "boolean": pa.bool_(), "tinyint": pa.int8(), "byte": pa.int8(), "smallint": pa.int16(), "short": pa.int16(),
    "int": pa.int32(), "integer": pa.int32(), "bigint": pa.int64(), "long": pa.int64(), "float": pa.float32(),
    "real": pa.float32(), "double": pa.float64(), "string": pa.string(), "varchar": pa.string(), "char": pa.string(),
    "binary": pa.binary(), "date": pa.date32(), "timestamp": pa.timestamp("us"), "timestamp_ntz": pa.timestamp("us"),
}  # fmt: skip
_FIELD = re.compile(
    r"\s*(?:`((?:[^`]|``)+)`|([^\s:`<>(),]+))\s*[:\s]\s*(.+?)\s*(?:\bnot\s+null\s*)?(?:\bcomment\s+.*)?$", re.I | re.S
)
_WORD = re.compile(r"\s*(\w+)\s*(?:\(([^)]*)\))?\s*$")
_NESTED = re.compile(r"\s*(array|map|struct)\s*<(.*)>\s*$", re.I | re.S)


def to_arrow(schema: Any) -> pa.Schema | None:
    """An Arrow schema.

    Args:
        schema: one already, DDL, a Spark StructType, or None.

    Raises:
        UsageError: something else, or a type that is not known.
    """
    if schema is None or isinstance(schema, pa.Schema):
        return schema
    text = schema if isinstance(schema, str) else getattr(schema, "simpleString", lambda: None)()
    if not isinstance(text, str) or not text.strip():
        raise UsageError(
            "schema must be a Spark StructType, DDL such as 'id bigint, name string', or a pyarrow.Schema. "
            f"Received: {schema!r}"
        )
    nested = _NESTED.match(text)
    inner = nested[2] if nested is not None and nested[1].lower() == "struct" else text
    return pa.schema([_field(part) for part in _parts(inner)])


def _field(text: str) -> pa.Field:
    found = _FIELD.match(text)
    if found is None:
        raise UsageError(f"schema: a column is written 'name type'. Received: {text.strip()!r}")
    name = found[1].replace("``", "`") if found[1] else found[2]
    return pa.field(name, _type(found[3]))


def _type(text: str) -> pa.DataType:
    nested = _NESTED.match(text)
    if nested is not None:
        inner = _parts(nested[2])
        if nested[1].lower() == "array":
            return pa.list_(_type(nested[2]))
        if nested[1].lower() == "struct":
            return pa.struct([_field(part) for part in inner])
        if len(inner) == 2:
            return pa.map_(_type(inner[0]), _type(inner[1]))
    word = _WORD.match(text)
    name = word[1].lower() if word is not None else ""
    if word is not None and name in ("decimal", "numeric", "dec"):
        precision, _, scale = (word[2] or "10,0").partition(",")
        return pa.decimal128(int(precision), int(scale or 0))
    if name not in _TYPES:
        raise UsageError(f"schema: no type {text.strip()!r} is known. Known: {', '.join(_TYPES)}, decimal(p, s), "
                         "array<...>, map<..., ...>, struct<...>")  # fmt: skip
    return _TYPES[name]


def _parts(text: str) -> list[str]:
    """Cut at the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        depth += (sign in "<(") - (sign in ">)")
        if sign == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
