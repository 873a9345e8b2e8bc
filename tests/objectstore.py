"""A local S3 server for tests: moto in a process of its own, on loopback.

Owns: its start, its end by its own process id, buckets, keys that are checked.
Leaves: what is read and written.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from leftovers import within

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"
STARTED_IN = 60  # seconds, on a busy machine


@dataclass(frozen=True)
class ObjectStore:
    """A running server.

    Attributes:
        endpoint: its URL.
    """

    endpoint: str

    def variables(self, secret: str = SECRET) -> dict[str, str]:
        """The environment with which programs find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def use(self, patch: pytest.MonkeyPatch, secret: str = SECRET) -> None:
        """Has this process use it."""
        for name, value in self.variables(secret).items():
            patch.setenv(name, value)

    def make_bucket(self, name: str) -> None:
        """Makes a bucket (again)."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")  # noqa: S310  loopback
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def check_keys(self, after: str) -> None:
        """Has every request but the next `after` be signed by a key that the server knows; ``"inf"`` for none."""
        said = {"data": after.encode(), "headers": {"Content-Type": "text/plain"}, "method": "POST"}
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset-auth", **said)  # noqa: S310
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


@contextmanager
def running() -> Iterator[ObjectStore]:
    """Starts a server and ends it."""
    pytest.importorskip("moto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert within(STARTED_IN, lambda: server.poll() is not None or _answers(port)), "moto did not start"
        assert server.poll() is None, f"moto ended with status {server.returncode}"
        store = ObjectStore(f"http://127.0.0.1:{port}")
        store.make_bucket("bucket")
        yield store
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
