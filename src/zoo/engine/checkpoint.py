"""Checkpoints: what a run needs to go on, in a directory without pickle, which is there whole or not at all.

    <model_dir>/2026-11-20_18-04-31/        one run directory per fit
        checkpoint-000001200/
            manifest.json                   format, versions, and size and sha256 of the other files (and of itself)
            progress.json                   progress, plan position, and what the caller adds
            values.json                     the plain values of the state
            model.safetensors  optimizer.safetensors  rng.safetensors

Owns: the format, the atomic commit, finding the newest whole one, pruning.
Leaves: what the arrays mean (frameworks), when to write (triggers, loop), files and URLs (storage).

Locally a checkpoint is written under a temporary name, synced and renamed. Where directories cannot be renamed
(object stores), its manifest is written last: a checkpoint without one does not exist.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from safetensors.numpy import load as unpack
from safetensors.numpy import save as pack

from zoo.engine import storage
from zoo.engine.contracts import Json, State
from zoo.engine.errors import CheckpointDamaged, UsageError
from zoo.engine.progress import Progress

FORMAT = 1
"""Grows when an older zoo could no longer read what this one writes."""

_MANIFEST = "manifest.json"
_GROUPS = ("model", "optimizer", "rng")
_CHECKPOINT = re.compile(r"checkpoint-(\d{9,})")
_RUN = re.compile(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:-(\d+))?")
_UNFINISHED = ".unfinished-"
_STALE_SECONDS = 3600
_Groups: TypeAlias = dict[str, dict[str, np.ndarray]]  # file name -> array name -> array


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Attributes:
        state: the arrays and values of the replica, as they were saved.
        progress: how far the run had come.
        plan: where the order of rows stood: seed, epoch, step and so on.
        extra: what the writer added.
        path: where it lies.
    """

    state: State
    progress: Progress
    plan: Json
    extra: Json
    path: str


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of `latest`.

    Attributes:
        checkpoint: the newest whole checkpoint; None where there is none.
        damaged: (path, reason) of each newer one that was passed over.
    """

    checkpoint: Checkpoint | None
    damaged: tuple[tuple[str, str], ...] = ()


def save(directory: str, state: State, progress: Progress, plan: Json, extra: Json | None = None) -> str:
    """Writes a checkpoint of `progress.step` and returns its path; one of the same step is replaced.

    Args:
        directory: the run directory (any fsspec URL); made where needed.
        state: array names start with ``model/``, ``optimizer/`` or ``rng/``; any numpy number or bool type of up to
            8 bytes. Values hold no objects but those of JSON, and strings as keys.
        progress: how far the run has come.
        plan: where the order of rows stands.
        extra: anything else; ``{}`` by default.

    Raises:
        UsageError: a name, array type or value that cannot be stored.
        StorageFailed: full disk, no permission, ...; earlier checkpoints stay as they were.
    """
    path = storage.join(directory, f"checkpoint-{progress.step:09d}")
    about = {"progress": progress.to_json(), "plan": plan, "extra": {} if extra is None else extra}
    documents = {"progress.json": _json_bytes(about), "values.json": _json_bytes(dict(state.values))}
    groups = _grouped(state.arrays)
    if storage.is_local(path):
        _remove_stale(directory)
        temporary = storage.join(directory, f"{_UNFINISHED}{secrets.token_hex(8)}")
        with replacing(path, temporary):
            _write_all(temporary, documents, groups)
    else:
        storage.remove_tree(storage.join(path, _MANIFEST))  # from here on the old one does not exist
        _write_all(path, documents, groups)
    return path


def load(path: str) -> Checkpoint:
    """Reads the checkpoint at `path`, every byte checked against its manifest.

    Raises:
        CheckpointDamaged: a file is missing or altered, or a newer zoo wrote it; the message says which.
        StorageFailed: the place cannot be read.
    """
    names = storage.list_names(path)
    arrays: dict[str, np.ndarray] = {}
    documents: dict[str, bytes] = {}
    for name, entry in _read_manifest(path, names).items():
        data = _verified(path, name, names, entry)
        if name.endswith(".safetensors"):
            arrays |= _unpacked(data)  # now, so that one file's bytes are in memory at a time
        else:
            documents[name] = data
    try:
        about = json.loads(documents["progress.json"])
        state = State(arrays, json.loads(documents["values.json"]))
        return Checkpoint(state, Progress.from_json(about["progress"]), about["plan"], about["extra"], path)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"its documents do not have the form of format {FORMAT} ({error!r})") from error


def latest(directory: str) -> Found:
    """The newest whole checkpoint below a run directory or a model directory, or the one that `directory` itself is.

    Newest means: of the run directory with the latest time, the one with the most steps.

    Raises:
        StorageFailed: the place cannot be read.
    """
    damaged: list[tuple[str, str]] = []
    for path in _newest_first(directory):
        try:
            return Found(load(path), tuple(damaged))
        except CheckpointDamaged as error:
            damaged.append((path, str(error)))
    return Found(None, tuple(damaged))


def list_checkpoints(directory: str) -> list[str]:
    """The paths of all checkpoints below a run or model directory, oldest first; they are not read."""
    return list(_newest_first(directory))[::-1]


def prune(directory: str, keep: int) -> list[str]:
    """Removes all but the `keep` newest checkpoints right in a run directory; returns the paths removed.

    One without a manifest does not count as kept, and goes with those that are older than the oldest kept.

    Raises:
        UsageError: `keep` is less than 1.
    """
    if keep < 1:
        raise UsageError(f"keep must be at least 1 checkpoint. Received: {keep}")
    kept, removed = 0, []
    for path in _in_run(directory, storage.list_names(directory)):
        if kept < keep:
            kept += storage.exists(storage.join(path, _MANIFEST))
        else:
            storage.remove_tree(storage.join(path, _MANIFEST))  # first, so that half a checkpoint is none
            storage.remove_tree(path)
            removed.append(path)
    return removed


def new_run_directory(model_dir: str, now: datetime) -> str:
    """A new directory ``<model_dir>/<yyyy-mm-dd_HH-MM-SS>``; a second one in the same second ends in ``-2``."""
    stamp = now.strftime("%Y-%m-%d_%H-%M-%S")
    taken = set(storage.list_names(model_dir))
    name, number = stamp, 1
    while name in taken:
        number += 1
        name = f"{stamp}-{number}"
    path = storage.join(model_dir, name)
    storage.make_dirs(path)
    return path


# ---- writing --------------------------------------------------------------------------------------------------------


def _grouped(arrays: Mapping[str, np.ndarray]) -> _Groups:
    groups: _Groups = {}
    for name, array in arrays.items():
        group, mark, _ = name.partition("/")
        if group not in _GROUPS or not mark:
            raise UsageError(f"array names start with model/, optimizer/ or rng/. Received: {name!r}")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise UsageError(f"a checkpoint holds numbers and bools of up to 8 bytes. {name!r} is of {array.dtype}.")
        groups.setdefault(f"{group}.safetensors", {})[name] = array
    return groups


@contextmanager
def replacing(path: str, temporary: str) -> Iterator[None]:
    """For a block that writes the directory `temporary`, of this machine: it takes the place of `path`, or goes."""
    aside = f"{temporary}-old"  # a full directory cannot be renamed over
    try:
        yield
        if storage.exists(path):
            storage.rename_local(path, aside)
        storage.rename_local(temporary, path)
    except BaseException:
        if storage.exists(aside) and not storage.exists(path):
            storage.rename_local(aside, path)
        storage.remove_tree(temporary)
        raise
    storage.remove_tree(aside)


def _write_all(path: str, documents: dict[str, bytes], groups: _Groups) -> None:
    files = {name: _write(path, name, data) for name, data in documents.items()}
    for name, arrays in groups.items():  # one group's bytes in memory at a time
        files[name] = _write(path, name, _packed(arrays))
    storage.write_atomically(storage.join(path, _MANIFEST), _manifest_bytes(files))


def _write(path: str, name: str, data: bytes) -> dict[str, Any]:
    storage.write_atomically(storage.join(path, name), data)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    return pack({name: np.asarray(array, order="C") for name, array in arrays.items()})


def _json_bytes(value: Json) -> bytes:
    _refuse_other_keys(value)
    try:
        return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
    except TypeError as error:
        raise UsageError(f"a checkpoint holds plain values (numbers, text, lists, dicts): {error}.") from error


def _refuse_other_keys(value: Json) -> None:
    # json would turn the key 0 into "0" without a word, and an optimizer would look for 0 in vain.
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise UsageError(f"a checkpoint's dicts have strings as keys. Received: {key!r} ({type(key).__name__})")
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_other_keys(item)


def _manifest_bytes(files: Mapping[str, Any], zoo: str | None = None) -> bytes:
    body = {"format": FORMAT, "zoo": _zoo_version() if zoo is None else zoo, "files": dict(files)}
    return _json_bytes(body | {"sha256": hashlib.sha256(_json_bytes(body)).hexdigest()})


def _zoo_version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("openzoo")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree


def _remove_stale(directory: str) -> None:
    """Clears away what a killed writer left; a fresh one may still be somebody's work."""
    for name in storage.list_names(directory):
        path = storage.join(directory, name)
        if name.startswith(_UNFINISHED) and time.time() - _last_touched(path) > _STALE_SECONDS:
            storage.remove_tree(path)


