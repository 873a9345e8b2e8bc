"""Heavy libraries are imported here by name, when they are needed, or the error names the extra to install."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from zoo.engine.errors import MissingDependency


def require(module: str, *, extra: str, because: str) -> ModuleType:
    """Imports `module`.

    Args:
        module: dotted name, e.g. ``"torch.distributed"``.
        extra: the extra of the distribution `openzoo` that holds it.
        because: completes "zoo needs it because ...".

    Raises:
        MissingDependency: it is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there; something that *it* needs is not
        raise MissingDependency(
            f"zoo needs '{package}' because {because}. Install it with: pip install 'openzoo[{extra}]'"
        ) from error


def installed(module: str) -> bool:
    """Whether `module` could be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
