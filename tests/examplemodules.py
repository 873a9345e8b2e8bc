"""Modules of an example, which lie in no package."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def imported(folder: Path, names: Sequence[str]) -> Iterator[ModuleType]:
    """One module that has them as attributes; other modules of the same names come back at the end."""
    before = {name: sys.modules.pop(name, None) for name in names}
    sys.path.insert(0, str(folder))
    try:
        found = ModuleType(f"{folder.name}_modules")
        for name in names:
            setattr(found, name, __import__(name))
        yield found
    finally:
        sys.path.remove(str(folder))
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
