"""Reads the module files that BigDL's ``saveModule`` / ``saveModel`` write, into `Module`s.

A file is one message for the outermost module; sub-modules, attributes and tensors are messages within it.

Owns: which field means what; refusing other files.
Leaves: the wire format (wire), tensors (storages), what modules compute (assembly).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.pipeline.api.net import wire
from zoo.pipeline.api.net.modules import Module
from zoo.pipeline.api.net.storages import Storages, TensorView
from zoo.pipeline.api.net.weights_file import read_weights
from zoo.pipeline.api.net.wire import Damaged, Field

NEWEST = 2
"""The newest major version of BigDL whose files are known."""
DEEPEST = 100
"""Modules and attributes within each other."""

_PACKAGES = (b"com.intel.analytics.bigdl", b"com.intel.analytics.zoo")
_STRANGERS = {
    b"\xac\xed": "an object serialised by Java (BigDL's old `save`); load it in BigDL, and write it with saveModule",
    b"PK\x03\x04": "a zip archive; .keras files are read by Net.load, TorchScript by Net.load_torch",
    b"\x89HDF": "an HDF5 file; read it with Net.load_keras(hdf5_path=...)",
    b"\x80": "a pickle; nothing is unpickled here",
}


def read_module(url: str, weight_url: str | None = None) -> Module:
    """The outermost module of a file.

    Args:
        url: of the module file.
        weight_url: of the weights, where they were saved apart.

    Raises:
        UsageError: it is no such file, truncated, of a newer BigDL, or lacks its weights.
        StorageFailed: it cannot be read.
    """
    data = storage.read_bytes(url)
    name = storage.masked(url)
    storages = Storages()
    try:
        raw = _module(memoryview(data), storages, 0)
    except Damaged as error:
        _refuse(name, data, str(error))
    if not raw.class_name.startswith(tuple(package.decode() for package in _PACKAGES)):
        _refuse(name, data, "no module of BigDL is in it")
    _check_version(name, raw.version)
    if weight_url is not None:
        read_weights(weight_url, storages)
    return _resolved(raw, storages)


def _refuse(name: str, data: bytes, why: str) -> NoReturn:
    stranger = next((what for start, what in _STRANGERS.items() if data.startswith(start)), None)
    if stranger is not None:
        raise UsageError(f"{name} is not a BigDL module file, but {stranger}.")
    if any(package in data for package in _PACKAGES):
        raise UsageError(f"{name} is truncated or damaged ({why}; it has {len(data)} bytes). Copy it again.")
    raise UsageError(f"{name} is not a BigDL module file ({why}). Write one with saveModule in BigDL.")


def _check_version(name: str, version: str) -> None:
    major = version.partition(".")[0]
    if major.isdigit() and int(major) > NEWEST:
        raise UsageError(
            f"{name} was written by BigDL {version}; files up to version {NEWEST} are known. "
            "Save the model with BigDL 2.4 or older."
        )


@dataclass(slots=True)
class _Raw:
    """A module whose tensors have not been looked up: storages may stand anywhere in the file."""

    class_name: str
    texts: dict[str, str]
    number: int
    version: str
    attributes: dict[str, Any]
    tensors: list[TensorView]
    children: list[_Raw]
    sources: list[str]
    input_shape: Any


def _resolved(raw: _Raw, storages: Storages) -> Module:
    kind = raw.class_name.rpartition(".")[2]
    label = f"layer '{raw.texts['name'] or kind + raw.texts['postfix']}' ({kind})"

    def value_of(value: Any) -> Any:
        if isinstance(value, _Raw):
            return _resolved(value, storages)
        if isinstance(value, TensorView):
            return storages.array(value, label)
        if isinstance(value, list):
            return [value_of(one) for one in value]
        return value

    children = tuple(_resolved(child, storages) for child in raw.children)
    attributes = {name: value_of(value) for name, value in raw.attributes.items() if name != _GLOBAL}
    # containers list the weights of their modules once more
    weights = () if children else tuple(storages.array(view, label) for view in raw.tensors)
    return Module(
        kind, raw.class_name, raw.texts["name"], raw.texts["postfix"], raw.number, attributes, weights, children,
        tuple(raw.sources), raw.input_shape,
    )  # fmt: skip


_GLOBAL = "global_storage"
_SCRATCH = {"saveMean", "saveStd"}  # of the last batch in training


def _module(data: memoryview, storages: Storages, depth: int) -> _Raw:
    if depth > DEEPEST:
        raise Damaged(f"modules stand in each other more than {DEEPEST} deep")
    found = _Raw("", {"name": "", "postfix": ""}, 0, "", {}, [], [], [], None)
    for item in wire.fields(data):
        match item.number:
            case 1:
                found.texts["name"] = wire.text(item)
            case 2:
                found.children.append(_module(wire.blob(item), storages, depth + 1))
            case 3 | 4 | 16:  # weight and bias of older files; all parameters of newer ones
                found.tensors.append(_tensor(wire.blob(item), storages))
            case 5:
                found.sources.append(wire.text(item))
            case 7:
                found.class_name = wire.text(item)
            case 8:
                name, value = _entry(wire.blob(item), storages, depth + 1)
                if name not in _SCRATCH:
                    found.attributes[name] = value
            case 9:
                found.version = wire.text(item)
            case 11:
                found.texts["postfix"] = wire.text(item)
            case 12:
                found.number = wire.number(item)
            case 13:
                found.input_shape = _without_batch(_shape(wire.blob(item), depth + 1))
    return found


def _entry(data: memoryview, storages: Storages, depth: int) -> tuple[str, Any]:
    """One attribute: its name and its value."""
    name, value = "", None
    for item in wire.fields(data):
        if item.number == 1:
            name = wire.text(item)
        elif item.number == 2:
            value = _value(wire.blob(item), storages, depth + 1)
    return name, value


def _value(data: memoryview, storages: Storages, depth: int) -> Any:
    if depth > DEEPEST:
        raise Damaged(f"attributes stand in each other more than {DEEPEST} deep")
    kind, value = 0, None
    for item in wire.fields(data):
        if item.number == 1:
            kind = wire.number(item)
        elif item.number == 14:
            value = _named_values(wire.blob(item), storages, depth + 1)
        elif item.number == 15:
            value = _list(wire.blob(item), storages, depth + 1)
        elif item.number in _SINGLE:
            value = _SINGLE[item.number](item, storages, depth + 1)
    return _ZEROS.get(kind) if value is None else value


def _named_values(data: memoryview, storages: Storages, depth: int) -> dict[str, Any]:
    return dict(_entry(wire.blob(item), storages, depth + 1) for item in wire.fields(data) if item.number == 2)


def _list(data: memoryview, storages: Storages, depth: int) -> list[Any] | None:
    """None is BigDL's null, whose size is -1."""
    if depth > DEEPEST:
        raise Damaged(f"attributes stand in each other more than {DEEPEST} deep")
    values: list[Any] = []
    for item in wire.fields(data):
        if item.number == 1:
            if wire.number(item) < 0:
                return None
        elif item.number in (3, 4):
            values += wire.integers(item)
        elif item.number in (5, 6):
            values += wire.floats(item, "<f4" if item.number == 5 else "<f8").tolist()
        elif item.number == 8:
            values += map(bool, wire.integers(item))
        elif item.number in _LISTED:
            values.append(_SINGLE[_LISTED[item.number]](item, storages, depth + 1))
    return values


