"""Models of other libraries that only compute: TorchScript and ONNX, and what they refuse."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.engine.errors import MissingDependency, UsageError
from zoo.engine.optional import installed
from zoo.pipeline.api.net import Net

RANDOM = np.random.default_rng(7)
needs_onnxruntime = pytest.mark.skipif(not installed("onnxruntime"), reason="it is not installed; zoo loads it itself")
X = RANDOM.normal(size=(10, 4)).astype(np.float32)


class Two(torch.nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(a), a - b


def script(module: torch.nn.Module, path: Path, *example: torch.Tensor) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(module, example), str(path))
    return str(path)


def test_torchscript_predicts_in_batches(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5))
    net = Net.load_torch(script(module.eval(), tmp_path / "m.pt", torch.zeros(1, 4)))
    for batch in (1, 3, 10, 100):
        np.testing.assert_allclose(net.predict(X, batch), module(torch.from_numpy(X)).detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(net.forward(X), net.predict(X), atol=1e-6)
    with pytest.raises(UsageError, match=r"cannot take arrays of float32 \(10, 5\)"):
        net.predict(np.zeros((10, 5), np.float32))
    with pytest.raises(UsageError, match="batch_per_thread must be at least 1 row. Received: 0"):
        net.predict(X, 0)


def test_several_inputs_and_outputs(tmp_path):
    net = Net.load_torch(script(Two(), tmp_path / "m.pt", torch.zeros(1, 4), torch.zeros(1, 4)))
    one, other = net.predict([X, 2 * X], 4)
    assert one.shape == (10, 3)
    np.testing.assert_allclose(other, -X)
    with pytest.raises(UsageError, match="different numbers of rows: 10, 3"):
        net.predict([X, X[:3]])


def test_files_that_could_run_code_are_refused(tmp_path):
    module = torch.nn.Linear(4, 3)
    torch.save(module, tmp_path / "whole.pt")
    with pytest.raises(UsageError, match=r"written by torch.save, and reading it may run code.*from_torch"):
        Net.load_torch(str(tmp_path / "whole.pt"))
    torch.export.save(torch.export.export(module, (torch.zeros(2, 4),)), tmp_path / "m.pt2")
    with pytest.raises(UsageError, match="written by torch.export"):
        Net.load_torch(str(tmp_path / "m.pt2"))
    (tmp_path / "old.t7").write_bytes(b"\x04\x00\x00\x00")
    with pytest.raises(UsageError, match=r"no.* TorchScript.*Torch7"):
        Net.load_torch(str(tmp_path / "old.t7"))


def test_a_pickle_is_never_unpickled(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    for name, data in [("a.pt", pickle.dumps(Harm())), ("b.onnx", pickle.dumps(Harm()))]:
        (tmp_path / name).write_bytes(data)
    for load, name in [(Net.load_torch, "a.pt"), (Net.load_bigdl, "a.pt"), (Net.load, "a.pt")]:
        with pytest.raises(UsageError):
            load(str(tmp_path / name))
    assert not (tmp_path / "harm").exists()


def test_a_damaged_script_says_so(tmp_path):
    path = script(torch.nn.Linear(4, 3), tmp_path / "m.pt", torch.zeros(1, 4))
    whole = Path(path).read_bytes()
    (tmp_path / "bad.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="TorchScript"):
        Net.load_torch(str(tmp_path / "bad.pt"))


def onnx_file(path: Path) -> tuple[str, np.ndarray]:
    helper = pytest.importorskip("onnx").helper
    kind = pytest.importorskip("onnx").TensorProto.FLOAT
    weight = RANDOM.normal(size=(4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Tanh", ["y"], ["z"])], "g",
        [helper.make_tensor_value_info("x", kind, ["rows", 4])],
        [helper.make_tensor_value_info("y", kind, ["rows", 3]), helper.make_tensor_value_info("z", kind, ["rows", 3])],
        [helper.make_tensor("w", kind, weight.shape, weight.ravel())],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return str(path), weight


@needs_onnxruntime
def test_onnx_models_predict(tmp_path):
    path, weight = onnx_file(tmp_path / "m.onnx")
    net = Net.load_onnx(path, threads=1)
    one, other = net.predict(X.astype(np.float64), batch_per_thread=3)
    np.testing.assert_allclose(one, X @ weight, atol=1e-5)
    np.testing.assert_allclose(other, np.tanh(X @ weight), atol=1e-5)
    with pytest.raises(UsageError, match=r"input 'x' takes arrays of shape \(None, 4\).*Received: \(3, 5\)"):
        net.predict(np.zeros((3, 5)))
    with pytest.raises(UsageError, match="takes 1 arrays. Received: 2"):
        net.predict([X, X])
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match="cannot be read as an ONNX model"):
        Net.load_onnx(str(tmp_path / "bad.onnx"))


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"openzoo\[onnx\]"):
        Net.load_onnx(str(tmp_path / "m.onnx"))


@needs_onnxruntime
def test_onnxruntime_tells_its_makers_nothing(tmp_path):
    path, _ = onnx_file(tmp_path / "m.onnx")
    own = tmp_path / "own"
    own.mkdir()
    program = f"from zoo.pipeline.api.net import Net; Net.load_onnx({str(path)!r}); import os; print(*os.environ)"
    command, environment = [sys.executable, "-c", program], {**os.environ, "TMPDIR": str(own)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert list(own.iterdir()) == []
    assert "ORT_DISABLE_TELEMETRY" not in done.stdout
