"""Measures, and writes the table of benchmarks/README.md and results.json.

    python benchmarks/run.py [--only NAME ...] [--quick]

Each benchmark runs in a process of its own with one thread for its arithmetic. `--quick` and `--only` show what they
find and write nothing, unless `--write` is given: then rows of other benchmarks stay as they are.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from measure import Row  # noqa: E402  the path comes first

BENCHMARKS = {
    "steps": "steps:one_rank",
    "ranks": "steps:two_ranks",
    "allreduce": "allreduce:rows",
    "sharded": "sharded:rows",
    "keras-tensorflow": "keras_steps:tensorflow",
    "keras-jax": "keras_steps:jax",
    "keras-torch": "keras_steps:torch",
    "graph": "graph_steps:rows",
    "threads": "threads:rows",
    "reproducible": "reproducible:rows",
    "recovery": "recovery:rows",
    "spark-fit": "spark_fit:rows",
    "ingest-frames": "ingest:from_frames",
    "ingest-paths": "ingest:from_paths",
    "predict": "predict:rows",
    "nnframes": "nnframes:rows",
    "xshards": "xshards:rows",
    "first-step": "starts:first_step",
    "import": "starts:imports",
    "memory": "memory:rows",
    "images": "images:rows",
    "images-write": "image_writes:rows",
    "images-disk": "image_disk:rows",
    "nnimages": "nnimages:rows",
}
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
PINNED = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PACKAGES = ("torch", "keras", "tensorflow", "jax", "pyspark", "pyarrow", "numpy", "pandas")
OTHERS = HERE.parent / ".venv" / "bench"  # libraries that are not for zoo's own environment (requirements.txt)
NEED_OTHERS = ("images", "images-write")
LIMIT_SECONDS = 1800


def rows_of(name: str, size: str) -> list[Row]:
    """Runs one benchmark here.

    Args:
        name: of `BENCHMARKS`.
        size: ``"tiny"`` (to see that it works), ``"quick"`` or ``"full"``.
    """
    module, _, function = BENCHMARKS[name].partition(":")
    return list(getattr(importlib.import_module(module), function)(size))


def apart(name: str, size: str) -> list[Row]:
    """Runs one benchmark in a process of its own, with pinned threads."""
    read, write = os.pipe()
    command = [sys.executable, __file__, "--only", name, "--size", size, "--answer", str(write)]
    places = [str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
    places += [str(OTHERS)] * (name in NEED_OTHERS)
    path = os.pathsep.join(filter(None, places))
    process = subprocess.Popen(command, env=os.environ | PINNED | {"PYTHONPATH": path}, pass_fds=[write])
    os.close(write)
    with open(read) as answer:
        found = answer.read()
    if process.wait(LIMIT_SECONDS) or not found:
        print(f"{name} FAILED", file=sys.stderr)
        return []
    return [_row(values) for values in json.loads(found)]


def machine() -> str:
    """Cores, memory and versions, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def table(results: dict[str, tuple[str, Sequence[Row]]]) -> str:
    """The rows in Markdown.

    Args:
        results: name -> (the size that was measured, its rows).
    """
    lines = [
        "| what | ours | compared with | median | spread | target | met | size |",
        "|---|---|---|---:|---:|---:|:---:|---|",
    ]
    lines += [f"{_line(row)} {size} |" for size, rows in results.values() for row in rows]
    return "\n".join(lines)


def _line(row: Row) -> str:
    spread = f"{_number(min(row.values), row.unit)} .. {_number(max(row.values), row.unit)}"
    bound = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:.3g} {row.unit}"
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    cells = (row.what, row.ours, row.reference, _number(row.median, row.unit), spread, bound, met)
    return f"| {' | '.join(cells)} |"


def _number(value: float, unit: str) -> str:
    return f"{value:.2f} x" if unit == "x" else f"{value:.0f} {unit}"


def write(found: dict[str, list[Row]], size: str) -> None:
    """Puts the rows into README.md and results.json; benchmarks that were not run keep theirs."""
    file = HERE / "results.json"
    kept = json.loads(file.read_text())["benchmarks"] if file.exists() else {}
    stamp = {"size": size, "date": time.strftime("%Y-%m-%d"), "load": os.getloadavg()[1]}
    kept |= {name: stamp | {"rows": [asdict(row) for row in rows]} for name, rows in found.items() if rows}
    kept = {name: kept[name] for name in BENCHMARKS if name in kept}
    file.write_text(json.dumps({"machine": machine(), "benchmarks": kept}, indent=1) + "\n")
    results = {name: (one["size"], [_row(values) for values in one["rows"]]) for name, one in kept.items()}
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    dates = sorted({one["date"] for one in kept.values()})
    told = f"{machine()}. {' to '.join(sorted({dates[0], dates[-1]}))}."
    readme.write_text(f"{before}{BEGIN}\n{told}\n\n{table(results)}\n{END}{after}")


def _row(values: dict[str, Any]) -> Row:
    """A row as results.json has it."""
    return Row(**values | {"values": tuple(values["values"])})


def main() -> int:
    """Returns the exit status: 1 where a benchmark could not be run, whatever the ratios are."""
    parser = argparse.ArgumentParser(description="Measures zoo against what it is to be compared with.")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer repetitions")
    parser.add_argument("--write", action="store_true", help="put the rows into README.md even so")
    parser.add_argument("--size", choices=("tiny", "quick", "full"), help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size = asked.size or ("quick" if asked.quick else "full")
    if asked.answer is not None:
        with open(asked.answer, "w") as answer:
            json.dump([asdict(row) for row in rows_of(asked.only[0], size)], answer)
        return 0
    found: dict[str, list[Row]] = {}
    for name in asked.only:
        began = time.monotonic()
        found[name] = apart(name, size)
        for row in found[name]:
            print(_line(row), flush=True)
        print(f"# {name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    if asked.write or (size == "full" and len(found) == len(BENCHMARKS)):
        write(found, size)
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
