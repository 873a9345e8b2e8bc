"""The few things zoo does with files, on local disks and behind any fsspec URL (``s3://``, ``hdfs://``, ``memory://``).

Owns: which paths are local, writing that leaves the old bytes or the new ones and nothing between, errors that name
the path, the cause and the way out.
Leaves: what the bytes mean (checkpoint, events); credentials, which each fsspec package finds by itself.

A local path may be written ``/x``, ``x``, ``~/x``, ``file:/x`` or ``file:///x``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from zoo.engine.errors import MissingDependency, StorageFailed, UsageError, ZooError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/")  # two letters at least: `C:/x` is a path
# `abfs://container@account` holds no secret, so a user without a password is hidden only where it can be a token.
_USER = re.compile(r"((?:https?|s?ftp)://)[^\s/@]*@|(://)[^\s/@:]*:[^\s/]*@")
_QUERY = re.compile(r"(://[^?\n'\"]*)\?[^\s'\"]*")
_COPIED = 8 << 20  # bytes at once
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def is_local(url: str) -> bool:
    """Whether `url` names a file or directory of this machine."""
    scheme = _SCHEME.match(url)
    return scheme is None or scheme[1].lower() in ("file", "local")


def local_path(url: str) -> Path:
    """The path that a local `url` names.

    Raises:
        UsageError: it is not local, or a ``file:`` URL names a host.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return Path(url).expanduser()
    path = url[len(scheme[1]) + 1 :]
    if path.startswith("//"):
        path = path[2:]
    if not is_local(url) or not path.startswith("/"):
        raise UsageError(f"not a path of this machine (write /path or file:///path). Received: {masked(url)}")
    return Path(unquote(path))


def masked(text: str) -> str:
    """`text` with the user, password and query of every URL in it replaced by ``***``."""
    return _QUERY.sub(r"\1?***", _USER.sub(r"\1\2***@", text))


def join(url: str, *names: str) -> str:
    """`url` with `names` below it."""
    for name in names:
        url = f"{url}{name}" if url.endswith("/") else f"{url}/{name}"
    return url


def exists(url: str) -> bool:
    """Whether a file or a directory is there."""
    if is_local(url):
        return local_path(url).exists()
    with explained(url, "look for"):
        files, path = _remote(url)
        return bool(files.exists(path))


def list_names(url: str) -> list[str]:
    """The names of the files and directories right below `url`, sorted; none where nothing is there."""
    with explained(url, "list"):
        try:
            if is_local(url):
                return sorted(os.listdir(local_path(url)))
            files, path = _remote(url)
            files.invalidate_cache()  # another process may have written since this one looked
            children = files.ls(path, detail=False)
        except FileNotFoundError:
            return []
    below = {str(child).rstrip("/") for child in children} - {path.rstrip("/")}  # s3 may list the directory itself
    return sorted(child.rpartition("/")[2] for child in below)


def read_bytes(url: str) -> bytes:
    """All bytes of a file.

    Raises:
        StorageFailed: it is not there or cannot be read.
    """
    with explained(url, "read"):
        if is_local(url):
            return local_path(url).read_bytes()
        files, path = _remote(url)
        return bytes(files.cat_file(path))


def write_atomically(url: str, data: bytes) -> None:
    """Makes the file `url` hold `data`, and its directory where needed; it never holds a part of them.

    On a local disk the bytes survive a power cut once this returns; elsewhere it is a single put.

    Raises:
        StorageFailed: the disk is full, permission is missing, ...; nothing new is left behind.
    """
    with explained(url, "write"):
        if is_local(url):
            _write_local(local_path(url), data)
        else:
            files, path = _remote(url)
            files.pipe_file(path, data)


def open_for_writing(url: str) -> BinaryIO:
    """A new file open for writing; behind a URL that is not local it may appear only once it is closed."""
    with explained(url, "write"):
        if is_local(url):
            local_path(url).parent.mkdir(parents=True, exist_ok=True)
            return open(local_path(url), "wb")
        files, path = _remote(url)
        return cast(BinaryIO, files.open(path, "wb"))


@contextmanager
def new_file(url: str) -> Iterator[BinaryIO]:
    """A file to fill, which is at `url`, whole, once the block has ended well; else it never was.

    On a local disk the bytes survive a power cut; elsewhere they are collected in a nameless local file and sent at
    once.

    Raises:
        StorageFailed: the disk is full, permission is missing, ...
    """
    with explained(url, "write"), _new_local(local_path(url)) if is_local(url) else _new_remote(url) as file:
        yield file


