"""Files of graphs: checkpoints of TensorFlow's Saver.

Owns: writing and reading them at paths of this machine.
Leaves: our own checkpoints (zoo.engine.checkpoint).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from zoo.engine import storage
from zoo.engine.errors import UsageError

v1 = tf.compat.v1


def save_checkpoint(session: Any, prefix: str, saver: Any = None) -> str:
    """Writes the variables of a session to files that begin with `prefix`; returns it.

    Args:
        session: whose.
        prefix: a path of this machine.
        saver: which variables; None for all.

    Raises:
        UsageError: a URL, or a graph without variables.
    """
    path = _local(prefix)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    written: str = (saver or _saver(session)).save(session, path, write_meta_graph=False)
    return written


def load_checkpoint(session: Any, prefix: str, saver: Any = None) -> None:
    """Reads what `save_checkpoint` has written.

    Args:
        session: gets the values.
        prefix: the same; or the directory that holds it, for the newest one there.
        saver: which variables; None for those that the checkpoint holds.

    Raises:
        UsageError: a URL; no checkpoint there; one of other variables.
    """
    path = _local(prefix)
    if Path(path).is_dir():
        path = v1.train.latest_checkpoint(path) or path
    if not Path(f"{path}.index").exists():
        raise UsageError(f"no TensorFlow checkpoint at {prefix}: there is no file {path}.index.")
    held = dict(v1.train.list_variables(path))
    try:
        (saver or _saver(session, held)).restore(session, path)
    except (tf.errors.OpError, ValueError) as error:
        raise UsageError(f"the checkpoint {prefix} does not fit the graph: {str(error).splitlines()[0]}") from error


def _saver(session: Any, held: Any = None) -> Any:
    with session.graph.as_default():
        variables = v1.global_variables()
        own = variables if held is None else [variable for variable in variables if variable.op.name in held]
        if not own:
            raise UsageError("the graph has no variables, or none that the checkpoint holds.")
        return v1.train.Saver(own, save_relative_paths=True)


def _local(prefix: str) -> str:
    if not storage.is_local(prefix):
        raise UsageError(f"a TensorFlow checkpoint is written to a path of this machine. Received: {prefix}")
    return str(storage.local_path(prefix))
