"""A PostgreSQL server of a test's own: loopback only, a free port, a data folder that goes with it, a bounded end."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 40
FOLDERS = (*os.environ.get("PATH", "").split(os.pathsep), *map(str, Path("/usr/lib/postgresql").glob("*/bin")))


def binary(name: str) -> str | None:
    """Where a program of PostgreSQL is; None where it is not."""
    return shutil.which(name, path=os.pathsep.join(FOLDERS))


def driver() -> str | None:
    """The JDBC driver's jar: Debian's, or one that Maven has fetched; None where there is none."""
    places = ((Path("/usr/share/java"), "postgresql*.jar"),
              (Path.home() / ".m2/repository/org/postgresql/postgresql", "*/postgresql-*.jar"))  # fmt: skip
    found = [str(jar) for folder, pattern in places for jar in sorted(folder.glob(pattern))]
    return found[0] if found else None


@dataclass(frozen=True)
class Server:
    """A server that answers; its only user is `postgres`."""

    port: int
    password: str

    def run(self, sql: str) -> None:
        """Runs statements."""
        _ask(self.port, self.password, sql)


@contextmanager
def serving(password: str) -> Iterator[Server]:
    """A server while the block runs. PostgreSQL refuses root, which gives it to `nobody`."""
    who = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="zoo-postgres-", dir="/tmp"))  # `nobody` cannot enter pytest's folders
    try:
        secret = folder / "secret"
        secret.write_text(password)
        for path in (folder, secret):
            os.chown(path, who.get("user", -1), who.get("group", -1))
        data = folder / "data"
        _checked([binary("initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}",
                  "-E", "UTF8", "--locale=C", "--no-sync"], who, folder)  # fmt: skip
        process, port = _started(data, password, who, folder)
        try:
            yield Server(port, password)
        finally:
            _end(process)
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _checked(command: list[Any], who: dict[str, Any], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False, **who)
    assert done.returncode == 0, done.stdout + done.stderr


def _started(data: Path, password: str, who: dict[str, Any], folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The server and its port; another port where somebody was faster."""
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with open(folder / f"log-{secrets.token_hex(4)}", "wb") as log:
            process = subprocess.Popen(
                [binary("postgres"), "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
                 "-c", "unix_socket_directories=", "-c", "fsync=off"],
                cwd=folder, stdout=log, stderr=log, **who,
            )  # fmt: skip
        if _answers(process, port, password):
            return process, port
        _end(process)
    raise AssertionError("\n".join(log.read_text() for log in folder.glob("log-*")))


def _answers(process: subprocess.Popen[bytes], port: int, password: str) -> bool:
    until = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            _ask(port, password, "SELECT 1")
            return True
        except AssertionError:
            time.sleep(0.1)
    return False


def _ask(port: int, password: str, sql: str) -> None:
    done = subprocess.run(
        [binary("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1"],
        input=sql, env=os.environ | {"PGPASSWORD": password, "PGCONNECT_TIMEOUT": "5"},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # ends its connections, and then itself
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
        raise
