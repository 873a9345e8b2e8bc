"""Old address of functions for sessions and files of TensorFlow."""

from __future__ import annotations

from typing import Any

from zoo.engine.frameworks.graph import files
from zoo.engine.frameworks.graph.home import flat


def export_tf(
    sess: Any,
    folder: str,
    inputs: Any,
    outputs: Any,
    generate_backward: bool = False,
    allow_non_differentiable_input: bool = True,
) -> str:
    """Writes a session's graph for inference: ``frozen_inference_graph.pb`` and ``graph_meta.json``.

    Args:
        sess: the session; its variables become constants.
        folder: a path or any fsspec URL.
        inputs: tensors that are fed: one or several.
        outputs: tensors that are computed.
        generate_backward: accepted for older programs; a frozen graph only computes.
        allow_non_differentiable_input: likewise.
    """
    tensors = [[tensor for _, tensor in flat(nest)] for nest in (inputs, outputs)]
    return files.export_frozen(sess, folder, *tensors)


def save_tf_checkpoint(sess: Any, checkpoint_path: str, saver: Any = None) -> str:
    """Writes a session's variables; `saver` says which, None all of them. Returns the path."""
    return files.save_checkpoint(sess, checkpoint_path, saver)


def load_tf_checkpoint(sess: Any, checkpoint_path: str, saver: Any = None) -> None:
    """Reads what `save_tf_checkpoint`, or any Saver, has written into a session's variables."""
    files.load_checkpoint(sess, checkpoint_path, saver)


def get_checkpoint_state(checkpoint_dir: str) -> Any:
    """TensorFlow's record of the checkpoints of a directory; None where there is none."""
    return files.checkpoint_state(checkpoint_dir)
