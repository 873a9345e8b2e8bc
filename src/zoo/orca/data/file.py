"""Files by path: local (``/x``, ``file:///x``), ``hdfs://``, ``s3://`` (``s3a://``), and every URL that fsspec knows.

S3 finds its keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or ``~/.aws``, or the machine's role), another server
than AWS by AWS_ENDPOINT_URL. A host that does not answer is an error within seconds.

Owns: the words of the calls.
Leaves: file systems, whole writes, errors that name the path (zoo.engine.storage).
"""

from __future__ import annotations

import io
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import DataError, StorageFailed, UsageError
from zoo.engine.optional import require

__all__ = [
    "exists", "get_remote_dir_to_local", "get_remote_file_to_local", "get_remote_files_with_prefix_to_local",
    "is_file", "listdir", "load_numpy", "makedirs", "open_image", "open_text", "put_local_dir_to_remote",
    "put_local_dir_tree_to_remote", "put_local_file_to_remote", "put_local_files_with_prefix_to_remote", "rmdir",
    "write_text",
]  # fmt: skip


def open_text(path: str) -> list[str]:
    """The lines of a UTF-8 file, without their line breaks (and without a byte order mark).

    Raises:
        StorageFailed: it cannot be read.
        DataError: it is not UTF-8.
    """
    try:
        text = io.TextIOWrapper(io.BytesIO(storage.read_bytes(path)), encoding="utf-8-sig")
        return [line.rstrip("\n") for line in text]
    except UnicodeDecodeError as error:
        raise DataError(f"{storage.masked(path)} is not UTF-8 text: {error}. Save it as UTF-8.") from error


def open_image(path: str) -> Any:
    """The picture of a file, as a `PIL.Image.Image` that is loaded.

    Raises:
        StorageFailed: it cannot be read.
        DataError: it is no picture, or a part of one.
    """
    image = require("PIL.Image", extra="images", because="open_image returns its pictures")
    data = storage.read_bytes(path)
    try:
        found = image.open(io.BytesIO(data))
        found.load()
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for broken files
        raise DataError(f"{storage.masked(path)} is no picture that can be read: {error}") from error
    return found


def load_numpy(path: str, allow_pickle: bool = False) -> Any:
    """What ``numpy.save`` or ``numpy.savez`` wrote.

    Args:
        path: of a ``.npy`` or ``.npz`` file.
        allow_pickle: also load Python objects. Loading them runs code that is in the file: only for files that you
            trust.

    Returns:
        an array; of a ``.npz`` file a mapping from names to arrays.

    Raises:
        StorageFailed: it cannot be read.
        DataError: it is neither, or holds Python objects.
    """
    import numpy as np

    data = storage.read_bytes(path)
    try:
        found = np.load(io.BytesIO(data), allow_pickle=allow_pickle)
        return {name: found[name] for name in found.files} if hasattr(found, "files") else found
    except (ValueError, OSError, EOFError, KeyError) as error:
        told = f"{storage.masked(path)} holds no arrays that can be loaded: {error}."
        if not allow_pickle:
            told += (
                " Python objects are loaded with load_numpy(path, allow_pickle=True); they run code, so do that only "
                "with files that you trust."
            )
        raise DataError(told) from error


def exists(path: str) -> bool:
    """Whether a file or directory is there."""
    return storage.exists(path)


def is_file(path: str) -> bool:
    """Whether a file is there."""
    return storage.is_file(path)


def makedirs(path: str) -> None:
    """Makes a directory and those above it; one that is there is left as it is."""
    storage.make_dirs(path)


def write_text(path: str, text: str) -> int:
    """Makes a file hold `text`, in UTF-8, and the directory where needed; it never holds a part of it.

    Returns:
        the number of characters.
    """
    if not isinstance(text, str):
        raise UsageError(f"write_text takes a str. Received: {type(text).__name__}")
    storage.write_atomically(path, text.encode())
    return len(text)


