"""What the JVM says is passed on, one line apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zoo.engine.clusters.spark.murmur import NOISE, without

PIECES = st.lists(st.sampled_from([b"", b"a", b"W", b"WARN", b"WARNING: other\n", NOISE[:20], NOISE[20:], NOISE]))


@given(PIECES)
def test_nothing_but_the_noise_is_lost_however_it_is_cut(chunks: list[bytes]):
    said = b"".join(chunks)
    heard = said.replace(NOISE, b"")
    assume(NOISE not in heard)
    assert b"".join(without(NOISE, chunks)) == heard


def test_a_line_cut_in_two_is_left_out_and_text_comes_at_once():
    passed = without(NOISE, iter([NOISE[:9], NOISE[9:] + b"ERROR x", b"\n"]))
    assert [next(passed), next(passed), next(passed)] == [b"", b"ERROR x", b"\n"]


SPEAKS = """
from zoo.orca import init_orca_context, stop_orca_context
sc = init_orca_context("local", cores=1)
sc._jvm.java.lang.System.err.println("the JVM speaks")
stop_orca_context()
import threading
alone = [thread for thread in threading.enumerate() if thread.name == "zoo-jvm-stderr"]
for thread in alone:
    thread.join(10)
assert not any(thread.is_alive() for thread in alone)
"""


SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.mark.slow
def test_a_program_hears_its_jvm_and_no_noise(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", SPEAKS], capture_output=True, timeout=100, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b"the JVM speaks\n"
