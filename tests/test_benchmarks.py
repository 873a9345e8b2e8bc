"""Every benchmark runs, at its smallest size, and gives sane rows. How fast anything is, is not tested."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
ON_SPARK = {"spark-fit", "ingest-frames", "predict", "nnimages", "nnframes"}
OF_EXACTNESS = {"reproducible", "recovery"}
IN_TENSORFLOW = {"graph", "threads"}
OF_KERAS = {"keras-tensorflow", "keras-jax", "keras-torch"}  # a process has Keras with one backend
EXPECTED = {
    "steps": 1, "graph": 2, "threads": 3, "ranks": 1, "allreduce": 3, "sharded": 2, "spark-fit": 1, "ingest-frames": 3,
    "xshards": 2,
    "images": 2, "images-write": 2, "images-disk": 4, "nnimages": 1, "nnframes": 2,
    "ingest-paths": 1, "predict": 2, "first-step": 1, "reproducible": 1, "recovery": 2, "import": 1,
    "memory": 2,
    **dict.fromkeys(OF_KERAS, 4),
}  # fmt: skip


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """benchmarks/run.py as a module, importable on ranks too."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS.parent / "src"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS"):  # which benchmarks set
        monkeypatch.setenv(name, "1")
    import run

    yield run
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


def check(rows: list[Any], count: int) -> None:
    assert len(rows) == count
    for row in rows:
        assert row.values and all(math.isfinite(value) for value in row.values)
        assert row.unit != "x" or row.median > 0
        assert row.what and row.ours and row.reference


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - ON_SPARK - OF_KERAS - IN_TENSORFLOW - OF_EXACTNESS))
def test_a_benchmark_gives_its_rows(bench: Any, name: str) -> None:
    check(bench.rows_of(name, "tiny"), EXPECTED[name])


@pytest.mark.parametrize("name", sorted(ON_SPARK))
def test_a_benchmark_on_spark_gives_its_rows(bench: Any, spark: Any, name: str) -> None:
    check(bench.rows_of(name, "tiny"), EXPECTED[name])


def test_a_benchmark_of_keras_gives_its_rows(bench: Any) -> None:
    name = f"keras-{os.environ.get('KERAS_BACKEND', 'tensorflow')}"
    check(bench.apart(name, "tiny"), EXPECTED[name])


@pytest.mark.exact
@pytest.mark.parametrize("name", sorted(OF_EXACTNESS))
def test_a_benchmark_of_exactness_gives_its_rows(bench: Any, name: str) -> None:
    check(bench.apart(name, "tiny"), EXPECTED[name])


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", sorted(IN_TENSORFLOW))
def test_a_benchmark_of_tensorflow_gives_its_rows(bench: Any, name: str) -> None:
    check(bench.apart(name, "tiny"), EXPECTED[name])


def test_none_is_forgotten(bench: Any) -> None:
    assert bench.BENCHMARKS.keys() == EXPECTED.keys()


def test_the_table_says_what_was_met(bench: Any) -> None:
    rows = [
        bench.Row("a step", "`fit`", "the loop", (0.9, 1.0, 1.2), 0.97),
        bench.Row("memory", "`fit`", "at most", (600.0,), 512, "MB", at_most=True),
    ]
    assert bench.table({"steps": ("full", rows)}).splitlines()[2:] == [
        "| a step | `fit` | the loop | 1.00 x | 0.90 x .. 1.20 x | ≥ 0.97 x | yes | full |",
        "| memory | `fit` | at most | 600 MB | 600 MB .. 600 MB | ≤ 512 MB | **no** | full |",
    ]
