"""One writer at a time: a claim on a set's directory, on any file system.

A claim is a file whose *name* says whose it is. A writer puts its own and then looks: whoever sees the claim of
another that lives takes its own back. So of two at most one goes on, wherever a listing shows all that was put before
it (disks, HDFS, S3, Google's and Azure's stores); no file system needs to create files conditionally, which Arrow's S3
cannot. Two that come at the same moment may both step back; each tries again after a while of its own.

The claim is a fence, too: a task puts its chunk in place only while the claim of its call is there, so that what a dead
program has left running changes nothing.

Owns: the names, who has ended, the fence's error.
Leaves: what is written meanwhile (target, writing).
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
import secrets
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from zoo.engine import storage
from zoo.engine.errors import StorageFailed, UsageError

ATTEMPTS = 3
PAUSE_SECONDS = (0.1, 0.6)
"""Between two attempts, at least and at most."""
_NAME = re.compile(r"_writer\.([0-9a-f]{16})\.(\d+)\.(\d+)\.([0-9a-f]{12})\.(\d+)\.(.*)")
_ODD = re.compile(r"[^A-Za-z0-9-]+")
_OURS: set[str] = set()  # tokens that this process holds: its own id says nothing about its earlier calls
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who writes.

    Attributes:
        token: of this claim alone.
        pid: of the process.
        started: when the kernel started it; 0 where that is not known.
        machine: where process ids mean the same: one host, since one boot, one space of processes.
        since: seconds of the epoch.
        host: the machine's name, for the reader of an error.
    """

    token: str
    pid: int
    started: int
    machine: str
    since: int
    host: str

    @classmethod
    def mine(cls) -> Claim:
        """A new one, of this process."""
        host = _ODD.sub("-", socket.gethostname()) or "unknown"
        return cls(secrets.token_hex(8), os.getpid(), _started(os.getpid()) or 0, _machine(), int(time.time()), host)

    @classmethod
    def parse(cls, name: str) -> Claim | None:
        """The inverse of `name`; None for other names."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        token, pid, started, machine, since, host = found.groups()
        return cls(token, int(pid), int(started), machine, int(since), host)

    @property
    def name(self) -> str:
        """Of its file."""
        return f"_writer.{self.token}.{self.pid}.{self.started}.{self.machine}.{self.since}.{self.host}"

    @property
    def owner(self) -> str:
        """In words."""
        since = datetime.fromtimestamp(self.since, UTC)
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S} UTC"

    def has_ended(self) -> bool:
        """Whether its process is known to have ended, or to hold it no more; False where it ran on another machine."""
        if self.machine != _machine():
            return False
        if self.pid == os.getpid():
            return self.token not in _OURS
        started = _started(self.pid)
        return started is None or (0 not in (started, self.started) and started != self.started)


@contextmanager
def held(path: str) -> Iterator[str]:
    """Claims the directory for the block; gives the claim's URL.

    Raises:
        UsageError: another program that has not ended, as far as is known, holds it.
        StorageFailed: the place cannot be written to.
    """
    claim = Claim.mine()
    url = storage.join(path, claim.name)
    _OURS.add(claim.token)
    try:
        _announce(path, claim)
        yield url
    finally:
        _OURS.discard(claim.token)
        try:
            storage.remove_tree(url)
        except StorageFailed as error:
            _log.warning(
                "The claim of this call stays behind; remove it before another machine writes there. %s", error
            )


def check(url: str) -> None:
    """Fences a task off whose call has lost its claim; nothing for the empty URL.

    Raises:
        StorageFailed: the claim is not there.
    """
    if url and not storage.exists(url):
        raise StorageFailed(
            f"this call may not write any more: {storage.masked(url)}, by which it holds the place, is not seen from "
            f"{socket.gethostname()}. Either somebody removed it, and another call may write there now; or this "
            "machine has another disk than the driver: give a path that all machines share (hdfs://, s3://, a mounted "
            "disk)."
        )


def _announce(path: str, claim: Claim) -> None:
    url = storage.join(path, claim.name)
    for left in reversed(range(ATTEMPTS)):
        _put(url, claim)
        rival = _rival(path, claim)
        if rival is None:
            return
        storage.remove_tree(url)
        if left:
            time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311  no secret
    raise UsageError(
        f"another program writes an image set to {storage.masked(path)}: {rival.owner}. Wait for its end, or choose "
        f"another path. If it has ended already, remove the file {storage.masked(storage.join(path, rival.name))} "
        "and call again."
    )


def _rival(path: str, claim: Claim) -> Claim | None:
    """Another that lives; claims of those that have ended are removed."""
    found = [other for name in storage.list_names(path) if (other := Claim.parse(name)) and other != claim]
    for other in found:
        if other.has_ended():
            storage.remove_tree(storage.join(path, other.name))
    return next((other for other in found if not other.has_ended()), None)


def _put(url: str, claim: Claim) -> None:
    with storage.explained(url, "write"), storage.open_for_writing(url) as file:
        file.write(f"{claim.owner}, writes an image set here. Remove this file if it has ended.\n".encode())


@cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = os.readlink("/proc/self/ns/pid")  # a container has process ids of its own
    except OSError:
        boot, processes = str(uuid.getnode()), ""
    return hashlib.sha256(f"{socket.gethostname()} {boot} {processes}".encode()).hexdigest()[:12]


def _started(pid: int) -> int | None:
    """When the kernel started a process, in its ticks; None where it has ended, 0 where that is not known."""
    try:
        os.kill(pid, 0)
        _, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except ProcessLookupError:
        return None
    except OSError:  # another user's, or a system without /proc
        return 0
    state, *fields = after.split()
    return None if state in "ZX" else int(fields[18])
