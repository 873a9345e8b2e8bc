"""`import zoo` loads nothing heavy. What it costs in time is measured by `make bench`."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "IPython", "jax", "keras", "matplotlib", "onnxruntime", "openvino", "pandas", "py4j", "pyspark", "ray", "rich",
    "scipy", "sklearn", "tensorboard", "tensorflow", "torch", "torchmetrics", "tqdm", "PIL",
}  # fmt: skip
CORE = {"cloudpickle", "fsspec", "numpy", "pyarrow", "safetensors"}


def loaded_by(module: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after `import module`."""
    program = f"import sys, json, {module}; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_import_zoo_loads_nothing_heavy():
    assert loaded_by("zoo") & (HEAVY | CORE) == set()


@pytest.mark.parametrize(
    "module",
    ["zoo.common.nncontext", "zoo.orca", "zoo.orca.data", "zoo.orca.data.image", "zoo.orca.learn.metrics",
     "zoo.orca.learn.optimizers", "zoo.orca.learn.pytorch", "zoo.orca.learn.pytorch.callbacks", "zoo.orca.learn.tf",
     "zoo.orca.data.file", "zoo.orca.data.pandas", "zoo.orca.learn.tf2", "zoo.orca.learn.trigger",
     "zoo.util.triggers", "zoo.pipeline.api.net"],
)  # fmt: skip
def test_front_ends_load_no_extra(module):
    assert loaded_by(module) & HEAVY == set()


def test_what_is_heavy_would_be_seen():
    assert {"numpy", "pyarrow"} <= loaded_by("pyarrow, numpy")