def listdir(path: str) -> list[str]:
    """The names of what is right below a directory, sorted.

    Raises:
        StorageFailed: no such directory.
    """
    names = storage.list_names(path)
    if not names and not storage.exists(path):
        raise StorageFailed(
            f"No such file or directory: {storage.masked(path)}. Check the path and where it is mounted."
        )
    return names


def rmdir(path: str) -> None:
    """Removes a directory with all that is in it.

    Raises:
        StorageFailed: no such directory.
        UsageError: it is a file.
    """
    if storage.is_file(path):
        raise UsageError(f"rmdir removes directories. Received a file: {storage.masked(path)}")
    listdir(path)
    storage.remove_tree(path)


def put_local_file_to_remote(
    local_path: str, remote_path: str, filemode: int | None = None, over_write: bool = False
) -> None:
    """Copies a local file to a path or URL.

    Args:
        local_path: of the file.
        remote_path: of the copy.
        filemode: its permissions, such as 0o644; other machines' file systems keep their own.
        over_write: replace a file that is there.

    Raises:
        StorageFailed: the file is not there, or cannot be written.
        UsageError: a file is there and `over_write` is False.
    """
    storage.copy(_local(local_path), remote_path, over_write)
    if filemode is not None:
        storage.set_mode(remote_path, filemode)


def put_local_dir_to_remote(local_dir: str, remote_dir: str, over_write: bool = False) -> None:
    """Copies the files right in a local directory into another one."""
    _copy_below(_local(local_dir), remote_dir, over_write, deep=False)


def put_local_dir_tree_to_remote(local_dir: str, remote_dir: str, over_write: bool = False) -> None:
    """Copies all files below a local directory into another one, in the same directories."""
    _copy_below(_local(local_dir), remote_dir, over_write, deep=True)


def put_local_files_with_prefix_to_remote(local_path_prefix: str, remote_dir: str, over_write: bool = False) -> None:
    """Copies the local files whose paths begin with a prefix into a directory."""
    _copy_prefixed(_local(local_path_prefix), remote_dir, over_write)


def get_remote_file_to_local(remote_path: str, local_path: str, over_write: bool = False) -> None:
    """Copies a file to a local path; arguments and errors as in `put_local_file_to_remote`."""
    storage.copy(remote_path, _local(local_path), over_write)


def get_remote_dir_to_local(remote_dir: str, local_dir: str, over_write: bool = False) -> None:
    """Copies all files below a directory into a local one, in the same directories."""
    _copy_below(remote_dir, _local(local_dir), over_write, deep=True)


def get_remote_files_with_prefix_to_local(remote_path_prefix: str, local_dir: str, over_write: bool = False) -> None:
    """Copies the files whose paths begin with a prefix into a local directory."""
    _copy_prefixed(remote_path_prefix, _local(local_dir), over_write)


def _copy_below(source: str, target: str, over_write: bool, *, deep: bool) -> None:
    names = listdir(source)
    if storage.is_file(source):
        raise UsageError(f"a directory is needed. Received a file: {storage.masked(source)}")
    storage.make_dirs(target)
    for name in names:
        below = storage.join(source, name)
        if storage.is_file(below):
            storage.copy(below, storage.join(target, name), over_write)
        elif deep:
            _copy_below(below, storage.join(target, name), over_write, deep=True)


def _copy_prefixed(prefix: str, target: str, over_write: bool) -> None:
    folder, slash, start = prefix.rpartition("/")
    folder = f"{folder}{slash}" or "."
    names = [name for name in listdir(folder) if name.startswith(start)]
    files = [name for name in names if storage.is_file(storage.join(folder, name))]
    if not files:
        raise UsageError(f"no file begins with this prefix. Received: {storage.masked(prefix)}")
    for name in files:
        storage.copy(storage.join(folder, name), storage.join(target, name), over_write)


def _local(path: str) -> str:
    storage.local_path(path)  # refuses others
    return path
