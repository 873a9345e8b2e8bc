"""Where image sets lie: paths that are shown without credentials, files that are moved.

Owns: `Place`, renaming on every file system.
Leaves: all else that is done with files (zoo.engine.storage).
"""

from __future__ import annotations

from zoo.engine import storage

_OBJECT_STORES = ("s3", "gcs")  # of Arrow's: no directories, and a copy takes the place of what was there


class Place(str):
    """A path or URL that shows no credentials where a value that holds it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(storage.masked(str(self)))


def move(old: str, new: str) -> None:
    """Renames a file within its file system, in place of one that may be there; object stores copy it where it lies.

    Raises:
        StorageFailed: no such file, or it cannot be written.
    """
    if storage.is_local(new):
        storage.make_dirs(str(storage.local_path(new).parent))
        storage.rename_local(old, new)
        return
    with storage.explained(new, "write"):
        (files, path), (_, before) = storage.file_system(new), storage.file_system(old)
        if files.type_name not in _OBJECT_STORES:  # others want the directory, and HDFS replaces nothing
            files.create_dir(path.rpartition("/")[0], recursive=True)
            if storage.exists(new):
                files.delete_file(path)
        files.move(before, path)
