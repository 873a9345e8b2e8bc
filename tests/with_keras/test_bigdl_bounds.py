"""Damaged files of BigDL: numbers that ask for more than any machine has are refused, before memory is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigdlfiles import M, blob, encoded, m, number, seq
from zoo.engine.errors import UsageError
from zoo.pipeline.api.net import Net
from zoo.pipeline.api.net.bigdl_file import read_module

RANDOM = np.random.default_rng(2)
IMAGE = (2, 8, 8)
HUGE = 2**31 - 1


def w(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype("float32")


def conv(**changed: Any) -> M:
    given = {"nInputPlane": 2, "nOutputPlane": 3, "kernelW": 3, "kernelH": 3, "nGroup": 1, "format": "NCHW"} | changed
    return m("SpatialConvolution", w(1, 3, 2, 3, 3), w(3), name="x", **given)


def pool(**changed: Any) -> M:
    return m("SpatialMaxPooling", name="x", **{"kW": 2, "kH": 2, "dW": 2, "dH": 2, "padW": 0, "padH": 0} | changed)


def norm(**changed: Any) -> M:
    given = {"nOutput": 4, "affine": True, "runningMean": w(4), "runningVar": w(4)} | changed
    return m("BatchNormalization", w(4), w(4), name="x", **given)


def full(**changed: Any) -> M:
    given = {"kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 0, "padH": 0} | changed
    return m("SpatialFullConvolution", w(1, 2, 3, 3, 3), w(3), name="x", **given)


@pytest.mark.parametrize(
    ("module", "shape", "said"),
    [
        (m("Linear", w(3, 4), name="x", inputSize=HUGE), None, rf"'x' has weights for 4 features.* {HUGE} of them"),
        (m("Linear", w(3, 4), name="x", inputSize=2**62), None, "model.bigdl: an input's shape is sizes"),
        (m("Linear", w(3, 4), name="x", inputSize=-5), None, "model.bigdl: an input's shape is sizes"),
        (m("TemporalConvolution", w(3, 8), w(3), name="x", inputFrameSize=HUGE, kernelW=2), None, "for 4 features"),
        (norm(nOutput=HUGE), None, "'x' has weights for 4 features"),
        (conv(), (5, 8, 8), "'x' has weights for 2 features; its input has 5"),
        (conv(padW=HUGE), IMAGE, rf"'x' \(SpatialConvolution\): padW is at most 65536. The file says: {HUGE}"),
        (pool(padW=2**31), IMAGE, "'x'.*padW is at most"),
        (pool(dW=0), IMAGE, r"'x' \(SpatialMaxPooling\) cannot take"),
        (pool(padW=-5), IMAGE, r"'x' \(SpatialMaxPooling\) cannot take"),
        (full(kW=HUGE), IMAGE, "'x'.*kW is at most"),
        (full(kW=60000), IMAGE, r"'x' \(SpatialFullConvolution\) cannot take"),
        (m("SpatialCrossMapLRN", name="x", size=HUGE), IMAGE, "'x'.*size is at most"),
        (m("SpatialCrossMapLRN", name="x", size=0), IMAGE, "'x'.*cannot take"),
        (m("Tile", name="x", dim=2, copies=10**6), (4, 5), "'x'.*copies is at most"),
        (m("Replicate", name="x", nFeatures=-5, dim=1, nDim=1), (4,), "'x'.*at least 1"),
        (m("UpSampling2D", name="x", size=[60000, 60000]), IMAGE, "'x' would make rows of shape .*more than"),
        (m("Tanh", name="x"), (0,), r"Received: \(0,\)"),
        (m("Tanh", name="x"), "three", "Received: 'three'"),
    ],
)
def test_a_number_beyond_all_measure_is_refused(module: M, shape: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.bigdl"
    path.write_bytes(encoded(seq(module)))
    with pytest.raises(UsageError, match=said):
        Net.load_bigdl(str(path), input_shape=shape)


def test_many_tensors_of_one_storage_take_its_memory_once(tmp_path: Path) -> None:
    """A file of 1 MB whose 3000 tensors would take 3 GB as arrays of their own."""
    count = 2**18
    storage = number(1, 2) + blob(2, np.zeros(count, "<f4").tobytes()) + number(9, 7)
    mention = number(1, 2) + number(9, 7)
    sizes = blob(2, b"\x80\x80\x10") + blob(3, b"\x01") + number(4, 1)
    data = blob(7, "com.intel.analytics.bigdl.nn.Linear") + blob(16, sizes + blob(8, storage) + number(9, 1))
    data += blob(16, sizes + blob(8, mention) + number(9, 1)) * 3000
    path = tmp_path / "model.bigdl"
    path.write_bytes(data)
    weights = read_module(str(path)).weights
    assert len(weights) == 3001
    assert {one.shape for one in weights} == {(count,)}
    assert all(np.shares_memory(one, weights[0]) for one in weights)
