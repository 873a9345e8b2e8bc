"""The words of a call, as the engine takes them.

Owns: amounts of memory and threads, where to start and when to end, names of columns, which checkpoint.
Leaves: what is done with them (estimator).
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from zoo.engine import checkpoint
from zoo.engine.contracts import Cluster
from zoo.engine.data.adapters import Adapted
from zoo.engine.errors import UsageError
from zoo.engine.loop import TRAIN, VALID
from zoo.engine.progress import Progress
from zoo.engine.triggers import MaxEpoch, MaxIteration, Trigger, convert_trigger
from zoo.engine.values import Source

_log = logging.getLogger("zoo")

Names = Sequence[str] | str | None

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_bytes(amount: int | str) -> int:
    """Bytes of ``"512m"``, ``"1.5g"`` (units of 1024, as Spark counts) or a plain number.

    Raises:
        UsageError: it is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)b?", str(amount).strip().lower())
    if match is None or isinstance(amount, bool):
        raise UsageError(f"memory must be a number of bytes or a text like '512m' or '2g'. Received: {amount!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def disk_of(store: str) -> int:
    """The n of a ``train_data_store`` ``"DISK_n"``; 0 for ``"DRAM"``."""
    return int(store.partition("_")[2] or 0)


def latest_checkpoint(directory: str | None) -> str:
    """The path of the newest complete checkpoint under `directory`.

    Raises:
        UsageError: there is none, or no directory.
    """
    if not directory:
        raise UsageError("no directory to look in: give latest_checkpoint a path, or the estimator a model_dir.")
    found = checkpoint.latest(directory)
    if found.checkpoint is None:
        damaged = "".join(f"\n  {path}: {reason}" for path, reason in found.damaged)
        raise UsageError(f"no complete checkpoint in {directory}.{damaged}")
    return found.checkpoint.path


def checkpoint_of_step(directory: str, step: int) -> str:
    """The path of the checkpoint of one step.

    Raises:
        UsageError: there is none; those that are there are listed.
    """
    paths = checkpoint.list_checkpoints(directory)
    for path in paths:
        if path.rstrip("/").endswith(f"checkpoint-{step:09d}"):
            return path
    raise UsageError(f"no checkpoint of step {step} in {directory}. There are: {', '.join(paths) or 'none'}.")


def start_of(
    progress: Progress, loaded: Mapping[str, Any], batch_size: int, lanes: int = 0, sources: Sequence[Source] = ()
) -> Progress:
    """Where `fit` begins: in the middle of an epoch only where a checkpoint was loaded that was written there.

    A warning says so where the checkpoint was written with another version of the same table.

    Args:
        progress: of the model.
        loaded: the position of a checkpoint that was loaded since the last `fit` (`FitJob.position`); empty for none.
        batch_size: of the new run; with another one than the checkpoint's its steps mean other rows.
        lanes: virtual ranks of the new run, or 0; likewise.
        sources: of the new run's rows.
    """
    _warn_of_other_versions(sources, loaded)
    step = progress.step_in_epoch if loaded else 0
    before = {"batch_size": loaded.get("batch_size"), "virtual_ranks": loaded.get("virtual_ranks", 0)}
    for word, now in (("batch_size", batch_size), ("virtual_ranks", lanes)):
        if step and before[word] != now:
            _log.warning(
                "the checkpoint was written in the middle of epoch %d with %s=%s: with %s=%s that epoch begins anew.",
                progress.epoch + 1, word, before[word], word, now,
            )  # fmt: skip
            step = 0
    return dataclasses.replace(progress, step_in_epoch=step, epoch_ended=False)


def _warn_of_other_versions(sources: Sequence[Source], loaded: Mapping[str, Any]) -> None:
    for told in loaded.get("sources", ()):
        before = Source(**told)
        for now in sources:
            if (now.kind, now.name) == (before.kind, before.name) and now.version != before.version:
                _log.warning("the checkpoint was trained on %s; training goes on with %s.", before, now)


def end_of(start: Progress, epochs: int | None, max_steps: int | None, trigger: Any) -> Trigger:
    """The first of: so many further epochs, so many further steps, the user's own trigger.

    Raises:
        UsageError: none of them, or less than one epoch.
    """
    if epochs is not None and epochs < 1:
        raise UsageError(f"epochs must be at least 1. Received: {epochs}")
    ends: list[Trigger] = [] if epochs is None else [MaxEpoch(start.epoch + epochs)]
    if max_steps is not None:
        ends.append(MaxIteration(start.step + max_steps))
    if trigger is not None:
        ends.append(convert_trigger(trigger))
    if not ends:
        raise UsageError("nothing says when training ends: give epochs, max_steps or end_trigger.")
    return reduce(or_, ends)


def refuse_endless(shards: Mapping[str, Any], steps_per_epoch: int | None, validation_steps: int | None) -> None:
    """Refuses data that never end where nobody says how many steps an epoch has.

    Args:
        shards: of training and of validation.
        steps_per_epoch: as given to `fit`.
        validation_steps: likewise.
    """
    for kind, steps in ((TRAIN, steps_per_epoch), (VALID, validation_steps)):
        if steps is None and getattr(shards.get(kind), "endless", False):
            word = "steps_per_epoch" if kind == TRAIN else "validation_steps"
            raise UsageError(
                f"the {'training' if kind == TRAIN else 'validation'} data set never ends. Leave repeat() out (epochs "
                f"repeat it), or say how many steps an epoch has: {word}=..."
            )


def lanes_of(
    reproducible: bool, virtual_ranks: int, spec: Any, shards: Mapping[str, Any], callbacks: Sequence[Any]
) -> int:
    """Virtual ranks of a run; 0 for one that is not to be reproducible.

    Args:
        reproducible: as given to `fit`.
        virtual_ranks: likewise.
        spec: the model.
        shards: of training and of validation.
        callbacks: of this call.

    Raises:
        UsageError: the model or the data cannot be trained in virtual ranks.
    """
    if not reproducible:
        return 0
    if not isinstance(virtual_ranks, int) or isinstance(virtual_ranks, bool) or virtual_ranks < 1:
        raise UsageError(f"virtual_ranks must be a whole number, at least 1. Received: {virtual_ranks!r}")
    if any(getattr(each, "own_order", False) for each in shards.values()):
        raise UsageError(
            "reproducible=True orders rows by their content, and a DataLoader, a tf.data.Dataset or a data creator has "
            "an order of its own. Give the rows themselves: a DataFrame, arrays, XShards or a Parquet path."
        )
    spec.check_lanes(callbacks)
    return virtual_ranks


def sync_of(sync: str, spec: Any, callbacks: Sequence[Any]) -> str:
    """The word, where the model can be trained so; whether it is one is for the job to say.

    Args:
        sync: as given to `fit`.
        spec: the model.
        callbacks: of this call.

    Raises:
        UsageError: the model, its optimizer or a callback cannot work on slices.
    """
    if sync == "sharded":
        spec.check_sharded(callbacks)
    return sync


def workers_of(workers: Any, default: int, spec: Any) -> tuple[int, int]:
    """(ranks, or the fewest of them; the most, or 0 where their number is fixed).

    Args:
        workers: as given to `fit`.
        default: where nothing was given.
        spec: the model.

    Raises:
        UsageError: it is neither a number nor a pair of them, or the model cannot be trained on so many.
    """
    fewest, most = (default, 0) if workers is None else _pair_of(workers)
    spec.check_ranks(max(fewest, most))
    return fewest, most


def _pair_of(workers: Any) -> tuple[int, int]:
    """A number of ranks, or two, as `workers_of` gives them."""
    pair = (workers, 0) if isinstance(workers, int) else workers
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(one, int) for one in pair):
        raise UsageError(f"workers is a number of ranks, or (min, max). Received: {workers!r}")
    fewest, most = pair
    if isinstance(workers, bool) or fewest < 1 or (most and most < fewest) or (isinstance(workers, tuple) and not most):
        raise UsageError(f"workers must be at least 1, and max not less than min. Received: {workers!r}")
    return fewest, most


def rows_per_step(asked: int | None, adapted: Adapted, default: int = 32) -> int:
    """What was asked for, else a loader's own, else `default`."""
    own: int | None = getattr(adapted.shards, "batch_size", None)
    return asked if asked is not None else own or default


def scores_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """What TensorFlow's programs know of an evaluation: ``{"loss", "<metric>", ...}``, without counts."""
    left_out = ("num_samples", "batch_count")
    return {("loss" if name == "val_loss" else name): one for name, one in results.items() if name not in left_out}


def names_of(names: Names) -> tuple[str, ...] | None:
    """A name or a list of names; None for none given."""
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)


def listed(callbacks: Sequence[Any] | Any | None) -> tuple[Any, ...]:
    """None, one or several callbacks."""
    if callbacks is None:
        return ()
    return tuple(callbacks) if isinstance(callbacks, list | tuple) else (callbacks,)


def threads_of(cluster: Cluster) -> int:
    """Threads of a process that scores: Spark runs one for each core, other places one in all."""
    return max(1, getattr(cluster, "cores", 1) // max(1, cluster.slots // cluster.nodes))