def _last_touched(path: str) -> float:
    root = storage.local_path(path)
    try:
        return max(entry.stat().st_mtime for entry in (root, *root.rglob("*")))
    except FileNotFoundError:  # its writer is at work, or has just finished
        return time.time()


# ---- reading --------------------------------------------------------------------------------------------------------


def _damaged(path: str, reason: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"the checkpoint {storage.masked(path)} cannot be used: {reason}. Use an earlier one, or write it again."
    )


def _read_manifest(path: str, names: list[str]) -> dict[str, Any]:
    if _MANIFEST not in names:
        raise _damaged(path, f"{_MANIFEST} is missing, so it was never finished or is no checkpoint")
    data = storage.read_bytes(storage.join(path, _MANIFEST))
    try:
        body = json.loads(data)
        version = body["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{_MANIFEST} is unreadable ({type(error).__name__}: {error})") from error
    if version != FORMAT:
        raise _damaged(path, f"it has format version {version!r}, and this zoo reads {FORMAT}; a newer zoo may read it")
    files = body.get("files")
    if not isinstance(files, dict) or _manifest_bytes(files, body.get("zoo")) != data:
        raise _damaged(path, f"{_MANIFEST} does not match its own checksum")
    return files


def _verified(path: str, name: str, names: list[str], entry: Mapping[str, Any]) -> bytes:
    if name not in names:
        raise _damaged(path, f"{name} is missing")
    data = storage.read_bytes(storage.join(path, name))
    if len(data) != entry["bytes"]:
        raise _damaged(path, f"{name} has {len(data):,} bytes, its manifest says {entry['bytes']:,}")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise _damaged(path, f"the content of {name} does not match its checksum")
    return data


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    # frombuffer over immutable bytes is read-only, and frameworks load weights in place
    return {name: array if array.flags.writeable else array.copy() for name, array in unpack(data).items()}


# ---- finding --------------------------------------------------------------------------------------------------------


def _newest_first(directory: str) -> Iterator[str]:
    names = storage.list_names(directory)
    if _CHECKPOINT.fullmatch(directory.rstrip("/").rpartition("/")[2]) or _MANIFEST in names:
        yield directory
        return
    yield from _in_run(directory, names)
    runs = [(match[1], int(match[2] or 1), name) for name in names if (match := _RUN.fullmatch(name))]
    for *_, name in sorted(runs, reverse=True):
        run = storage.join(directory, name)
        yield from _in_run(run, storage.list_names(run))


def _in_run(directory: str, names: list[str]) -> Iterator[str]:
    steps = [(int(match[1]), name) for name in names if (match := _CHECKPOINT.fullmatch(name))]
    for _, name in sorted(steps, reverse=True):
        yield storage.join(directory, name)