def make_dirs(url: str) -> None:
    """Makes the directory `url` and those above it; object stores, which have none, do nothing."""
    with explained(url, "make the directory"):
        if is_local(url):
            _make_local(local_path(url))
        else:
            files, path = _remote(url)
            files.makedirs(path, exist_ok=True)


def remove_tree(url: str) -> None:
    """Removes a file, or a directory with all that is in it; nothing where nothing is there."""
    with explained(url, "remove"):
        try:
            if is_local(url):
                _remove_local(local_path(url))
            else:
                files, path = _remote(url)
                files.rm(path, recursive=True)
        except FileNotFoundError:
            return


def rename_local(old: str, new: str) -> None:
    """Renames a local file or directory within its file system, in one step that survives a power cut."""
    with explained(new, "write"):
        os.rename(local_path(old), local_path(new))
        _sync_directory(local_path(new).parent)


@contextmanager
def explained(url: str, verb: str) -> Iterator[None]:
    """Turns whatever goes wrong inside into a `StorageFailed` that names `url` and says what to do.

    Args:
        url: the file or directory; its credentials are not shown.
        verb: completes "could not ... <url>".
    """
    kinds = OSError if is_local(url) else Exception  # remote file systems raise errors of many kinds
    try:
        yield
    except ZooError:
        raise
    except kinds as error:
        told = f"could not {verb} {masked(url)}: {_reason(error)}"
        # A cause is printed with the error, so one that shows credentials is left out.
        cause = error if masked(str(error)) == str(error) else None
        raise StorageFailed(told) from cause


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in _FULL:
        return "the disk is full. Free some space there, or choose another directory."
    if number in _FORBIDDEN or isinstance(error, PermissionError):
        return "permission denied. Choose a directory that this user may write to, or have its owner allow it."
    if isinstance(error, FileNotFoundError):
        return "it does not exist. Check the path; every machine of the cluster must see it under this name."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return "a file is where a directory should be. Remove it, or choose another directory."
    text = os.strerror(number) if number and isinstance(error, OSError) else masked(str(error))
    return f"{type(error).__name__}: {text}. Check the path, the network and this user's rights there."


def _remote(url: str) -> tuple[Any, str]:
    import fsspec  # 80 ms that local paths need not pay

    scheme = url.partition(":")[0].lower()
    try:
        files, path = fsspec.core.url_to_fs(_with_authority(url))
    except ImportError as error:
        raise MissingDependency(
            f"zoo needs another package to reach {scheme}:// paths such as {masked(url)}: {masked(str(error))}"
        ) from error
    except ValueError as error:
        if scheme in fsspec.available_protocols():
            raise
        raise UsageError(
            f"no file system is known for {scheme}:// paths. Received: {masked(url)}. "
            "Use a local path, s3://, gs://, abfs://, hdfs://, or install the fsspec package of yours."
        ) from error
    return files, str(path)


def _with_authority(url: str) -> str:
    scheme, _, rest = url.partition(":")  # Spark writes hdfs:/x; fsspec would take it for a local name
    return url if rest.startswith("//") or "::" in url else f"{scheme}://{rest}"


def _make_local(path: Path) -> None:
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for directory in missing:
        _sync_directory(directory.parent)


def _write_local(path: Path, data: bytes) -> None:
    with _new_local(path) as file:
        file.write(data)


@contextmanager
def _new_local(path: Path) -> Iterator[BinaryIO]:
    _make_local(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


@contextmanager
def _new_remote(url: str) -> Iterator[BinaryIO]:
    files, path = _remote(url)
    with tempfile.TemporaryFile() as collected:
        yield collected
        size = collected.tell()
        collected.seek(0)
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        target = files.open(path, "wb")
        try:
            shutil.copyfileobj(collected, target, _COPIED)
        except BaseException:
            with contextlib.suppress(Exception):
                target.discard()  # what was begun must not appear; not every file system can do so
            raise
        target.close()
    if files.size(path) != size:
        raise StorageFailed(f"{masked(url)} has {files.size(path)} of {size} bytes after writing. Write it again.")


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that sync no directories
            raise
    finally:
        os.close(handle)


def _remove_local(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
