"""Processes for tests that need many with torch: forks of one interpreter that has imported it.

A fresh interpreter takes three seconds of CPU to import torch and what torch's optimizers import, a fork takes none.

Owns: which modules are imported beforehand; running a program in such a process.
Leaves: what a process under test does; tests of a start itself, which need fresh interpreters.
"""

from __future__ import annotations

import atexit
import faulthandler
import multiprocessing
import os
import runpy
import signal
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["pandas", "pytest", "torch._dynamo", "zoo.engine.loop", "zoo.orca.learn.pytorch"])


def run(path: Path, seconds: float) -> tuple[int, str]:
    """Exit status and output of a program, run in its folder; it and its children are ended after `seconds`."""
    said = path.with_suffix(".out")
    process = processes.Process(target=_main, args=(path, said))
    process.start()
    process.join(seconds)
    stopped = process.is_alive()
    if stopped:
        _end(process.pid)
        process.join(10)
    status = process.exitcode
    process.close()
    output = said.read_text() if said.exists() else ""
    return status, output + (f"\nstopped after {seconds:g} s" if stopped else "")


def _main(path: Path, said: Path) -> None:
    """As `python path` does it, but for the interpreter's start."""
    os.setsid()
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    os.chdir(path.parent)
    sys.argv = [str(path)]
    sys.path[:] = [str(path.parent), *(entry for entry in sys.path if not Path(entry).is_relative_to(TESTS))]
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a fork ends without


def _end(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(pid, signal.SIGKILL)
