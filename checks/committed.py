"""Nothing of one machine is committed: no path of its own, and no address that its pip is set to.

The addresses are read from pip's settings when this runs, so that none has to be written here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL_PATHS = tuple(f"/{name}/" for name in ("work", "root", "opt/wheels", "opt/pypi"))
PUBLIC = {"https://pypi.org/simple"}  # pip's own default says nothing about a machine


def main() -> int:
    """Prints every line that names this machine; returns the exit status."""
    if not (ROOT / ".git").exists():
        print("not a git checkout: nothing to look through")
        return 0
    patterns = [argument for text in (*LOCAL_PATHS, *registry_addresses()) for argument in ("-e", text)]
    here = Path(__file__).relative_to(ROOT)
    found = subprocess.run(
        ["git", "grep", "-nIF", "--untracked", *patterns, "--", ".", f":!{here}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode > 1:
        print(found.stderr, file=sys.stderr)
        return found.returncode
    if found.stdout:
        print(f"These lines name a machine; nobody else has it:\n{found.stdout}", file=sys.stderr)
        return 1
    return 0


def registry_addresses() -> set[str]:
    """Every address and path that pip is set to on this machine."""
    settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    addresses = set()
    for line in settings.stdout.splitlines():
        name, _, value = line.partition("=")
        if name.rpartition(".")[2] in {"index-url", "extra-index-url", "find-links", "proxy", "trusted-host"}:
            addresses.update(value.strip("'\" ").replace("\\n", " ").split())
    return addresses - PUBLIC


if __name__ == "__main__":
    sys.exit(main())
