"""The documents run: the python blocks of each, in order, as one program in a process of its own.

A block after the comment `<!-- skip -->` is left out. Line numbers in a traceback are those of the document.
"""

import re
from pathlib import Path
from typing import Any

import pytest

import warm

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 280  # below the time-out of these tests; a busy machine takes a minute
FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*(\S*)")


def program(text: str) -> str:
    """The python blocks of a document as a program with the document's line numbers; empty where it has none."""
    lines, fence, wanted, skip = [], "", False, False
    for line in text.splitlines():
        match = FENCE.match(line)
        if fence:
            closes = match is not None and match[1].startswith(fence) and not match[2]
            lines.append(line if wanted and not closes else "")
            fence = "" if closes else fence
            continue
        if match is not None:
            fence, wanted, skip = match[1], match[2] == "python" and not skip, False
        elif line.strip():
            skip = line.strip() == "<!-- skip -->"
        lines.append("")
    return "\n".join(lines) + "\n" if any(lines) else ""


def run(source: str, name: str, folder: Path) -> tuple[int, str]:
    """Exit status and output of a program that runs in `folder`; it and its children are ended after `SECONDS`."""
    path = folder / name
    path.write_text(source)
    return warm.run(path, SECONDS)


def documents() -> list[Any]:
    """Those with programs; those of TensorFlow's graphs and TFPark run with the other tests of these."""
    found = []
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        source = program(path.read_text())
        graphs = "zoo.tfpark" in source or "from_graph(" in source
        if source:
            marks = [pytest.mark.tensorflow] if graphs else []
            found.append(pytest.param(path.relative_to(ROOT).as_posix(), marks=marks))
    return found


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", documents())
def test_a_document_runs(document, tmp_path):
    source = program((ROOT / document).read_text())
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    status, output = run(source, f"document_{Path(document).stem}.py", tmp_path)  # not the name of a library
    assert status == 0, output


DOCUMENT = """\
Text.
```python
first = 1
```
```bash
exit 1
```
<!-- skip -->

```python
raise SystemExit("left out")
```
````python
text = '''
```
'''
assert first == 2, first
````
"""


def test_blocks_are_run_in_order_with_the_lines_of_the_document(tmp_path):
    status, output = run(program(DOCUMENT), "document.py", tmp_path)
    assert status == 1
    assert 'document.py", line 17, in <module>' in output
    assert "AssertionError: 1" in output


def test_a_document_without_python_is_no_program():
    assert program("# Title\n```bash\nmake\n```\n") == ""


def test_a_program_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setitem(run.__globals__, "SECONDS", 1)
    status, output = run("print('here', flush=True)\nimport time; time.sleep(60)\n", "hang.py", tmp_path)
    assert status == -9
    assert output.startswith("here\n")
