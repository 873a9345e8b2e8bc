"""Files of BigDL's module format: reading without Keras, and refusing what is none."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigdlfiles import GOLDEN, blob, box, encoded, m, number, seq, varint, weights_apart
from zoo.engine.errors import StorageFailed, UsageError
from zoo.pipeline.api.net import wire
from zoo.pipeline.api.net.bigdl_file import read_module

RANDOM = np.random.default_rng(0)
LINEAR = m("Linear", RANDOM.normal(size=(3, 4)), RANDOM.normal(size=3), name="fc", inputSize=4, withBias=True)
GOLD = {path.name: path.read_bytes() for path in sorted(GOLDEN.glob("*.bigdl"))}


def written(data: bytes, folder: Path, name: str = "model.bigdl") -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


@given(st.lists(st.tuples(st.integers(1, 100), st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50)))))
def test_a_message_gives_back_its_fields(fields):
    data = b"".join(number(n, v) if isinstance(v, int) else blob(n, v) for n, v in fields)
    found = [(f.number, wire.number(f) if isinstance(f.value, int) else bytes(f.value))
             for f in wire.fields(memoryview(data))]  # fmt: skip
    assert found == fields


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_packed_numbers_are_read(numbers):
    (found,) = wire.fields(memoryview(blob(3, b"".join(map(varint, numbers)))))
    assert wire.integers(found) == numbers


def test_a_module_has_what_was_written(tmp_path):
    inner = seq(LINEAR, m("ReLU", ip=False))
    found = read_module(written(encoded(box("Concat", inner, inner, dimension=2, scale=0.5, size=[3, -1])), tmp_path))
    assert (found.kind, found.get("dimension"), found.get("scale"), found.get("size")) == ("Concat", 2, 0.5, [3, -1])
    (first, relu), (again, _) = (child.children for child in found.children)
    assert (first.name, first.number, relu.get("ip")) == ("fc", again.number, False)
    for have, want in zip(first.weights, LINEAR.weights, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-6)


def test_weights_may_stand_in_the_module_or_in_a_file_of_their_own(tmp_path):
    inline = read_module(written(encoded(LINEAR, inline=True), tmp_path))
    weights = written(weights_apart(LINEAR), tmp_path, "model.bin")
    apart = read_module(written(encoded(LINEAR, apart=True), tmp_path, "apart.bigdl"), weights)
    for one, other, want in zip(inline.weights, apart.weights, LINEAR.weights, strict=True):
        np.testing.assert_allclose(one, want, rtol=1e-6)
        np.testing.assert_array_equal(one, other)


def test_tensors_that_share_a_storage_are_parts_of_it(tmp_path):
    shared = np.arange(10, dtype="<f4")

    def part(sizes, strides, offset, data):
        numbers = blob(2, shared.tobytes()) if data else b""
        return (number(1, 2) + blob(2, bytes(sizes)) + blob(3, bytes(strides)) + number(4, offset)
                + blob(8, number(1, 2) + numbers + number(9, 77)) + number(9, 1))  # fmt: skip

    data = blob(7, "com.intel.analytics.bigdl.nn.Linear")
    data += blob(16, part([2, 3], [3, 1], 3, data=False)) + blob(16, part([2], [1], 9, data=True))
    weight, bias = read_module(written(data, tmp_path)).weights
    np.testing.assert_array_equal(weight, [[2, 3, 4], [5, 6, 7]])
    np.testing.assert_array_equal(bias, [8, 9])


def test_weights_that_are_missing_are_asked_for(tmp_path):
    path = written(encoded(LINEAR, apart=True), tmp_path)
    with pytest.raises(UsageError, match=r"does not hold the weights of layer 'fc' \(Linear\).*weight_path"):
        read_module(path)
    with pytest.raises(StorageFailed):
        read_module(path, str(tmp_path / "none.bin"))
    with pytest.raises(UsageError, match=r"is not a file of BigDL weights"):
        read_module(path, written(weights_apart(LINEAR)[:-3], tmp_path, "short.bin"))


@pytest.mark.parametrize(
    "start, said",
    [(b"\xac\xed\x00\x05sr", "serialised by Java"), (b"PK\x03\x04", "zip archive"), (b"\x89HDF\r\n", "HDF5"),
     (b"\x80\x04\x95", "a pickle"), (b"", "no module of BigDL"), (b"hello, this is text", "not a BigDL module file")],
)  # fmt: skip
def test_another_file_is_refused_by_what_it_is(start, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        read_module(written(start, tmp_path))


def test_a_newer_version_is_refused(tmp_path):
    data = encoded(LINEAR).replace(b"2.1.0-SNAPSHOT", b"3.0.0-SNAPSHOT")
    with pytest.raises(UsageError, match=r"BigDL 3.0.0-SNAPSHOT; files up to version 2"):
        read_module(written(data, tmp_path))


@pytest.mark.parametrize("name", GOLD)
def test_a_truncated_file_says_so(name, tmp_path):
    data = GOLD[name]
    for size in np.linspace(len(data) // 8, len(data) - 1, 9, dtype=int):
        with pytest.raises(UsageError, match=r"truncated|not a BigDL|does not hold|no module"):
            read_module(written(data[:size], tmp_path))
    with pytest.raises(UsageError, match="is truncated or damaged"):
        read_module(written(data[: len(data) * 3 // 4], tmp_path))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(tmp_path_factory, data):
    with pytest.raises(UsageError):
        read_module(written(data, tmp_path_factory.getbasetemp()))


@given(st.sampled_from(sorted(GOLD)), st.integers(0, 10**6), st.integers(0, 255))
def test_one_altered_byte_never_does_anything_else(tmp_path_factory, name, place, byte):
    data = bytearray(GOLD[name])
    data[place % len(data)] = byte
    with contextlib.suppress(UsageError):
        assert read_module(written(bytes(data), tmp_path_factory.getbasetemp())).kind


def test_depth_is_bounded(tmp_path):
    data = blob(7, "com.intel.analytics.bigdl.nn.Linear")
    for _ in range(300):
        data = blob(2, data) + blob(7, "com.intel.analytics.bigdl.nn.Sequential")
    with pytest.raises(UsageError, match="deep"):
        read_module(written(data, tmp_path))


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    storage = number(1, 2) + blob(2, struct.pack("<f", 1.0)) + number(9, 7)
    tensor = blob(2, varint(10**9)) + blob(3, varint(0)) + number(4, 1) + blob(8, storage) + number(9, 1)
    data = blob(7, "com.intel.analytics.bigdl.nn.Linear") + blob(16, tensor)
    with pytest.raises(UsageError, match=r"shape \(1000000000,\).*storage 1 numbers: the file is damaged"):
        read_module(written(data, tmp_path))
