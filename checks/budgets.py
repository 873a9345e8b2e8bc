"""Lines per room, and the size budgets of ARCHITECTURE.md. `make check` runs it; it reads source, and imports nothing.

Numbers are there to make you stop and think. Where beauty asks for 45 lines, add a line to EXCEPTIONS and say why.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parent.parent / "src"

FILE_LINES = 400
FUNCTION_LINES = 40  # without its docstring
PARAMETERS = 6  # self and cls do not count
NESTING = 3  # of if, for, while, try, match; `with` names a lifetime and does not branch

# Top-level rooms and files of zoo, by storey (the storeys themselves are in pyproject.toml, for import-linter).
ROOMS = {
    "__init__.py", "cli.py", "py.typed",
    "common", "util",
    "models", "chronos", "ppml", "serving",
    "orca", "tfpark", "pipeline", "feature", "bigdl", "ray",
    "engine",
}  # fmt: skip

# Old APIs have the long signatures that their programs call.
FRONT_ENDS = ("zoo.__init__", "zoo.orca", "zoo.common", "zoo.util", "zoo.tfpark", "zoo.pipeline", "zoo.feature",
              "zoo.bigdl", "zoo.ray")  # fmt: skip

VAGUE_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "managers", "misc"}
OLD_ADDRESSES = {  # module or package: why it keeps a vague name
    "zoo.common": "programs write `from zoo.common.nncontext import *`",
    "zoo.common.utils": "programs import file functions from it",
    "zoo.feature.common": "programs import Preprocessing and its kin from it",
    "zoo.util": "programs write `zoo.util.triggers`, `zoo.util.tf`",
    "zoo.util.utils": "programs import get_node_ip and its kin from it",
    "zoo.bigdl.util": "programs write `zoo.bigdl.util.common`",
    "zoo.bigdl.util.common": "programs import init_engine, Sample and JTensor from it",
    "zoo.orca.common": "programs import OrcaContext from it",
    "zoo.orca.data.image.utils": "programs import SchemaField, FeatureType, DType from it",
    "zoo.orca.data.utils": "programs import process_spark_xshards from it",
    "zoo.orca.learn.utils": "programs import its column functions",
    "zoo.orca.learn.pytorch.utils": "programs import find_free_port and the meters from it",
    "zoo.orca.learn.pytorch.callbacks.base": "programs import Callback and MainCallback from it",
}


class Problem(NamedTuple):
    """One budget overrun: `key` names the thing, `limit` which budget, `value` how much it takes."""

    key: str
    limit: str
    value: int
    budget: int
    line: int


# (key, limit): (budget, reason). An entry that is no longer needed fails the check too.
EXCEPTIONS: dict[tuple[str, str], tuple[int, str]] = {
    ("zoo.orca.learn.estimator", "lines"): (472, "one class, whose every argument is explained where it is given"),
    ("zoo.orca.learn.estimator.Estimator.fit", "function lines"): (
        75,
        "half of them are its signature, one argument a line; the rest is one job, field by field",
    ),
    ("zoo.orca.learn.pytorch.estimator.Estimator.from_torch", "function lines"): (
        45,
        "half of them are its signature, one argument a line",
    ),
}

# Files with a budget of their own; the loop also goes on in another group, wherever the last one broke.
TIGHTER = {"zoo.engine.contracts": 263, "zoo.engine.loop": 360}

_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def main() -> int:
    """Prints the table and every overrun; returns the exit status."""
    files = sorted(SOURCE.glob("zoo/**/*.py"))
    sources = {module_name(path): path.read_text() for path in files}
    print_rooms(sources)
    messages = [*unplaced_rooms(SOURCE / "zoo"), *vague_names(sources)]
    problems = [problem for module, text in sources.items() for problem in overruns(module, text)]
    messages += judged(problems)
    for message in messages:
        print(message, file=sys.stderr)
    return 1 if messages else 0


def module_name(path: Path) -> str:
    """src/zoo/a/__init__.py is zoo.a; only zoo's own __init__ keeps its name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 2:
        parts = parts[:-1]
    return ".".join(parts)


def print_rooms(sources: dict[str, str]) -> None:
    """One line per room of the house: its lines and files."""
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for module, text in sources.items():
        depth = 3 if module.startswith("zoo.engine.") else 2
        room = ".".join(module.split(".")[:depth])
        lines[room] += len(text.splitlines())
        files[room] += 1
    for room in sorted(lines):
        print(f"{lines[room]:6} lines {files[room]:3} files  {room}")
    print(f"{lines.total():6} lines {files.total():3} files  in all")


def unplaced_rooms(package: Path) -> Iterator[str]:
    """A new top-level room needs a storey."""
    for entry in sorted(package.iterdir()):
        if entry.name not in ROOMS and entry.name != "__pycache__":
            yield f"src/zoo/{entry.name}: a new top-level room. Place it in pyproject.toml's storeys and in ROOMS here"


def vague_names(modules: Iterable[str]) -> Iterator[str]:
    """A module is named after what it does; the old addresses keep their names."""
    for module in modules:
        if module.rpartition(".")[2] in VAGUE_NAMES and module not in OLD_ADDRESSES:
            yield f"{module}: a name that says nothing. Name it after what it does"


def overruns(module: str, text: str) -> Iterator[Problem]:
    """Every budget that one file breaks."""
    budget = TIGHTER.get(module, FILE_LINES)
    lines = len(text.splitlines())
    if lines > budget:
        yield Problem(module, "lines", lines, budget, 1)
    for name, function in functions(ast.parse(text), module):
        found = {"function lines": (body_lines(function), FUNCTION_LINES), "nesting": (depth(function.body), NESTING)}
        if not module.startswith(FRONT_ENDS):
            found["parameters"] = (parameters(function), PARAMETERS)
        for limit, (value, allowed) in found.items():
            if value > allowed:
                yield Problem(name, limit, value, allowed, function.lineno)


def functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function below `node` with its dotted name, nested ones too."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            name = f"{prefix}.{child.name}"
        if isinstance(child, _FUNCTIONS):
            yield name, child
        yield from functions(child, name)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """All parameters but self and cls; *args and **kwargs count as one each."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    return len([argument for argument in named if argument.arg not in {"self", "cls"}]) + len(stars)


def depth(statements: Iterable[ast.stmt | ast.AST]) -> int:
    """The deepest stack of blocks. `elif` stays on its level; a nested function starts anew."""
    return max((_depth_of(statement) for statement in statements), default=0)


def _depth_of(node: ast.AST) -> int:
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.expr)):
        return 0
    if not isinstance(node, _BLOCKS):
        return depth(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        return max(1 + depth(node.body), _depth_of(node.orelse[0]))
    return 1 + depth(ast.iter_child_nodes(node))


def judged(problems: Iterable[Problem]) -> Iterator[str]:
    """The overruns that no exception covers, and the exceptions that nothing needs."""
    needed = set()
    for problem in problems:
        budget, _ = EXCEPTIONS.get((problem.key, problem.limit), (problem.budget, ""))
        needed.add((problem.key, problem.limit))
        if problem.value > budget:
            yield f"{problem.key} (line {problem.line}): {problem.limit} {problem.value}, the budget is {budget}"
    for key, limit in EXCEPTIONS.keys() - needed:
        yield f"{key}: the exception for its {limit} in checks/budgets.py is no longer needed. Remove it"


if __name__ == "__main__":
    sys.exit(main())
