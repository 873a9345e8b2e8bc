"""The workshop's notebooks: their cells run as a program and reach what they promise, and what is saved was run."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import warm

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "workshop"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SECONDS = 280  # below the time-out of these tests; a busy machine takes a minute
FIGURE, FILE = 100_000, 400_000  # bytes, at most
FIGURES = {"image_augmentation": 16, "mnist": 5, "transfer_learning": 5}
BEGIN = 'import os\nos.environ["MPLBACKEND"] = "agg"\n'
REACHED = {  # what is asked of the names that a notebook leaves behind
    "image_augmentation": """
        assert [array.shape for array in here] == [(3, 150, 150)] * 2
        assert show(ImageHFlip(), temple).jpeg.startswith(b"\\xff\\xd8")
        assert not np.array_equal(augment.seeded(SEED, 0).apply(temple).mat, augment.seeded(SEED, 1).apply(temple).mat)
    """,
    "mnist": """
        assert accuracy > 0.95 and len(wrong) == round((1 - accuracy) * len(x_test)), (accuracy, len(wrong))
        assert [epoch["epoch"] for epoch in history] == [9, 10, 11, 12]
        assert maps.shape == (8, 24, 24)
    """,
    "transfer_learning": """
        before, scratch, transfer = reached.values()
        assert transfer > 0.9 and transfer > scratch > before, reached
        assert len(wrong) == round((1 - transfer) * 300)
    """,
}


def cells(name: str) -> list[dict[str, Any]]:
    """The code cells."""
    held = json.loads((FOLDER / f"{name}.ipynb").read_text())
    return [cell for cell in held["cells"] if cell["cell_type"] == "code"]


def pictures(cell: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, base64) of what a cell shows."""
    for output in cell["outputs"]:
        for kind, held in output.get("data", {}).items():
            if kind.startswith("image/"):
                yield kind, "".join(held)


def test_each_notebook_is_asked_for_something():
    assert sorted(REACHED) == NOTEBOOKS


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_a_program_that_reaches_what_it_promises(name: str, tmp_path: Path):
    for module in FOLDER.glob("*.py"):
        (tmp_path / module.name).symlink_to(module)
    asked = "\n".join(line.strip() for line in REACHED[name].splitlines())
    program = tmp_path / f"notebook_{name}.py"
    program.write_text("\n\n".join([BEGIN, *("".join(cell["source"]) for cell in cells(name)), asked]))
    status, output = warm.run(program, SECONDS)
    assert status == 0, output


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_saved_was_run_from_top_to_bottom(name: str):
    code = cells(name)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        outputs = cell["outputs"]
        assert cell["metadata"] == {}, "times of a run; see README.md for the command that leaves them out"
        assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
        assert {output.get("name", "stdout") for output in outputs} <= {"stdout"}, outputs
        for kind, held in pictures(cell):
            assert kind in ("image/png", "image/jpeg") and len(base64.b64decode(held)) < FIGURE
    assert sum(len(list(pictures(cell))) for cell in code) == FIGURES[name]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_saved_is_small_and_tells_of_no_machine(name: str):
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert len(text) < FILE
    for word in ("/tmp/", "/home/", "Traceback", "Warning", "\\r"):
        assert word not in text, word
