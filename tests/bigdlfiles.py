"""Writes files in BigDL's module format, for the tests of reading them; BigDL wrote those in golden/bigdl."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "bigdl"
PACKAGE = "com.intel.analytics.bigdl.dllib.nn."
_COUNT = itertools.count(1000)


@dataclass(eq=False)
class M:
    """A module that is written."""

    kind: str
    name: str = ""
    weights: Sequence[np.ndarray] = ()
    children: Sequence[M] = ()
    sources: Sequence[str] = ()
    package: str = PACKAGE
    attributes: Mapping[str, Any] = field(default_factory=dict)
    shape: Sequence[int] | None = None
    number: int = field(default_factory=lambda: next(_COUNT))

    @property
    def label(self) -> str:
        return self.name or f"{self.kind}{self.number:x}"


def m(kind: str, *weights: np.ndarray, name: str = "", **attributes: Any) -> M:
    return M(kind, name, weights, attributes=attributes)


def seq(*children: M, **words: Any) -> M:
    return M("Sequential", children=children, **words)


def box(kind: str, *children: M, **attributes: Any) -> M:
    return M(kind, children=children, attributes=attributes)


def graph(nodes: Sequence[M], inputs: Sequence[str], outputs: Sequence[str], edges: Any = None) -> M:
    """A StaticGraph; `edges`: {node: {source: place}} where a place is not -1."""
    found: dict[str, Any] = {}
    for node in nodes:
        found[f"{node.label}_edges"] = {source: (edges or {}).get(node.label, {}).get(source, -1)
                                        for source in node.sources}  # fmt: skip
    return M("StaticGraph", children=list(reversed(nodes)),
             attributes={**found, "inputNames": list(inputs), "outputNames": list(outputs)})  # fmt: skip


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def number(place: int, value: int) -> bytes:
    return varint(place << 3) + varint(value)


def blob(place: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(place << 3 | 2) + varint(len(data)) + data


def double(place: int, value: float) -> bytes:
    return varint(place << 3 | 1) + struct.pack("<d", value)


class Writer:
    """Collects tensors while modules are written."""

    def __init__(self, inline: bool = False) -> None:
        self.inline = inline
        self.tensors: dict[int, tuple[int, bytes]] = {}
        self.ids: dict[int, int] = {}
        self.arrays: list[np.ndarray] = []

    def tensor(self, array: np.ndarray, data: bool = False) -> bytes:
        if id(array) not in self.ids:
            self.ids[id(array)] = 5_000_000 + len(self.ids)
            self.arrays.append(array)
        tensor = self.ids[id(array)]
        array = np.asarray(array, np.float32)
        packed = b"".join(map(varint, array.shape))
        strides = b"".join(varint(stride // 4) for stride in np.ascontiguousarray(array).strides)
        numbers = blob(2, array.astype("<f4").tobytes()) if data else b""
        storage = number(1, 2) + numbers + number(9, tensor + 1_000_000)
        return (number(1, 2) + blob(2, packed) + blob(3, strides) + number(4, 1) + number(5, array.ndim)
                + number(6, array.size) + blob(8, storage) + number(9, tensor))  # fmt: skip

    def value(self, value: Any) -> bytes:
        if isinstance(value, bool):
            return number(1, 5) + number(8, value)
        if isinstance(value, int):
            return number(3, value)
        if isinstance(value, float):
            return number(1, 3) + double(6, value)
        if value in ("NCHW", "NHWC") if isinstance(value, str) else False:
            return number(1, 16) + number(16, value == "NHWC")
        if isinstance(value, str):
            return number(1, 4) + blob(7, value)
        if isinstance(value, M):
            return number(1, 13) + blob(13, self.module(value))
        if isinstance(value, np.ndarray):
            return number(1, 10) + blob(10, self.tensor(value, self.inline))
        if isinstance(value, Mapping):
            named = b"".join(blob(2, blob(1, key) + blob(2, self.value(one))) for key, one in value.items())
            return number(1, 14) + blob(14, named)
        if value and isinstance(value[0], str):
            items = b"".join(blob(7, one) for one in value)
            return number(1, 15) + blob(15, number(1, len(value)) + number(2, 4) + items)
        return number(1, 15) + blob(15, number(1, len(value)) + blob(3, b"".join(map(varint, value))))

    def module(self, module: M, extra: bytes = b"") -> bytes:
        parts = [blob(1, module.name)] if module.name else []
        parts += [blob(2, self.module(child)) for child in module.children]
        parts += [blob(5, source) for source in module.sources]
        parts.append(blob(7, module.package + module.kind))
        parts += [blob(8, blob(1, key) + blob(2, self.value(value))) for key, value in module.attributes.items()
                  if value is not None]  # fmt: skip
        parts += [extra, blob(9, "2.1.0-SNAPSHOT"), blob(11, f"{module.number:x}"), number(12, module.number)]
        if module.shape is not None:
            sizes = b"".join(map(varint, (-1, *module.shape)))
            parts.append(blob(13, number(2, len(module.shape) + 1) + blob(3, sizes)))
        parts += [blob(16, self.tensor(array, self.inline)) for array in module.weights]
        return b"".join(parts)


def encoded(module: M, inline: bool = False, apart: bool = False) -> bytes:
    """A file's bytes; weights in the global storage, inline as in older files, or not at all (`apart`)."""
    writer = Writer(inline)
    writer.module(module)
    if inline or apart:
        return writer.module(module)
    stored = b"".join(
        blob(2, blob(1, str(writer.ids[id(array)])) + blob(2, number(1, 10) + blob(10, writer.tensor(array, True))))
        for array in list(writer.arrays)
    )
    value = number(1, 14) + blob(14, blob(1, "global_storage") + stored)
    return writer.module(module, blob(8, blob(1, "global_storage") + blob(2, value)))


def weights_apart(module: M) -> bytes:
    """The file of weights that belongs to ``encoded(module, apart=True)``."""
    writer = Writer()
    writer.module(module)
    found = struct.pack(">iii", 3721, 0, len(writer.arrays))
    for array in writer.arrays:
        numbers = np.asarray(array, ">f4").tobytes()
        found += struct.pack(">ii", writer.ids[id(array)] + 1_000_000, array.size) + numbers
    return found