def _real(item: Field, dtype: str) -> float:
    numbers = wire.floats(item, dtype)
    if len(numbers) != 1:
        raise Damaged("a number has no value")
    return float(numbers[0])


_Reader = Callable[[Field, Storages, int], Any]
_SINGLE: Mapping[int, _Reader] = {  # field of an attribute: how its value is read; others say nothing that is needed
    3: lambda item, _s, _d: wire.number(item),
    4: lambda item, _s, _d: wire.number(item),
    5: lambda item, _s, _d: _real(item, "<f4"),
    6: lambda item, _s, _d: _real(item, "<f8"),
    7: lambda item, _s, _d: wire.text(item),
    8: lambda item, _s, _d: bool(wire.number(item)),
    10: lambda item, storages, _d: _tensor(wire.blob(item), storages),
    13: lambda item, storages, depth: _module(wire.blob(item), storages, depth),
    16: lambda item, _s, _d: "NHWC" if wire.number(item) else "NCHW",
    18: lambda item, _s, depth: _shape(wire.blob(item), depth),
}
_LISTED = {7: 7, 10: 10, 13: 13, 15: 16, 17: 18}  # field of a list: that of the attribute with the same type
_ZEROS = {0: 0, 1: 0, 2: 0.0, 3: 0.0, 4: "", 5: False, 16: "NCHW"}  # data type: the value that is not written


def _shape(data: memoryview, depth: int) -> Any:
    """A tuple of sizes, a list of them for several inputs, or None where it says nothing."""
    if depth > DEEPEST:
        raise Damaged("shapes stand in each other too deep")
    sizes: list[int] = []
    several: list[Any] = []
    for item in wire.fields(data):
        if item.number == 3:
            sizes += wire.integers(item)
        elif item.number == 4:
            several.append(_shape(wire.blob(item), depth + 1))
    return several or tuple(sizes) or None


def _without_batch(shape: Any) -> Any:
    if isinstance(shape, list):
        return [_without_batch(one) for one in shape]
    return None if shape is None else tuple(shape[1:])


def _tensor(data: memoryview, storages: Storages) -> TensorView:
    sizes: list[int] = []
    strides: list[int] = []
    numbers = {4: 1, 9: 0}  # offset, id
    home = 0
    for item in wire.fields(data):
        if item.number == 2:
            sizes += wire.integers(item)
        elif item.number == 3:
            strides += wire.integers(item)
        elif item.number in numbers:
            numbers[item.number] = wire.number(item)
        elif item.number == 8:
            home = _storage(wire.blob(item), storages)
    view = TensorView(tuple(sizes), tuple(strides), numbers[4] - 1, home, numbers[9])
    if home:
        storages.homes[view.tensor] = home
    return view


def _storage(data: memoryview, storages: Storages) -> int:
    """Keeps the numbers, if there are some; returns the storage's id."""
    parts: list[np.ndarray] = []
    number = 0
    for item in wire.fields(data):
        if item.number == 9:
            number = wire.number(item)
        else:
            parts += _numbers(item)
    if not number and parts:
        number = -1 - len(storages.numbers)  # of a file that gives storages no ids
    storages.add(number, parts)
    return number


def _numbers(item: Field) -> Iterator[np.ndarray]:
    if item.number == 2:
        yield wire.floats(item, "<f4")
    elif item.number == 3:
        yield wire.floats(item, "<f8")
    elif item.number in (6, 7):
        yield np.asarray(wire.integers(item), np.int64)
