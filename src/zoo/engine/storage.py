"""The few things zoo does with files, on local disks and behind URLs (``s3://``, ``hdfs://``, any of fsspec's).

Owns: which paths are local, writing that leaves the old bytes or the new ones and nothing between, errors that name
the path, the cause and the way out.
Leaves: what the bytes mean (checkpoint, events); S3's and HDFS's connections (filesystems); credentials, which each
file system finds by itself.

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

from zoo.engine import filesystems
from zoo.engine.errors import MissingDependency, StorageFailed, UsageError, ZooError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/")  # two letters at least: `C:/x` is a path
# `abfs://container@account` holds no secret, so a user without a password is hidden only where it can be a token.
_USER = re.compile(r"((?:https?|s?ftp)://)[^\s/@]*@|(://)[^\s/@:]*:[^\s/]*@")
_QUERY = re.compile(r"(://[^?\n'\"]*)\?[^\s'\"]*")
_SECRET = re.compile(r"(?i)(\b(?:password|passwd|pwd|secret|token)\s*=\s*)[^\s;&,)'\"]+")
_COPIED = 1 << 20  # bytes of a copy at once
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
    """`text` with every URL's user, password and query, every ``password=``, and AWS's secrets replaced by ``***``."""
    for name in filesystems.SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    if "://" not in text and "=" not in text:
        return text
    return _SECRET.sub(r"\1***", _QUERY.sub(r"\1?***", _USER.sub(r"\1\2***@", text)))


def shown(url: str) -> str:
    """A URL without credentials, or a whole local path; without a slash at its end."""
    return masked(str(local_path(url).absolute()) if is_local(url) else url).rstrip("/") or "/"


def file_system(url: str) -> tuple[Any, str]:
    """The `pyarrow.fs.FileSystem` that a path or URL belongs to, and the path within it.

    Raises:
        StorageFailed: its host does not answer; within seconds.
        UsageError: no file system is known for the URL's scheme.
        MissingDependency: the package that the scheme needs is not installed.
    """
    from pyarrow import fs

    with explained(url, "reach"):
        if is_local(url):
            return fs.LocalFileSystem(), str(local_path(url).absolute())
        if filesystems.is_native(_scheme_of(url)):
            return filesystems.connect(url)
        remote, path = _by_fsspec(url)
        return fs.PyFileSystem(fs.FSSpecHandler(remote)), path


def _kind(url: str) -> str | None:
    """``"file"`` or ``"directory"`` behind a URL; None where nothing is there."""
    from pyarrow.fs import FileType

    with explained(url, "look for"):
        files, path = file_system(url)
        found = files.get_file_info(path).type
    return {FileType.NotFound: None, FileType.File: "file"}.get(found, "directory")


def join(url: str, *names: str) -> str:
    """`url` with `names` below it, before the options of a remote URL."""
    options = ""
    if not is_local(url):
        url, options = filesystems.split_options(url)
    for name in names:
        url = f"{url}{name}" if url.endswith("/") else f"{url}/{name}"
    return url + options


def exists(url: str) -> bool:
    """Whether a file or a directory is there."""
    if is_local(url):
        return local_path(url).exists()
    return _kind(url) is not None


def is_file(url: str) -> bool:
    """Whether a file is there."""
    if is_local(url):
        return local_path(url).is_file()
    return _kind(url) == "file"


def list_names(url: str) -> list[str]:
    """The names of the files and directories right below `url`, sorted; none where nothing is there."""
    with explained(url, "list"):
        if is_local(url):
            with contextlib.suppress(FileNotFoundError):
                return sorted(os.listdir(local_path(url)))
            return []
        from pyarrow.fs import FileSelector

        files, path = file_system(url)
        children = files.get_file_info(FileSelector(path, allow_not_found=True))
    return sorted({str(child.path).rstrip("/").rpartition("/")[2] for child in children})


def read_bytes(url: str) -> bytes:
    """All bytes of a file.

    Raises:
        StorageFailed: it is not there or cannot be read.
    """
    with explained(url, "read"):
        if is_local(url):
            return local_path(url).read_bytes()
        files, path = file_system(url)
        with files.open_input_file(path) as file:
            return bytes(file.read())


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
            files, path = file_system(url)
            with files.open_output_stream(path, compression=None) as file:
                file.write(data)


def open_for_writing(url: str) -> BinaryIO:
    """A new file open for writing; behind a URL that is not local it may appear only once it is closed."""
    with explained(url, "write"):
        if is_local(url):
            local_path(url).parent.mkdir(parents=True, exist_ok=True)
            return open(local_path(url), "wb")
        files, path = file_system(url)
        return cast(BinaryIO, files.open_output_stream(path, compression=None))


def copy(source: str, target: str, over_write: bool = False) -> None:
    """Copies a file, piece by piece; `target`, whose directory is made, is the whole file or what it was before.

    Raises:
        StorageFailed: no such file, or it cannot be written.
        UsageError: `target` is there and is not to be replaced.
    """
    if not over_write and exists(target):
        raise UsageError(f"{masked(target)} is there already. Give over_write=True to replace it, or another path.")
    with contextlib.closing(open_for_reading(source)) as found, explained(target, "write"):
        if is_local(target):
            with _replacing(local_path(target)) as file:
                shutil.copyfileobj(found, file, _COPIED)
        else:
            _send(found, target)


def open_for_reading(url: str) -> BinaryIO:
    """A file open for reading.

    Raises:
        StorageFailed: it is not there or cannot be read.
    """
    with explained(url, "read"):
        if is_local(url):
            return open(local_path(url), "rb")
        files, path = file_system(url)
        return cast(BinaryIO, files.open_input_file(path))


def set_mode(url: str, mode: int) -> None:
    """Sets a file's permissions; nothing where the file system has none that can be set."""
    with explained(url, "set the permissions of"):
        if is_local(url):
            local_path(url).chmod(mode)


