"""Amounts of memory in words: ``"512m"`` -> bytes."""

from __future__ import annotations

import re

from zoo.engine.errors import UsageError

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_bytes(amount: int | str) -> int:
    """Bytes of ``"512m"``, ``"1.5g"`` (units of 1024, as Spark counts) or a plain number.

    Raises:
        UsageError: it is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)b?", str(amount).strip().lower())
    if match is None or isinstance(amount, bool):
        raise UsageError(f"memory must be a number of bytes or a text like '512m' or '2g'. Received: {amount!r}")
    return int(float(match[1]) * _UNITS[match[2]])