@contextmanager
def new_file(url: str) -> Iterator[BinaryIO]:
    """A file to fill, which is at `url`, whole, once the block has ended well; else it never was.

    On a local disk the bytes survive a power cut; elsewhere they are collected in a nameless local file and sent at
    once.

    Raises:
        StorageFailed: the disk is full, permission is missing, ...
    """
    if is_local(url):
        with explained(url, "write"), _replacing(local_path(url)) as file:
            yield file
        return
    with tempfile.TemporaryFile() as collected:
        with explained(tempfile.gettempdir(), "write"):
            yield collected
        collected.seek(0)
        with explained(url, "write"):
            _send(collected, url)


def make_dirs(url: str) -> None:
    """Makes the directory `url` and those above it; object stores, which have none, do nothing."""
    with explained(url, "make the directory"):
        if is_local(url):
            _make_local(local_path(url))
        else:
            files, path = file_system(url)
            files.create_dir(path, recursive=True)


def remove_tree(url: str) -> None:
    """Removes a file, or a directory with all that is in it; nothing where nothing is there."""
    with explained(url, "remove"), contextlib.suppress(FileNotFoundError):
        if is_local(url):
            _remove_local(local_path(url))
            return
        kind, (files, path) = _kind(url), file_system(url)
        if kind == "directory":
            files.delete_dir(path)
        elif kind == "file":
            files.delete_file(path)


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
    text = os.strerror(number) if number and isinstance(error, OSError) else masked(str(error)).rstrip(". ")
    advice = filesystems.advice(text) or "Check the path, the network and this user's rights there."
    return f"{type(error).__name__}: {text}. {advice}"


def _scheme_of(url: str) -> str:
    return url.partition(":")[0].lower()


def _by_fsspec(url: str) -> tuple[Any, str]:
    import fsspec  # 80 ms that local paths need not pay

    scheme = _scheme_of(url)
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
    files.invalidate_cache()  # another process may have written since this one looked
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
    with _replacing(path) as file:
        file.write(data)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block has ended without an error."""
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


def _send(source: BinaryIO, url: str) -> None:
    """To another file system, where closing a file makes it whole, half a copy, too: an old one stays until then."""
    replaces, (files, path) = exists(url), file_system(url)
    there = f"{path}.{secrets.token_hex(4)}.tmp" if replaces else path
    try:
        with files.open_output_stream(there, compression=None) as file:
            shutil.copyfileobj(source, file, _COPIED)
    except BaseException:
        with contextlib.suppress(Exception):
            files.delete_file(there)
        raise
    if replaces:
        files.delete_file(path)
        files.move(there, path)


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
